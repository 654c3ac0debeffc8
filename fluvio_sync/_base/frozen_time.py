# SPDX-License-Identifier: Apache-2.0
"""The time of a test that froze it.  This module stays interpreted: freezing libraries look at the stack."""

from __future__ import annotations

import time

# freezegun gives the real time to callers that have `threading` among their nearest five frames, as the main function
# of a thread has.
_FRAMES = 5


def frozen_time_ms(frames: int = _FRAMES) -> int:
    """Return the milliseconds since the epoch of a clock that was put into the place of `time.time`."""
    # time_ns() of such a clock is computed from a float, and is a little short of the millisecond.
    return frozen_time_ms(frames - 1) if frames else int(time.time() * 1000)
