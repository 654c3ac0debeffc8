# SPDX-License-Identifier: Apache-2.0
"""Daemon threads, and locks and calls that stand the interruptions of signal handlers and finalizers."""

from __future__ import annotations

import _thread
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fluvio_sync._base.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T")

LONGEST_SLEEP = 1.0
"""Seconds of one wait of a thread of the application: an injected exception comes between two of them."""


class DaemonThread(threading.Thread):
    """A daemon thread whose `start()` takes a second at most.

    Up to CPython 3.11, an exception that is injected into a thread (`PyThreadState_SetAsyncExc`) while it starts this
    one may end this one before it says that it runs, which `start()` waits for.
    """

    def __init__(self, target: Callable[..., None], name: str, *arguments: object) -> None:
        super().__init__(target=target, args=arguments, name=name, daemon=True)
        if sys.version_info < (3, 12):
            self._started = _Begun()

    def has_begun(self) -> bool:
        """Whether it runs, or ran."""
        begun: threading.Event = self.__dict__["_started"]
        return begun.is_set()


class _Begun(threading.Event):
    """The event that `Thread.start` waits for."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(LONGEST_SLEEP if timeout is None else timeout)


def started(target: Callable[..., None], name: str, *arguments: object) -> threading.Thread | None:
    """Return a thread that runs `target`; None if the interpreter is shutting down and starts no thread any more."""
    for _ in range(2):
        thread = DaemonThread(target, name, *arguments)
        try:
            thread.start()
        except RuntimeError:
            return None
        if thread.has_begun():
            return thread
    return None


def runs(thread: threading.Thread | None) -> bool:
    """Whether there is a thread and it runs; an exception that was injected somewhere else may have ended it."""
    return thread is not None and thread.is_alive()


def uninterrupted(make: Callable[[], T]) -> T:
    """Return the result of `make`, which runs in a thread if need be: signal handlers run in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        return make()
    made: list[T] = []
    errors: list[BaseException] = []
    done = threading.Lock()
    done.acquire()

    def work() -> None:
        try:
            made.append(make())
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller's thread
            errors.append(error)
        finally:
            done.release()

    try:
        _thread.start_new_thread(work, ())  # not threading.Thread, whose locks an exception may leave locked
    except RuntimeError:  # the interpreter is shutting down and starts no thread any more
        return make()
    done.acquire()
    if errors:
        raise errors[0]
    return made[0]


def slices(timeout: float) -> Iterator[float]:
    """Divide a wait into ones of at most `LONGEST_SLEEP`: on Windows Ctrl-C is raised between two of them."""
    while timeout > LONGEST_SLEEP:
        yield LONGEST_SLEEP
        timeout -= LONGEST_SLEEP
    yield timeout


class AtFirstUse(Generic[T]):
    """An attribute that is made when it is first read, once, whichever thread reads it; `del` has it made anew.

    For a lock of an object that an application makes while it is imported.  gevent and eventlet may put their own
    kinds of lock in the place of Python's only after that (gunicorn's `--preload` does so in the worker, after the
    hooks of the fork), and a greenlet that waits for an older one blocks its whole thread.

    Not `functools.cached_property`: up to Python 3.11 it makes a lock of its own when the class is made, and from 3.12
    on two threads may each get another value.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    def __set_name__(self, _owner: type[object], name: str) -> None:
        self._name = name

    def __get__(self, instance: object, _owner: type[object] | None = None) -> T:
        # From now on the instance's own attribute is found first: this is no data descriptor.
        made: T = instance.__dict__.setdefault(self._name, self._make())
        return made


class LockBusyError(Exception):
    """Another thread has the lock."""


def reentered() -> RuntimeError:
    """Return the error of a call from within the library's own code."""
    return RuntimeError(
        "the client was called from within itself, by a signal handler, a finalizer or a log handler that interrupted "
        "it; nothing was done.  Have the handler set a flag, and call the client where the program looks at the flag "
        "(a signal handler may raise SystemExit: queued records are delivered)"
    )


if TYPE_CHECKING:

    class _RLock:  # the stubs say that it is final, and have not all of it
        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...  # noqa: FBT001, FBT002
        def release(self) -> None: ...
        def is_mine(self) -> bool: ...
        def _acquire_restore(self, state: tuple[int, int]) -> None: ...
        def _at_fork_reinit(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...

else:
    _RLock = _thread.RLock


class OwnedLock(_RLock):
    """The kind of every lock that a thread of the application may take.

    **The thread that has it does not take it again.**  A signal handler, a finalizer, the callback of a weak reference
    or a log handler may interrupt the library while it has the lock, and call the library.  There a plain lock waits
    for ever, and a re-entrant one lets the call change data that are half changed.  This one raises `RuntimeError`.

    **No exception leaves it locked.**  The exception of a signal handler, or one that another thread injects
    (`PyThreadState_SetAsyncExc`), comes when a function begins or when a call into C returns.  Since CPython 3.14 that
    is also between the `__enter__` of a built-in lock and the block of its `with` (github.com/python/cpython, issue
    148874).  Behind an `__enter__` that is written in Python there is no such moment (unless a debugger replaces the
    interpreter's loop, PEP 523).  In here, `acquire` stands inside the `try` whose handler begins with `release`, which
    raises `RuntimeError` if the thread does not have the lock.  `__exit__` is the built-in lock's, one call into C.

    Up to CPython 3.14 a loop goes back outside of the block's table of exceptions if a condition ends its body, as
    `any()` of a generator does: such loops stand in functions that the block calls (tests/core/test_locks.py looks).

    Where the call of `__enter__` is too slow, or a timeout is needed, the same is written out:

        if lock.is_mine():
            raise reentered()
        try:
            lock.acquire()
            ...
        finally:
            try:
                lock.release()
            except RuntimeError:
                pass
    """

    def __new__(cls) -> Self:
        """Make a lock: of the kind that gevent or eventlet have put in the place of `threading.RLock`, if they have."""
        kind = type(threading.RLock())
        lock: Self = super().__new__(cls) if kind is _thread.RLock else _green(cls, kind)()
        return lock

    def __enter__(self) -> bool:
        """Take the lock; raises `RuntimeError` if the thread has it already."""
        if self.is_mine():
            raise reentered()
        try:
            self.acquire()
        except BaseException:
            try:  # noqa: SIM105 - a call of a function of ours could itself be interrupted
                self.release()
            except RuntimeError:
                pass
            raise
        return True

    if not TYPE_CHECKING:
        is_mine = _thread.RLock._is_owned  # noqa: SLF001 - whether the calling thread has it


class OuterLock(OwnedLock):
    """A lock inside which other threads take `inner`.

    A handler that interrupted its thread with `inner` held does not wait for this one: a thread that has it may wait
    for `inner`, which stands still beneath the handler.
    """

    inner: OwnedLock | None = None

    def __enter__(self) -> bool:
        """Take the lock; raises `RuntimeError` if the thread has it, or has `inner` and would have to wait."""
        if self.is_mine():
            raise reentered()
        try:
            if not self.acquire(False):
                if self.inner is not None and self.inner.is_mine():
                    raise reentered()
                self.acquire()
        except BaseException:
            try:  # noqa: SIM105 - as above
                self.release()
            except RuntimeError:
                pass
            raise
        return True


class TryLock(OwnedLock):
    """A lock that `with` takes if it is free; raises `LockBusyError` if another thread has it."""

    def __enter__(self) -> bool:
        """Take the lock, or raise `LockBusyError`; the caller does not have it."""
        try:
            if self.acquire(False):
                return True
        except BaseException:
            try:  # noqa: SIM105 - as above
                self.release()
            except RuntimeError:
                pass
            raise
        raise LockBusyError


@cache
def _green(cls: type[Any], kind: type[Any]) -> type[Any]:
    """Return the same class for a lock that belongs to a greenlet: to the built-in one, all of a thread are one."""
    own = {name: vars(cls)[name] for name in ("__doc__", "__enter__")}
    return type(cls.__name__, (kind,), {**own, "is_mine": kind._is_owned})  # noqa: SLF001 - as above


class Condition:
    """A condition of an `OwnedLock`, as `threading.Condition`, out of which an exception comes as it is.

    In `threading.Condition.wait` there is a moment when the lock is given back and the `finally` that takes it again is
    not reached: a signal's exception there becomes a `RuntimeError`, because the lock is not the thread's any more.

    `concurrent.futures` takes a future's condition as it does a lock: hence `acquire`, `release` and `with`.
    """

    __slots__ = ("_waiters", "acquire", "lock", "release")

    def __init__(self, lock: OwnedLock) -> None:
        self.lock = lock
        self.acquire = lock.acquire
        self.release = lock.release
        self._waiters: list[threading.Lock] = []

    def wait(self, timeout: float | None = None) -> None:
        """Wait at most `timeout` seconds for `notify_all`.  Called with the lock held, which is free meanwhile."""
        mine = (1, threading.get_ident())
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        try:
            self.lock.release()
            waiter.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX))
        finally:
            self.lock._acquire_restore(mine)  # noqa: SLF001 - no signal ends its wait
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def wait_for(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds until `predicate()`; False if it did not come true."""
        until = None if timeout is None else SystemClock.monotonic() + timeout
        left = timeout
        while not predicate():
            if until is not None:
                left = until - SystemClock.monotonic()
                if left <= 0:
                    return False
            self.wait(LONGEST_SLEEP if left is None else min(left, LONGEST_SLEEP))
        return True

    def notify_all(self) -> None:
        """Wake the waiting threads.  Called with the lock held.  If that is interrupted, the next call repeats it."""
        for waiter in self._waiters:
            try:  # noqa: SIM105 - three more calls for each
                waiter.release()
            except RuntimeError:
                pass  # it was woken before
        self._waiters.clear()

    def __enter__(self) -> bool:
        return self.lock.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.lock.release()
