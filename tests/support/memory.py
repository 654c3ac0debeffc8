# SPDX-License-Identifier: Apache-2.0
"""The memory of a process."""

from __future__ import annotations

import mmap


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a kernel file
        return int(statm.read().split()[1]) * mmap.PAGESIZE
