# SPDX-License-Identifier: Apache-2.0
"""Timers: when the dispatcher has to look at a queue or pipeline next.  Pure; guarded by the client's lock."""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Final, Generic, Protocol, TypeVar


class Timed(Protocol):
    """An object with one timer: monotonic seconds, None when it is not set."""

    timer: float | None


T = TypeVar("T", bound=Timed)

_FEW: Final = 64


class Timers(Generic[T]):
    """A heap with one valid entry per item.

    An item may come due too early, never too late: arming it for a later time than its timer's changes nothing.  So a
    queue whose batches come and go, each with its own deadline, has one entry, not one per batch.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, T]] = []
        self._serial = itertools.count()  # decides between equal times
        self._crowded = _FEW  # the number of entries at which old ones are removed

    def arm(self, item: T, when: float) -> None:
        """Have the item come due at `when`, or earlier if it is armed for an earlier time."""
        if item.timer is None or when < item.timer:
            item.timer = when
            heapq.heappush(self.heap, (when, next(self._serial), item))
            if len(self.heap) >= self._crowded:
                self._clear_out()

    def _clear_out(self) -> None:
        """Remove the entries of items that were armed for an earlier time since; some would stay for long."""
        valid = {id(entry[2]): entry for entry in self.heap if entry[2].timer == entry[0]}
        self.heap = list(valid.values())
        heapq.heapify(self.heap)
        self._crowded = 2 * len(self.heap) + _FEW

    def due(self, now: float) -> list[T]:
        """Return the items that are due; their timers are unset, and may be armed again."""
        heap, items = self.heap, []
        while heap and heap[0][0] <= now:
            when, _, item = heapq.heappop(heap)
            if item.timer == when:  # otherwise it was armed for another time since
                item.timer = None
                items.append(item)
        return items

    def earliest(self) -> float:
        """Return a time before which no item is due.  Without the lock, while no other thread arms items."""
        try:
            return self.heap[0][0]
        except IndexError:
            return math.inf

    def next(self) -> float:
        """Return when the next item is due; infinite without one."""
        heap = self.heap
        while heap and heap[0][2].timer != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf
