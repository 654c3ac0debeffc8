# SPDX-License-Identifier: Apache-2.0
"""Exceptions at any line of the library, as of Ctrl-C, a worker's timeout or a bug."""

from __future__ import annotations

import itertools
import linecache
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fluvio_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_LIBRARY = str(Path(fluvio_sync.__file__).parent)
_paused = False


class Interruption(BaseException):
    """Raised by `interrupted`."""


@contextmanager
def paused() -> Iterator[None]:
    """Count no lines meanwhile: a test's server and its checks call the library as well."""
    global _paused  # noqa: PLW0603
    before, _paused = _paused, True
    try:
        yield
    finally:
        _paused = before


@cache
def _is_beyond_signals(path: str, number: int) -> bool:
    """Whether a tracer sees a line where no signal can come through: a `with` that gives its lock back, a `try:`.

    An exception raised there by a tracer leaves the lock taken.  Signals come at the end of calls and of loops.
    """
    line = linecache.getline(path, number).strip()
    return line.startswith(("with ", "try:")) or line.endswith("release()")


def interrupted(action: Callable[[], object], at: int, *, beside: tuple[str, ...] = ()) -> bool:
    """Run an action and raise at its line number `at`, counted over the library's own code; False if it is shorter.

    `beside`: files and folders of the library, relative to it, whose lines are not counted.
    """
    lines = itertools.count()
    # A tracer raises at lines of the locks where no signal can; tests/core/test_locks.py has the others.
    left_out = tuple(f"{_LIBRARY}/{path}" for path in ("testing", "_base/threads.py", *beside))

    def trace(frame: FrameType, _event: str, _argument: object) -> Any:
        path = frame.f_code.co_filename
        return trace_lines if not _paused and path.startswith(_LIBRARY) and not path.startswith(left_out) else None

    def trace_lines(frame: FrameType, event: str, _argument: object) -> Any:
        if event == "line" and not _is_beyond_signals(frame.f_code.co_filename, frame.f_lineno) and next(lines) == at:
            sys.settrace(None)
            raise Interruption
        return trace_lines

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except Interruption:
        return True
    finally:
        sys.settrace(before)
    return False


def handling(action: Callable[[], object], at: int, handler: Callable[[], None]) -> bool:
    """Run an action, and a handler that returns in the middle of it; False if there are fewer moments than `at`.

    A signal handler runs when a function begins and when a call into C returns, where a profiler is told.  Only these
    moments of the library's own code are counted, and those of the standard library that it calls.
    """
    moments = itertools.count()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if _paused or event not in ("call", "c_return") or not _is_in_library(frame):
            return
        if next(moments) == at:
            sys.setprofile(None)
            handler()

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return next(moments) > at


def _is_in_library(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_LIBRARY):
            return not frame.f_code.co_filename.startswith(f"{_LIBRARY}/testing")
        frame = frame.f_back
    return False
