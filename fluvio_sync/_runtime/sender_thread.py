# SPDX-License-Identifier: Apache-2.0
"""The thread that runs the sender's steps: the client's background thread, or a waiting thread of the application.

The pattern is Leader/Followers.  A record that is sent and waited for, one at a time, would cost two switches between
threads, which take longer than all else together.  So a thread that waits for a future or a flush *leads* if no other
does: it runs the steps until it has its result, and its next `send()` writes by itself.  The step lock makes one thread
at a time run them.

The background thread is a daemon.  It runs steps while no thread leads, takes over the work that a leader leaves, and
ends after `stop`, or after `stop_when_idle` once nothing is unresolved.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Final, ParamSpec

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._base.threads import LONGEST_SLEEP, LockBusyError, TryLock, reentered, slices
from fluvio_sync._runtime.sender import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._base.log import Logger
    from fluvio_sync._net.poller import Poller
    from fluvio_sync._runtime.accumulator import Accumulator
    from fluvio_sync._runtime.sender import Sender

# Seconds that closing waits for replies to written requests: a close with unread replies resets the connection, and
# the reset may overtake bytes that the server has not read yet.  Nor is the connection half-closed before they are
# here: a load balancer may take that for the end of both ways.
_LINGER: Final = 2.0
LAST_STEP: Final = _LINGER + 3.0
"""Seconds that stopping waits for the thread; reading last replies is the longest that it does."""
# Seconds between two looks of the background thread while others lead: an exception may have kept them from waking it.
_LOOK: Final = 1.0
# Seconds until it looks again when `send()` has the step lock.
_BUSY: Final = 0.05
# Seconds that `send()` keeps the step lock, at most: the background thread must not spin meanwhile.
_SHORT: Final = 0.005
# Seconds for which the background thread runs the steps alone after an exception ended one of a leader: it has the
# failure, if that was one of the sender and not of the application, cost one connection.
_ALONE: Final = 1.0
# Seconds for which the connections stay borrowed after a thread led, if the background thread looks by then: a thread
# that sends and waits in turn needs them again at once, and an answer that woke both would take it twice the time.
_KEEP: Final = 0.02
# A failure of the sender itself is a bug; after this many in a row it ends instead of spinning.
_MAX_CRASHES: Final = 10

P = ParamSpec("P")


@mypyc_attr(allow_interpreted_subclasses=True)  # tests watch it
class SenderThread:
    """See the module's description.  `led_by_waiter`: the last batch was finished by a thread of the application."""

    def __init__(
        self, sender: Sender, poller: Poller, accumulator: Accumulator, *, clock: Clock, log: Logger, name: str
    ) -> None:
        self.led_by_waiter = False
        self._sender = sender
        self._poller = poller
        self._accumulator = accumulator
        self._clock = clock
        self._log = log
        self._step_lock = TryLock()
        self._sleeps_until = -math.inf  # monotonic seconds, of the background thread
        self._stopping = False
        self._abandoned = False
        self._stopping_when_idle = False
        self._crashes = 0
        self._alone_until = 0.0  # monotonic seconds until which no thread of the application leads
        # Monotonic seconds until which the connections may stay borrowed, `_KEEP` after a thread led and polled them.
        self._kept_until = -math.inf
        self._ident: int | None = None  # of the background thread
        self._background = threading.Thread(target=self._run, name=name, daemon=True)

    # Life.

    def start(self) -> None:
        """Start the thread."""
        self._background.start()

    def ask_to_stop(self) -> None:
        """Have the thread fail unresolved records, read the replies to written requests, close the sockets, and end."""
        self._stopping = True
        self._poller.wake()
        self._poller.wake_background()

    def stop(self) -> None:
        """Have the thread end and wait for it."""
        self.ask_to_stop()
        for part in slices(LAST_STEP):
            self._background.join(part)

    def stop_when_idle(self) -> None:
        """Have the thread end by itself once nothing is unresolved; takes no lock, for finalizers."""
        self._stopping_when_idle = True
        self._poller.wake_background()

    def abandon(self) -> None:
        """Have no step run any more: this is the child of a fork, in which the thread may live on as a greenlet."""
        self._abandoned = self._stopping = True

    def has_ended(self) -> bool:
        """Whether the thread ran and came to its end."""
        return self._background.ident is not None and not self._background.is_alive()

    # The background thread.

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self._run_to_the_end()
        finally:
            self._ident = None  # the system gives its number to another thread

    def _run_to_the_end(self) -> None:
        while not self._stopping and not (self._stopping_when_idle and self._is_idle()):
            try:
                self._sender.notify()
                self._run_step()
                self._crashes = 0
            except Exception:  # noqa: BLE001 - a bug must cost its requests, not all later ones
                if self._abandoned:
                    break
                self._log.error("sender.internal_error", exc_info=True)
                self._crashes += 1
                self._stopping = self._stopping or self._crashes >= _MAX_CRASHES
        if self._abandoned:
            return
        self._stopping = True  # no thread leads any more
        self._poller.wake()
        self._step_lock.acquire()
        try:
            self._sender.interruptible = False
            self._sender.fail_rest()
            self._sender.notify()
            self._read_last_replies()
        except Exception:  # noqa: BLE001 - a bug must not keep the sockets open
            self._log.error("sender.internal_error", exc_info=True)
        finally:
            self._sender.abandon()
            self._accumulator.callbacks.stop()
            self._step_lock.release()

    def _is_idle(self) -> bool:
        return self._accumulator.is_empty() and not self._accumulator.callbacks.waits_for_thread()

    def _run_step(self) -> None:
        """Run one step, or sleep while another thread leads."""
        if self._leaves_connections():
            return
        # A leader wakes this thread when it leaves work behind; `send()` has the lock for a moment only.
        pause = _LOOK if self._poller.led else _BUSY
        # Before the attempt: a thread that has the lock then compares its timers with this after it.
        self._sleeps_until = self._clock.monotonic() + pause
        timeout = self._prepare()
        if timeout is None:
            if self._poller.sleep(pause) and self._step_lock.acquire(timeout=_SHORT):
                self._step_lock.release()
            return
        if timeout > 0 and self._poller.can_be_borrowed:
            self._poller.sleep(timeout)
            timeout = 0.0
        sender = self._sender
        try:
            with self._step_lock:
                self._take_over()
                finished = sender.finished_batches
                sender.work(timeout)
                if sender.finished_batches != finished:
                    self.led_by_waiter = False
        except LockBusyError:
            pass  # it looks again at its next round

    def _leaves_connections(self) -> bool:
        """Sleep, if another thread leads, or led a moment ago, with the connections; False if there is work to do."""
        now = self._clock.monotonic()
        if not self._poller.borrowed or now >= self._kept_until:
            return False
        with self._accumulator.lock:
            due = self._sender.next_timer()
        if due <= now:
            return False
        self._sleeps_until = min(due, self._kept_until)
        return not self._poller.pause(max(0.0, self._sleeps_until - now))

    def _prepare(self) -> float | None:
        """Prepare a step and return how long it may wait, in seconds; None if another thread has the step lock."""
        try:
            with self._step_lock:
                self._take_over()
                due = self._sender.prepare()
                now = self._clock.monotonic()
                if self._accumulator.callbacks.waits_for_thread() or self.led_by_waiter:
                    due = min(due, now + _LOOK)
                if now < self._kept_until < due:
                    due = self._kept_until
                self._sleeps_until = due
                return min(max(0.0, due - now), LONGEST_WAIT)
        except LockBusyError:
            return None

    def _take_over(self) -> None:
        self._sender.interruptible = False
        self._poller.give_back()

    def _read_last_replies(self) -> None:
        """Take the last answers as usual, so that rejected at-most-once records are counted and reported."""
        end = self._clock.monotonic() + _LINGER
        self._sender.stop_writing()
        while self._sender.expects_answers():
            now = self._clock.monotonic()
            if now >= end:
                return
            self._sender.work(max(0.0, min(end, self._sender.prepare()) - now))

    # Threads of the application.

    def lead(self, is_done: Callable[[], bool], timeout: float | None) -> float | None:
        """Run steps in the calling thread until `is_done()`, for at most `timeout` seconds; return those that are left.

        Returns at once if another thread has the step lock.  Raises `RuntimeError` in a handler that interrupts the
        library's own work, which stands still beneath it.
        """
        if self._accumulator.lock.is_mine() or self.stands_still():
            raise reentered()
        until = None if timeout is None else self._clock.monotonic() + timeout
        if self._may_lead():
            self._with_step_lock(self._lead, is_done, math.inf if until is None else until)
        return None if until is None else max(0.0, until - self._clock.monotonic())

    def stands_still(self) -> bool:
        """Whether the caller interrupts a step, or a thread that steps wait for: that stands still while it waits."""
        return (
            self._step_lock.is_mine()
            or self._accumulator.callbacks.lock.is_mine()
            or threading.get_ident() == self._ident
        )

    def work_at_once(self) -> bool:
        """Send the calling thread's new records, if it is one that leads; False if another thread has to."""
        if not self.led_by_waiter or self._accumulator.lock.is_mine() or self.stands_still():
            return False
        return self._with_step_lock(self._sender.work_at_once)

    def go_on(self) -> None:
        """Have the connections go on as far as they can without waiting, in a thread that sends much.

        The background thread would have to wait for the interpreter's lock, 5 ms for each of its system calls, as long
        as the application's thread does not wait for anything.
        """
        if self._may_lead() and not self._accumulator.lock.is_mine() and not self.stands_still():
            self._with_step_lock(self._work_on)

    def _work_on(self) -> None:
        try:
            self._poller.borrow()
            self._sender.work(0.0)
            self._kept_until = self._clock.monotonic() + _KEEP
            self._sender.encode_ahead()
        except Exception:
            self._leave_alone()
            raise
        finally:
            self._end_leading()

    def _leave_alone(self) -> None:
        self.led_by_waiter = False
        self._alone_until = self._clock.monotonic() + _ALONE

    def _may_lead(self) -> bool:
        return self._poller.can_be_borrowed and not (self._alone_until and self._clock.monotonic() < self._alone_until)

    def _end_leading(self) -> None:
        """Give the connections back, unless the background thread soon looks whether they are needed.

        From here on `send()` has to wake the sender, as after `Sender.prepare`.
        """
        self._accumulator.sleep_seq += 1
        if self._sleeps_until > self._kept_until:
            self._poller.give_back()

    def _with_step_lock(self, work: Callable[P, None], *arguments: P.args, **more: P.kwargs) -> bool:
        """Call a function with the step lock; False if another thread has it.  The caller does not have it."""
        had = False
        try:
            with self._step_lock:
                if self._stopping:
                    return False
                had = True
                self._sender.interruptible = True
                work(*arguments, **more)
        except LockBusyError:
            return False
        finally:
            if had:
                self._wake_background_if_needed()
        return True

    def _lead(self, is_done: Callable[[], bool], until: float) -> None:
        sender, clock = self._sender, self._clock
        self.led_by_waiter = self._poller.led = True
        try:
            self._poller.borrow()
            done = False
            while not (done or self._stopping):
                due = min(sender.prepare(), until)
                now = clock.monotonic()
                if until <= now or is_done():
                    return
                sender.work(min(max(0.0, due - now), LONGEST_SLEEP))
                self._kept_until = clock.monotonic() + _KEEP
                done = is_done()
        except Exception:
            self._leave_alone()
            raise
        finally:
            self._poller.led = False
            self._end_leading()

    def _wake_background_if_needed(self) -> None:
        """Have the background thread go on where it has to; the caller has given the step lock back."""
        sender = self._sender
        # A thread that found this one leading may have left its records to it, and an exception may have kept it from
        # giving the connections back.
        kept = self._poller.borrowed and self._sleeps_until > self._kept_until
        left = sender.unnotified or sender.calls or self._accumulator.dirty
        needed = sender.in_step or bool(left) or kept
        # A thread that runs a step meanwhile asks the same after it.
        if not needed and sender.earliest_timer() < self._sleeps_until:
            with self._accumulator.lock:
                needed = sender.next_timer() < self._sleeps_until
        if needed:
            self._poller.wake_background()
