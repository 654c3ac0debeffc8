# SPDX-License-Identifier: Apache-2.0
"""The extra `celery` brings Celery, whose workers connect before their first task."""

from celery import signals

from fluvio_sync.contrib.celery import install
from fluvio_sync.testing import FakeFluvio

clients: list[FakeFluvio] = []


def client() -> FakeFluvio:
    """Make the worker's client."""
    clients.append(FakeFluvio())
    return clients[-1]


install(client, topics=["orders"])
signals.worker_process_init.send(sender=None)
assert len(clients) == 1
