# SPDX-License-Identifier: Apache-2.0
"""Records in the outbox, and relays that deliver them, for the tests of the outbox."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.utils import timezone

from fluvio_sync.contrib.django import outbox
from fluvio_sync.contrib.django.outbox._relay import Relay, Stop
from fluvio_sync.contrib.django.outbox.models import OutboxRecord, State
from tests.support.django_kit import close_connections

REJECTED = 6004
"""SmartModuleRuntimeError, which is final."""


def send(database: str, value: Any, key: Any = None, topic: str = "orders", **more: Any) -> None:
    """Store a record in a transaction of its own."""
    with transaction.atomic(using=database):
        outbox.send(topic, value, key=key, using=database, **more)


def new_relay(database: str, stop: Stop | None = None, lease: float = 30) -> Relay:
    """Return a relay that takes ten records in a pass."""
    return Relay(database, batch=10, lease=lease, retention=7, stop=stop or Stop())


def relay(database: str, **options: Any) -> str:
    """Run the command once, and return its output."""
    output = StringIO()
    call_command("fluvio_outbox_relay", once=True, database=database, stdout=output, stderr=output, **options)
    return output.getvalue()


def relay_with_failures(database: str) -> None:
    """Run the command once; it does not deliver every record."""
    with pytest.raises(CommandError, match="not every record could be delivered"):
        relay(database)


def records(database: str) -> Any:
    """Return the records of the outbox, from the oldest on."""
    return OutboxRecord.objects.using(database).order_by("pk")


def states(database: str) -> list[str]:
    """Return the states of the records."""
    return [record.state for record in records(database)]


def make_due(database: str) -> None:
    """Make all pending records due, as when the pause after a failure or a claim has ended."""
    records(database).filter(state=State.PENDING).update(due=timezone.now())


def in_thread(work: Any, *arguments: Any) -> Any:
    """Do something in another thread, whose connections to databases are closed afterwards."""
    try:
        return work(*arguments)
    finally:
        close_connections()
