# SPDX-License-Identifier: Apache-2.0
"""Counters of producers, and the outcomes that a flush reports.

`Counters` are plain integers, changed only with the client's lock held, and read as an immutable `ProducerStats`.
A `HandleStats` belongs to one producer handle and counts the outcomes of its own records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.threads import OwnedLock

if TYPE_CHECKING:
    from collections.abc import Callable


class FlushResult(NamedTuple):
    """The outcome of a handle's records since its previous `flush()`.

    * `acked`: records that were acknowledged.
    * `unacknowledged`: records that at-most-once handed to the socket.
    * `failed`: records that failed, or that at-most-once dropped.
    * `first_error`: the error of the first that failed; None without one.
    """

    acked: int
    unacknowledged: int
    failed: int
    first_error: Exception | None


class ProducerStats(NamedTuple):
    """A snapshot of all handles of a topic that have the same settings.

    Bytes are those of keys and values.  Numbers other than queued and in flight are totals: `Fluvio.stats()` counts
    since the client was made, `TopicProducer.stats()` since the first of the producers that have these settings.

    * `records_queued`, `bytes_queued`, `batches_queued`: wait in this process now.
    * `records_in_flight`, `bytes_in_flight`, `batches_in_flight`: sent to an SPU and not answered yet.
    * `records_acked`, `bytes_acked`, `batches_acked`: acknowledged.
    * `records_failed`, `bytes_failed`, `batches_failed`: failed under at-least-once.
    * `records_unacknowledged`: handed to the socket under at-most-once.
    * `records_retried`: sent again.
    * `records_dropped`: lost by at-most-once before they were written.
    * `records_rejected`: rejected by an SPU after at-most-once had written them.
    * `records_verified`: may have been stored when their attempt failed, and were looked for in the log; those that it
      had were not sent again.  Counted at each look.
    * `records_unverified`: were sent again though they may have been stored, or may be stored twice, and could not be
      looked for.
    * `records_duplicated`: were found in the log a second time; counted for each time beyond the first.
    * `records_overwritten`: offsets of acknowledged records that a new leader gave out again: it had lost them.
    * `reconnects`: connections to SPUs that were made again.
    * `latency`: seconds from a batch being ready to its acknowledgement, `(mean, maximum)`; None before the first.
    * `checksum`: the implementation of CRC-32C: `"google-crc32c"`, `"crc32c"` or `"pure"`.
    """

    records_queued: int
    records_in_flight: int
    records_acked: int
    records_failed: int
    records_unacknowledged: int
    records_retried: int
    records_dropped: int
    records_rejected: int
    records_verified: int
    records_unverified: int
    records_duplicated: int
    records_overwritten: int
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


_SUMMED = ("records_", "bytes_", "batches_")  # counters of a topic; reconnections are the client's


def sum_of(parts: list[ProducerStats]) -> ProducerStats:
    """Return the sum of the counters of a topic's producers, whose settings differ."""
    fields = [name for name in ProducerStats._fields if name.startswith(_SUMMED)]
    totals = {name: sum(getattr(part, name) for part in parts) for name in fields}
    latencies = [(*part.latency, part.batches_acked) for part in parts if part.latency is not None]
    latency = None
    if latencies:
        total = sum(mean * batches for mean, _, batches in latencies)
        latency = total / totals["batches_acked"], max(longest for _, longest, _ in latencies)
    return parts[0]._replace(**totals, latency=latency)


class Health(NamedTuple):
    """The condition of a client, for readiness probes.

    * `connected`: the SC (Streaming Controller) pushes its metadata; False once it does not, and could not be reached
      again at the first attempt.
    * `leaders`: for each partition (topic, number) that records were sent to, the id of the SPU (Stream Processing
      Unit) that leads it; None while there is none.
    * `records_queued`, `bytes_queued`: wait in this process.
    * `records_in_flight`: sent to an SPU and not answered yet.
    * `last_error`: the text of the latest failure; None before the first.
    * `last_error_at`: when it was, in milliseconds since the epoch; None before the first.
    * `disconnected_since`: when the SC was last heard, in milliseconds since the epoch; None while it is connected, and
      if it was never reached.
    * `memory_used`, `memory_limit`: bytes that unresolved records hold now, 128 each on top of key and value, and
      `buffer_memory`, which bounds them.
    * `log_events_dropped`: events of the client that the application's log handlers were too slow for, so far.
    """

    connected: bool
    leaders: dict[tuple[str, int], int | None]
    records_queued: int
    bytes_queued: int
    records_in_flight: int
    last_error: str | None
    last_error_at: int | None
    disconnected_since: int | None = None
    log_events_dropped: int = 0
    memory_used: int = 0
    memory_limit: int = 0


class Unseen(NamedTuple):
    """Failed records whose futures no caller looked at.

    * `records`: their number.
    * `first_error`: the error of the first; None without one, and for records of at-most-once.
    """

    records: int
    first_error: Exception | None


class OwnerSpan:
    """Consecutive records of a batch that one handle sent: from `start` up to the next span, or the batch's end."""

    __slots__ = ("counted", "failure", "handle_stats", "start", "unseen")

    def __init__(self, start: int, handle_stats: HandleStats) -> None:
        self.start: int = start
        self.handle_stats: HandleStats = handle_stats
        self.unseen: int = 0  # failed records whose error no caller has seen
        self.failure: Callable[[], Exception] | None = None
        self.counted: bool = False


class HandleStats:
    """The outcomes of one handle's records, for `flush()`, `close()` and the end of a `with` block.

    * `whole`: the client's own, which counts the same records.
    * `closed`: the handle takes no more records.

    A span is counted once, even if it is reported again after an interruption: each change is one statement without a
    call in it, which no signal interrupts.
    """

    # The number of unseen failures that are remembered; raising takes one.
    _REMEMBERED = 100

    def __init__(self, whole: HandleStats | None = None, lock: OwnedLock | None = None) -> None:
        """`lock`: the client's for all outcomes; None: that of `whole`, or one of its own."""
        self.closed = False
        self._whole = self if whole is None else whole
        self._lock: OwnedLock = lock or (OwnedLock() if whole is None else whole._lock)
        self._unseen: dict[OwnerSpan, None] = {}
        self._acked = 0
        self._unacknowledged = 0
        self._failed = 0
        self._unseen_records = 0  # those of `_unseen`, and of spans beyond the remembered ones
        self._first_failure: Callable[[], Exception] | None = None

    def add_acked(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that were acknowledged."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                self._acked, whole._acked, span.counted = self._acked + records, whole._acked + records, True

    def add_unacknowledged(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that at-most-once handed to the socket."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                self._unacknowledged, whole._unacknowledged, span.counted = (
                    self._unacknowledged + records,
                    whole._unacknowledged + records,
                    True,
                )

    def add_dropped(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that at-most-once lost; they raise no error."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                self._failed, whole._failed, span.counted = self._failed + records, whole._failed + records, True

    def add_failed(self, span: OwnerSpan, records: int) -> None:
        """Count the records of a span that failed; `span.failure` makes the error of the first on demand."""
        whole = self._whole
        with self._lock:
            if span.counted:
                return
            unseen = span.unseen + records  # less those that were looked at in the moment since they failed
            self._remember(span, unseen)
            whole._remember(span, unseen)
            self._failed, whole._failed, self._unseen_records, whole._unseen_records, span.unseen, span.counted = (
                self._failed + records,
                whole._failed + records,
                self._unseen_records + unseen,
                whole._unseen_records + unseen,
                unseen,
                True,
            )

    def _remember(self, span: OwnerSpan, unseen: int) -> None:
        if self._first_failure is None:
            self._first_failure = span.failure
        if unseen > 0 and len(self._unseen) < self._REMEMBERED:
            self._unseen[span] = None

    def looked_at(self, span: OwnerSpan) -> None:
        """Note that a caller saw the error of one failed record."""
        whole = self._whole
        with self._lock:
            if not span.counted:
                span.unseen -= 1
            elif span.unseen > 0:
                self._unseen_records, whole._unseen_records, span.unseen = (
                    self._unseen_records - 1,
                    whole._unseen_records - 1,
                    span.unseen - 1,
                )
            if span.unseen <= 0:
                self._unseen.pop(span, None)
                whole._unseen.pop(span, None)

    def take_unseen(self) -> Unseen:
        """Return the failed records whose futures no caller looked at, and count all as seen."""
        whole = self._whole
        with self._lock:
            spans, self._unseen = self._unseen, {}
            records = self._unseen_records
            whole._unseen_records, self._unseen_records = whole._unseen_records - records, 0
            for span in spans:
                whole._unseen.pop(span, None)
                span.unseen = 0
        failure = next((span.failure for span in spans), None)
        # Looking at a failure beyond the remembered ones, once it was taken, makes the next number too small.
        return Unseen(max(0, records), None if failure is None else failure())

    def take(self) -> FlushResult:
        """Return the outcomes since the last call."""
        with self._lock:
            outcomes = (self._acked, self._unacknowledged, self._failed)
            failure = self._first_failure
            self._acked = self._unacknowledged = self._failed = 0
            self._first_failure = None
        return FlushResult(*outcomes, None if failure is None else failure())


@dataclass(slots=True, eq=False, repr=False)
class Counters:
    """Totals of a `TopicState` since the client was made; changed with the client's lock held."""

    batches_acked: int = 0
    batches_failed: int = 0
    bytes_acked: int = 0
    bytes_failed: int = 0
    latency_max: float = 0.0
    latency_sum: float = 0.0
    records_acked: int = 0
    records_dropped: int = 0
    records_duplicated: int = 0
    records_failed: int = 0
    records_overwritten: int = 0
    records_rejected: int = 0
    records_retried: int = 0
    records_unacknowledged: int = 0
    records_unverified: int = 0
    records_verified: int = 0

    def add(self, other: Counters) -> None:
        """Add the totals of another."""
        for name in self.__slots__:
            if name != "latency_max":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency_max = max(self.latency_max, other.latency_max)

    def latency(self) -> tuple[float, float] | None:
        """Return mean and maximum latency in seconds, None before the first acknowledgement."""
        if not self.batches_acked:
            return None
        return self.latency_sum / self.batches_acked, self.latency_max
