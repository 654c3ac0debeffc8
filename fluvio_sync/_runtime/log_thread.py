# SPDX-License-Identifier: Apache-2.0
"""The daemon thread on which the events of a client reach the application's log handlers.

A handler may be slow (a pipe that is full, a mail server), may wait for a lock, and may itself send and wait for
records.  None of that may delay the thread that moves records, which only puts its events into a queue.  The thread
starts with the first event, and ends when it has had none for a while.

The queue is bounded: events that find no space in it are counted, and the count is logged when there is space again.
`put()` waits for no lock, so that a signal handler may interrupt it.  (Without the GIL, two threads that drop an event
at once may count it once.)
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

from fluvio_sync._base.log import get_logger
from fluvio_sync._base.threads import DaemonThread, LockBusyError, TryLock, runs

if TYPE_CHECKING:
    from fluvio_sync._base.log import Event

MOST_EVENTS = 1000
"""Events that wait for the handlers; a handler that is slower than the events loses those beyond."""
AT_END = 1.0
"""Seconds that closing a client waits for the handlers."""
# Seconds without an event after which the thread ends.
_IDLE = 5.0


class LogThread:
    """Emits events in the order in which they happened.

    * `dropped`: events that found no space, since the client was made.
    """

    def __init__(self, client_id: str) -> None:
        self.dropped = 0
        self._told = 0  # of `dropped`
        self._log = get_logger("log").bind(client_id=client_id)
        self._name = f"{client_id}-log"
        # Looked up here: gevent replaces the class, perhaps after this module was imported.
        self._queue: queue.SimpleQueue[Event | threading.Event] = queue.SimpleQueue()  # the latter end the thread
        self._starting = TryLock()
        self._thread: threading.Thread | None = None
        self._no_threads = False  # closing found that none can be started any more

    def put(self, event: Event) -> None:
        """Queue an event; never waits."""
        if self._queue.qsize() < MOST_EVENTS:
            self._queue.put(event)
        else:
            self.dropped += 1
        if not runs(self._thread) and not self._start() and self._no_threads:
            self._emit_queued()

    def close(self, timeout: float) -> None:
        """Emit the queued events and end the thread, within `timeout` seconds; a later event starts another.

        Does not wait for itself if a log handler calls it.
        """
        if self._thread is None and self._queue.empty():
            return
        emitted = threading.Event()
        self._queue.put(emitted)
        if not runs(self._thread) and not self._start():
            # The interpreter ends.  The caller is a thread of the application, and not one that moves records.
            self._no_threads = True
            self._emit_queued()
        thread = self._thread
        if thread is not threading.current_thread() and emitted.wait(timeout) and thread is not None:
            thread.join(timeout)  # it has nothing more to do

    def _start(self) -> bool:
        """Start the thread if events wait for it; False if the interpreter starts none any more."""
        # The caller that has the lock looks again when it has given it back, so that no other has to wait for it: not
        # a signal handler that interrupts it, nor the thread itself, which may have ended meanwhile.
        while not runs(self._thread) and not self._queue.empty() and not self._starting.is_mine():
            try:
                with self._starting:
                    if not runs(self._thread) and not self._start_one():
                        return False
            except LockBusyError:
                break
        return True

    def _start_one(self) -> bool:
        thread = self._thread = DaemonThread(self._run, self._name)
        try:
            thread.start()
        except RuntimeError:
            self._thread = None
            return False
        return True

    def _run(self) -> None:
        me = threading.current_thread()
        try:
            # An exception may have interrupted the start of this thread, so that another one was started.
            while self._thread is me:
                item = self._queue.get(timeout=_IDLE)
                if isinstance(item, threading.Event):
                    item.set()
                    break
                item.emit()
                self._tell_dropped()
        except queue.Empty:
            pass
        finally:
            if self._thread is me:
                self._thread = None
            self._start()  # for an event that arrived meanwhile, or after a handler raised SystemExit

    def _emit_queued(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, threading.Event):
                    item.set()
                else:
                    item.emit()
        self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped = self.dropped
        if dropped != self._told and self._queue.qsize() <= MOST_EVENTS // 2:
            events, self._told = dropped - self._told, dropped
            self._log.warning("log.events_dropped", events=events, reason="log handlers are slower than the events")
