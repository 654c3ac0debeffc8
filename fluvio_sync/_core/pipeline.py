# SPDX-License-Identifier: Apache-2.0
"""Links and the requests on them: what the dispatcher knows of the connections to SPUs.

Data only, guarded by the client's lock.
"""

from __future__ import annotations

import enum
import itertools
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluvio_sync._core.batch import Batch
    from fluvio_sync._core.partition import Lane
    from fluvio_sync.delivery import Isolation
    from fluvio_sync.errors import FluvioError


class LinkState(enum.Enum):
    """What a link is doing."""

    DOWN = "no connection"
    CONNECTING = "being made"
    UP = "ready for requests"

    __hash__ = object.__hash__  # as `LaneState`


class Link:
    """One connection to an SPU, for one isolation level; survives the connection."""

    __slots__ = (
        "deadline",
        "generation",
        "in_flight",
        "isolation",
        "last_error",
        "peer",
        "queue",
        "spu",
        "state",
        "timer",
        "was_up",
    )

    def __init__(self, spu: int, isolation: Isolation) -> None:
        self.spu = spu
        self.isolation = isolation
        self.peer = f"SPU {spu}"  # for messages; with its address once that is known
        self.state = LinkState.DOWN
        self.generation = 0  # counts its connections, so that late news of an old one is known as such
        self.queue: deque[Lane] = deque()  # may hold lanes that moved on; `_is_queued` tells
        self.in_flight: deque[Request] = deque()
        self.deadline = 0.0  # of connecting
        self.timer: float | None = None
        self.was_up = False
        self.last_error: FluvioError | None = None

    def reset(self) -> None:
        """Its connection is gone, and nothing that is queued or under way on it counts any more."""
        self.state = LinkState.DOWN
        self.queue.clear()
        for request in self.in_flight:
            request.lost = True
        self.in_flight.clear()
        self.timer = None


class Request:
    """A produce request: which batches of which lanes, in the order in which they stand in it."""

    __slots__ = ("acked", "entries", "given_up", "in_line_at", "link", "lost", "unread", "written", "wrote_any")

    def __init__(self, link: Link, entries: list[tuple[Lane, list[Batch]]], now: float) -> None:
        self.link = link
        self.entries = entries
        self.acked = entries[0][0].acked
        self.given_up: set[Lane] = set()  # went to another leader meanwhile; what is answered for these does not count
        self.in_line_at = now  # since when the SPU could be working on it
        self.wrote_any = False
        self.written = False
        self.unread: list[tuple[Lane, int]] = []  # at-most-once, once written: lanes and how many records they sent
        self.lost = False  # its connection broke; what is still reported of it does not count

    @property
    def live_entries(self) -> list[tuple[Lane, list[Batch]]]:
        """What somebody still waits for."""
        if not self.given_up:
            return self.entries
        return [entry for entry in self.entries if entry[0] not in self.given_up]

    @property
    def batches(self) -> Iterable[Batch]:
        """The batches of all live entries."""
        return itertools.chain.from_iterable(batches for _, batches in self.live_entries)


class Settlement:
    """A read-committed entry that the leader stored from `base_offset` on, and that may not be replicated yet."""

    __slots__ = ("asked_at", "base_offset", "batches", "lane", "link", "next_ask")

    def __init__(self, lane: Lane, link: Link, batches: list[Batch], base_offset: int, now: float) -> None:
        self.lane = lane
        self.link = link
        self.batches = batches
        self.base_offset = base_offset
        self.asked_at: float | None = None  # since when an answer is awaited
        self.next_ask = now
