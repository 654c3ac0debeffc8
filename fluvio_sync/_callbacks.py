# SPDX-License-Identifier: Apache-2.0
"""The one daemon thread on which the callbacks of a client's futures run.

Started when the first callback is due, so that an application without callbacks has no such thread.  The sender
never runs foreign code: a slow callback delays other callbacks and nothing else.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fluvio_sync.futures import DeliveryFuture


class CallbackThread:
    """Runs callbacks in the order in which their batches were completed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[list[DeliveryFuture]] = SimpleQueue()
        self._changed = threading.Condition()
        self._submitted = 0
        self._finished = 0
        self._thread: threading.Thread | None = None

    def submit(self, futures: list[DeliveryFuture]) -> None:
        """Have the callbacks of these finished futures run."""
        with self._changed:
            self._submitted += 1
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down and starts no thread any more
                    thread = threading.current_thread()
                else:
                    self._thread = thread
        self._queue.put(futures)
        if self._thread is None:
            self._run_one()

    def is_current_thread(self) -> bool:
        """Whether the caller is itself a callback."""
        return self._thread is threading.current_thread()

    def wait_for_due(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds until all callbacks submitted so far have run; False if they have not."""
        with self._changed:
            due = self._submitted
            return self._changed.wait_for(lambda: self._finished >= due, timeout)

    def _run(self) -> None:
        while True:
            self._run_one()

    def _run_one(self) -> None:
        for future in self._queue.get():
            future.run_callbacks()
        with self._changed:
            self._finished += 1
            self._changed.notify_all()
