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
    """What became of a record.

    Pending ones are to be delivered; failed ones were refused by the cluster and hold up their key until an operator
    retries or skips them; delivered and skipped ones are done with, and deleted after the relay's retention.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"


class OutboxRecord(models.Model):
    """A record of the outbox.

    `order_key`: the same for records that must not overtake each other.  `due`: when a relay may take it: at first when
    it was stored, later the end of a relay's claim or of the pause after a failure.  `claimed_by`: the relay that has
    it.  `attempts`: of the relay, in each of which the client tries as its policy says.  `done`: when it was delivered
    or skipped.
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
        """Each index serves one query of the relay: what is due, what is before it, what is to be deleted."""

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
        """Return a record that is to be stored; its time is now, unless it has one."""
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
    """Return what records that must not overtake each other have in common; a keyless record has it with no other.

    A digest: keys are of any length and bytes of any kind, which not every database puts in an index.
    """
    if key is None:
        return uuid.uuid4().hex
    return blake2b(f"{alias}\0{topic}\0".encode() + key, digest_size=16).hexdigest()
