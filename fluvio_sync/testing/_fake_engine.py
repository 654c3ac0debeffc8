# SPDX-License-Identifier: Apache-2.0
"""The engine of a `FakeFluvio`: the real one, on connections in memory to a cluster core.

There is no thread and no socket.  The thread that calls `send()` runs the sender's steps until its record is delivered,
unless records are held; then the thread that calls `release()` does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.threads import OwnedLock, reentered
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._runtime.admin import check_topic, describe
from fluvio_sync._runtime.engine import Engine, Parts
from fluvio_sync._runtime.sender import Sender
from fluvio_sync.errors import DeliveryError, FluvioError, RejectedError, ServerError, TopicNotFoundError
from fluvio_sync.protocol.batch import decode_record_set
from fluvio_sync.protocol.error_code import Code, name_of
from fluvio_sync.protocol.metadata import ComputedReplicas, TopicCompression, TopicSpec
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._memory import LogInPlace, MemoryNetwork, MemoryPoller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._core.actions import Report
    from fluvio_sync._core.partition import Outcome, PartitionQueue
    from fluvio_sync._core.pipeline import SpuPipeline
    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._runtime.accumulator import Accumulator
    from fluvio_sync._runtime.engine import ClientConfig
    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
    from fluvio_sync.testing._cluster.model import Partition
    from fluvio_sync.topics import TopicDescription

_SPU = SpuAddress(5001, "spu.invalid", 9010)
# Seconds that `result()` and `flush()` without a timeout wait for a test to release its records.
_PATIENCE = 10.0


class FakeRecord(NamedTuple):
    """A record that a fake delivered; `timestamp`: milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp: int


class Failure:
    """An order that the next records fail.

    * `error`: an error to raise, a class of `DeliveryError` to make one of, or a server's code.
    * `left`: the number of records that still fail.
    * `topic`: only records of this topic; None: of any.
    """

    def __init__(self, error: FluvioError | type[DeliveryError] | int, left: int, topic: str | None) -> None:
        if isinstance(error, int):
            name_of(error)  # raises ValueError if Fluvio has no such code
        elif not isinstance(error, FluvioError) and not (isinstance(error, type) and issubclass(error, DeliveryError)):
            raise TypeError(
                f"an order to fail takes an error, a class of DeliveryError or a server's code, not {error!r}"
            )
        self.left = left
        self.topic = topic
        self._error = error

    @property
    def is_by_send(self) -> bool:
        """Whether `send()` raises it, not the future."""
        return isinstance(self._error, FluvioError) and not isinstance(self._error, DeliveryError)

    def of(self, topic: str, partition: int) -> FluvioError:
        """Return the error of a record."""
        if isinstance(self._error, FluvioError):
            return self._error
        place = f"topic {topic!r}, partition {partition}"
        if isinstance(self._error, int):
            name = name_of(self._error)
            text = f"{place}: rejected, as the test demands ({name}, {self._error})"
            return RejectedError(text, topic=topic, partition=partition, attempts=1, code=self._error, name=name)
        return self._error(f"{place}: failed, as the test demands", topic=topic, partition=partition, attempts=1)


class FakeEngine(Engine):
    """See the module's description.  `records`: the delivered ones, in order; `held`: records are not delivered now."""

    thread: CallersSteps  # type: ignore[assignment]

    def __init__(self, config: ClientConfig, topics: Mapping[str, int] | None) -> None:
        """`topics`: the topics of the cluster with their numbers of partitions; None: any topic, with one partition."""
        self.records: list[FakeRecord] = []
        self.failures: list[Failure] = []
        self.held = False
        self._any = topics is None
        self.clock = SystemClock()
        self.cluster = RecordingCore([_SPU], self.records)
        network = MemoryNetwork(self.cluster, self.clock.monotonic)
        self.network = network
        parts: Any = Parts(
            connector=network.connect,
            poller=partial(FakePoller, self),  # type: ignore[arg-type]
            sender=FakeSender,
            dispatcher=partial(FakeDispatcher, self),  # type: ignore[arg-type]
            thread=CallersSteps,  # type: ignore[arg-type]
            log_thread=LogInPlace,
        )
        super().__init__(config, parts=parts)
        self.thread.engine = self
        self.admin = FakeAdmin(self)  # type: ignore[assignment] # the same calls, without a connection
        for name, partitions in (topics or {}).items():
            self.add_topic(name, partitions, TopicCompression.ANY)
        self.thread.run()

    def add_topic(self, name: str, partitions: int, compression: TopicCompression) -> None:
        """Create a topic."""
        check_topic(name, partitions, 1)
        self.cluster.create_topic(name, TopicSpec(ComputedReplicas(partitions), compression=compression))
        self.network.collect()
        self.thread.run()

    def remove_topic(self, name: str) -> None:
        """Delete a topic; its records stay in the list."""
        self.cluster.delete_topic(name)
        self.network.collect()
        self.thread.run()

    def topic_state(self, topic: str, config: ProducerConfig, handle: object) -> TopicState:
        """Return the state of a topic, which is created if any is to exist; each record is a batch."""
        if self._any and topic not in self.metadata.topics:
            self.add_topic(topic, 1, TopicCompression.ANY)
        return super().topic_state(topic, replace(config, batch_size=1), handle)

    def release(self) -> None:
        """Deliver the held records."""
        self.held = False
        self.dispatcher.resume()  # type: ignore[attr-defined]
        self.thread.run()

    def take_failure(self, topic: str, partition: int, *, by_send: bool) -> FluvioError | None:
        """Return the error that a record is to fail with, if any, and count it; `by_send`: one that `send()` raises."""
        for failure in self.failures:
            if failure.is_by_send is by_send and failure.topic in (None, topic):
                failure.left -= 1
                if failure.left <= 0:
                    self.failures.remove(failure)
                return failure.of(topic, partition)
        return None


class FakeDispatcher(Dispatcher):
    """Fails the records that a test orders to fail before they are sent, and sends none while they are held."""

    def __init__(self, engine: FakeEngine, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._engine = engine

    def records_queued(self, queue: PartitionQueue, now: float) -> None:
        """Take records, which stay pending while they are held, however short the retry policy's timeout is."""
        for batch in queue.waiting():
            batch.deadline = math.inf
        super().records_queued(queue, now)

    def _fill(self, pipeline: SpuPipeline, now: float) -> None:
        if self._engine.held:
            return
        for queue in pipeline.queues():
            for batch in [*queue.sealed]:
                error = self._engine.take_failure(queue.topic, queue.partition, by_send=False)
                if error is not None:
                    queue.sealed.remove(batch)
                    self.report("debug", "fake.failed", topic=queue.topic, error=str(error))
                    self._fail(batch, lambda _index, error=error: error)  # type: ignore[misc]
        super()._fill(pipeline, now)

    def resume(self) -> None:
        """Send the held records."""
        self._to_fill.update(dict.fromkeys(self.pipelines.values()))


class FakePoller(MemoryPoller):
    """Runs the steps where another poller would wake the sender's thread."""

    def __init__(self, engine: FakeEngine) -> None:
        super().__init__()
        self._engine = engine

    def wake(self) -> None:
        """Run steps, unless the caller has the client's lock: it waits for space, because records are held."""
        self._engine.thread.work_at_once()


class FakeSender(Sender):
    """Logs no event: the test orders the failures, and no others happen."""

    def _report(self, report: Report) -> None:
        if "error" in report.fields:
            self._note_error(str(report.fields["error"]))

    def _log_failures(self, finished: list[Outcome]) -> None:
        pass


class RecordingCore(ClusterCore):
    """Lists the records that it stores.  SmartModules have no effect on them: it has every one, and runs none."""

    def __init__(self, spus: Sequence[SpuAddress], records: list[FakeRecord]) -> None:
        super().__init__(spus)
        self._records = records

    def append(self, partition: Partition, batches: Sequence[tuple[memoryview, int]]) -> int:
        """Write to a partition, and list the records."""
        base = super().append(partition, batches)
        offset = base
        for data, _ in batches:
            for batch in decode_record_set(data):
                for record in batch.records:
                    place = partition.topic, partition.index, offset
                    self._records.append(FakeRecord(*place, record.key, record.value, record.timestamp))
                    offset += 1
        return base

    def texts_of(self, invocations: Sequence[SmartModuleInvocation]) -> list[str]:  # noqa: ARG002 - as the real one
        """Return no text: records need none."""
        return []


class CallersSteps:
    """Runs the sender's steps in the threads that call, one at a time: stands in for `SenderThread`."""

    engine: FakeEngine

    def __init__(
        self, sender: Sender, poller: MemoryPoller, accumulator: Accumulator, *, clock: Clock, **_more: object
    ) -> None:
        self._sender = sender
        self._poller = poller
        self._accumulator = accumulator
        self._clock = clock
        self._lock = OwnedLock()  # records reach the list in the order of their offsets

    def run(self) -> None:
        """Run steps until nothing is left to do."""
        with self._lock:
            self._sender.work(0.0)
            while self._sender.prepare() <= self._clock.monotonic() or self._poller.wait(0):
                self._sender.work(0.0)
        with self._accumulator.lock:
            self._accumulator.flushed.notify_all()  # for `lead`, which may wait for a future instead of a barrier

    def work_at_once(self) -> bool:
        """Deliver the new records; False within a step, which goes on until they are."""
        if self.stands_still() or self._accumulator.lock.is_mine():
            return False
        self.run()
        return True

    def go_on(self) -> None:
        """Do nothing: every record is delivered at once, or held by the test."""

    def stands_still(self) -> bool:
        """Whether the caller interrupts a step, or what steps wait for."""
        return self._lock.is_mine() or self._accumulator.callbacks.lock.is_mine()

    def lead(self, is_done: Callable[[], bool], timeout: float | None) -> float | None:
        """Wait for the test to release held records where nothing else bounds the wait; return the seconds left."""
        if self._accumulator.lock.is_mine() or self.stands_still():
            raise reentered()
        if timeout is None and self.engine.held:
            with self._accumulator.lock:
                if not self._accumulator.flushed.wait_for(is_done, _PATIENCE):
                    raise RuntimeError(f"the test holds the records and did not release them within {_PATIENCE} s")
        return timeout

    def stop(self) -> None:
        """Fail the records that are left."""
        with self._lock:
            self._sender.fail_rest()
            self._sender.abandon()
        self._accumulator.callbacks.run_left()
        self._accumulator.callbacks.stop()

    def stop_when_idle(self) -> None:
        """Do nothing: there is no thread."""


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
        return sorted(describe(topic) for topic in self._engine.metadata.topics.values() if not topic.spec.system)
