# SPDX-License-Identifier: Apache-2.0
"""The transactional outbox: a transaction stores records beside its rows, and a relay delivers them.

    INSTALLED_APPS = [..., "fluvio_sync.contrib.django", "fluvio_sync.contrib.django.outbox"]

    from fluvio_sync.contrib.django import outbox

    with transaction.atomic():
        order.save()
        outbox.send("orders", order.as_json(), key=str(order.customer_id))

`manage.py migrate` makes its table, and `manage.py fluvio_outbox_relay` delivers at-least-once, the records of a topic
with the same key in order.
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
    """The numbers of an outbox.

    * `pending`: records that are still to be delivered.
    * `oldest_age`: seconds since the oldest pending record was stored; None if there is none.
    * `failed`: records that the cluster rejected for good, which wait for an operator.
    * `blocked`: pending records behind a failed one with the same key.
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

    * `topic`: the name of the topic.
    * `value`, `key`, `timestamp`: as of `TopicProducer.send`, with the alias's serializers; the time is that of this
      call by default.
    * `using`: the database of the transaction (default: the one that Django's routers give the outbox).
    * `alias`: of FLUVIO (default "default"), for the client that the relay uses.

    Records of a topic with the same key are delivered in the order of these calls if their transactions are serialised,
    as by `select_for_update()` on the row that the key stands for; concurrent transactions have no order.

    Raises `TransactionManagementError` outside of `transaction.atomic()`, where the record would be stored even if its
    row is not.  Raises `ConfigError` for the topic's name, the alias or its settings, `TypeError`, `ValueError` and
    `RecordTooLargeError` for the record.
    """
    from fluvio_sync.contrib.django.outbox.models import OutboxRecord  # noqa: PLC0415 - not before the apps are loaded

    database = using or router.db_for_write(OutboxRecord)
    if not connections[database].in_atomic_block:
        raise TransactionManagementError(
            f"outbox.send() needs a transaction of the database {database!r}: call it in the block of "
            "transaction.atomic() that stores the row which the record is about"
        )
    record = prepare(topic, value, key, timestamp, _aliases.read(alias).producer)
    OutboxRecord.of(record, alias).save(using=database, force_insert=True)


def health(using: str | None = None) -> OutboxHealth:
    """Return the numbers of the outbox.

    `using`: its database (default: the one that Django's routers give the outbox).
    """
    from fluvio_sync.contrib.django.outbox import _store  # noqa: PLC0415 - not before the apps are loaded
    from fluvio_sync.contrib.django.outbox.models import OutboxRecord  # noqa: PLC0415

    return OutboxHealth(*_store.figures(using or router.db_for_write(OutboxRecord)))
