# SPDX-License-Identifier: Apache-2.0
"""Django: clients and producers of the setting FLUVIO.

    INSTALLED_APPS = [..., "fluvio_sync.contrib.django"]
    FLUVIO = {"default": {"ENDPOINT": "127.0.0.1:9003"}}

    # in a view
    from fluvio_sync.contrib.django import producer, send_on_commit

    metadata = producer("orders").send(request.body).result(timeout=5)
    send_on_commit("orders", request.body)

Needs the extra `django`.  docs/django.md is the guide; `fluvio_sync.contrib.django.outbox` is an app of its own.
"""

try:
    import django as _django  # noqa: F401 - for the error that it may raise
except ImportError as error:
    raise ImportError("fluvio_sync.contrib.django needs Django: pip install 'fluvio-sync[django]'") from error

from fluvio_sync.contrib.django._clients import client, producer
from fluvio_sync.contrib.django._on_commit import send_on_commit

__all__ = ["client", "producer", "send_on_commit"]
