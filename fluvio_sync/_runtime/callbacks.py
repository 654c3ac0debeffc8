# SPDX-License-Identifier: Apache-2.0
"""The daemon thread on which the callbacks of a client's futures run.

It starts when the first callback is due, so that an application without callbacks has no such thread.  The sender
never runs an application's code: a slow callback delays other callbacks and nothing else.  While the system has no
thread left, callbacks wait until one can be started, or until a thread of the application flushes or closes.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING

from fluvio_sync._base.threads import Condition, OwnedLock, runs, started

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = list[Callable[[], None]]
    Due = queue.SimpleQueue[Work | None]  # None ends the thread


class CallbackThread:
    """Runs callbacks in the order in which their batches were completed.

    `lock`: guards its own data, and the outcomes of all futures and handles of the client; inside it no other is taken.
    """

    def __init__(self, name: str) -> None:
        # A thread that waits for a future leads the sender's steps meanwhile (see `sender_thread`).  It calls `lead`
        # with a condition and a timeout in seconds, and gets the remaining seconds.
        self.lead: Callable[[Callable[[], bool], float | None], float | None] | None = None
        # Called when callbacks wait for a thread: the background thread tries to start it again.
        self.on_shortage: Callable[[], None] | None = None
        self._name = name
        # Looked up here: gevent and eventlet replace the class, perhaps after this module was imported.
        self._queue: Due = queue.SimpleQueue()
        self.lock = OwnedLock()
        self._changed = Condition(self.lock)
        self._submitted = 0
        self._finished = 0
        self._thread: threading.Thread | None = None
        self._idents: set[int] = set()  # of threads that run callbacks now

    def submit(self, work: Work) -> None:
        """Queue functions, each of which runs the callbacks of one finished future and raises nothing."""
        with self.lock:
            self._submitted += 1
            self._queue.put(work)
            if not runs(self._thread):
                self._thread = started(self._run, self._name, self._queue)
            running = self._thread is not None
        if not running and self.on_shortage is not None:
            self.on_shortage()

    def waits_for_thread(self) -> bool:
        """Start the thread if callbacks wait for one; return whether they still do."""
        if not runs(self._thread) and not self._queue.empty():
            with self.lock:
                if not runs(self._thread):
                    self._thread = started(self._run, self._name, self._queue)
        return self._thread is None and not self._queue.empty()

    def run_left(self) -> None:
        """Run, in the calling thread of the application, the callbacks for which no thread can be started."""
        if self.waits_for_thread():
            with contextlib.suppress(queue.Empty):
                while (work := self._queue.get_nowait()) is not None:
                    self._run_work(work)

    def is_current_thread(self) -> bool:
        """Whether the caller is itself a callback."""
        return threading.get_ident() in self._idents

    def wait_for_due(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds until all callbacks submitted so far have run; False if they have not."""
        self.run_left()
        with self.lock:
            due = self._submitted
            return self._changed.wait_for(lambda: self._finished >= due, timeout)

    def stop(self) -> None:
        """Have the thread end after the callbacks that are due; a later callback starts another thread."""
        with self.lock:
            if self._thread is not None:
                self._queue.put(None)
                # A later thread gets a queue of its own: this one may still run callbacks.
                self._queue, self._thread = queue.SimpleQueue(), None

    def _run(self, due: Due) -> None:
        while (work := due.get()) is not None:
            self._run_work(work)

    def _run_work(self, work: Work) -> None:
        self._idents.add(threading.get_ident())
        try:
            for run_callbacks in work:
                run_callbacks()
        finally:
            self._idents.discard(threading.get_ident())
            with self.lock:
                self._finished += 1
                self._changed.notify_all()
