# SPDX-License-Identifier: Apache-2.0
"""A queue in front of a client that may not be connected: `put()` never waits for anything.

One daemon thread connects, again and again if need be, and hands over the queued records.  The queue is bounded in
bytes; a record that finds no space is dropped, and counted.  A backlog belongs to one process: a child of a fork makes
another.

`_lock` guards everything.  It is held for a few stores; nothing is sent, logged or written inside.  A finalizer or a
signal handler that interrupts these may call `put()` and `drop()`, which then go without the lock: it is the thread's.
So no statement calls a function between reading and storing a number.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.threads import Condition, OwnedLock, started
from fluvio_sync.client import waits_for_fork
from fluvio_sync.errors import BufferFullError, FlushTimeoutError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from fluvio_sync.client import Fluvio
    from fluvio_sync.producer import TopicProducer

# Bytes that a queued record counts for beside its key and value, as for the client's `buffer_memory`.
_CHARGE = 128
# Seconds between two attempts to connect.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
# Seconds that the thread may take to end, on top of those for delivering.
_LAST_STEP = 1.0


class Item(NamedTuple):
    """A queued record; `timestamp`: milliseconds since the epoch."""

    value: bytes
    key: bytes | None
    timestamp: int

    @property
    def charge(self) -> int:
        """The bytes that it counts for."""
        return len(self.value) + len(self.key or b"") + _CHARGE


class Backlog:
    """See the module's description.  `pid`: the process that it belongs to."""

    def __init__(
        self, client: Fluvio, find_topic: Callable[[], TopicProducer], limit: int, report: Callable[[str], None]
    ) -> None:
        """Make an empty queue; the thread starts with the first record.

        * `client`: the backlog's own, which it closes.
        * `find_topic`: connects the client and returns a producer, whose `send()` blocks for a moment at most.
        * `limit`: bytes that the queue may hold.
        * `report`: called with a text about the first failed attempt to connect, and about dropped records.
        """
        self.pid = os.getpid()
        self._dropped_here = 0
        self._client = client
        self._find_topic = find_topic
        self._limit = limit
        self._report = report
        self._clock = SystemClock()
        self._lock = OwnedLock()
        self._changed = Condition(self._lock)
        self._items: deque[Item] = deque()
        self._used = 0
        self._put = 0
        self._handed_over = 0
        self._timed_out_at = 0  # `_put` at the latest flush that ended by its timeout
        self._producer: TopicProducer | None = None
        self._thread: threading.Thread | None = None
        self._end_at: float | None = None  # set by close(): monotonic seconds at which the thread drops the rest

    # The application's threads call these.

    def put(self, item: Item) -> None:
        """Queue a record, or drop it."""
        if self._lock.is_mine():
            taken = self._thread is not None and self._take(item)
        else:
            with self._lock:
                taken = self._is_running() and self._take(item)
        if not taken:
            self.drop("there is no space for it, or no thread to send it")

    def _take(self, item: Item) -> bool:
        charge = item.charge
        if self._end_at is not None or self._used + charge > self._limit:
            return False
        self._items.append(item)
        self._used += charge
        self._put += 1
        self._changed.notify_all()
        return True

    def drop(self, reason: str) -> None:
        """Count a dropped record; the 1st, 10th, 100th and so on are reported."""
        if self._lock.is_mine():
            self._dropped_here += 1
            return
        with self._lock:
            self._dropped_here += 1
            dropped = self._dropped_here
        if str(dropped).strip("0") == "1":
            self._report(f"{dropped} dropped so far, the latest because {reason}")

    def _is_running(self) -> bool:
        """Start the thread if there is none; called with the lock held."""
        if self._thread is None:
            if waits_for_fork(self._client):  # the workers must not inherit a thread
                return False
            self._thread = started(self._run, f"{self._client.client_id}-backlog")
        return self._thread is not None

    def flush(self, timeout: float) -> bool:
        """Wait for at most `timeout` seconds until all records put before are delivered or failed; return whether."""
        with self._lock:
            put = self._put
        if self._is_delivered(put, timeout):
            return True
        self._timed_out_at = put
        return False

    def _is_delivered(self, put: int, timeout: float) -> bool:
        until = self._clock.monotonic() + timeout
        with self._lock:
            if not self._changed.wait_for(lambda: self._handed_over >= put, timeout):
                return False
        if self._producer is None:
            return True  # nothing was ever put
        try:
            self._producer.flush(max(0.0, until - self._clock.monotonic()))
        except (FlushTimeoutError, RuntimeError):  # a signal handler that interrupts the client cannot wait for it
            return False
        return True

    def close(self, timeout: float) -> int:
        """Take no more records, deliver the queued ones within `timeout` seconds, and return how many were dropped.

        It does not wait for records for which a flush has just waited in vain: `logging.shutdown` calls both.
        """
        with self._lock:
            if 0 < self._put == self._timed_out_at:
                timeout = 0.0
            if self._end_at is None:
                self._end_at = self._clock.monotonic() + timeout
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            self._client.close(0)
        else:
            thread.join(timeout + _LAST_STEP)
        with self._lock:
            items, self._items = self._items, deque()
            left = len(items)
            self._dropped_here += left
            self._handed_over += left
            self._changed.notify_all()
        return self.dropped

    @property
    def closed(self) -> bool:
        """Whether it takes no more records."""
        return self._end_at is not None

    @property
    def dropped(self) -> int:
        """How many records were not delivered so far, because of this queue or of the client."""
        with self._lock:
            dropped, producer = self._dropped_here, self._producer
        if producer is None:
            return dropped
        stats = producer.stats()
        return dropped + stats.records_failed + stats.records_dropped

    # The thread.

    def _run(self) -> None:
        producer = self._connect()
        while producer is not None and (item := self._next()) is not None:
            self._send(producer, item)
            charge = item.charge
            with self._lock:
                self._used -= charge
                self._handed_over += 1
                self._changed.notify_all()
        result = self._client.close(max(0.0, (self._end_at or 0.0) - self._clock.monotonic()))
        failed = result.failed
        with self._lock:
            self._dropped_here += failed
            self._producer = None

    def _connect(self) -> TopicProducer | None:
        delay = _FIRST_DELAY
        while True:
            try:
                self._producer = self._find_topic()
            except Exception as error:  # noqa: BLE001 - no error may reach the application
                if delay == _FIRST_DELAY and not self.closed:
                    self._report(f"they wait, because the cluster cannot be used: {error}")
                with self._lock:
                    if self._changed.wait_for(self._is_over, delay):
                        return None
                delay = min(2 * delay, _LONGEST_DELAY)
            else:
                return self._producer

    def _next(self) -> Item | None:
        """Wait for a record and take it; None at the end."""
        with self._lock:
            self._changed.wait_for(lambda: self._items or self._end_at is not None)
            return None if not self._items or self._is_over() else self._items.popleft()

    def _is_over(self) -> bool:
        return self._end_at is not None and self._clock.monotonic() >= self._end_at

    def _send(self, producer: TopicProducer, item: Item) -> None:
        while True:
            try:
                producer.send(item.value, key=item.key, timestamp=item.timestamp)
            except BufferFullError:
                if not self._is_over():
                    continue
                self.drop("the cluster did not take the records sent before")
            except Exception as error:  # noqa: BLE001 - no error may reach the application
                self.drop(str(error))
            return
