# SPDX-License-Identifier: Apache-2.0
"""The order in which a relay sends.  Pure.

A *chain* holds undelivered records of one order key, from the oldest on and without a gap.  The relay sends each record
only after the one before it is acknowledged.  A record that fails ends its chain, and one that failed for good ends the
chains of all later passes.

That alone keeps the order, with any number of relays, when relays are killed and when claims run out: a record is
acknowledged before the next of its key is sent for the first time.  Claims only save the work of sending twice.
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
    """Return the chains of these records: of each key the undelivered ones, from the oldest on and without a gap."""
    found: dict[str, deque[OutboxRecord]] = {}
    ended = set()
    for record in sorted(records, key=lambda record: int(record.pk)):
        if record.state != _PENDING:
            ended.add(record.order_key)
        if record.order_key not in ended:
            found.setdefault(record.order_key, deque()).append(record)
    return list(found.values())


def is_final(error: BaseException) -> bool:
    """Return whether sending the same record again can only fail again."""
    return isinstance(error, (RejectedError, RecordTooLargeError))


def delay_after(failures: int) -> float:
    """Return the seconds to wait after a number of failures in a row: 1, 2, 4 and so on up to 60."""
    return min(_LONGEST_DELAY, 2.0 ** min(failures - 1, 10))
