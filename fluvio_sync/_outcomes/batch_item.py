# SPDX-License-Identifier: Apache-2.0
"""One record of a batch: the part of its future that runs for every record."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._base.threads import LONGEST_SLEEP, Condition
from fluvio_sync._outcomes.process import PROCESS
from fluvio_sync.errors import PlainTimeoutError

if TYPE_CHECKING:
    from fluvio_sync._outcomes.batch_futures import BatchFutures
    from fluvio_sync._outcomes.record_metadata import RecordMetadata


@mypyc_attr(allow_interpreted_subclasses=True)  # `DeliveryFuture`, which is a `concurrent.futures.Future` as well
class BatchItem:
    """The record at an index of a batch, and its outcome now or later."""

    __slots__ = ("_index", "_shared")

    def __init__(self, shared: BatchFutures, index: int) -> None:
        # Not Future.__init__, which would make a Condition and two lists.
        self._shared: BatchFutures = shared
        self._index: int = index

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
        return self._shared.process is not PROCESS.identity and not self._shared.finished

    def _get_result(self) -> RecordMetadata:
        shared, index = self._locate()
        return shared.metadata(index)

    def done(self) -> bool:
        """True once the record is acknowledged, failed, or (at-most-once) accepted."""
        shared = self._shared
        if shared.halves is None:  # the usual case, without further calls
            return shared.finished or shared.process is not PROCESS.identity
        return self._is_of_parent() or self._locate()[0].finished

    def result(self, timeout: float | timedelta | None = None) -> RecordMetadata:
        """Wait for the record's outcome and return its place.

        * `timeout`: seconds to wait at most; None (default): until the record's own deadline.

        Raises a `DeliveryError`, `ClosedError` or `ForkedError` if the record was not acknowledged, `TimeoutError` if
        it has no outcome yet, and `RuntimeError` in a callback, where waiting would block the callback thread.
        """
        shared = self._shared
        if not shared.finished:
            self._wait(timeout)
        if shared.finished and shared.failure is None and shared.halves is None:
            return shared.metadata(self._index)
        return self._uncommon_result(timeout)

    def _uncommon_result(self, timeout: float | timedelta | None) -> RecordMetadata:
        """Return the result of a record whose batch was halved; raise the error of one that failed or is late."""
        raise NotImplementedError

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
                if not shared.finished and shared.halves is None:
                    if shared.completed is None:
                        shared.completed = Condition(shared.lock)
                    shared.completed.wait(min(left, LONGEST_SLEEP))
        return True


def _descend(shared: BatchFutures, halves: tuple[BatchFutures, BatchFutures], index: int) -> tuple[BatchFutures, int]:
    if index < shared.left_count:
        return halves[0], index
    return halves[1], index - shared.left_count
