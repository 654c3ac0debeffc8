# SPDX-License-Identifier: Apache-2.0
"""Patience: when an SPU does not answer in time, and how much is sent to it at once afterwards.

Pure; guarded by the client's lock.  A connection is dead if bytes are under way and none arrives at the SPU's machine
for the shortest patience of its requests.  An answer is late if the whole request has arrived and nothing comes back
for the longest: a slow SPU must not cost patient records their connection because impatient ones share it.  So the time
counts from the last byte that arrived, and a slow connection is not taken for a dead one, however large the request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

# Seconds that an answer is awaited at least, unless `request_timeout` is less, and the part of a policy's timeout that
# it is awaited: two more attempts have to be possible.
_LEAST: Final = 1.0
_PART: Final = 3
# Looks at the progress of a request until it is late.  The first one tells later ones where it stood.
_LOOKS: Final = 4


def reply_timeout(policy_timeout: float, request_timeout: float) -> float:
    """Return the seconds that one attempt under a policy with this timeout may wait for its answer."""
    return min(request_timeout, max(_LEAST, policy_timeout / _PART))


class Request(Protocol):
    """The part of `pipeline.Request` that counts here; the name would close an import circle."""

    acked: bool
    end: int
    patience: float
    shortest_patience: float

    @property
    def size(self) -> int:
        """Its bytes."""
        ...


class Progress:
    """How far the requests in flight on a pipeline have come.

    * `in_line_at`: since when the oldest one is the oldest.
    * `look_at`: when to look next.
    """

    __slots__ = ("_arrived", "_quiet_since", "_stuck_since", "in_line_at", "look_at")

    def __init__(self) -> None:
        self.in_line_at = 0.0
        self.look_at = math.inf
        self._arrived: int | None = None  # the place in the stream; None until the first look
        self._quiet_since = 0.0  # the last progress of the oldest request
        self._stuck_since: float | None = None  # since when bytes are under way and none arrives

    def follow(self, request: Request, now: float, *, first: bool) -> None:
        """Look at the connection in time for this request; `first`: it is the oldest from now on."""
        look_at = now + request.shortest_patience / _LOOKS
        if first:
            self._arrived = None
            self.in_line_at = self._quiet_since = self._stuck_since = now
            self.look_at = look_at
        else:
            self.look_at = min(self.look_at, look_at)

    def asked(self, in_flight: Sequence[Request], now: float) -> None:
        """Note that the connection is asked, which may break before it tells."""
        self.look_at = now + _shortest(in_flight) / _LOOKS

    def see(self, arrived: int, in_flight: Sequence[Request], now: float) -> bool:
        """Take the place in the stream up to which it has arrived; return whether the oldest request is late."""
        before, end = self._arrived, in_flight[0].end
        if arrived >= in_flight[-1].end:
            self._stuck_since = None
        elif self._stuck_since is None or (before is not None and arrived > before):
            self._stuck_since = now
        if before is not None and min(arrived, end) > before:
            self._quiet_since = now
        self._arrived = arrived
        shortest = _shortest(in_flight)
        dead_at = math.inf if self._stuck_since is None else self._stuck_since + shortest
        late_at = min(dead_at, self._quiet_since + _longest(in_flight))
        self.look_at = min(now + shortest / _LOOKS, late_at)
        return now >= late_at

    def lateness(self, in_flight: Sequence[Request], now: float) -> str:
        """Return why the oldest request is late, for an error's text."""
        if self._stuck_since is None or self._arrived is None:
            return f"has not answered a produce request for {now - self._quiet_since:.1f} s"
        left = in_flight[-1].end - self._arrived
        return f"has received nothing for {now - self._stuck_since:.1f} s, with {left} bytes of requests under way"


def _shortest(in_flight: Sequence[Request]) -> float:
    return min(request.shortest_patience for request in in_flight)


def _longest(in_flight: Sequence[Request]) -> float:
    """Return the longest patience; that of at-most-once requests, which have no policy, counts only without others."""
    acked = [request.patience for request in in_flight if request.acked]
    return max(acked) if acked else in_flight[0].patience


class Allowance:
    """The bytes that one request to an SPU may have; kept when its connection is made again.

    `limit`: None as long as no answer was late.  One batch is sent however large it is.
    """

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit: int | None = None

    def reduce(self, size: int) -> None:
        """Halve it: the answer to a request of `size` bytes was late."""
        self.limit = (size if self.limit is None else min(size, self.limit)) // 2

    def enlarge(self, request: Request, most: int, waited: float) -> None:
        """Double it up to `most`, if the answer to twice the bytes of this request would have been in time as well."""
        if self.limit is not None and waited < request.patience / 2:
            doubled = 2 * max(self.limit, request.size)
            self.limit = None if doubled >= most else doubled
