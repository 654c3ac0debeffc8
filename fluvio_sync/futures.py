# SPDX-License-Identifier: Apache-2.0
"""What `send()` returns: a true `concurrent.futures.Future`, cheap because its batch holds its state.

A stock `Future` costs 2 to 5 us and 1.6 kB a record, for a lock that hardly anyone takes.  Here a future is
(shared of its batch, position); acknowledging a batch is one store, however many records it has.  Only a future
that somebody waits for gets a `Condition` of its own.

The contract of `concurrent.futures.wait` decides the details: it takes the condition of every future, sorted by
`id`, counts who is finished, and enlists a waiter with each.  Hence

* a condition is never shared between futures: two callers of `wait` would take shared ones crosswise and dead-lock;
* once a condition exists, the future's state (`_own`) changes only with that condition held;
* until then the state is the shared's, and `BatchFutures.lock` decides which of the two holds.  That lock is a
  leaf: it is held for a few stores, nothing is acquired and no foreign code spans inside it.

Threads: any thread reads and waits; the thread that spans the sender's step completes outcomes; callbacks span on the
client's callback thread.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING
from datetime import timedelta
from threading import Condition, Lock
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from fluvio_sync.errors import ForkedError, PlainTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from fluvio_sync.stats import OwnerSpan

# Exceptions of callbacks are logged where the standard library logs them.
_LOGGER = logging.getLogger("concurrent.futures")


class Callbacks(Protocol):
    """The part of the client's callback thread that futures use; see `_runtime.callbacks`."""

    @property
    def lead(self) -> Callable[[Callable[[], bool], float | None], float | None] | None:
        """`SenderThread.lead`, None where no thread leads."""
        ...

    def is_current_thread(self) -> bool:
        """Whether the caller is itself a callback."""
        ...

    def submit(self, work: list[Callable[[], None]]) -> None:
        """Have these run, each of which runs the callbacks of one future and raises nothing."""
        ...


class RecordMetadata(NamedTuple):
    """Where a record is.

    `topic`, `partition`; `offset`: its position in the partition, None if it was not acknowledged (at-most-once) or
    if the server cannot tell (SmartModules and deduplication may drop records); `timestamp`: milliseconds since the
    epoch; `acknowledged`: False under at-most-once, where nobody waited for an answer.
    """

    topic: str
    partition: int
    offset: int | None
    timestamp: int
    acknowledged: bool


_new_tuple = tuple.__new__


class Process:
    """Which process something belongs to: replaced in the child of a fork, compared by identity.

    Asking the system for the process id would take longer than all else that `send()` checks.
    """

    current: object = object()


def forget_parent() -> None:
    """Make every shared of the parent process read as `ForkedError`; called in the child of a fork, lock-free."""
    Process.current = object()


class BatchFutures:
    """What became, or will become, of the records of one batch; shared by their futures.

    `state` goes from PENDING to FINISHED once.  A batch that the server found too large is halved: its shared
    then only points to those of its `halves`.
    """

    __slots__ = (
        "acknowledged",
        "base_offset",
        "callbacks",
        "called",
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
        self.lock: Lock = Lock()
        self.process: object = Process.current
        self.state: str = PENDING
        self.acknowledged: bool = False
        self.base_offset: int | None = None
        # Makes the error of the record at an index; one object for many futures would grow its traceback.
        self.failure: Callable[[int], Exception] | None = None
        self.watched: list[DeliveryFuture] = []  # those with a Condition
        self.called: list[DeliveryFuture] = []  # those with callbacks
        self.halves: tuple[BatchFutures, BatchFutures] | None = None
        self.left_count: int = 0
        self.spans: list[OwnerSpan] = []  # which producer handles the records belong to

    def notify(self) -> None:
        """Tell those who wait and have callbacks run; once it is finished, and only where no signal interrupts."""
        watched, self.watched = self.watched, []
        for future in watched:
            future._notify()
        called, self.called = self.called, []
        if called:
            self.callbacks.submit([future._run_callbacks for future in called])

    # Each of these has an effect once: the first shared counts.  Nobody enlists any more then; who did is to be told
    # by `publish`.

    def acknowledge(self, base_offset: int | None) -> None:
        """Resolve all records: stored from `base_offset` on, or somewhere unknown (None)."""
        with self.lock:
            if self.state is PENDING:
                self.base_offset = base_offset
                self.acknowledged = True
                self.state = FINISHED

    def mark_sent(self) -> None:
        """Resolve all records as sent without waiting for an answer (at-most-once), before anybody has a future."""
        self.state = FINISHED

    def fail(self, failure: Callable[[int], Exception]) -> None:
        """Failed all records, each with its own `failure(index)`, made when somebody looks."""
        with self.lock:
            if self.state is PENDING:
                self.failure = failure
                self.state = FINISHED

    def halve(self, left: BatchFutures, right: BatchFutures, left_count: int) -> None:
        """Hand the records over to two outcomes: the first `left_count` to `left`, the others to `right`."""
        with self.lock:
            if self.halves is not None:
                return
            # Interrupted and done again, this enlists futures twice, which does no harm.
            for future in self.watched:
                (left if future._index_in(self) < left_count else right).watched.append(future)
            for future in self.called:
                (left if future._index_in(self) < left_count else right).called.append(future)
            self.watched, self.called = [], []
            self.left_count = left_count
            self.halves = (left, right)

    def metadata(self, index: int) -> RecordMetadata:
        """Return where the record at an index is; only if it did not fail."""
        base = self.base_offset
        offset = None if base is None else base + index
        timestamp = self.first_timestamp + self.timestamps[index]
        # A third of the time that RecordMetadata(...) takes, which is written in Python.
        return _new_tuple(RecordMetadata, (self.topic, self.partition, offset, timestamp, self.acknowledged))

    def span_of(self, index: int) -> OwnerSpan | None:
        """Return the span that the record at `index` belongs to."""
        return next((span for span in reversed(self.spans) if span.start <= index), None)


class DeliveryFuture(Future[RecordMetadata]):
    """The shared of one record: a `RecordMetadata`, or a `DeliveryError`, `ClosedError` or `ForkedError`.

    A true `concurrent.futures.Future`: `result`, `exception`, `add_done_callback`, `concurrent.futures.wait`,
    `as_completed` and `asyncio.wrap_future` work on it.  `cancel()` returns False: a record that was handed over is
    not taken back.  Callbacks of a pending future span on the client's callback thread.
    """

    # Slots and class-level defaults: making a future stores two attributes and makes no dictionary, which takes 64
    # bytes instead of 120.
    __slots__ = ("_index", "_shared")
    _cond: Condition | None = None
    _own: str = PENDING
    _error: Exception | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

    def __init__(self, shared: BatchFutures, index: int) -> None:
        # Future.__init__ would make a Condition and two lists: that is what this class avoids.
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

    # What the standard library's functions look at.

    def _get_condition(self) -> Condition:
        cond = self._cond
        if self._is_of_parent():
            return self._condition_in_child()
        if cond is not None:
            return cond
        # Made outside the leaf lock: allocation may span the collector, whose finalizers may look at other futures.
        fresh: Condition = Condition()
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
        cond: Condition = self.__dict__.setdefault("_adopted", Condition())  # atomic, whoever else looks
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
            with shared.lock:
                first = self._error is None
                if first:
                    self._error = error
            span = shared.span_of(index)
            if first and span is not None:
                span.handle_stats.looked_at(span)
        return self._error

    def _get_result(self) -> RecordMetadata:
        shared, index = self._locate()
        return shared.metadata(index)

    if not TYPE_CHECKING:  # where the base class declares them as attributes, and functions ask for such
        _condition = property(_get_condition)
        _state = property(_get_state)
        _exception = property(_get_exception)
        _result = property(_get_result)

    def _notify(self) -> None:
        """Tell those who wait; the shared is finished already."""
        cond = self._cond
        if cond is None:
            return  # enlisted, then interrupted (Ctrl-C) before it had its condition: nobody waits
        shared, _ = self._locate()
        with cond:
            if self._own is FINISHED:
                return  # enlisted twice, for the same reason
            self._own = FINISHED
            for waiter in self._waiters:
                if shared.failure is None:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
            cond.notify_all()

    # What users call.

    def done(self) -> bool:
        """True once the record is acknowledged, failed, or (at-most-once) accepted."""
        shared = self._shared
        if self._cond is None and shared.halves is None:  # the usual case, without further calls
            return shared.state is FINISHED or shared.process is not Process.current
        return self._get_state() is FINISHED

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
        """Wait at most `timeout` seconds (None: until the record's own deadline) for the record's place.

        Raises a `DeliveryError`, `ClosedError` or `ForkedError` if it was not acknowledged, `TimeoutError` if that is
        not known yet, and `RuntimeError` where waiting would block the callback thread.
        """
        shared = self._shared
        if shared.state is not FINISHED:
            self._wait(timeout)
        if self._cond is None and shared.state is FINISHED and shared.failure is None and shared.halves is None:
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
        """Like `result`, but return the error, or None for a record that was delivered."""
        self._wait(timeout)
        return self._exception

    def _wait(self, timeout: float | timedelta | None) -> None:
        if self.done():
            return
        if self._shared.callbacks.is_current_thread():
            raise RuntimeError("a callback must not wait for a pending future: it would block the one callback thread")
        seconds = left = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        drive = self._shared.callbacks.lead
        if drive is not None and (left is None or left > 0):
            left = drive(self.done, left)
            if self.done():
                return
        cond = self._condition
        # The lock itself, which is the C library's: `with` a Condition runs Python, where a signal's exception could
        # leave it locked, and the sender would wait for it for ever.
        with cond._lock:  # type: ignore[attr-defined]
            cond.wait_for(lambda: self._own is FINISHED or self._is_of_parent(), left)
        if not self.done():
            shared = self._shared
            raise PlainTimeoutError(
                f"the record for topic {shared.topic!r}, partition {shared.partition} is not resolved after "
                f"{seconds} s; it is still on its way and its future is still valid"
            )

    def add_done_callback(self, fn: Callable[[Future[RecordMetadata]], object]) -> None:
        """Call `fn(future)` when done: on the client's callback thread, or here and now if it is done already."""
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
                            shared.called.append(self)  # first: enlisted without callbacks does no harm
                            self._done_callbacks = [fn]
                        return
                break
        self._call(fn)

    def _run_callbacks(self) -> None:
        """OwnerSpan what `add_done_callback` collected; the callback thread's task."""
        with self._locate()[0].lock:
            callbacks, self._done_callbacks = self._done_callbacks, ()
        for fn in callbacks:
            try:
                self._call(fn)
            except BaseException:  # SystemExit, say: it must not end the thread that spans everybody's callbacks
                _LOGGER.exception("exception calling callback for %r", self)

    def _call(self, fn: Callable[[Future[RecordMetadata]], object]) -> None:
        try:
            fn(self)
        except Exception:
            _LOGGER.exception("exception calling callback for %r", self)

    def set_running_or_notify_cancel(self) -> NoReturn:
        """Raise: the client resolves its futures."""
        raise RuntimeError("only the client resolves the future of a record")

    def set_result(self, result: RecordMetadata) -> NoReturn:
        """Raise: the client resolves its futures."""
        raise RuntimeError("only the client resolves the future of a record")

    def set_exception(self, exception: BaseException | None) -> NoReturn:
        """Raise: the client resolves its futures."""
        raise RuntimeError("only the client resolves the future of a record")

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        """Raise: a thread's future cannot be awaited as it is."""
        raise TypeError("a DeliveryFuture belongs to threads; in a coroutine, await asyncio.wrap_future(future)")


def _descend(shared: BatchFutures, halves: tuple[BatchFutures, BatchFutures], index: int) -> tuple[BatchFutures, int]:
    if index < shared.left_count:
        return halves[0], index
    return halves[1], index - shared.left_count


def _forked(shared: BatchFutures) -> ForkedError:
    return ForkedError(
        f"this record for topic {shared.topic!r} was sent before the fork; "
        "the parent process delivers it, and only there its future is resolved"
    )


def error_of(future: Future[RecordMetadata]) -> Exception | None:
    """Return the error of a done future without counting it as seen: a `with` block raises unseen errors."""
    assert isinstance(future, DeliveryFuture)
    shared, index = future._locate()
    return None if shared.failure is None else shared.failure(index)
