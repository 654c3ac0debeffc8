# SPDX-License-Identifier: Apache-2.0
"""Who runs the sender's steps: the client's background thread, or a thread of the application that waits anyway.

A record that is sent and waited for, one at a time, would cost two hand-overs between threads, which take longer than
all else together.  So a thread that waits for a future or a flush *drives* the sender while it does, if nobody else is
at work, and what it sends next is written by `send()` itself.  Whoever works has the *turn*.

The background thread is a daemon.  It works whenever nobody drives, takes over what a driver leaves behind, and ends
after `stop`, or after `retire` once nothing is unresolved.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._base.log import Logger
    from fluvio_sync._net.poller import Poller
    from fluvio_sync._runtime.accumulator import Accumulator
    from fluvio_sync._runtime.sender import Sender

# Seconds that closing waits for replies to what was written: a close with unread replies resets the connection, and
# the reset may overtake what the server has not read yet.  Nor is the connection half-closed before they are here:
# what stands between may take that for the end of both ways.
_LINGER = 2.0
LAST_STEP = _LINGER + 3.0
"""Seconds that stopping waits for the thread; reading last replies is the longest that it does."""
# Seconds between two looks of the background thread while others drive: an exception on their way out may have kept
# them from ringing.
_LOOK = 1.0
# Seconds until it looks again when another thread has the turn.
_BUSY = 0.05
# Seconds that `send()` keeps the turn, at most: the background thread must not spin meanwhile.
_SHORT = 0.005
# A failure of the sender itself is a bug; after this many in a row it gives up instead of spinning.
_MAX_CRASHES = 10


class SenderThread:
    """See the module's description.  `driven`: the last batch was settled by a driver."""

    def __init__(
        self, sender: Sender, poller: Poller, accumulator: Accumulator, *, clock: Clock, log: Logger, name: str
    ) -> None:
        self.driven = False
        self._sender = sender
        self._poller = poller
        self._accumulator = accumulator
        self._clock = clock
        self._log = log
        self._turn = threading.RLock()
        self._main = threading.main_thread().ident  # after a fork there is another object of this class
        self._sleeps_until = 0.0  # monotonic seconds, of the background thread
        self._stopping = False
        self._retiring = False
        self._crashes = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # Life.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the thread end: what is unresolved fails, replies to what was written are read, sockets are closed."""
        self._stopping = True
        self._poller.wake()
        self._poller.ring()

    def stop(self) -> None:
        """Have the thread end and wait for it."""
        self.ask_to_stop()
        self._thread.join(LAST_STEP)

    def retire(self) -> None:
        """Have the thread end by itself once nothing is unresolved; lock-free, for finalizers."""
        self._retiring = True
        self._poller.ring()

    def has_ended(self) -> bool:
        """Whether the thread ran and came to its end."""
        return self._thread.ident is not None and not self._thread.is_alive()

    # The background thread.

    def _run(self) -> None:
        while not self._stopping and not (self._retiring and self._accumulator.is_empty()):
            try:
                self._sender.publish()
                self._take_turn()
                self._crashes = 0
            except Exception:  # noqa: BLE001 - a bug must cost its requests, not all that is ever sent
                self._log.error("sender.crashed", exc_info=True)
                self._crashes += 1
                self._stopping = self._stopping or self._crashes >= _MAX_CRASHES
        self._stopping = True  # nobody drives any more
        self._poller.wake()
        with self._turn:
            try:
                self._sender.interruptible = False
                self._sender.fail_rest()
                self._sender.publish()
                self._contain(self._read_last_replies)
            finally:
                self._sender.abandon()
                self._accumulator.callbacks.stop()

    def _take_turn(self) -> None:
        """Run one step, or sleep while others do."""
        timeout = self._prepare()
        if timeout is None:
            # Not borrowed, and the turn is taken: by something short.
            if self._poller.sleep(_BUSY) and self._turn.acquire(timeout=_SHORT):
                self._turn.release()
            return
        if timeout > 0 and self._poller.can_be_borrowed:
            self._poller.sleep(timeout)
            timeout = 0.0
        if self._acquire():
            try:
                settled = self._sender.settled
                self._sender.work(timeout)
                if self._sender.settled != settled:
                    self.driven = False
            finally:
                self._turn.release()

    def _prepare(self) -> float | None:
        """Prepare a step and return how long it may wait, in seconds; None if another thread has the turn."""
        if not self._acquire():
            return None
        try:
            timeout = self._sender.prepare()
            if self.driven:
                timeout = min(timeout, _LOOK)
            self._sleeps_until = self._clock.monotonic() + timeout
            return timeout
        finally:
            self._turn.release()

    def _acquire(self) -> bool:
        if not self._turn.acquire(blocking=False):
            return False
        self._sender.interruptible = False
        self._poller.give_back()
        return True

    def _read_last_replies(self) -> None:
        """Take the answers that are still owed, as ever: what is refused of at-most-once is counted and reported."""
        end = self._clock.monotonic() + _LINGER
        self._sender.write_no_more()
        while self._sender.is_owed() and (remaining := end - self._clock.monotonic()) > 0:
            self._sender.work(min(remaining, self._sender.prepare()))

    # Threads of the application.

    def drive(self, done: Callable[[], bool], timeout: float | None) -> float | None:
        """Run steps in the calling thread until `done()`, for at most `timeout` seconds; return how many are left.

        Returns at once if another thread has the turn.  Raises `RuntimeError` from within a step: the caller is a log
        handler or a signal handler, and nobody would do what it waits for.
        """
        if self._turn._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            raise RuntimeError(
                "a log handler or a signal handler interrupted the sender's own work, which waiting here would stop; "
                "do not wait for records there (a signal handler may raise SystemExit, and what is queued is delivered)"
            )
        until = None if timeout is None else self._clock.monotonic() + timeout
        if self._poller.can_be_borrowed:
            self._with_turn(lambda: self._drive(done, until))
        return None if until is None else max(0.0, until - self._clock.monotonic())

    def work_at_once(self) -> bool:
        """Have what the calling thread just sent leave, if it is one that waits; False if that is for others to do."""
        if not self.driven or self._turn._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            return False
        return self._with_turn(self._sender.work_at_once)

    def _with_turn(self, work: Callable[[], None]) -> bool:
        """Do something with the turn, if it is to be had; the caller has not got it."""
        had = False
        try:
            # The attempt is inside, and giving back is one call into C: no exception of a signal comes between.
            try:
                if not self._stopping and self._turn.acquire(blocking=False):
                    had = True
                    self._sender.interruptible = threading.get_ident() == self._main
                    self._contain(work)
            finally:
                try:  # noqa: SIM105 - that would be calls before the one that counts
                    self._turn.release()
                except RuntimeError:  # it was not to be had
                    pass
        finally:
            if had:
                self._hand_over()
        return had

    def _contain(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            if self._sender.interruptible:  # it may be a time-out of the application
                raise
            self._log.error("sender.crashed", exc_info=True)

    def _drive(self, done: Callable[[], bool], until: float | None) -> None:
        self.driven = True
        try:
            self._poller.borrow()
            while not self._stopping:
                timeout = self._sender.prepare()
                if until is not None:
                    left = until - self._clock.monotonic()
                    if left <= 0:
                        return
                    timeout = min(timeout, left)
                if done():
                    return
                self._sender.work(timeout)
                if done():
                    return
        finally:
            self._poller.give_back()

    def _hand_over(self) -> None:
        """Have the background thread go on where it has to; the caller has given the turn back."""
        sender = self._sender
        ring = sender.torn or bool(sender.untold)
        if not ring:
            with self._accumulator.lock:
                ring = sender.next_timer() < self._sleeps_until
        if ring:
            self._poller.ring()
