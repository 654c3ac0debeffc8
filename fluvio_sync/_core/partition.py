# SPDX-License-Identifier: Apache-2.0
"""Batches, and partition queues: the ordered batches of one partition under one set of settings.

Guarded by the client's lock, but for a batch's `encoded` bytes, which the thread that runs the sender's step writes.
The accumulator appends to a queue's open batch, the dispatcher decides about all others.  Order is kept because at most
one request at a time carries batches of a queue, and it begins with the oldest.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._base.value import Value
from fluvio_sync._core.patience import reply_timeout
from fluvio_sync._outcomes.batch_futures import BatchFutures
from fluvio_sync._outcomes.handle_stats import OwnerSpan
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.protocol.batch import (
    MIN_TIMESTAMP_DELTA,
    NO_IDENTITY,
    BatchBuilder,
    decode_record_set,
)
from fluvio_sync.protocol.compression import compressor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._outcomes.handle_stats import HandleStats
    from fluvio_sync.errors import FluvioError

# Bytes that a record counts beside its key and value: its future and its share of the batch's lists (measured by
# `bench/memory.py`).
RECORD_CHARGE: Final = 128
# Seconds that records wait for their partition to come online before its leader is tried all the same.
OFFLINE_PATIENCE: Final = 1.0
SETTLING: Final = 1.0
"""Seconds after which no request of a connection that is gone is carried out any more, as far as is known.

An SPU carries out the requests that it has received, and receives no more on a connection that was reset.
"""


class Ending:
    """The end of a request that batches were left in; `at`: when it was answered or lost, infinite before.

    They keep this and not the request, which keeps them.
    """

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = math.inf


class Batch:
    """The records of one batch and its history.

    * `opened`, `ready_at`, `deadline`: monotonic seconds.
    * `done`: its outcome is decided.
    * `sequence`: that of its identity; -1 until it is sent.
    * `earlier`: sequence, and place of its first record in it, of the batches that it was a part of.
    * `bound`: the offset before which it is not in the log, and from which it is looked for; None: unknown.
    * `looked_to`: the offset up to which the last look did not find it.
    * `unverified`: it was counted as sent again without a look.
    * `sent_to`: the SPUs that requests with it went to.
    * `left_in`: the ends of requests that carry it to leaders that were replaced, and that no answer is awaited of.
    * `sent_in_doubt`: it was sent again though an earlier request of it may be carried out, so it may be stored twice.
    * `outcome`: kept until it is carried out and accounted for; longer, the two would hold each other in memory.
    """

    __slots__ = (
        "attempts",
        "barriers",
        "bound",
        "builder",
        "counted",
        "deadline",
        "delays",
        "done",
        "earlier",
        "encoded",
        "futures",
        "halves",
        "handle_stats",
        "in_request",
        "last_error",
        "left_in",
        "looked_to",
        "maybe_written",
        "opened",
        "outcome",
        "queue",
        "ready_at",
        "retries",
        "sent_in_doubt",
        "sent_to",
        "sequence",
        "unverified",
    )

    def __init__(self, queue: PartitionQueue, builder: BatchBuilder, futures: BatchFutures, opened: float) -> None:
        self.queue = queue
        self.builder = builder
        self.futures = futures
        self.opened = opened
        self.ready_at = opened + queue.linger
        self.deadline = self.ready_at + queue.timeout
        self.handle_stats: HandleStats | None = None  # of the handle that sent its last record
        self.attempts = 0
        self.retries = 0  # delays that were asked of the policy
        self.delays: Iterator[float] | None = None  # the policy's remaining delays
        self.last_error: FluvioError | None = None
        self.maybe_written = False  # a byte of it was sent, and no rejection proved that it was not stored
        self.sequence = -1
        self.earlier: tuple[EarlierBatch, ...] = ()
        self.bound: int | None = None
        self.looked_to: int | None = None
        self.sent_to: tuple[int, ...] = ()
        self.left_in: tuple[Ending, ...] = ()
        self.sent_in_doubt = False
        self.unverified = False
        self.in_request = False  # its last attempt is neither answered nor failed
        self.done = False
        self.outcome: Outcome | None = None
        self.counted = False  # in its topic's counters
        self.halves: tuple[Batch, Batch] | None = None  # the two batches that replace it
        self.encoded: list[bytes] | None = None
        self.barriers: list[FlushBarrier] = []

    def __repr__(self) -> str:
        return f"<batch of {self.builder.count} for {self.queue}>"

    def seal(self, now: float) -> None:
        """Close it for records; its deadline runs from now at the latest."""
        if now < self.ready_at:
            self.ready_at = now
            self.deadline = now + self.queue.timeout

    @property
    def charge(self) -> int:
        """The bytes that it is accounted for in `buffer_memory`."""
        return self.builder.payload + self.builder.count * RECORD_CHARGE

    def begin_span(self, handle_stats: HandleStats) -> None:
        """Note that the next record comes from this handle."""
        self.futures.spans.append(OwnerSpan(self.builder.count, handle_stats))
        self.handle_stats = handle_stats

    def rollback(self) -> None:
        """Remove a record that found no room, or whose `send()` was interrupted."""
        self.builder.rollback()
        spans = self.futures.spans = [span for span in self.futures.spans if span.start < self.builder.count]
        self.handle_stats = spans[-1].handle_stats if spans else None

    def encode(self) -> list[bytes]:
        """Return the batch as buffers; it is encoded once, however often it is sent."""
        if self.encoded is None:
            codec, compress = self._compression()
            identity = NO_IDENTITY if self.sequence < 0 else (self.queue.producer_id, 0, self.sequence)
            self.encoded = self.builder.build(codec, compress, identity=identity)
            self.builder.release()
        return self.encoded

    def encode_ahead(self) -> None:
        """Do what of `encode` can be done before the batch has its place among those that are sent."""
        if self.encoded is None:
            codec, compress = self._compression()
            self.builder.prepare(codec, compress)

    def _compression(self) -> tuple[int, Callable[[bytes], bytes] | None]:
        topic_state = self.queue.topic_state
        codec = topic_state.compression.codec
        return codec, compressor(codec, topic_state.config.compression_level) if codec else None

    def identities(self) -> list[EarlierBatch]:
        """Return all under which its records may stand in the log."""
        own = [] if self.sequence < 0 else [EarlierBatch(self.sequence, 0, self.builder.count)]
        return [*own, *self.earlier]

    def lower_bound(self, spu: int, end: int) -> None:
        """Look for it from there on, or everywhere: an SPU's log ended there."""
        self.bound = lowered(self.bound, self.sent_to, spu, end)
        if self.looked_to is not None and self.looked_to > end:
            self.looked_to = None

    def records(self) -> list[tuple[bytes | None, bytes, int]]:
        """Return key, value and timestamp of every record."""
        if self.encoded is None:
            return self.builder.records()
        (batch,) = decode_record_set(b"".join(self.encoded))
        return [(record.key, record.value, record.timestamp) for record in batch.records]

    def next_delay(self) -> float | None:
        """Return the delay before the next attempt in seconds, None if the policy has no attempt left."""
        if self.delays is None:
            self.delays = itertools.islice(self.queue.delays(), self.retries, None)
        delay = next(self.delays, None)
        self.retries += 1
        return delay

    def belongs_to(self, handle_stats: HandleStats | None) -> bool:
        """Whether this handle has records in it; None: any handle."""
        return handle_stats is None or any(span.handle_stats is handle_stats for span in self.futures.spans)

    def belongs_only_to(self, handle_stats: HandleStats | None) -> bool:
        """Whether no other handle than this one has records in it; None: any handle."""
        return handle_stats is None or all(span.handle_stats is handle_stats for span in self.futures.spans)

    def halve(self) -> tuple[Batch, Batch]:
        """Split a batch of several records into two, which take over its futures, deadline and flush barriers."""
        records = self.records()
        middle = len(records) // 2
        left, right = self._part(records[:middle], 0), self._part(records[middle:], middle)
        for span in self.futures.spans:
            if span.start < middle:
                left.futures.spans.append(span)
            if span.start <= middle:
                right.futures.spans[:] = [OwnerSpan(0, span.handle_stats)]
            else:
                right.futures.spans.append(OwnerSpan(span.start - middle, span.handle_stats))
        self.halves = left, right
        self.queue.replace_by_halves(self)
        return left, right

    def _part(self, records: list[tuple[bytes | None, bytes, int]], start: int) -> Batch:
        # The whole batch's: from it, and perhaps from no other, the deltas of all records fit.
        first = self.builder.first_timestamp
        builder = BatchBuilder(first)
        for key, value, timestamp in records:
            builder.append(key, value, timestamp, lowest_delta=MIN_TIMESTAMP_DELTA)
        shared = self.futures
        futures = BatchFutures(shared.topic, shared.partition, first, builder.timestamps, shared.callbacks)
        part = Batch(self.queue, builder, futures, self.opened)
        part.ready_at, part.deadline = self.ready_at, self.deadline
        part.attempts = self.attempts
        part.retries = self.retries
        part.maybe_written, part.last_error = self.maybe_written, self.last_error
        part.bound, part.looked_to = self.bound, self.looked_to
        part.sent_to, part.left_in = self.sent_to, self.left_in
        part.sent_in_doubt, part.unverified = self.sent_in_doubt, self.unverified
        part.barriers = list(self.barriers)
        if self.maybe_written or self.sent_in_doubt:
            part.earlier = tuple(item._replace(start=item.start + start) for item in self.identities())
        return part


def lowered(bound: int | None, sent_to: Collection[int], spu: int, end: int) -> int | None:
    """Return a batch's bound, now that an SPU's log ended before it, after the batch was sent to these SPUs.

    Unknown if it was sent to this one, whose log then lost its end: before or after the batch was written.
    """
    if bound is None or bound <= end:
        return bound
    return None if spu in sent_to else end


def settled_at(failed_at: float, left_in: Iterable[Ending]) -> float:
    """Return when nothing of an attempt that failed then, nor of requests that were left, is carried out any more."""
    return max([failed_at, *(ending.at for ending in left_in)]) + SETTLING


class EarlierBatch(NamedTuple):
    """A batch whose records from `start` on are those of another one; `records`: the number of all of its own."""

    sequence: int
    start: int
    records: int


class FlushBarrier:
    """The batches that a flush waits for.  A set, so that removing one twice does no harm."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches: set[Batch] = set()

    @property
    def records(self) -> int:
        """The number of their records.  Called with the client's lock held."""
        return sum(batch.builder.count for batch in self.batches)

    def add(self, batches: Iterable[Batch]) -> None:
        """Have the flush wait for these unfinished batches as well."""
        for batch in batches:
            batch.barriers.append(self)
            self.batches.add(batch)


class Acknowledged(Value):
    """A batch is stored, its first record at `base_offset` (None: unknown, since SPUs may drop records)."""

    __slots__ = ("base_offset", "batch")

    def __init__(self, batch: Batch, base_offset: int | None) -> None:
        self.batch = batch
        self.base_offset = base_offset


class Sent(Value):
    """An at-most-once batch was handed to the socket."""

    __slots__ = ("batch",)

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Failed(Value):
    """A batch failed; `failure(index)` makes the error of one of its records."""

    __slots__ = ("batch", "failure")

    def __init__(self, batch: Batch, failure: Callable[[int], FluvioError]) -> None:
        self.batch = batch
        self.failure = failure


class Dropped(Value):
    """An at-most-once batch was lost."""

    __slots__ = ("batch", "error")

    def __init__(self, batch: Batch, error: FluvioError) -> None:
        self.batch = batch
        self.error = error


Outcome = Acknowledged | Sent | Failed | Dropped


@mypyc_attr(allow_interpreted_subclasses=True)
class State:
    """The state of a partition queue, with the data that has a meaning in it alone.

    `batches`: carried by a request or stored by the leader.  The states that belong to a pipeline stand in `pipeline`.
    """

    __slots__ = ()
    batches: Sequence[Batch] = ()

    def due(self, _now: float) -> float:
        """Return when the queue has to be looked at, in monotonic seconds, its batches' deadlines aside."""
        return math.inf


class Idle(State):
    """It has no records."""

    __slots__ = ()


class Lingering(State):
    """Its open batch waits for more records until it is ready."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        self.until = until

    def due(self, _now: float) -> float:
        """Return when the batch is ready."""
        return self.until


class Waiting(State):
    """It has no leader to send to."""

    __slots__ = ("since",)

    def __init__(self, since: float) -> None:
        self.since = since

    def due(self, now: float) -> float:
        """Return when the leader of a partition that is said to be offline is tried."""
        trial = self.since + OFFLINE_PATIENCE
        return trial if trial > now else math.inf


class BackingOff(State):
    """It waits for the policy's delay before the next attempt; `error`: of the last one."""

    __slots__ = ("error", "until")

    def __init__(self, until: float, error: FluvioError) -> None:
        self.until = until
        self.error = error

    def due(self, _now: float) -> float:
        """Return when the delay is over."""
        return self.until


IDLE: Final = Idle()


class PartitionQueue:
    """The batches of one partition under one set of settings.

    * `timeout`, `patience`: seconds for all attempts of a batch, and for the answer to one.
    * `producer_id`, `sequences`: the client's, and its next sequence for each partition of the topic.
    * `bound`: the offset before which its next batch will not be stored; None: not known yet.
    * `acked_end`: the offset behind its last acknowledged record.
    * `leader`: the SPU that led the partition when that changed last; None: never.
    * `session`: the connection on which `bound` was asked for, and on which its batches may be sent.
    * `looked`: the batches in doubt were looked for on this connection, and none was sent since.
    * `failed_at`: when its last attempt failed, in monotonic seconds.

    `unresolved` holds every batch from its first record until it is accounted for, in order.  The other places
    (`open`, `sealed`, the state's batches) say how far each is, and can be made again from it: see `rebuild`.
    """

    __slots__ = (
        "acked",
        "acked_end",
        "batch_size",
        "bound",
        "dirty",
        "failed_at",
        "failing",
        "leader",
        "linger",
        "looked",
        "max_request_size",
        "one_batch_per_request",
        "open",
        "partition",
        "patience",
        "producer_id",
        "rejected",
        "sealed",
        "sequences",
        "session",
        "state",
        "timeout",
        "timer",
        "topic",
        "topic_state",
        "unresolved",
        "verified_told",
    )

    def __init__(
        self,
        topic_state: TopicState,
        partition: int,
        request_timeout: float,
        producer_id: int,
        sequences: dict[int, int],
    ) -> None:
        config = topic_state.config
        semantic = config.delivery_semantic
        self.topic_state = topic_state
        self.topic = topic_state.topic
        self.partition = partition
        self.acked = isinstance(semantic, AtLeastOnce)
        self.timeout = semantic.retry_policy.timeout if isinstance(semantic, AtLeastOnce) else request_timeout
        self.patience = reply_timeout(self.timeout, request_timeout) if self.acked else request_timeout
        self.linger = config.linger
        self.batch_size = config.batch_size
        self.max_request_size = config.max_request_size
        self.state: State = IDLE
        self.unresolved: list[Batch] = []
        self.open: Batch | None = None
        self.sealed: deque[Batch] = deque()
        self.failing = False  # its last attempt failed
        self.rejected = False  # at-most-once: the server's last answer was an error
        self.one_batch_per_request = False  # until it is empty: a server found a request's batches too large
        self.dirty = False  # in the accumulator's list of queues that the dispatcher has to look at
        self.timer: float | None = None
        self.producer_id = producer_id
        self.sequences = sequences
        self.bound: int | None = None
        self.acked_end = 0
        self.leader: int | None = None
        self.session: object = None
        self.looked = False
        self.failed_at = -math.inf
        self.verified_told = False  # since it began to fail

    def __repr__(self) -> str:
        return f"{self.topic}-{self.partition}"

    @property
    def verifies(self) -> bool:
        """Whether batches in doubt are looked for before they are sent again; SPUs with modules make batches anew."""
        return self.acked and self.topic_state.config.verify_retries and not self.topic_state.may_drop_records

    def in_doubt(self) -> list[Batch]:
        """Return the waiting batches that may have been written; they are the oldest."""
        return list(itertools.takewhile(lambda batch: batch.maybe_written, self.sealed))

    def take_found(self, offsets: Callable[[list[EarlierBatch]], list[int]]) -> tuple[list[Batch], list[int]]:
        """Remove and return the batches in doubt that are in the log, with the offsets at which each first stands.

        `offsets`: returns where a batch stands.  One behind a batch that is missing stays: order comes first.
        """
        found, places = [], []
        for batch in self.in_doubt():
            stands = offsets(batch.identities())
            if not stands:
                break
            self.sealed.popleft()
            found.append(batch)
            places.append(stands[0])
        return found, places

    def note_end(self, spu: int, high_watermark: int) -> None:
        """Note that an SPU's log ends there, or behind it: what it is sent from now on does not stand before."""
        self.bound = high_watermark if self.bound is None else min(self.bound, high_watermark)
        for batch in self.state.batches:
            if batch.bound is None:
                batch.bound = high_watermark
        for batch in self.sealed:
            if spu not in batch.sent_to:
                batch.lower_bound(spu, high_watermark)

    def note_shorter(self, spu: int, end: int) -> None:
        """Note that an SPU's log ended there: batches that were sent before may stand before their bounds."""
        if self.bound is not None:
            self.bound = min(self.bound, end)
        for batch in itertools.chain(self.state.batches, self.sealed):
            batch.lower_bound(spu, end)

    def note_leader(self, leader: int | None, now: float) -> None:
        """Note that another SPU leads the partition, whose log may end before the last one's.

        If it has led before, and requests to it may still be carried out, their batches may stand before their bounds.
        """
        self.leader, self.session = leader, None
        for batch in itertools.chain(self.state.batches, self.sealed):
            is_settled = not batch.in_request and settled_at(self.failed_at, batch.left_in) <= now
            if leader in batch.sent_to and not is_settled:
                batch.bound = batch.looked_to = None

    def pass_doubt(self, session: object, leader: int) -> None:
        """Have the batches sent on this connection, to this SPU, without another look."""
        self.session, self.leader, self.looked = session, leader, True

    def forget_log(self) -> None:
        """Forget how far the log went: the partition is gone, and may be made again."""
        self.session, self.bound, self.acked_end = None, None, 0

    def delays(self) -> Iterator[float]:
        """Return the policy's delays from the first one on."""
        semantic = self.topic_state.config.delivery_semantic
        return semantic.retry_policy.delays() if isinstance(semantic, AtLeastOnce) else iter(())

    def wait_for(self, delay: float, left: float) -> float | None:
        """Return the policy's seconds until the next attempt, None if there is no time for another one."""
        semantic = self.topic_state.config.delivery_semantic
        return semantic.retry_policy.wait_for(delay, left) if isinstance(semantic, AtLeastOnce) else None

    def is_over_share(self, charge: int, quota: int) -> bool:
        """Whether a failing queue would hold more than its share of memory with `charge` bytes more.

        One record is always let in: however large, it is how a partition shows that it works again.
        """
        return self.failing and bool(self.unresolved) and self.charge + charge > quota

    @property
    def charge(self) -> int:
        """The bytes that its batches are accounted for in `buffer_memory`."""
        return sum(batch.charge for batch in self.unresolved)

    @property
    def in_flight(self) -> Sequence[Batch]:
        """The batches that a request carries or the leader stored, oldest first."""
        return self.state.batches

    def is_unused(self) -> bool:
        """Whether it has nothing to do, and no other part of the client refers to it to do something."""
        return self.state is IDLE and not self.unresolved and not self.dirty

    def waiting(self) -> list[Batch]:
        """Return the batches that no request carries, oldest first."""
        return [*self.sealed] if self.open is None else [*self.sealed, self.open]

    def batches(self) -> list[Batch]:
        """Return all batches, oldest first; those in flight may be done already, by their deadline."""
        return [*self.in_flight, *self.waiting()]

    def first_undecided(self) -> Batch | None:
        """Return the oldest batch that has no outcome."""
        for batch in self.state.batches:
            if not batch.done:
                return batch
        for batch in self.sealed:
            if not batch.done:
                return batch
        return self.open

    @property
    def ready_at(self) -> float | None:
        """When its oldest waiting batch is ready to be sent; None without one."""
        if self.sealed:
            return self.sealed[0].ready_at
        return None if self.open is None else self.open.ready_at

    def next_timer(self, now: float) -> float | None:
        """Return when the dispatcher has to look at it, None if never.

        Batches in flight that have all expired need no timer: that of their request ends them.
        """
        oldest = self.first_undecided()
        if oldest is None:
            return None
        return min(max(oldest.deadline, now), self.state.due(now))

    # Moving batches.

    def seal_open(self, now: float) -> None:
        """Move the open batch, if there is one, to the end of the sealed ones."""
        batch = self.open
        if batch is not None:
            batch.seal(now)
            self.sealed.append(batch)
            self.open = None

    def take(self, room: int, now: float, *, at_least_one: bool = False) -> list[Batch]:
        """Remove and return the ready batches, oldest first, that fit into `room` bytes.

        `at_least_one`: the first is taken even if it does not.
        """
        taken: list[Batch] = []
        while self.sealed or (self.open is not None and self.open.ready_at <= now):
            if not self.sealed:
                self.seal_open(now)
            if self.sealed[0].builder.size > room and (taken or not at_least_one):
                break
            batch = self.sealed.popleft()
            room -= batch.builder.size
            taken.append(batch)
            if self.one_batch_per_request:
                break
        return taken

    def take_all(self, now: float) -> list[Batch]:
        """Remove and return all waiting batches."""
        self.seal_open(now)
        taken = [*self.sealed]
        self.sealed.clear()
        return taken

    def put_back(self, batches: Sequence[Batch]) -> None:
        """Return batches of a failed attempt to the front."""
        self.sealed.extendleft(reversed(batches))

    def put_back_smaller(self, batches: list[Batch]) -> None:
        """Return batches that were too large together to the front, to be sent one by one; a lone one in two halves."""
        self.one_batch_per_request = True
        parts = [batch for batch in batches if not batch.done]
        for batch in parts:
            batch.in_request = False
        if len(batches) == 1 and parts:
            parts = [*parts[0].halve()]
            self.batch_size = min(self.batch_size, max(part.builder.size for part in parts))
        self.put_back(parts)

    def take_expired(self, now: float) -> list[Batch]:
        """Remove and return the waiting batches whose deadline has passed."""
        if self.open is not None and self.open.deadline <= now:
            self.seal_open(now)
        expired = []
        while self.sealed and self.sealed[0].deadline <= now:
            expired.append(self.sealed.popleft())
        return expired

    def replace_by_halves(self, batch: Batch) -> None:
        """Let a batch's halves take its place and its futures; each step can be repeated after an interruption."""
        assert batch.halves is not None
        left, right = batch.halves
        batch.futures.halve(left.futures, right.futures, left.builder.count)
        for barrier in batch.barriers:
            barrier.batches.update(batch.halves)
            barrier.batches.discard(batch)
        index = self.unresolved.index(batch)
        self.unresolved[index : index + 1] = batch.halves

    # After an exception.

    def rollback(self) -> None:
        """Undo an interrupted `seal_open`, or an interrupted append of a record."""
        if self.open is not None:
            self.open.rollback()
            if self.open.builder.count == 0 or (self.sealed and self.sealed[-1] is self.open):
                self.open = None
        while self.unresolved and self.unresolved[-1].builder.count == 0:
            self.unresolved.pop()

    def rebuild(self, now: float) -> list[Batch]:
        """Put every unresolved batch where it belongs, after an exception that may have left the queue half changed.

        Returns the batches that were in a request, which may have been written.  The state is idle afterwards, which
        is not a move of the dispatcher's table: the state before may be half true.
        """
        self.rollback()
        for batch in [*self.unresolved]:
            if batch.halves is not None:
                self.replace_by_halves(batch)
        interrupted = [batch for batch in self.unresolved if batch.in_request and not batch.done]
        self.requeue()
        for batch in interrupted:
            batch.maybe_written = True
        if interrupted:
            self.failed_at = now
        for batch in self.unresolved:
            batch.delays = None  # a generator that an exception left has ended
        self.state = IDLE
        self.timer = None
        return interrupted

    def requeue(self) -> None:
        """Seal, in order, the batches that are neither decided nor open nor in a request."""
        left = (batch for batch in self.unresolved if not batch.done and not batch.in_request)
        self.sealed = deque(batch for batch in left if batch is not self.open)
