# SPDX-License-Identifier: Apache-2.0
"""In which order a relay sends.  Pure.

A *chain* is what a relay sends of one order key: undelivered records, beginning with the oldest, without a gap, and
each only once the one before it is acknowledged.  A record that fails ends its chain, and one that failed for good
ends the chains of all passes.

That alone keeps the order, however many relays are at work, whoever is killed, and whatever claims run out: a record
has been acknowledged before the next of its key is sent for the first time.  Claims are there to spare the work of
sending twice.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fluvio_sync.errors import RecordTooLargeError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluvio_sync.contrib.django.outbox.models import OutboxRecord

_PENDING = "pending"
_LONGEST_DELAY = 60.0


def chains(records: Iterable[OutboxRecord]) -> list[deque[OutboxRecord]]:
    """Return the chains of these records: of each key the undelivered ones without a gap, beginning with the oldest."""
    found: dict[str, deque[OutboxRecord]] = {}
    ended = set()
    for record in sorted(records, key=lambda record: int(record.pk)):
        if record.state != _PENDING:
            ended.add(record.order_key)
        if record.order_key not in ended:
            found.setdefault(record.order_key, deque()).append(record)
    return list(found.values())


def is_final(error: BaseException) -> bool:
    """Whether sending the same record again can only fail again."""
    return isinstance(error, (RejectedError, RecordTooLargeError))


def delay_after(failures: int) -> float:
    """Return the seconds before the next attempt after so many failures in a row: 1, 2, 4 and so on up to 60."""
    return min(_LONGEST_DELAY, 2.0 ** min(failures - 1, 10))
