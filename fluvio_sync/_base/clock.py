# SPDX-License-Identifier: Apache-2.0
"""The only module of the client that reads the time.

Effects: reads the system's clocks; any thread.  All other modules take a `Clock`, or `now`.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """The source of intervals and of record timestamps."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back.  For intervals and deadlines."""
        ...

    def time_ms(self) -> int:
        """Return milliseconds since the epoch.  For the timestamps of records."""
        ...


def _monotonic() -> Callable[[], float]:
    # Freezing libraries replace `time.monotonic` in some threads and at some depths of the stack and not in others,
    # which would give the sender two clocks.  They do not replace `clock_gettime`, which reads the same clock.
    if hasattr(time, "clock_gettime") and hasattr(time, "CLOCK_MONOTONIC"):
        return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    return time.monotonic


class SystemClock:
    """The system's clocks.  A frozen wall clock freezes timestamps, not intervals."""

    __slots__ = ()

    monotonic = staticmethod(_monotonic())

    @staticmethod
    def time_ms() -> int:
        """Return milliseconds since the epoch."""
        # Looked up at each call, so that a test that froze `time.time` freezes timestamps.
        system_time, system_time_ns = _SYSTEM
        return system_time_ns() // 1_000_000 if time.time is system_time else _replaced_time_ms()


# In a tuple, because freezing libraries replace the attributes of modules.
_SYSTEM = (time.time, time.time_ns)


def _replaced_time_ms() -> int:
    # freezegun gives the real time to callers that have `threading` among their nearest five frames.  `send()` in the
    # main function of a thread would be such a caller without the frames of this and the next function.  A frozen
    # time_ns() is computed from a float, and is a little short of the millisecond.
    def ask() -> float:
        return time.time()

    return int(ask() * 1000)
