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
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING
from typing import TYPE_CHECKING, Any, NoReturn

from fluvio_sync._base.threads import Condition, OwnedLock
from fluvio_sync._outcomes.batch_item import BatchItem
from fluvio_sync._outcomes.record_metadata import RecordMetadata
from fluvio_sync.errors import ForkedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import timedelta

    from fluvio_sync._outcomes.batch_futures import BatchFutures

__all__ = ["DeliveryFuture", "RecordMetadata"]

# Exceptions of callbacks are logged where the standard library logs them.
_LOGGER = logging.getLogger("concurrent.futures")


class DeliveryFuture(BatchItem, Future[RecordMetadata]):
    """The future of one record: its result is a `RecordMetadata`, its error a `DeliveryError` or another `FluvioError`.

    It is a true `concurrent.futures.Future`: `result`, `exception`, `add_done_callback`, `concurrent.futures.wait`,
    `as_completed` and `asyncio.wrap_future` work with it.  `cancel()` returns False, because a queued record is not
    taken back.  The callbacks of a pending future run on the client's callback thread.
    """

    # Slots and class-level defaults: making a future stores the two attributes of `BatchItem` and makes no dictionary,
    # so it takes 64 bytes instead of 120.
    __slots__ = ()
    _cond: Condition | None = None
    _own: str = PENDING
    _error: Exception | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()

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
                    self._own = FINISHED if shared.finished else PENDING
                    if not shared.finished:
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
        if self._cond is not None:
            return self._own
        return FINISHED if self._locate()[0].finished else PENDING

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

    if not TYPE_CHECKING:  # which must see attributes, as the base class declares them
        _condition = property(_get_condition)
        _state = property(_get_state)
        _exception = property(_get_exception)
        _result = property(BatchItem._get_result)

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

    def running(self) -> bool:
        """The opposite of `done()`."""
        return not self.done()

    def cancel(self) -> bool:
        """Return False: a queued record is not taken back."""
        return False

    def cancelled(self) -> bool:
        """Return False: see `cancel`."""
        return False

    def wait(self, timeout: float | timedelta | None = None) -> RecordMetadata:
        """Return `result(timeout)`, under the name that it has in the official client."""
        return self.result(timeout)

    def _uncommon_result(self, timeout: float | timedelta | None) -> RecordMetadata:
        self._wait(timeout)
        error = self._exception
        if error is not None:
            try:
                raise error
            finally:
                error = None  # a traceback that holds its own exception is a reference cycle
                del self
        return self._get_result()

    def exception(self, timeout: float | timedelta | None = None) -> BaseException | None:
        """Wait as `result` does, and return the record's error, or None if it was delivered."""
        self._wait(timeout)
        return self._exception

    def add_done_callback(self, fn: Callable[[Future[RecordMetadata]], object]) -> None:
        """Call `fn(future)` when it is done, on the client's callback thread; if it is done already, at once, here."""
        if not self._is_of_parent():
            while True:
                shared, _ = self._locate()
                with shared.lock:
                    if shared.halves is not None:
                        continue
                    if not shared.finished:
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
