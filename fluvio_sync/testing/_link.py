# SPDX-License-Identifier: Apache-2.0
"""The network behind a `FaultProxy`: the delay and the bandwidth of one direction.

Pure: sizes and times in, times out.
"""

from __future__ import annotations

import math

# Bytes that may wait for one end; beyond that the other is not read from.
_MAX_WAITING = 16 * 1024 * 1024
# Seconds that bytes wait in front of a limited link, at most: more are left with their sender.
_QUEUE = 0.1
# Seconds of a slice, in which the connections of a limited link take turns.
_SLICE = 0.02
_SMALLEST_BUFFER, _LARGEST_LIMITED, _LARGE_BUFFER = 16 * 1024, 64 * 1024, 4 * 1024 * 1024


class Link:
    """One direction of all connections of a proxy; they share its bandwidth, slice by slice.

    * `delay`: seconds that bytes which arrive now are on the way.
    * `rate`: bytes a second, None without a limit.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.rate: float | None = None
        self._free_at = -math.inf
        self._was_limited = False

    def limit(self, rate: float | None) -> None:
        """Set the rate; slices that are on the way stay there."""
        self.rate = rate
        self._was_limited = True
        self._free_at = -math.inf

    def slice(self, size: int) -> int:
        """Return how many of `size` bytes pass as one slice."""
        return size if self.rate is None else min(size, max(1, int(self.rate * _SLICE)))

    def enter(self, size: int, ready: float) -> float:
        """Return when a slice that is ready at a time has passed, behind all slices before it."""
        if self.rate is None:
            return ready
        self._free_at = max(self._free_at, ready) + size / self.rate
        return self._free_at

    def room(self, waiting: int) -> int:
        """Return how many bytes may come in while others wait."""
        limit = _MAX_WAITING if self.rate is None else max(1, int(self.rate * (_QUEUE + self.delay)))
        return max(0, limit - waiting)

    @property
    def receive_buffer(self) -> int | None:
        """The size of the receive buffer of a socket whose bytes pass, None if it need not be changed.

        A larger one would take in bytes that are only to pass in seconds, and acknowledge them to their sender.
        """
        if self.rate is None:
            return _LARGE_BUFFER if self._was_limited else None
        return min(_LARGEST_LIMITED, max(_SMALLEST_BUFFER, int(self.rate * _QUEUE)))
