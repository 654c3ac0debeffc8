# SPDX-License-Identifier: Apache-2.0
"""Daemon threads, as long as the interpreter starts any."""

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
    """Return what `make` makes, in a thread if need be: signal handlers, which may raise, run in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return make()
    made: list[T] = []
    errors: list[BaseException] = []
    done = threading.Lock()
    done.acquire()

    def work() -> None:
        try:
            made.append(make())
        except BaseException as error:  # noqa: BLE001 - it is the caller's
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
