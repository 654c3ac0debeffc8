# SPDX-License-Identifier: Apache-2.0
"""The extra `django` brings Django, and an app of ours in it."""

import django
from django.conf import settings

settings.configure(INSTALLED_APPS=["fluvio_sync.contrib.django"], FLUVIO={"default": {}})
django.setup()

from fluvio_sync.contrib.django import producer  # noqa: E402 - after the settings
from fluvio_sync.contrib.django.testing import fake_fluvio  # noqa: E402

with fake_fluvio() as fake:
    producer("orders").send("tea").result(timeout=5)
    assert fake.values("orders") == [b"tea"]
