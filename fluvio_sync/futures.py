# SPDX-License-Identifier: Apache-2.0
"""Delivery futures, which `send()` returns: true `concurrent.futures.Future`s, cheap because their batch has the state.

A stock `Future` costs 2 to 5 us and 1.6 kB per record, for a lock that few callers take.  Here a future is a reference
to its batch's `BatchFutures` and an index; acknowledging a batch is one store, however many records it has.  `result()`
waits for the batch.  Only a future for which the standard library waits gets a `Condition` of its own.

`concurrent.futures.wait` takes the condition of every future, sorted by `id`, counts the finished ones, and adds a
waiter to each of the others.  Hence

* futures never share a condition: two callers of `wait` would take shared ones crosswise and deadlock;
* once a condition exists, the future's state for the standard library (`_own`) changes only with that condition held;
* until then the state is that of the `BatchFutures`, whose lock decides between the two.  That lock is the client's for
  outcomes, and a leaf: it is held for a few stores, and no other lock is taken and no foreign code runs inside it.

Threads: any thread reads and waits; the thread that runs the sender's step completes futures; callbacks run on the
client's callback thread.
"""

from __future__ import annotations

import logging
import math
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.threads import LONGEST_SLEEP, Condition, OwnedLock, started
from fluvio_sync.errors import ForkedError, PlainTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from fluvio_sync.stats import OwnerSpan

# Exceptions of callbacks are logged where the standard library logs them.
_LOGGER = logging.getLogger("concurrent.futures")
# Seconds that completing a batch waits for a condition that `concurrent.futures` has, which it gives back at once.
_PATIENCE = 0.1


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


class RecordMetadata(NamedTuple):
    """The place of a record.

    * `topic`: the topic's name.
    * `partition`: the partition's number.
    * `offset`: its position in the partition; None if it was not acknowledged (at-most-once), or if SmartModules or
      deduplication may drop records, so that it is not known.
    * `timestamp`: milliseconds since the epoch.
    * `acknowledged`: False under at-most-once, where the client waits for no answer.
    """

    topic: str
    partition: int
    offset: int | None
    timestamp: int
    acknowledged: bool


_new_tuple = tuple.__new__


class Process:
    """Identifies this process: `current` is replaced in the child of a fork, and compared by identity.

    Asking the system for the process id would take longer than all other checks of `send()`.
    """

    current: object = object()


def forget_parent() -> None:
    """Make the parent's pending futures raise `ForkedError`; called in the child of a fork, takes no lock."""
    Process.current = object()


class BatchFutures:
    """The outcomes of the records of one batch, now or later; their futures share it.

    `state` goes from PENDING to FINISHED once.  A batch that the server found too large is halved: its outcomes are
    then those of its `halves`.
    """

    __slots__ = (
        "acknowledged",
        "base_offset",
        "callbacks",
        "called",
        "completed",
        "failure",
        "first_timestamp",
        "halves",
        "left_count",
        "lock",
        "partition",
        "process",
        "spans",
        "state",
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
        self.process: object = Process.current
        self.state: str = PENDING
        self.acknowledged: bool = False
        self.base_offset: int | None = None
        # Makes the error of the record at an index; one object for many futures would grow its traceback.
        self.failure: Callable[[int], Exception] | None = None
        self.completed: Condition | None = None  # of the lock, once a thread waits in `result()`
        self.watched: list[DeliveryFuture] = []  # those with a Condition
        self.called: list[DeliveryFuture] = []  # those with callbacks
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
            if self.state is PENDING:
                self.base_offset = base_offset
                self.acknowledged = True
                self.state = FINISHED
            self._wake()

    def mark_sent(self) -> None:
        """Complete all records as sent without an answer (at-most-once).  Called before any future exists."""
        self.state = FINISHED

    def fail(self, failure: Callable[[int], Exception]) -> None:
        """Fail all records, each with its own `failure(index)`, which is made when a caller asks for it."""
        with self.lock:
            if self.state is PENDING:
                self.failure = failure
                self.state = FINISHED
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


class DeliveryFuture(Future[RecordMetadata]):
    """The future of one record: its result is a `RecordMetadata`, its error a `DeliveryError` or another `FluvioError`.

    It is a true `concurrent.futures.Future`: `result`, `exception`, `add_done_callback`, `concurrent.futures.wait`,
    `as_completed` and `asyncio.wrap_future` work with it.  `cancel()` returns False, because a queued record is not
    taken back.  The callbacks of a pending future run on the client's callback thread.
    """

    # Slots and class-level defaults: making a future stores two attributes and makes no dictionary, so it takes 64
    # bytes instead of 120.
    __slots__ = ("_index", "_shared")
    _cond: Condition | None = None
    _own: str = PENDING
    _error: Exception | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

    def __init__(self, shared: BatchFutures, index: int) -> None:
        # Not Future.__init__, which would make a Condition and two lists.
        self._shared = shared
        self._index = index

    def _locate(self) -> tuple[BatchFutures, int]:
        shared, index = self._shared, self._index
        while (halves := shared.halves) is not None:
            shared, index = _descend(shared, halves, index)
        return shared, index

    def _index_in(self, ancestor: BatchFutures) -> int:
        shared, index = self._shared, self._index
        while shared is not ancestor and shared.halves is not None:
            shared, index = _descend(shared, shared.halves, index)
        return index

    def _is_of_parent(self) -> bool:
        return self._shared.process is not Process.current and self._shared.state is not FINISHED

    # The attributes that the standard library's functions read.

    def _get_condition(self) -> Condition:
        cond = self._cond
        if self._is_of_parent():
            return self._condition_in_child()
        if cond is not None:
            return cond
        # Made outside the leaf lock: an allocation may run the garbage collector, whose finalizers may use futures.
        fresh = Condition(OwnedLock())
        waiters: list[Any] = []
        while True:
            shared, _ = self._locate()
            with shared.lock:
                if shared.halves is not None:
                    continue
                cond = self._cond
                if cond is None:
                    self._waiters = waiters
                    self._own = shared.state
                    if shared.state is PENDING:
                        shared.watched.append(self)
                    self._cond = cond = fresh  # published last
                return cond

    def _condition_in_child(self) -> Condition:
        """Return a condition of this process: the inherited one may be held by a thread that does not exist here."""
        if not isinstance(self._waiters, list):
            self._waiters = []
        # Atomic: all threads get the same one.
        cond: Condition = self.__dict__.setdefault("_adopted", Condition(OwnedLock()))
        return cond

    def _get_state(self) -> str:
        if self._is_of_parent():
            return FINISHED
        return self._locate()[0].state if self._cond is None else self._own

    def _get_exception(self) -> BaseException | None:
        if self._is_of_parent():
            return _forked(self._shared)
        shared, index = self._locate()
        if shared.failure is None:
            return None
        if self._error is None:
            error = shared.failure(index)
            first = self.__dict__.setdefault("_error", error) is error  # atomic: all threads get the same one
            span = shared.span_of(index)
            if first and span is not None:
                span.handle_stats.looked_at(span)
        return self._error

    def _get_result(self) -> RecordMetadata:
        shared, index = self._locate()
        return shared.metadata(index)

    if not TYPE_CHECKING:  # which must see attributes, as the base class declares them
        _condition = property(_get_condition)
        _state = property(_get_state)
        _exception = property(_get_exception)
        _result = property(_get_result)

    def _notify(self, timeout: float) -> bool:
        """Tell `concurrent.futures` of the outcome; False if a thread keeps the condition for `timeout` seconds."""
        cond = self._cond
        if cond is None:
            return True  # added to `watched`, then interrupted (Ctrl-C) before it had its condition: no thread waits
        if not cond.acquire(timeout=timeout):
            return False
        try:
            if self._own is not FINISHED:  # it may have been added twice, for the same reason
                shared, _ = self._locate()
                self._own = FINISHED
                for waiter in self._waiters:
                    if shared.failure is None:
                        waiter.add_result(self)
                    else:
                        waiter.add_exception(self)
        finally:
            cond.release()
        return True

    # For applications.

    def done(self) -> bool:
        """True once the record is acknowledged, failed, or (at-most-once) accepted."""
        shared = self._shared
        if shared.halves is None:  # the usual case, without further calls
            return shared.state is FINISHED or shared.process is not Process.current
        return self._is_of_parent() or self._locate()[0].state is FINISHED

    def running(self) -> bool:
        """The opposite of `done()`."""
        return not self.done()

    def cancel(self) -> bool:
        """Return False: a queued record is not taken back."""
        return False

    def cancelled(self) -> bool:
        """Return False: see `cancel`."""
        return False

    def result(self, timeout: float | timedelta | None = None) -> RecordMetadata:
        """Wait for the record's outcome and return its place.

        * `timeout`: seconds to wait at most; None (default): until the record's own deadline.

        Raises a `DeliveryError`, `ClosedError` or `ForkedError` if the record was not acknowledged, `TimeoutError` if
        it has no outcome yet, and `RuntimeError` in a callback, where waiting would block the callback thread.
        """
        shared = self._shared
        if shared.state is not FINISHED:
            self._wait(timeout)
        if shared.state is FINISHED and shared.failure is None and shared.halves is None:
            return shared.metadata(self._index)
        self._wait(timeout)
        error = self._exception
        if error is not None:
            try:
                raise error
            finally:
                error = None  # a traceback that holds its own exception is a reference cycle
                del self
        return self._get_result()

    wait = result

    def exception(self, timeout: float | timedelta | None = None) -> BaseException | None:
        """Wait as `result` does, and return the record's error, or None if it was delivered."""
        self._wait(timeout)
        return self._exception

    def _wait(self, timeout: float | timedelta | None) -> None:
        if self.done():
            return
        if self._shared.callbacks.is_current_thread():
            raise RuntimeError("a callback must not wait for a pending future: it would block the one callback thread")
        seconds = left = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        lead = self._shared.callbacks.lead
        if lead is not None and (left is None or left > 0):
            left = lead(self.done, left)
        if not self.done() and not self._sleep(left):
            shared = self._shared
            raise PlainTimeoutError(
                f"the record for topic {shared.topic!r}, partition {shared.partition} is not completed after "
                f"{seconds} s; it is still on its way and its future is still valid"
            )

    def _sleep(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds for another thread to complete the record; False if it did not."""
        until = math.inf if timeout is None else SystemClock.monotonic() + timeout
        while not self.done():
            left = until - SystemClock.monotonic()
            if left <= 0:
                return False
            shared, _ = self._locate()
            with shared.lock:
                if shared.state is PENDING and shared.halves is None:
                    if shared.completed is None:
                        shared.completed = Condition(shared.lock)
                    shared.completed.wait(min(left, LONGEST_SLEEP))
        return True

    def add_done_callback(self, fn: Callable[[Future[RecordMetadata]], object]) -> None:
        """Call `fn(future)` when it is done, on the client's callback thread; if it is done already, at once, here."""
        if not self._is_of_parent():
            while True:
                shared, _ = self._locate()
                with shared.lock:
                    if shared.halves is not None:
                        continue
                    if shared.state is PENDING:
                        if self._done_callbacks:
                            self._done_callbacks.append(fn)
                        else:
                            shared.called.append(self)  # first: a future without callbacks does no harm there
                            self._done_callbacks = [fn]
                        return
                break
        self._call(fn)

    def _run_callbacks(self) -> None:
        """Run the callbacks that `add_done_callback` collected, on the callback thread."""
        with self._locate()[0].lock:
            callbacks, self._done_callbacks = self._done_callbacks, ()
        for fn in callbacks:
            try:
                self._call(fn)
            except BaseException:  # SystemExit, say, which must not end the thread of all callbacks
                _LOGGER.exception("exception calling callback for %r", self)

    def _call(self, fn: Callable[[Future[RecordMetadata]], object]) -> None:
        try:
            fn(self)
        except Exception:
            _LOGGER.exception("exception calling callback for %r", self)

    def set_running_or_notify_cancel(self) -> NoReturn:
        """Raise `RuntimeError`: only the client completes its futures."""
        raise RuntimeError("only the client completes the future of a record")

    def set_result(self, result: RecordMetadata) -> NoReturn:
        """Raise `RuntimeError`: only the client completes its futures."""
        raise RuntimeError("only the client completes the future of a record")

    def set_exception(self, exception: BaseException | None) -> NoReturn:
        """Raise `RuntimeError`: only the client completes its futures."""
        raise RuntimeError("only the client completes the future of a record")

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """Raise `TypeError`: coroutines await `asyncio.wrap_future(future)`."""
        raise TypeError("a DeliveryFuture belongs to threads; in a coroutine, await asyncio.wrap_future(future)")


def _notify_all(futures: list[DeliveryFuture]) -> None:
    for future in futures:
        future._notify(-1)


def _descend(shared: BatchFutures, halves: tuple[BatchFutures, BatchFutures], index: int) -> tuple[BatchFutures, int]:
    if index < shared.left_count:
        return halves[0], index
    return halves[1], index - shared.left_count


def _forked(shared: BatchFutures) -> ForkedError:
    return ForkedError(
        f"this record for topic {shared.topic!r} was sent before the fork; "
        "the parent process delivers it, and only there its future is completed"
    )


def error_of(future: Future[RecordMetadata]) -> Exception | None:
    """Return the error of a done future without counting it as seen: a `with` block raises unseen errors."""
    assert isinstance(future, DeliveryFuture)
    shared, index = future._locate()
    return None if shared.failure is None else shared.failure(index)
