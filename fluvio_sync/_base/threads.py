# SPDX-License-Identifier: Apache-2.0
"""Daemon threads, and two defences against exceptions of signal handlers: an uninterrupted call and a lock."""

from __future__ import annotations

import _thread
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def started(target: Callable[..., None], name: str, *arguments: object) -> threading.Thread | None:
    """Return a thread that runs `target`; None if the interpreter is shutting down and starts no thread any more."""
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread


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


class LockBusyError(Exception):
    """Another thread has the lock."""


class TryLock(_thread.RLock):  # type: ignore[misc] # final in the stubs alone
    """A lock that `with` takes if it is free, and that no exception of a signal handler leaves locked.

    Raises `LockBusyError` if another thread has it.  A handler runs, and may raise, after each call in the main thread.
    Between `acquire()` and a `try` behind it, or in a context manager's `__exit__` before `release()`, such an
    exception would keep the lock for ever.  Here the attempt stands inside the `try`, and `__exit__` is the built-in
    lock's own, one call into C.  The caller must not have the lock already.
    """

    def __enter__(self) -> bool:  # type: ignore[override]
        """Take the lock."""
        try:
            if not self.acquire(blocking=False):
                raise LockBusyError
        except BaseException:
            if self._is_owned():  # type: ignore[attr-defined]
                self.release()
            raise
        return True

    is_mine = _thread.RLock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 - whether the calling thread has it
