# SPDX-License-Identifier: Apache-2.0
"""The engine of a `FakeFluvio`: the real queue, and a cluster that is a list.

There is no thread and no socket.  Whoever calls `send()` has its record delivered before `send()` returns, unless
records are held; then whoever calls `release()` does.  Everything before that (checks, partitions, memory, futures,
counts) is the real client's.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._accumulator import Accumulator
from fluvio_sync._admin import check_topic, describe
from fluvio_sync._callbacks import CallbackThread
from fluvio_sync._clock import SystemClock
from fluvio_sync._engine import Engine, flush_timed_out
from fluvio_sync._failures import closed
from fluvio_sync._lane import Acknowledge, Drop, Fail, HandOver
from fluvio_sync._log import get_logger
from fluvio_sync._metadata import Metadata
from fluvio_sync.errors import (
    DeliveryError,
    FlushTimeoutError,
    FluvioError,
    RejectedError,
    ServerError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.error_code import Code, name_of
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    PartitionObject,
    PartitionResolution,
    PartitionSpec,
    PartitionStatus,
    SpuObject,
    TopicCompression,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStatus,
    partition_key,
)
from fluvio_sync.protocol.watch import Change, WatchUpdate
from fluvio_sync.stats import Tally
from fluvio_sync.testing._cluster.model import Spu, SpuAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fluvio_sync._channel import Channel
    from fluvio_sync._engine import ClientConfig
    from fluvio_sync._lane import Batch, Decision
    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.protocol.metadata import MetadataObject
    from fluvio_sync.topics import TopicDescription

_SPU = SpuAddress(5001, "spu.invalid", 9010)
# Seconds that `result()` and `flush()` without a time-out wait for a test to release what it holds.
_PATIENCE = 10.0


class FakeRecord(NamedTuple):
    """A record that a fake was given; `timestamp`: milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp: int


class Failure:
    """An order: the next `left` records (of `topic`; None: of any) fail.

    `error`: an error to raise, a class of `DeliveryError` to make one of, or a server's code.
    """

    def __init__(self, error: FluvioError | type[DeliveryError] | int, left: int, topic: str | None) -> None:
        if isinstance(error, int):
            name_of(error)  # raises ValueError if Fluvio has no such code
        elif not isinstance(error, FluvioError) and not (isinstance(error, type) and issubclass(error, DeliveryError)):
            raise TypeError(f"what fails is an error, a class of DeliveryError or a server's code, not {error!r}")
        self.left = left
        self.topic = topic
        self._error = error

    @property
    def refuses(self) -> bool:
        """Whether `send()` raises it, instead of the future."""
        return isinstance(self._error, FluvioError) and not isinstance(self._error, DeliveryError)

    def of(self, topic: str, partition: int) -> FluvioError:
        """Return the error of a record."""
        if isinstance(self._error, FluvioError):
            return self._error
        place = f"topic {topic!r}, partition {partition}"
        if isinstance(self._error, int):
            name = name_of(self._error)
            text = f"{place}: refused, as the test demands ({name}, {self._error})"
            return RejectedError(text, topic=topic, partition=partition, attempts=1, code=self._error, name=name)
        return self._error(f"{place}: failed, as the test demands", topic=topic, partition=partition, attempts=1)


class FakeEngine(Engine):
    """See the module's description.  `records`: what was delivered, in order; `held`: nothing is, for now."""

    def __init__(self, config: ClientConfig, topics: Mapping[str, int] | None) -> None:
        """`topics`: those there are, with their numbers of partitions; None: any, with one partition each."""
        # Not the real one's, which makes connections and threads.
        self.config = config
        self.pid = os.getpid()
        self.clock = SystemClock()
        self.log = get_logger("fake").bind(client_id=config.client_id)
        self.callbacks = CallbackThread(f"{config.client_id}-callbacks")
        self.callbacks.drive = self._drive
        self.metadata = Metadata()
        self.accumulator = Accumulator(
            config.buffer_memory, config.request_timeout, self.clock, self.callbacks, self._wake
        )
        self.admin = FakeAdmin(self)  # type: ignore[assignment] # the same calls, without a peer
        self.tally = Tally()
        self.records: list[FakeRecord] = []
        self.failures: list[Failure] = []
        self.held = False
        self._absent = {}
        self._any = topics is None
        self._last_error: tuple[str, int] | None = None
        self._ends: dict[tuple[str, int], int] = {}
        self._delivering = threading.RLock()  # records reach the list in the order of their offsets
        self.metadata.begin()
        self._push(SpuObject.LABEL, [Spu(_SPU).object()])
        self._push(PartitionObject.LABEL, [])
        self._push(TopicObject.LABEL, [])
        for name, partitions in (topics or {}).items():
            self.add_topic(name, partitions, TopicCompression.ANY)

    @property
    def reconnects(self) -> int:
        """None: there is no connection."""
        return 0

    @property
    def last_error(self) -> tuple[str, int] | None:
        """The latest failure that a test demanded, and when."""
        return self._last_error

    # Topics.

    def add_topic(self, name: str, partitions: int, compression: TopicCompression) -> None:
        """Have a topic."""
        check_topic(name, partitions, 1)
        online = PartitionStatus(PartitionResolution.ONLINE)
        keys = [partition_key(name, index) for index in range(partitions)]
        objects = [PartitionObject(key, PartitionSpec(_SPU.id, (_SPU.id,)), online) for key in keys]
        self._push(PartitionObject.LABEL, objects)
        spec = TopicSpec(ComputedReplicas(partitions), compression=compression)
        self._push(TopicObject.LABEL, [TopicObject(name, spec, TopicStatus(TopicResolution.PROVISIONED))])

    def remove_topic(self, name: str) -> None:
        """Have it no longer; its records stay in the list."""
        gone = [item for key, item in self.metadata.partitions.items() if key[0] == name]
        self._push(TopicObject.LABEL, [self.metadata.topics[name]], delete=True)
        self._push(PartitionObject.LABEL, gone, delete=True)

    def _push(self, label: str, items: Iterable[MetadataObject], *, delete: bool = False) -> None:
        with self.accumulator.lock:
            news = self.metadata.apply(WatchUpdate(label, 0, tuple(Change(delete, item) for item in items)))
            self.accumulator.metadata_changed(self.metadata, news)

    def channel(self, topic: str, config: ProducerConfig) -> Channel:
        """Return the channel of a topic, which there is if any is."""
        if self._any and topic not in self.metadata.topics:
            self.add_topic(topic, 1, TopicCompression.ANY)
        return super().channel(topic, config)

    # Delivering.

    def _wake(self) -> bool:
        # Whoever waits for space has the lock, and waits because records are held.
        if not self.accumulator.lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            self.deliver()
        return False

    def deliver(self) -> None:
        """Deliver what was sent, unless it is held."""
        with self._delivering:
            with self.accumulator.lock:
                finished = [self._decide(batch) for batch in self._take(self.clock.monotonic())]
            self._complete(finished)

    def _take(self, now: float) -> list[Batch]:
        batches: list[Batch] = []
        for lane in self.accumulator.take_noted():
            lane.seal_open(now)  # at once, so that a batch is one record
        if not self.held:
            for lane in self.accumulator.lanes():
                batches += lane.queue
                lane.queue.clear()
        return batches

    def _decide(self, batch: Batch) -> Decision:
        batch.done = True
        lane = batch.lane
        error = self.take_failure(lane.topic, lane.partition, refusing=False)
        if error is not None:
            self._last_error = str(error), self.clock.time_ms()
            return Fail(batch, lambda _index: error) if lane.acked else Drop(batch, error)
        place = lane.topic, lane.partition
        base = self._ends.get(place, 0)
        for offset, (key, value, timestamp) in enumerate(batch.records(), base):
            self.records.append(FakeRecord(*place, offset, key, value, timestamp))
        self._ends[place] = base + batch.builder.count
        if not lane.acked:
            return HandOver(batch)
        return Acknowledge(batch, None if lane.channel.filtered else base)

    def _complete(self, finished: list[Decision]) -> None:
        for action in finished:
            outcome = action.batch.outcome
            if isinstance(action, Acknowledge):
                outcome.acknowledge(action.base_offset)
            elif isinstance(action, Fail):
                outcome.fail(action.failure)
            outcome.publish()
        with self.accumulator.lock:
            self.accumulator.settle(finished, self.clock.monotonic())
            self.accumulator.settled.notify_all()

    def take_failure(self, topic: str, partition: int, *, refusing: bool) -> FluvioError | None:
        """Return the error that a record is to fail with, if any, and count it; `refusing`: those of `send()`."""
        for failure in self.failures:
            if failure.refuses is refusing and failure.topic in (None, topic):
                failure.left -= 1
                if failure.left <= 0:
                    self.failures.remove(failure)
                return failure.of(topic, partition)
        return None

    # Waiting and closing.

    def _drive(self, done: Callable[[], bool], timeout: float | None) -> float | None:
        """Wait for `done()` where nothing else bounds the wait; return the seconds that are left."""
        if timeout is None and self.held:
            with self.accumulator.lock:
                if not self.accumulator.settled.wait_for(done, _PATIENCE):
                    raise RuntimeError(f"the test holds the records and did not release them within {_PATIENCE} s")
        return timeout

    def flush(self, channels: Iterable[Channel], tally: Tally | None, timeout: float | None) -> None:
        """Wait until what was sent so far is resolved, as the real one does."""
        self.refuse_in_callback("flush()")
        barrier = self.accumulator.begin_flush(channels, tally)
        left = self._drive(lambda: not barrier.batches, timeout)
        if not self.accumulator.wait_flushed(barrier, left):
            raise flush_timed_out(barrier, timeout)
        self.callbacks.wait_for_due(timeout)

    def close_handle(self, channel: Channel, tally: Tally, timeout: float | None) -> None:
        """Wait for a handle's records; what is left after the time-out fails."""
        tally.closed = True
        try:
            self.flush([channel], tally, timeout)
        except FlushTimeoutError:
            self._give_up("producer", lambda batch: batch.lane.channel is channel and batch.belongs_only_to(tally))

    def close(self, timeout: float | None) -> int:
        """Take no more, wait for what is held, and fail the rest; returns how many records that were."""
        lost = self.drain(timeout)
        self._give_up("client", lambda _batch: True)
        self.callbacks.stop()
        return lost

    def _give_up(self, what: str, concerned: Callable[[Batch], bool]) -> None:
        """Fail the batches that the end of `what` concerns."""
        with self._delivering:
            finished: list[Decision] = []
            with self.accumulator.lock:
                for lane in self.accumulator.lanes():
                    lost = [batch for batch in lane.queue if concerned(batch)]
                    finished += [Fail(batch, closed(batch, what)) for batch in lost]
                    for batch in lost:
                        lane.queue.remove(batch)
            self._complete(finished)

    def abandon(self) -> None:
        """There is nothing to close."""


class FakeAdmin:
    """The SC's side of a `FakeFluvio`."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def create_topic(
        self, name: str, *, partitions: int, replication: int, compression: TopicCompression, exist_ok: bool
    ) -> None:
        """Create a topic; `ServerError` if there is one of that name."""
        check_topic(name, partitions, replication)
        if name not in self._engine.metadata.topics:
            self._engine.add_topic(name, partitions, compression)
        elif not exist_ok:
            code = Code.TOPIC_ALREADY_EXISTS
            raise ServerError(f"there is a topic {name!r} already", code=code, name=name_of(code))

    def delete_topic(self, name: str) -> None:
        """Delete a topic; `TopicNotFoundError` if there is none."""
        if name not in self._engine.metadata.topics:
            raise TopicNotFoundError(f"there is no topic {name!r}", topic=name)
        self._engine.remove_topic(name)

    def topics(self) -> list[TopicDescription]:
        """Return all topics, sorted by name."""
        return sorted(describe(topic) for topic in self._engine.metadata.topics.values())
