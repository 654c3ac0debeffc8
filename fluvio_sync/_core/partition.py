# SPDX-License-Identifier: Apache-2.0
"""Lanes: the ordered sequence of batches of one topic, partition and settings.

Data only; the accumulator appends to a lane's open batch, the dispatcher decides about all others.  Guarded by the
client's lock.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

from fluvio_sync.delivery import AtLeastOnce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync._core.batch import Batch
    from fluvio_sync._core.pipeline import Link, Settlement
    from fluvio_sync._core.topic import Channel


class LaneState(enum.Enum):
    """What a lane is doing; `dispatcher.TRANSITIONS` is the table of moves between these."""

    IDLE = "no records"
    LINGERING = "an open batch waits for more records"
    WAITING = "no leader to send to"
    QUEUED = "in the queue of its leader's link"
    IN_FLIGHT = "in a request that is not answered"
    BACKING_OFF = "a delay before the next attempt"
    SETTLING = "stored by the leader, replication to be confirmed"

    # Enum's own is written in Python, and a record that is sent alone looks eight times into a table.
    __hash__ = object.__hash__


class Lane:
    """One partition's batches under one set of settings: at most one request carries them at a time.

    `unresolved` holds every batch from its first record until its accounts are settled, in order.  The other places
    (`open`, `queue`, `in_flight`) say how far each is, and can be made again from it: see `rebuild`.
    """

    __slots__ = (
        "acked",
        "batch_size",
        "channel",
        "failing",
        "in_flight",
        "leave_at",
        "linger",
        "link",
        "max_request_size",
        "noted",
        "open",
        "partition",
        "queue",
        "refused",
        "retry_at",
        "settlement",
        "singly",
        "state",
        "timeout",
        "timer",
        "topic",
        "unresolved",
        "unrouted_since",
    )

    def __init__(self, channel: Channel, partition: int, request_timeout: float) -> None:
        self.channel = channel
        self.topic = channel.topic
        self.partition = partition
        config = channel.config
        semantic = config.delivery_semantic
        self.acked = isinstance(semantic, AtLeastOnce)
        self.timeout = semantic.retry_policy.timeout if isinstance(semantic, AtLeastOnce) else request_timeout
        self.linger = config.linger
        self.batch_size = config.batch_size
        self.max_request_size = config.max_request_size
        self.state = LaneState.IDLE
        self.unresolved: list[Batch] = []
        self.open: Batch | None = None
        self.queue: deque[Batch] = deque()
        self.in_flight: list[Batch] = []
        self.failing = False  # its last attempt failed
        self.refused = False  # at-most-once: the server's last answer was an error
        self.singly = False  # one batch a request, until it is empty: a server found a request's batches too large
        self.noted = False  # in the accumulator's list of lanes the dispatcher should look at
        self.retry_at = 0.0
        self.unrouted_since: float | None = None  # since when there is no leader to send to
        self.leave_at: float | None = None  # when to give up on a leader that was replaced
        self.timer: float | None = None
        self.link: Link | None = None  # where it is queued, or where its last request went
        self.settlement: Settlement | None = None

    def delays(self) -> Iterator[float]:
        """Return the policy's delays, afresh."""
        semantic = self.channel.config.delivery_semantic
        return semantic.retry_policy.delays() if isinstance(semantic, AtLeastOnce) else iter(())

    def is_over_share(self, charge: int, quota: int) -> bool:
        """Whether a failing lane would hold more than its share of memory with `charge` bytes more.

        One record is always let in: however large, it is how a partition shows that it works again.
        """
        return self.failing and bool(self.unresolved) and self.charge + charge > quota

    @property
    def charge(self) -> int:
        """The bytes that its batches are accounted for in `buffer_memory`."""
        return sum(batch.charge for batch in self.unresolved)

    def seal_open(self, now: float) -> None:
        """Move the open batch, if there is one, to the end of the queue."""
        batch = self.open
        if batch is not None:
            batch.seal(now)
            self.queue.append(batch)
            self.open = None

    def straighten(self) -> None:
        """Undo what an exception in the middle of `seal_open`, or of adding a record, left behind."""
        if self.open is not None:
            self.open.straighten()
            if self.open.builder.count == 0 or (self.queue and self.queue[-1] is self.open):
                self.open = None
        while self.unresolved and self.unresolved[-1].builder.count == 0:
            self.unresolved.pop()

    def replace_by_halves(self, batch: Batch) -> None:
        """Let a batch's halves take its place and its futures; each step can be repeated after an interruption."""
        assert batch.halves is not None
        left, right = batch.halves
        batch.outcome.halve(left.outcome, right.outcome, left.builder.count)
        for barrier in batch.flushes:
            barrier.batches.update(batch.halves)
            barrier.batches.discard(batch)
        index = self.unresolved.index(batch)
        self.unresolved[index : index + 1] = batch.halves

    def rebuild(self) -> None:
        """Find what an exception may have left half done, and put every unresolved batch where it belongs.

        What was in a request is back in `in_flight`, and may have been written.
        """
        self.straighten()
        for batch in [*self.unresolved]:
            if batch.halves is not None:
                self.replace_by_halves(batch)
        self.in_flight = [batch for batch in self.unresolved if batch.in_request and not batch.done]
        self.requeue()
        for batch in self.in_flight:
            batch.maybe_written = True
        for batch in self.unresolved:
            batch.delays = None  # a generator that an exception left has ended
        self.settlement = None
        self.leave_at = None
        self.timer = None

    def requeue(self) -> None:
        """Queue, in order, what is neither decided nor open nor in a request."""
        left = (batch for batch in self.unresolved if not batch.done and not batch.in_request)
        self.queue = deque(batch for batch in left if batch is not self.open)

    def waiting(self) -> list[Batch]:
        """Return the batches that no request carries, oldest first."""
        return [*self.queue] if self.open is None else [*self.queue, self.open]

    def batches(self) -> list[Batch]:
        """Return all batches, oldest first; those in flight may be done already, by their deadline."""
        return [*self.in_flight, *self.waiting()]

    def first_left(self) -> Batch | None:
        """Return the oldest batch of which it is not decided what becomes."""
        for batches in (self.in_flight, self.queue):
            for batch in batches:
                if not batch.done:
                    return batch
        return self.open

    @property
    def ready_at(self) -> float | None:
        """When its oldest waiting batch is ready to be sent; None without one."""
        if self.queue:
            return self.queue[0].ready_at
        return None if self.open is None else self.open.ready_at
