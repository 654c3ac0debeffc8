# SPDX-License-Identifier: Apache-2.0
"""The clocks of the client; only this module, and those of the wall clock, read the time.

Effects: reads the system's clocks; any thread.  All other modules take a `Clock`, or `now`.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Protocol

from fluvio_sync._base import wall_clock

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

    time_ms = staticmethod(wall_clock.time_ms)
