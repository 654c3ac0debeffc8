# SPDX-License-Identifier: Apache-2.0
"""The one table of the outbox."""

from __future__ import annotations

import time
import uuid
from hashlib import blake2b
from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from fluvio_sync.contrib.django._record import Record


class State(models.TextChoices):
    """The state of a record.

    Pending records are still to be delivered.  Failed ones were rejected by the cluster, and block their key until an
    operator retries or skips them.  Delivered and skipped ones are deleted after the relay's retention.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"


class OutboxRecord(models.Model):
    """A record of the outbox.

    * `order_key`: the same for records that must not overtake each other.
    * `due`: the time from which on a relay may claim it: first the time of storing, then the end of a claim, or of the
      pause after a failure.
    * `claimed_by`: the name of the relay that has claimed it.
    * `attempts`: of relays; in each, the client tries as its policy says.
    * `done`: the time at which it was delivered or skipped.
    """

    alias = models.CharField(max_length=100)
    topic = models.CharField(max_length=63)
    key = models.BinaryField(null=True)
    value = models.BinaryField()
    timestamp = models.BigIntegerField(help_text="milliseconds since the epoch")
    order_key = models.CharField(max_length=32)
    created = models.DateTimeField(default=timezone.now)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    due = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    claimed_by = models.CharField(max_length=64, default="", blank=True)
    done = models.DateTimeField(null=True)
    error = models.TextField(default="", blank=True)

    class Meta:
        """Each index serves one query of the relay: for due records, for those before a record, for those to delete."""

        db_table = "fluvio_outbox"
        verbose_name = "record"
        indexes = (
            models.Index(fields=["state", "due", "id"], name="fluvio_outbox_due"),
            models.Index(fields=["order_key", "state", "id"], name="fluvio_outbox_order"),
            models.Index(fields=["done"], name="fluvio_outbox_done"),
        )

    def __str__(self) -> str:
        return f"record {self.pk} for {self.topic}"

    @classmethod
    def of(cls, record: Record, alias: str) -> OutboxRecord:
        """Return a record that is not stored yet; its timestamp is now, unless it has one."""
        now = time.time_ns() // 1_000_000
        return cls(
            alias=alias,
            topic=record.topic,
            key=record.key,
            value=record.value,
            timestamp=now if record.timestamp is None else record.timestamp,
            order_key=order_key(alias, record.topic, record.key),
        )


def order_key(alias: str, topic: str, key: bytes | None) -> str:
    """Return the same text for records that must not overtake each other; that of a keyless record is unique.

    The text is a digest, because not every database has an index for bytes of any length.
    """
    if key is None:
        return uuid.uuid4().hex
    return blake2b(f"{alias}\0{topic}\0".encode() + key, digest_size=16).hexdigest()
