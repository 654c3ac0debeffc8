# SPDX-License-Identifier: Apache-2.0
"""The bounded batching queue between `send()` and the sender; `send()` takes its lock once per record.

`Accumulator.lock` is the client's one lock.  It guards the partition queues and their batches, the memory
account, the metadata and the dispatcher.  It is held for short, pure computations; no I/O, log call, callback,
partitioner or serializer runs under it.
"""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._base.threads import LONGEST_SLEEP, Condition, OuterLock, reentered
from fluvio_sync._core.accounting import record_outcome
from fluvio_sync._core.partition import IDLE, RECORD_CHARGE, Batch, FlushBarrier, Lingering, PartitionQueue
from fluvio_sync._core.topic import TopicState, check_size
from fluvio_sync._outcomes.batch_futures import BatchFutures
from fluvio_sync._outcomes.counters import Counters, sum_of
from fluvio_sync.errors import BufferFullError, ClosedError
from fluvio_sync.futures import DeliveryFuture
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner
from fluvio_sync.protocol import checksum
from fluvio_sync.protocol.batch import MIN_TIMESTAMP_DELTA, BatchBuilder
from fluvio_sync.stats import ProducerStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._core.metadata import Metadata, MetadataDiff
    from fluvio_sync._core.partition import Outcome
    from fluvio_sync._outcomes.batch_item import BatchItem
    from fluvio_sync._outcomes.handle_stats import HandleStats
    from fluvio_sync._runtime.callbacks import CallbackThread
    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.partitioner import Partitioner

# Making a future with them and storing its attributes takes half of the time of a call of the class.
_FUTURE: Final = DeliveryFuture
_new_future: Final[Callable[[type[DeliveryFuture]], DeliveryFuture]] = DeliveryFuture.__new__
# Bytes of full batches after which `send()` has the connections go on: so many that the step costs little beside them,
# and so few that an SPU, which stores them in less than a millisecond, does not wait long for the next request.
_STRIDE: Final = 256 * 1024
# Topic states of which at most half may be unused; below this number all stay.
_FEW: Final = 64


@mypyc_attr(allow_interpreted_subclasses=True)  # tests watch it
class Accumulator:
    """Holds unresolved records, at most `limit` bytes of them.

    * `space`, `flushed`, `changed`: conditions of the lock: memory was freed, a flush barrier was reached, the metadata
      changed.
    * `dirty`: the queues that the dispatcher has to look at.
    * `sleep_seq`: counts the sleeps of the sender.
    * `woken_seq`: the sleep from which the sender was woken last.
    """

    def __init__(
        self,
        limit: int,
        request_timeout: float,
        clock: Clock,
        callbacks: CallbackThread,
        wake: Callable[[], bool],
        stands_still: Callable[[], bool],
        go_on: Callable[[], None],
        *,
        producer_id: int,
    ) -> None:
        """Make an empty accumulator.

        * `producer_id`: of the identities of the client's batches.
        * `wake`: has the sender look at the `dirty` queues; returns False if it has done so already.
        * `stands_still`: whether the sender stands still while the calling thread waits.
        * `go_on`: has the connections go on as far as they can without waiting.
        """
        self.lock = lock = OuterLock()
        lock.inner = callbacks.lock
        # Its methods, which are looked up once and not for each record.
        self._lock_is_mine, self._acquire, self._release = lock.is_mine, lock.acquire, lock.release
        self.space = Condition(self.lock)
        self.flushed = Condition(self.lock)
        self.changed = Condition(self.lock)
        self.limit = limit
        self.used = 0
        self.closed = False
        self.topic_states: dict[tuple[str, ProducerConfig], TopicState] = {}
        self.dirty: list[PartitionQueue] = []
        self.sleep_seq = 1
        self.woken_seq = 0
        self.callbacks = callbacks
        self._queues: dict[TopicState, dict[int, PartitionQueue]] = {}
        self._request_timeout = request_timeout
        self._clock = clock
        self._time_ms = clock.time_ms
        self._wake = wake
        self._stands_still = stands_still
        self._go_on = go_on
        self._full = 0  # bytes of full batches since the connections went on
        self._waiting = 0
        self._producer_id = producer_id
        self._sequences: dict[str, dict[int, int]] = {}  # of each topic's next batches, by partition
        self._round_robins: dict[str, SiphashRoundRobinPartitioner] = {}
        self._past: dict[str, Counters] = {}  # of settings that no producer has any more, by topic
        self._crowded = _FEW  # the number of topic states at which unused ones are looked for

    # Topics and partition queues.

    def topic_state(self, topic: str, config: ProducerConfig, metadata: Metadata) -> TopicState:
        """Return the state of a topic under these settings, made if need be.  Called with the lock held."""
        state = self.topic_states.get((topic, config))
        if state is None:
            state = self.topic_states[topic, config] = TopicState(topic, config)
            self._queues[state] = {}
        state.refresh(metadata)
        return state

    def forget_unused(self, metadata: Metadata) -> list[PartitionQueue]:
        """Forget topics and settings that no producer has any more; return their queues.  Called with the lock held.

        It looks for them when their number has doubled, so that this costs a new producer nearly nothing.
        """
        forgotten: list[PartitionQueue] = []
        if len(self.topic_states) < self._crowded:
            return forgotten
        for key, topic_state in list(self.topic_states.items()):
            queues = self._queues[topic_state].values()
            if not topic_state.handles and all(queue.is_unused() for queue in queues):
                forgotten += queues
                del self.topic_states[key], self._queues[topic_state]
                past = self._past.setdefault(key[0], Counters())
                past.add(topic_state.counters)
                topic_state.counters = past  # an SPU may still reject records of at-most-once
        topics = metadata.topics.keys() | {topic for topic, _ in self.topic_states}
        self._past = {topic: past for topic, past in self._past.items() if topic in topics}
        self._round_robins = {topic: last for topic, last in self._round_robins.items() if topic in topics}
        self._sequences = {topic: numbers for topic, numbers in self._sequences.items() if topic in topics}
        self._crowded = 2 * len(self.topic_states) + _FEW
        return forgotten

    def default_partitioner(self, topic: str) -> Partitioner:
        """Return the round robin over the partitions of a topic that all producers of the client share."""
        with self.lock:
            if topic not in self._round_robins:
                self._round_robins[topic] = SiphashRoundRobinPartitioner()
            return self._round_robins[topic]

    def choose(self, topic_state: TopicState, partitioner: Partitioner, key: bytes | None, value: bytes) -> int:
        """Return the partition that the partitioner chooses; keyless records avoid failing partitions over `quota`."""
        if not topic_state.partition_count:
            topic_state.check_partition(0)
        available = topic_state.available
        if key is None and topic_state.failing:
            queues, charge, quota = self._queues[topic_state], len(value) + RECORD_CHARGE, self.quota
            full = {number for number, queue in [*queues.items()] if queue.is_over_share(charge, quota)}
            available = tuple(number for number in available if number not in full) or available
        choose: Callable[..., object] = partitioner.partition  # the application's: it may return anything
        partition = choose(key, value, topic_state.partition_count, available)
        if type(partition) is int and 0 <= partition < topic_state.partition_count:
            return partition
        return topic_state.check_partition(partition)

    def queue(self, topic_state: TopicState, partition: int) -> PartitionQueue:
        """Return the queue of one partition, made if need be.  Called with the lock held."""
        queues = self._queues[topic_state]
        queue = queues.get(partition)
        if queue is None:
            sequences = self._sequences.setdefault(topic_state.topic, {})
            queue = PartitionQueue(topic_state, partition, self._request_timeout, self._producer_id, sequences)
            queues[partition] = queue
            if topic_state.segment_size is not None:
                queue.batch_size = min(queue.batch_size, topic_state.segment_size)
        return queue

    def queues(self, topic_state: TopicState | None = None) -> list[PartitionQueue]:
        """Return the queues of a topic under its settings, or all.  Called with the lock held."""
        if topic_state is not None:
            return [*self._queues[topic_state].values()]
        return [queue for queues in self._queues.values() for queue in queues.values()]

    @property
    def quota(self) -> int:
        """The bytes that a partition whose last attempt failed may hold."""
        return self.limit // 4

    def metadata_changed(self, metadata: Metadata, diff: MetadataDiff) -> None:
        """Take over a change and wake the threads that wait for a topic.  Called with the lock held."""
        changed = diff.topics | {topic for topic, _ in diff.partitions}
        for topic_state in self.topic_states.values():
            if topic_state.topic in changed:
                topic_state.refresh(metadata)
        self.changed.notify_all()

    def failing_changed(self, queue: PartitionQueue, failing: bool) -> None:  # noqa: FBT001 - the dispatcher's callback
        """Note whether a queue's last attempt failed.  Called with the lock held."""
        queue.failing = failing
        topic_state = queue.topic_state
        if failing:
            topic_state.failing.add(queue.partition)
        else:
            topic_state.failing.discard(queue.partition)
        topic_state.refresh_rotation()
        if not failing and self._waiting:
            self.space.notify_all()

    # Adding records.

    def append(  # noqa: C901, PLR0912 - see its description
        self,
        topic_state: TopicState,
        partition: int,
        key: bytes | None,
        value: bytes,
        timestamp: int | None,
        handle_stats: HandleStats,
        wait_until: float | None = None,
    ) -> DeliveryFuture:
        """Queue a record and return its future.

        This is the longest function of the package on purpose: each call of a function of ours would cost every record
        some 0.1 us (`bench/floor.py`).

        * `timestamp`: milliseconds since the epoch; None: now.
        * `wait_until`: monotonic seconds until which to wait for space; None: `max_block` from now.

        Raises `RecordTooLargeError`, `BufferFullError`, `ClosedError`.
        """
        payload = len(value) if key is None else len(key) + len(value)
        if payload > topic_state.largest:
            check_size(key, value, topic_state.config.max_request_size)
        if self._lock_is_mine():
            raise reentered()
        charge = payload + RECORD_CHARGE
        try:  # see `OwnedLock`: `with` would take another 0.2 us
            if not self._acquire(False):
                self._acquire_when_free()
            queue = self._queues[topic_state].get(partition) or self.queue(topic_state, partition)
            if self.used + charge > self.limit or queue.failing or self.closed:
                self._admit(queue, charge, wait_until, handle_stats)
            moment = self._time_ms() if timestamp is None else timestamp
            batch = queue.open
            if (
                batch is None
                or batch.handle_stats is not handle_stats
                or not batch.builder.append(key, value, moment, queue.batch_size)
            ):
                batch = self._append(queue, key, value, moment, handle_stats, implicit=timestamp is None)
            # From here on the record is queued, even if an exception comes.
            self.used += charge
            builder = batch.builder
            if builder.size >= queue.batch_size:
                self._seal_open(queue)
            # A queue without a timer needs one: its batches in flight may all have expired.  Other queues with
            # batches in flight are looked at when the answer comes.
            if not queue.dirty and (
                queue.state is IDLE or queue.timer is None or (queue.sealed and type(queue.state) is Lingering)
            ):
                self.mark_dirty(queue)
            future = _new_future(_FUTURE)
            item: BatchItem = future
            item._shared, item._index = batch.futures, builder.count - 1
        except (BufferFullError, ClosedError):
            raise
        except BaseException:
            if self._lock_is_mine():
                self._rollback()
            raise
        finally:
            try:  # noqa: SIM105 - see `OwnedLock`
                self._release()
            except RuntimeError:
                pass
        if self.dirty:
            self.wake_sender()
        if self._full >= _STRIDE:
            self._full = 0
            self._go_on()
        return future

    def _acquire_when_free(self) -> None:
        """Take the lock, but do not stand in line for it.

        A thread that is given the lock waits for the interpreter's lock next, and all others wait for it: with
        eight threads, a record took four times as long (`bench/measure.py`).
        """
        if self.callbacks.lock.is_mine():  # as in `OuterLock`
            raise reentered()
        for _ in range(1000):
            time.sleep(0)
            if self.lock.acquire(False):
                return
        self.lock.acquire()

    def append_simply(
        self, topic_state: TopicState, records: list[tuple[int, bytes | None, bytes]], handle_stats: HandleStats
    ) -> list[DeliveryFuture]:
        """Queue records (partition, key, value) up to the first that does not fit into its partition's open batch.

        Returns the futures of the queued ones.  Never waits, and raises no error if memory is short.
        """
        futures: list[DeliveryFuture] = []
        if self.lock.is_mine():
            raise reentered()
        moment = self._time_ms()
        queues, largest = self._queues[topic_state], topic_state.largest
        with self.lock:
            try:
                if self.closed:
                    return futures
                for partition, key, value in records:
                    queue = queues.get(partition)
                    batch = None if queue is None or queue.failing or queue.timer is None else queue.open
                    payload = len(value) if key is None else len(key) + len(value)
                    used = self.used + payload + RECORD_CHARGE
                    if (
                        batch is None
                        or batch.handle_stats is not handle_stats
                        or used > self.limit
                        or payload > largest
                        or not batch.builder.append(key, value, moment, batch.queue.batch_size)
                    ):
                        break
                    self.used = used
                    future = _new_future(_FUTURE)
                    item: BatchItem = future
                    item._shared, item._index = batch.futures, batch.builder.count - 1
                    futures.append(future)
            except BaseException:
                self._rollback()
                raise
        return futures

    def _append(
        self,
        queue: PartitionQueue,
        key: bytes | None,
        value: bytes,
        moment: int,
        handle_stats: HandleStats,
        *,
        implicit: bool,
    ) -> Batch:
        """Add a record that needs a new span or batch, and return its batch."""
        batch = queue.open
        if batch is not None:
            builder = batch.builder
            earlier = moment < builder.first_timestamp
            if implicit and earlier:  # the clock was set back; the record gets its batch's time
                moment = builder.first_timestamp
            another = batch.handle_stats is not handle_stats
            if another:
                batch.begin_span(handle_stats)
            if (another or earlier) and builder.append(key, value, moment, queue.batch_size, MIN_TIMESTAMP_DELTA):
                return batch
            if another:
                batch.rollback()
            self._seal_open(queue)
        builder = BatchBuilder(moment)
        futures = BatchFutures(queue.topic, queue.partition, moment, builder.timestamps, self.callbacks)
        if not queue.acked:
            futures.mark_sent()
        batch = Batch(queue, builder, futures, self._clock.monotonic())
        queue.unresolved.append(batch)
        queue.open = batch
        batch.begin_span(handle_stats)
        builder.append(key, value, moment)  # alone, it may be larger than batch_size
        return batch

    def _seal_open(self, queue: PartitionQueue) -> None:
        """Close a queue's open batch before its linger ends, which brings its deadline forward."""
        now = self._clock.monotonic()
        if queue.timer is not None and now + queue.timeout < queue.timer:
            self.mark_dirty(queue)
        if queue.open is not None:
            self._full += queue.open.builder.size
        queue.seal_open(now)

    def _rollback(self) -> None:
        """Undo an append that an exception interrupted."""
        for queue in self.queues():
            queue.rollback()
        self.used = sum(queue.charge for queue in self.queues())

    def mark_dirty(self, queue: PartitionQueue) -> None:
        """Have the dispatcher look at a queue.  Called with the lock held, before `wake_sender` without it."""
        if not queue.dirty:
            self.dirty.append(queue)  # first: a queue twice in the list does no harm, one marked and not in it would
            queue.dirty = True

    def wake_sender(self) -> None:
        """Wake the sender if it sleeps and there are dirty queues.  Called without the lock.

        `woken_seq` is set after the call: an exception in between (Ctrl-C) costs one call too many, not one too few.
        """
        sleep_seq = self.sleep_seq
        if self.dirty and sleep_seq != self.woken_seq and self._wake():
            self.woken_seq = sleep_seq

    def take_dirty(self) -> list[PartitionQueue]:
        """Return the dirty queues, and clear the list.  Called with the lock held."""
        queues, self.dirty = self.dirty, []
        for queue in queues:
            queue.dirty = False
        return queues

    # The memory account.

    def _admit(self, queue: PartitionQueue, charge: int, wait_until: float | None, handle_stats: HandleStats) -> None:
        """Wait until there is space; raises `ClosedError`, `BufferFullError`."""
        if self.closed:
            raise ClosedError(f"the client is closed; this record for topic {queue.topic!r} was not taken")
        if not self._has_space(queue, charge):
            self._wait_for_space(queue, charge, wait_until, handle_stats)

    def _has_space(self, queue: PartitionQueue, charge: int) -> bool:
        return self.used + charge <= self.limit and not queue.is_over_share(charge, self.quota)

    def _wait_for_space(
        self, queue: PartitionQueue, charge: int, wait_until: float | None, handle_stats: HandleStats
    ) -> None:
        config = queue.topic_state.config
        if config.on_full == "raise":
            raise self._buffer_full(queue, "on_full is 'raise'")
        if self.callbacks.is_current_thread():
            raise self._buffer_full(queue, "a callback may not wait")
        if self._stands_still():
            raise self._buffer_full(queue, "the caller interrupted the sender's own work, and may not wait for it")
        started = self._clock.monotonic()
        if wait_until is None:
            wait_until = started + config.max_block
        self._seal(self.queues())  # memory is short
        self._wake()
        while not self._has_space(queue, charge):
            remaining = wait_until - self._clock.monotonic()
            if remaining <= 0:
                waited = self._clock.monotonic() - started
                raise self._buffer_full(queue, f"no space within {waited:.1f} s (max_block)")
            self._waiting += 1
            try:
                self.space.wait(min(remaining, LONGEST_SLEEP))
            finally:
                self._waiting -= 1
            if self.closed or handle_stats.closed:
                owner = "client" if self.closed else "producer"
                raise ClosedError(
                    f"the {owner} was closed while send() waited; this record for topic {queue.topic!r} was not taken"
                )

    def _seal(self, queues: Iterable[PartitionQueue]) -> None:
        """Close the lingering batches of these queues."""
        now = self._clock.monotonic()
        for queue in queues:
            if queue.open is not None:
                queue.seal_open(now)
                self.mark_dirty(queue)

    def _buffer_full(self, queue: PartitionQueue, why: str) -> BufferFullError:
        if self.used + RECORD_CHARGE <= self.limit and queue.failing:
            held = (
                f"partition {queue.partition} of topic {queue.topic!r} fails and holds its share of {self.quota} bytes"
            )
        else:
            held = (
                f"buffer full: {self.used} of {self.limit} bytes (buffer_memory) hold unacknowledged records, "
                f"{RECORD_CHARGE} bytes each on top of key and value"
            )
        return BufferFullError(f"{held}; {why}; this record for topic {queue.topic!r} was not taken")

    def finish(self, outcomes: Iterable[Outcome], now: float) -> None:
        """Account for finished batches and wake the threads that wait for them.  Called with the lock held.

        Called after the batches' futures were completed, and again if that was interrupted.
        """
        reached = False
        for outcome in outcomes:
            batch = outcome.batch
            queue = batch.queue
            record_outcome(outcome, now)
            for barrier in batch.barriers:
                barrier.batches.discard(batch)
                reached = reached or not barrier.batches
            if batch in queue.unresolved:  # nearly always the first
                queue.unresolved.remove(batch)
                self.used -= batch.charge
            batch.outcome = None
        if self._waiting:
            self.space.notify_all()
        if reached:
            self.flushed.notify_all()

    def recover(self, metadata: Metadata) -> None:
        """Correct the accounts after an exception in the sender's step.  Called with the lock held.

        It wakes all waiting threads, since the exception may have kept the step from doing so.
        """
        self.dirty = []
        for topic_state in self.topic_states.values():
            topic_state.failing = {queue.partition for queue in self.queues(topic_state) if queue.failing}
            topic_state.refresh(metadata)
        for queue in self.queues():
            queue.dirty = False
        self._rollback()
        for condition in (self.space, self.flushed, self.changed):
            condition.notify_all()

    # Flushing and closing.

    def begin_flush(self, topic_state: TopicState | None, handle_stats: HandleStats | None) -> FlushBarrier:
        """Seal the open batches and return a barrier over the unresolved ones.

        * `topic_state`: a topic under its settings; None: all.
        * `handle_stats`: only batches with records of this handle; None: all.
        """
        barrier = FlushBarrier()
        with self.lock:
            try:
                queues = self.queues(topic_state)
                self._seal(queues)
            except BaseException:
                self._rollback()
                raise
            for queue in queues:
                barrier.add(batch for batch in queue.unresolved if batch.belongs_to(handle_stats))
        self.wake_sender()
        return barrier

    def wait_flushed(self, barrier: FlushBarrier, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds for the barrier; False if it was not reached."""
        with self.lock:
            return self.flushed.wait_for(lambda: not barrier.batches, timeout)

    def refuse_more(self) -> None:
        """Take no more records, and wake the threads that wait for space or for a topic."""
        with self.lock:
            self.closed = True
            self.space.notify_all()
            self.changed.notify_all()

    def accept_again(self) -> None:
        """Take records again, after closing was interrupted."""
        with self.lock:
            self.closed = False

    # Looking.

    def is_empty(self) -> bool:
        """Whether no record is unresolved."""
        with self.lock:
            return not any(map(attrgetter("unresolved"), self.queues()))

    def stats(self, topic_state: TopicState, reconnects: int) -> ProducerStats:
        """Return a snapshot of a topic's counters under its settings."""
        with self.lock:
            return _snapshot(topic_state.counters, self.queues(topic_state), reconnects)

    def stats_by_topic(self, reconnects: int) -> dict[str, ProducerStats]:
        """Return a snapshot of each topic's counters, under all settings there have been."""
        found: dict[str, list[ProducerStats]] = {}
        with self.lock:
            for topic_state in self.topic_states.values():
                part = _snapshot(topic_state.counters, self.queues(topic_state), reconnects)
                found.setdefault(topic_state.topic, []).append(part)
            for topic, past in self._past.items():
                found.setdefault(topic, []).append(_snapshot(past, [], reconnects))
        return {topic: sum_of(parts) for topic, parts in found.items()}


def _snapshot(counters: Counters, queues: list[PartitionQueue], reconnects: int) -> ProducerStats:
    waiting, in_flight = unresolved(queues)
    return ProducerStats(
        records_queued=sum(batch.builder.count for batch in waiting),
        records_in_flight=sum(batch.builder.count for batch in in_flight),
        records_acked=counters.records_acked,
        records_failed=counters.records_failed,
        records_unacknowledged=counters.records_unacknowledged,
        records_retried=counters.records_retried,
        records_dropped=counters.records_dropped,
        records_rejected=counters.records_rejected,
        records_verified=counters.records_verified,
        records_unverified=counters.records_unverified,
        records_duplicated=counters.records_duplicated,
        records_overwritten=counters.records_overwritten,
        bytes_queued=sum(batch.builder.payload for batch in waiting),
        bytes_in_flight=sum(batch.builder.payload for batch in in_flight),
        bytes_acked=counters.bytes_acked,
        bytes_failed=counters.bytes_failed,
        batches_queued=len(waiting),
        batches_in_flight=len(in_flight),
        batches_acked=counters.batches_acked,
        batches_failed=counters.batches_failed,
        reconnects=reconnects,
        latency=counters.latency(),
        checksum=checksum.IMPLEMENTATION,
    )


def unresolved(queues: Iterable[PartitionQueue]) -> tuple[list[Batch], list[Batch]]:
    """Return the waiting batches and those in flight.  Called with the lock held."""
    waiting: list[Batch] = []
    in_flight: list[Batch] = []
    for queue in queues:
        waiting += queue.waiting()
        in_flight += (batch for batch in queue.in_flight if not batch.done)
    return waiting, in_flight
