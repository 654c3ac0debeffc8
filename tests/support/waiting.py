# SPDX-License-Identifier: Apache-2.0
"""Waiting for a condition, and the time that a call takes."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fluvio_sync._base.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLOCK = SystemClock()  # which no test freezes

SLACK = 0.25
"""Seconds that a call may take beyond its own deadline on a busy machine."""


def wait_until(condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Poll until the condition holds; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        pause.wait(0.002)


@contextmanager
def within(longest: float, shortest: float = 0.0) -> Iterator[None]:
    """Failed unless the block takes between `shortest` and `longest` seconds, give or take `SLACK` above."""
    start = _CLOCK.monotonic()
    try:
        yield
    finally:
        took = _CLOCK.monotonic() - start
        assert shortest <= took <= longest + SLACK, f"took {took:.3f} s, not {shortest} to {longest} s"


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Run `work` in a daemon thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
