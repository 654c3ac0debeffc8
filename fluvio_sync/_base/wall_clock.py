# SPDX-License-Identifier: Apache-2.0
"""The time of records that are sent without one."""

from __future__ import annotations

import time
from typing import Final

from fluvio_sync._base.frozen_time import frozen_time_ms

# In a tuple, because freezing libraries replace the attributes of modules.
_SYSTEM: Final = (time.time, time.time_ns)


def time_ms() -> int:
    """Return milliseconds since the epoch.  A test that replaced `time.time` gets its own."""
    return _SYSTEM[1]() // 1_000_000 if time.time is _SYSTEM[0] else frozen_time_ms()
