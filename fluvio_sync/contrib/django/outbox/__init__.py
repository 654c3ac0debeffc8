# SPDX-License-Identifier: Apache-2.0
"""The transactional outbox: records that are stored in the transaction that they tell of, and delivered by a relay.

    INSTALLED_APPS = [..., "fluvio_sync.contrib.django", "fluvio_sync.contrib.django.outbox"]

    from fluvio_sync.contrib.django import outbox

    with transaction.atomic():
        order.save()
        outbox.send("orders", order.as_json(), key=str(order.customer_id))

`manage.py migrate` makes its table, and `manage.py fluvio_outbox_relay` delivers: at-least-once, and in order for the
records of a topic that have the same key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connections, router
from django.db.transaction import TransactionManagementError

from fluvio_sync.contrib.django import _aliases
from fluvio_sync.contrib.django._aliases import DEFAULT
from fluvio_sync.contrib.django._record import prepare

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["OutboxHealth", "health", "send"]


class OutboxHealth(NamedTuple):
    """How the outbox of a database is.

    `pending`: records that are to be delivered; `oldest_age`: seconds since the oldest of them was stored, None if
    there is none; `failed`: records that the cluster refused for good, which wait for an operator; `blocked`: how many
    of the pending ones are behind a failed one with the same key.
    """

    pending: int
    oldest_age: float | None
    failed: int
    blocked: int


def send(
    topic: str,
    value: Any,
    *,
    key: Any = None,
    timestamp: int | datetime | None = None,
    using: str | None = None,
    alias: str = DEFAULT,
) -> None:
    """Store a record in the current transaction, to be delivered once that is committed.

    `value`, `key`, `timestamp`: as those of `TopicProducer.send`, with the alias's serializers; the time is by default
    that of this call.  `using`: the database whose transaction it is (default: what Django's routers say of the
    outbox).  `alias`: of FLUVIO, the client that the relay sends it with.

    Records of a topic with the same key are delivered in the order of these calls, provided that the transactions in
    which they happen are: those that run at the same time have no order, unless they wait for each other, as with
    `select_for_update()` on what the key stands for.

    Raises `TransactionManagementError` outside of `transaction.atomic()`: the record would be stored whatever becomes
    of what it tells of, and that is what an outbox is to prevent.  Raises `ConfigError` for the topic's name, the alias
    or its settings, `TypeError`, `ValueError` and `RecordTooLargeError` for the record.
    """
    from fluvio_sync.contrib.django.outbox.models import OutboxRecord  # noqa: PLC0415 - not before the apps are loaded

    database = using or router.db_for_write(OutboxRecord)
    if not connections[database].in_atomic_block:
        raise TransactionManagementError(
            f"outbox.send() needs a transaction of the database {database!r}: call it in the block of "
            "transaction.atomic() that stores what the record tells of"
        )
    record = prepare(topic, value, key, timestamp, _aliases.read(alias).producer)
    OutboxRecord.of(record, alias).save(using=database, force_insert=True)


def health(using: str | None = None) -> OutboxHealth:
    """Return how the outbox of a database is; `using`: which (default: what Django's routers say of the outbox)."""
    from fluvio_sync.contrib.django.outbox import _store  # noqa: PLC0415 - not before the apps are loaded
    from fluvio_sync.contrib.django.outbox.models import OutboxRecord  # noqa: PLC0415

    return OutboxHealth(*_store.figures(using or router.db_for_write(OutboxRecord)))
