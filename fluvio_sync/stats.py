# SPDX-License-Identifier: Apache-2.0
"""Counting: what a producer did so far, and what a flush can report.

`Counters` are plain integers, changed only with the client's lock held, and read as an immutable `ProducerStats`.
A `Tally` belongs to one producer handle and counts the outcomes of its own records.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.errors import FluvioError


class FlushResult(NamedTuple):
    """The outcome of a handle's records since its previous `flush()`.

    `acked`, `unacknowledged` (at-most-once: handed to the socket), `failed` (at-most-once: dropped): records;
    `first_error`: of the first that failed, or None.
    """

    acked: int
    unacknowledged: int
    failed: int
    first_error: FluvioError | None


@dataclass(frozen=True)
class ProducerStats:
    """A snapshot of all handles of a topic that have the same settings.

    Of records, bytes (keys and values) and batches: `queued` now waits in this process, `in_flight` is with a server;
    the others are totals since the client was made.  `retried` counts records sent again, `dropped` those that
    at-most-once lost, `reconnects` connections made after the first.  `latency`: seconds from a batch being ready to
    its acknowledgement, `(mean, maximum)`, or None before the first.  `checksum`: what computes CRC-32C,
    `"google-crc32c"`, `"crc32c"` or `"pure"`.
    """

    records_queued: int
    records_in_flight: int
    records_acked: int
    records_failed: int
    records_unacknowledged: int
    records_retried: int
    records_dropped: int
    bytes_queued: int
    bytes_in_flight: int
    bytes_acked: int
    bytes_failed: int
    batches_queued: int
    batches_in_flight: int
    batches_acked: int
    batches_failed: int
    reconnects: int
    latency: tuple[float, float] | None
    checksum: str


class Tally:
    """The outcomes of one handle's records, for `flush()`, `close()` and the end of a `with` block."""

    __slots__ = (
        "_first_failure",
        "_lock",
        "_unseen",
        "_unseen_failure",
        "acked",
        "failed",
        "unacknowledged",
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self._unseen = 0
        self._unseen_failure: Callable[[], FluvioError] | None = None
        self._clear()

    def _clear(self) -> None:
        self.acked = 0
        self.unacknowledged = 0
        self.failed = 0
        self._first_failure: Callable[[], FluvioError] | None = None

    def add_acked(self, records: int) -> None:
        with self._lock:
            self.acked += records

    def add_unacknowledged(self, records: int) -> None:
        with self._lock:
            self.unacknowledged += records

    def add_failed(self, records: int, failure: Callable[[], FluvioError]) -> None:
        """Count records that failed; `failure` makes the first one's error if somebody asks."""
        with self._lock:
            self.failed += records
            if self._unseen <= 0:
                self._unseen_failure = failure
            self._unseen += records
            if self._first_failure is None:
                self._first_failure = failure

    def add_dropped(self, records: int) -> None:
        """Count records that at-most-once lost; nobody raises anything for these."""
        with self._lock:
            self.failed += records

    def looked_at(self) -> None:
        """Somebody saw the error of one failed record."""
        with self._lock:
            self._unseen -= 1

    def unseen_failure(self) -> FluvioError | None:
        """Return the error of a failed record if nobody looked at some failed record's future."""
        with self._lock:
            failure = self._unseen_failure if self._unseen > 0 else None
        return None if failure is None else failure()

    def take(self) -> FlushResult:
        """What happened since the last call."""
        with self._lock:
            failure = self._first_failure
            result = (self.acked, self.unacknowledged, self.failed)
            self._clear()
        return FlushResult(*result, None if failure is None else failure())


class Counters:
    """Totals of a channel since the client was made; changed with the client's lock held."""

    __slots__ = (
        "batches_acked",
        "batches_failed",
        "bytes_acked",
        "bytes_failed",
        "latency_max",
        "latency_sum",
        "records_acked",
        "records_dropped",
        "records_failed",
        "records_retried",
        "records_unacknowledged",
    )

    def __init__(self) -> None:
        self.batches_acked = 0
        self.batches_failed = 0
        self.bytes_acked = 0
        self.bytes_failed = 0
        self.latency_max = 0.0
        self.latency_sum = 0.0
        self.records_acked = 0
        self.records_dropped = 0
        self.records_failed = 0
        self.records_retried = 0
        self.records_unacknowledged = 0

    def latency(self) -> tuple[float, float] | None:
        """Return mean and maximum latency in seconds, None before the first acknowledgement."""
        if not self.batches_acked:
            return None
        return self.latency_sum / self.batches_acked, self.latency_max
