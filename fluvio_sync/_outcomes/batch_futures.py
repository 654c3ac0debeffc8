# SPDX-License-Identifier: Apache-2.0
"""The outcomes of the records of one batch, which their futures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from fluvio_sync._base.threads import Condition, OwnedLock, started
from fluvio_sync._outcomes.process import PROCESS
from fluvio_sync._outcomes.record_metadata import RecordMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluvio_sync._outcomes.handle_stats import OwnerSpan

# Seconds that completing a batch waits for a condition that `concurrent.futures` has, which it gives back at once.
_PATIENCE: Final = 0.1
_new_tuple: Final = tuple.__new__


class Callbacks(Protocol):
    """The part of the client's callback thread that futures use: see `_runtime.callbacks`."""

    @property
    def lead(self) -> Callable[[Callable[[], bool], float | None], float | None] | None:
        """`SenderThread.lead`; None where no thread leads."""
        ...

    @property
    def lock(self) -> OwnedLock:
        """The client's lock for outcomes."""
        ...

    def is_current_thread(self) -> bool:
        """Whether the caller is itself a callback."""
        ...

    def submit(self, work: list[Callable[[], None]]) -> None:
        """Queue functions, each of which runs the callbacks of one future and raises nothing."""
        ...


class Waiting(Protocol):
    """The part of a `DeliveryFuture` that its batch uses."""

    def _notify(self, timeout: float) -> bool: ...

    def _index_in(self, ancestor: BatchFutures) -> int: ...

    def _run_callbacks(self) -> None: ...


class BatchFutures:
    """The outcomes of the records of one batch, now or later; their futures share it.

    `finished` goes from False to True once.  A batch that the server found too large is halved: its outcomes are
    then those of its `halves`.
    """

    __slots__ = (
        "acknowledged",
        "base_offset",
        "callbacks",
        "called",
        "completed",
        "failure",
        "finished",
        "first_timestamp",
        "halves",
        "left_count",
        "lock",
        "partition",
        "process",
        "spans",
        "timestamps",
        "topic",
        "watched",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        first_timestamp: int,
        timestamps: Sequence[int],
        callbacks: Callbacks,
    ) -> None:
        """`timestamps`: of each record, relative to the first, shared with the batch's builder and growing."""
        self.topic: str = topic
        self.partition: int = partition
        self.first_timestamp: int = first_timestamp
        self.timestamps: Sequence[int] = timestamps
        self.callbacks: Callbacks = callbacks
        self.lock: OwnedLock = callbacks.lock
        self.process: object = PROCESS.identity
        self.finished = False
        self.acknowledged = False
        self.base_offset: int | None = None
        # Makes the error of the record at an index; one object for many futures would grow its traceback.
        self.failure: Callable[[int], Exception] | None = None
        self.completed: Condition | None = None  # of the lock, once a thread waits in `result()`
        self.watched: list[Waiting] = []  # those with a Condition
        self.called: list[Waiting] = []  # those with callbacks
        self.halves: tuple[BatchFutures, BatchFutures] | None = None
        self.left_count: int = 0
        self.spans: list[OwnerSpan] = []  # the producer handles that sent the records

    def notify(self) -> None:
        """Tell `concurrent.futures`, and have callbacks run.  Called once finished, where no signal interrupts."""
        watched, self.watched = self.watched, []
        # A handler may have interrupted the thread that has a condition, and may wait for other work of this thread.
        late = [future for future in watched if not future._notify(_PATIENCE)]
        if late and started(_notify_all, "fluvio-sync-notify", late) is None:
            _notify_all(late)
        called, self.called = self.called, []
        if called:
            self.callbacks.submit([future._run_callbacks for future in called])

    def _wake(self) -> None:
        if self.completed is not None:
            self.completed.notify_all()

    # Only the first of these calls has an effect.  No future is added to `watched` or `called` afterwards; those that
    # are in them wait for `notify`.

    def acknowledge(self, base_offset: int | None) -> None:
        """Complete all records: stored from `base_offset` on, or at unknown offsets (None)."""
        with self.lock:
            if not self.finished:
                self.base_offset = base_offset
                self.acknowledged = True
                self.finished = True
            self._wake()

    def mark_sent(self) -> None:
        """Complete all records as sent without an answer (at-most-once).  Called before any future exists."""
        self.finished = True

    def fail(self, failure: Callable[[int], Exception]) -> None:
        """Fail all records, each with its own `failure(index)`, which is made when a caller asks for it."""
        with self.lock:
            if not self.finished:
                self.failure = failure
                self.finished = True
            self._wake()

    def halve(self, left: BatchFutures, right: BatchFutures, left_count: int) -> None:
        """Move the records to two halves: the first `left_count` to `left`, the others to `right`."""
        with self.lock:
            if self.halves is not None:
                return
            # Interrupted and repeated, this adds futures twice, which does no harm.
            for future in self.watched:
                (left if future._index_in(self) < left_count else right).watched.append(future)
            for future in self.called:
                (left if future._index_in(self) < left_count else right).called.append(future)
            self.watched, self.called = [], []
            self.left_count = left_count
            self.halves = (left, right)
            self._wake()

    def metadata(self, index: int) -> RecordMetadata:
        """Return the place of the record at an index, which must not have failed."""
        base = self.base_offset
        offset = None if base is None else base + index
        timestamp = self.first_timestamp + self.timestamps[index]
        # A third of the time that RecordMetadata(...) takes, which is written in Python.
        return _new_tuple(RecordMetadata, (self.topic, self.partition, offset, timestamp, self.acknowledged))

    def span_of(self, index: int) -> OwnerSpan | None:
        """Return the span that the record at `index` belongs to."""
        return next((span for span in reversed(self.spans) if span.start <= index), None)


def _notify_all(futures: list[Waiting]) -> None:
    for future in futures:
        future._notify(-1)
