# SPDX-License-Identifier: Apache-2.0
"""The thread-safe batching queue between `send()` and the sender: bounded, one lock acquisition a record.

`Accumulator.lock` is the client's one lock.  It guards everything that decides: lanes and their batches, the memory
account, metadata and the dispatcher.  It is held for short, pure computations; no I/O, log call, callback,
partitioner or serializer runs under it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from fluvio_sync._books import enter
from fluvio_sync._channel import Channel, check_size
from fluvio_sync._lane import RECORD_CHARGE, Batch, FlushBarrier, Lane, LaneState
from fluvio_sync.errors import BufferFullError, ClosedError
from fluvio_sync.futures import BatchOutcome, DeliveryFuture
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner
from fluvio_sync.protocol import checksum
from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.stats import ProducerStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync._callbacks import CallbackThread
    from fluvio_sync._clock import Clock
    from fluvio_sync._lane import Decision
    from fluvio_sync._metadata import Metadata, News
    from fluvio_sync.config import Compression, ProducerConfig
    from fluvio_sync.partitioner import Partitioner
    from fluvio_sync.stats import Tally


class Accumulator:
    """Holds unresolved records, at most `limit` bytes of them."""

    def __init__(
        self,
        limit: int,
        request_timeout: float,
        clock: Clock,
        callbacks: CallbackThread,
        wake: Callable[[], bool],
    ) -> None:
        """`wake`: has the sender look at `noted` lanes; False if it has done so when this returns."""
        self.lock = threading.RLock()
        self.space = threading.Condition(self.lock)  # memory was given back
        self.settled = threading.Condition(self.lock)  # a flush barrier was reached
        self.changed = threading.Condition(self.lock)  # metadata changed
        self.limit = limit
        self.used = 0
        self.closed = False
        self.channels: dict[tuple[str, ProducerConfig], Channel] = {}
        self.noted: list[Lane] = []
        self.nap = 1  # which time the sender sleeps, or slept last
        self.woken = 0  # which nap it was woken from last
        self._request_timeout = request_timeout
        self._clock = clock
        self._time_ms = clock.time_ms
        self.callbacks = callbacks
        self._wake = wake
        self._waiting = 0
        self._round_robins: dict[str, SiphashRoundRobinPartitioner] = {}

    # Channels and lanes.

    def channel(self, topic: str, config: ProducerConfig, compression: Compression, metadata: Metadata) -> Channel:
        """Return the channel of a topic and settings, made if need be."""
        with self.lock:
            channel = self.channels.get((topic, config))
            if channel is None:
                channel = self.channels[topic, config] = Channel(topic, config, compression)
            channel.compression = compression  # of a topic that was made anew, maybe
            channel.refresh(metadata)
            return channel

    def default_partitioner(self, topic: str) -> Partitioner:
        """Return the client's round over the partitions of a topic: one, whatever the settings of its producers."""
        with self.lock:
            if topic not in self._round_robins:
                self._round_robins[topic] = SiphashRoundRobinPartitioner()
            return self._round_robins[topic]

    def lane(self, channel: Channel, partition: int) -> Lane:
        """Return the lane of one partition; the caller holds the lock."""
        lane = channel.lanes.get(partition)
        if lane is None:
            lane = channel.lanes[partition] = Lane(channel, partition, self._request_timeout)
            if channel.segment_size is not None:
                lane.batch_size = min(lane.batch_size, channel.segment_size)
        return lane

    @property
    def quota(self) -> int:
        """How many bytes a partition whose last attempt failed may hold."""
        return self.limit // 4

    def metadata_changed(self, metadata: Metadata, news: News) -> None:
        """Take over what changed and tell those who wait for a topic; the caller holds the lock."""
        changed = news.topics | {topic for topic, _ in news.partitions}
        for channel in self.channels.values():
            if channel.topic in changed:
                channel.refresh(metadata)
        self.changed.notify_all()

    def failing_changed(self, lane: Lane, failing: bool) -> None:  # noqa: FBT001 - the dispatcher's callback
        """Note whether a lane's last attempt failed; the caller holds the lock."""
        lane.failing = failing
        channel = lane.channel
        if failing:
            channel.failing.add(lane.partition)
        else:
            channel.failing.discard(lane.partition)
        channel.look_again()
        if not failing and self._waiting:
            self.space.notify_all()

    # Adding records.

    def append(  # noqa: C901, PLR0912 - see its description
        self,
        channel: Channel,
        partition: int,
        key: bytes | None,
        value: bytes,
        timestamp: int | None,
        tally: Tally,
        wait_until: float | None = None,
    ) -> DeliveryFuture:
        """Queue a record and return its future.

        The longest function of the package, on purpose: it is one path without calls of our own, each of which would
        cost every record some 0.1 us (`bench/floor.py`).

        `timestamp`: milliseconds since the epoch, None for now; `wait_until`: until when to wait for space,
        monotonic seconds, None for `max_block` from now.  Raises `RecordTooLargeError`, `BufferFullError`,
        `ClosedError`.
        """
        payload = len(value) if key is None else len(key) + len(value)
        if payload > channel.largest:
            check_size(key, value, channel.config.max_request_size)
        # Asked of the lock itself: a flag could be left behind by an exception.
        if self.lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError("send() was called from within itself, by a signal handler or a finalizer")
        lock = self.lock
        charge = payload + RECORD_CHARGE
        # Taking the lock is inside the `try`, and giving it back is one call into C: no signal comes between having it
        # and giving it back.
        try:
            if not lock.acquire(blocking=False):
                self._take_lock()
            lane = channel.lanes.get(partition) or self.lane(channel, partition)
            if self.used + charge > self.limit or lane.failing or self.closed:
                self._admit(lane, charge, wait_until, tally)
            moment = self._time_ms() if timestamp is None else timestamp
            batch = lane.open
            if (
                batch is None
                or batch.tally is not tally
                or not batch.builder.append(key, value, moment, lane.batch_size)
            ):
                batch = self._append(lane, key, value, moment, tally, implicit=timestamp is None)
            # From here on the record is in, whatever comes.
            self.used += charge
            builder = batch.builder
            if builder.size >= lane.batch_size:
                self._seal_open(lane)
            # A lane without a timer has one to be set: the batches that are in flight may all have expired.  A busy
            # lane is looked at when its reply comes.
            if not lane.noted and (
                lane.state is LaneState.IDLE or lane.timer is None or (lane.queue and lane.state is LaneState.LINGERING)
            ):
                self.note(lane)
            future = DeliveryFuture(batch.outcome, builder.count - 1)
        except (BufferFullError, ClosedError):
            raise
        except BaseException:
            if lock._is_owned():  # type: ignore[attr-defined]
                self._straighten()
            raise
        finally:
            try:  # noqa: SIM105 - that would be calls before the one that counts
                lock.release()
            except RuntimeError:  # it was not to be had
                pass
        if self.noted:
            self.wake_sender()
        return future

    def _take_lock(self) -> None:
        """Take the lock without standing in line for it.

        Who is given a lock has to wait for the interpreter's, too, and makes everybody else wait meanwhile: with eight
        threads, a record took five times as long.
        """
        for _ in range(1000):
            time.sleep(0)
            if self.lock.acquire(blocking=False):
                return
        self.lock.acquire()

    def append_simply(
        self, channel: Channel, records: list[tuple[int, bytes | None, bytes]], tally: Tally
    ) -> list[DeliveryFuture]:
        """Queue records, given as partition, key and value, up to the first that does not simply go on in its batch.

        Returns the futures of those; never waits or raises for want of space.
        """
        futures: list[DeliveryFuture] = []
        if self.lock._is_owned():  # type: ignore[attr-defined]
            return futures
        moment = self._time_ms()
        lanes, largest = channel.lanes, channel.largest
        with self.lock:
            try:
                if self.closed:
                    return futures
                for partition, key, value in records:
                    lane = lanes.get(partition)
                    batch = None if lane is None or lane.failing or lane.timer is None else lane.open
                    payload = len(value) if key is None else len(key) + len(value)
                    used = self.used + payload + RECORD_CHARGE
                    if (
                        batch is None
                        or batch.tally is not tally
                        or used > self.limit
                        or payload > largest
                        or not batch.builder.append(key, value, moment, batch.lane.batch_size)
                    ):
                        break
                    self.used = used
                    futures.append(DeliveryFuture(batch.outcome, batch.builder.count - 1))
            except BaseException:
                self._straighten()
                raise
        return futures

    def _append(
        self, lane: Lane, key: bytes | None, value: bytes, moment: int, tally: Tally, *, implicit: bool
    ) -> Batch:
        """Add a record that does not simply go on where the last one ended, and return its batch."""
        batch = lane.open
        if batch is not None:
            builder = batch.builder
            set_back = implicit and moment < builder.first_timestamp  # the clock: the record keeps its batch's time
            another = batch.tally is not tally
            if another:
                batch.begin_run(tally)
            if (another or set_back) and builder.append(
                key, value, builder.first_timestamp if set_back else moment, lane.batch_size
            ):
                return batch
            if another:
                batch.straighten()
            self._seal_open(lane)
        builder = BatchBuilder(moment)
        outcome = BatchOutcome(lane.topic, lane.partition, moment, builder.timestamps, self.callbacks)
        if not lane.acked:
            outcome.hand_over()
        batch = Batch(lane, builder, outcome, self._clock.monotonic())
        lane.unresolved.append(batch)
        lane.open = batch
        batch.begin_run(tally)
        builder.append(key, value, moment)  # alone, it may be larger than batch_size
        return batch

    def _seal_open(self, lane: Lane) -> None:
        """Close a lane's open batch before its linger ends, which brings its deadline forward."""
        now = self._clock.monotonic()
        if lane.timer is not None and now + lane.timeout < lane.timer:
            self.note(lane)
        lane.seal_open(now)

    def _straighten(self) -> None:
        """Undo what an exception in the middle of things left behind."""
        for lane in self.lanes():
            lane.straighten()
        self.used = sum(lane.charge for lane in self.lanes())

    def note(self, lane: Lane) -> None:
        """Have the dispatcher look at a lane; the caller holds the lock, and calls `wake_sender` without it."""
        if not lane.noted:
            self.noted.append(lane)  # first: twice in the list does no harm, marked and not in it would
            lane.noted = True

    def wake_sender(self) -> None:
        """Wake the sender if it sleeps and there is something for it; the caller does not hold the lock.

        Naps are numbered, and `woken` is set after the call: an exception in between (Ctrl-C) costs one call too
        many, not one too few.
        """
        nap = self.nap
        if self.noted and nap != self.woken and self._wake():
            self.woken = nap

    def take_noted(self) -> list[Lane]:
        """Return the lanes to look at, and forget them; the caller holds the lock."""
        lanes, self.noted = self.noted, []
        for lane in lanes:
            lane.noted = False
        return lanes

    # The memory account.

    def _admit(self, lane: Lane, charge: int, wait_until: float | None, tally: Tally) -> None:
        """Wait until there is space; raises `ClosedError`, `BufferFullError`."""
        if self.closed:
            raise ClosedError(f"the client is closed; this record for topic {lane.topic!r} was not taken")
        if not self._has_space(lane, charge):
            self._wait_for_space(lane, charge, wait_until, tally)

    def _has_space(self, lane: Lane, charge: int) -> bool:
        return self.used + charge <= self.limit and not lane.is_over_share(charge, self.quota)

    def _wait_for_space(self, lane: Lane, charge: int, wait_until: float | None, tally: Tally) -> None:
        config = lane.channel.config
        if config.on_full == "raise" or self.callbacks.is_current_thread():
            raise self._buffer_full(
                lane, "on_full is 'raise'" if config.on_full == "raise" else "a callback may not wait"
            )
        started = self._clock.monotonic()
        if wait_until is None:
            wait_until = started + config.max_block
        self._hurry()
        self._wake()
        while not self._has_space(lane, charge):
            remaining = wait_until - self._clock.monotonic()
            if remaining <= 0:
                waited = self._clock.monotonic() - started
                raise self._buffer_full(lane, f"none was given back within {waited:.1f} s (max_block)")
            self._waiting += 1
            try:
                self.space.wait(remaining)
            finally:
                self._waiting -= 1
            if self.closed or tally.closed:
                what = "client" if self.closed else "producer"
                raise ClosedError(
                    f"the {what} was closed while send() waited; this record for topic {lane.topic!r} was not taken"
                )

    def _hurry(self) -> None:
        """Close all lingering batches: memory is short."""
        now = self._clock.monotonic()
        for lane in self.lanes():
            if lane.open is not None:
                lane.seal_open(now)
                self.note(lane)

    def _buffer_full(self, lane: Lane, why: str) -> BufferFullError:
        if self.used + RECORD_CHARGE <= self.limit and lane.failing:
            held = f"partition {lane.partition} of topic {lane.topic!r} fails and holds its share of {self.quota} bytes"
        else:
            held = f"buffer_memory ({self.limit} bytes) is taken up by records that are not acknowledged yet"
        return BufferFullError(f"{held}, and {why}; this record for topic {lane.topic!r} was not taken")

    def settle(self, finished: Iterable[Decision], now: float) -> None:
        """Take finished batches off the books and tell those who wait; the caller holds the lock.

        Called after a batch's futures were completed; maybe again, if that was interrupted.
        """
        reached = False
        for decision in finished:
            batch = decision.batch
            lane = batch.lane
            enter(decision, now)
            for barrier in batch.flushes:
                barrier.batches.discard(batch)
                reached = reached or not barrier.batches
            if batch in lane.unresolved:  # nearly always the first
                lane.unresolved.remove(batch)
                self.used -= batch.charge
            batch.decision = None
        if self._waiting:
            self.space.notify_all()
        if reached:
            self.settled.notify_all()

    def recover(self, metadata: Metadata) -> None:
        """Make the accounts right again after an exception in the sender's step; the caller holds the lock.

        Whoever waits looks again: it may not have been told.
        """
        self.noted = []
        for channel in self.channels.values():
            channel.failing = {partition for partition, lane in channel.lanes.items() if lane.failing}
            channel.refresh(metadata)
        for lane in self.lanes():
            lane.noted = False
        self._straighten()
        for condition in (self.space, self.settled, self.changed):
            condition.notify_all()

    # Flushing and closing.

    def begin_flush(self, channels: Iterable[Channel], tally: Tally | None) -> FlushBarrier:
        """Close the open batches for sending and return a barrier over what is unresolved.

        `tally`: only batches with records of this handle; None: all.
        """
        channels = list(channels)
        barrier = FlushBarrier()
        with self.lock:
            now = self._clock.monotonic()
            for channel in channels:
                for lane in channel.lanes.values():
                    if lane.open is not None:
                        lane.seal_open(now)
                        self.note(lane)
                    barrier.add(batch for batch in lane.unresolved if batch.belongs_to(tally))
        self.wake_sender()
        return barrier

    def wait_flushed(self, barrier: FlushBarrier, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds for the barrier; False if it was not reached."""
        with self.lock:
            return self.settled.wait_for(lambda: not barrier.batches, timeout)

    def refuse_more(self) -> None:
        """Take no more records; whoever waits for space or for a topic is told."""
        with self.lock:
            self.closed = True
            self.space.notify_all()
            self.changed.notify_all()

    def accept_again(self) -> None:
        """Take records again: closing was interrupted."""
        with self.lock:
            self.closed = False

    # Looking.

    def lanes(self) -> list[Lane]:
        """Return all lanes; the caller holds the lock."""
        return [lane for channel in self.channels.values() for lane in channel.lanes.values()]

    def is_empty(self) -> bool:
        """Whether no record is unresolved."""
        with self.lock:
            return not any(lane.unresolved for lane in self.lanes())

    def stats(self, channel: Channel, reconnects: int) -> ProducerStats:
        """Return a snapshot of a channel's counters."""
        counters = channel.counters
        with self.lock:
            waiting, in_flight = unresolved(channel.lanes.values())
            return ProducerStats(
                records_queued=sum(batch.builder.count for batch in waiting),
                records_in_flight=sum(batch.builder.count for batch in in_flight),
                records_acked=counters.records_acked,
                records_failed=counters.records_failed,
                records_unacknowledged=counters.records_unacknowledged,
                records_retried=counters.records_retried,
                records_dropped=counters.records_dropped,
                records_rejected=counters.records_rejected,
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


def unresolved(lanes: Iterable[Lane]) -> tuple[list[Batch], list[Batch]]:
    """Return the batches that wait and those that are in flight; the caller holds the lock."""
    waiting: list[Batch] = []
    in_flight: list[Batch] = []
    for lane in lanes:
        waiting += lane.waiting()
        in_flight += (batch for batch in lane.in_flight if not batch.done)
    return waiting, in_flight
