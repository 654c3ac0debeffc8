# SPDX-License-Identifier: Apache-2.0
"""The delivery core without sockets and threads: accumulator, metadata and dispatcher on a clock that a test moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core.actions import Ask, Connect, Disconnect, Report, Write
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.metadata import Metadata, MetadataDiff
from fluvio_sync._core.partition import Acknowledged, Failed, Outcome
from fluvio_sync._runtime.accumulator import Accumulator
from fluvio_sync._runtime.callbacks import CallbackThread
from fluvio_sync.config import Compression, ProducerConfig
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    Endpoint,
    IngressAddr,
    IngressPort,
    PartitionObject,
    PartitionResolution,
    PartitionSpec,
    PartitionStatus,
    SpuObject,
    SpuResolution,
    SpuSpec,
    SpuStatus,
    SpuType,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStatus,
    TopicStorage,
)
from fluvio_sync.protocol.produce import PartitionResult, ProduceResponse, TopicResult
from fluvio_sync.protocol.watch import Change, WatchUpdate
from fluvio_sync.stats import HandleStats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.pipeline import CommitWait, Request, SpuPipeline
    from fluvio_sync._core.topic import TopicState
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.futures import DeliveryFuture


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_700_000_000_000

    def monotonic(self) -> float:
        return self.now

    def time_ms(self) -> int:
        return self.wall

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.wall += round(seconds * 1000)


def topic(name: str, partitions: int, segment_size: int | None = None) -> TopicObject:
    storage = None if segment_size is None else TopicStorage(segment_size, None)
    spec = TopicSpec(replicas=ComputedReplicas(partitions), storage=storage)
    return TopicObject(name, spec, TopicStatus(TopicResolution.PROVISIONED))


def partition(name: str, leader: int, resolution: PartitionResolution = PartitionResolution.ONLINE) -> PartitionObject:
    return PartitionObject(name, PartitionSpec(leader, (leader,)), PartitionStatus(resolution))


def spu(number: int, resolution: SpuResolution = SpuResolution.ONLINE, port: int = 9010) -> SpuObject:
    endpoint = IngressPort(port, (IngressAddr(None, "127.0.0.1"),))
    spec = SpuSpec(number, SpuType.CUSTOM, endpoint, Endpoint(port + 1, "127.0.0.1"))
    return SpuObject(f"custom-spu-{number}", spec, SpuStatus(resolution))


class Rig:
    """A client of topic `t`, whose partitions are led by SPU 5001 unless a test says otherwise."""

    def __init__(
        self,
        partitions: int = 1,
        *,
        spus: Sequence[int] = (5001, 5002),
        limit: int = 1 << 20,
        request_timeout: float = 30.0,
        connect_timeout: float = 10.0,
        segment_size: int | None = None,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock()
        self.metadata = Metadata()
        self.metadata.begin()
        self.accumulator = Accumulator(limit, request_timeout, self.clock, CallbackThread("test"), lambda: True)
        self.dispatcher = Dispatcher(
            self.metadata,
            connect_timeout=connect_timeout,
            request_timeout=request_timeout,
            on_failing=self.accumulator.failing_changed,
        )
        self.push("SPU", [spu(number) for number in spus])
        self.push("Partition", [partition(f"t-{index}", 5001) for index in range(partitions)])
        self.push("Topic", [topic("t", partitions, segment_size)])
        self.handle_stats = HandleStats()
        self.done: list[Action] = []  # every action, in order
        self.topic_state = self.make_topic_state(**settings)

    def make_topic_state(self, **settings: Any) -> TopicState:
        config = ProducerConfig.from_settings(None, settings)
        return self.accumulator.topic_state("t", config, Compression.NONE, self.metadata)

    # The world.

    def push(self, label: str, items: Sequence[Any], *, delete: bool = False) -> None:
        """Have the SC push objects of one kind."""
        changes = tuple(Change(delete, item) for item in items)
        diff = self.metadata.apply(WatchUpdate(label, 0, changes))
        self.tell(diff)

    def tell(self, diff: MetadataDiff) -> None:
        with self.accumulator.lock:
            self.accumulator.metadata_changed(self.metadata, diff)
        self.dispatcher.metadata_changed(diff, self.clock.now)

    def send(self, value: bytes = b"v", *, to: int = 0, key: bytes | None = None, **more: Any) -> DeliveryFuture:
        topic_state = more.pop("topic_state", self.topic_state)
        return self.accumulator.append(topic_state, to, key, value, more.pop("timestamp", None), self.handle_stats)

    def step(self, seconds: float = 0.0) -> list[Action]:
        """Let time pass, have the dispatcher decide, and complete what it finished; returns the actions."""
        self.clock.advance(seconds)
        actions: list[Action] = []
        while True:
            for queue in self.accumulator.take_dirty():
                self.dispatcher.records(queue, self.clock.now)
            self.dispatcher.tick(self.clock.now)
            more = self.dispatcher.take_actions(self.clock.now)
            if not more:
                break
            actions += more
            self._finish(more)
        self.done += actions
        return actions

    def run(self, seconds: float) -> list[Action]:
        """Let time pass, stopping at every timer on the way."""
        end = self.clock.now + seconds
        actions = self.step()
        while (due := self.dispatcher.next_timer()) is not None and due <= end:
            actions += self.step(max(0.0, due - self.clock.now))
        actions += self.step(end - self.clock.now)
        return actions

    def _finish(self, actions: list[Action]) -> None:
        finished = [action for action in actions if isinstance(action, Outcome)]
        for action in finished:
            if isinstance(action, Acknowledged):
                action.batch.futures.acknowledge(action.base_offset)
            elif isinstance(action, Failed):
                action.batch.futures.fail(action.failure)
            action.batch.futures.notify()
        with self.accumulator.lock:
            self.accumulator.finish(finished, self.clock.now)

    # What the network answers.

    def connect(self) -> list[Action]:
        """Complete every connection that is being made."""
        self.step()
        for pipeline in self.dispatcher.pipelines.values():
            self.dispatcher.connected(pipeline, pipeline.generation, self.clock.now)
        return self.step()

    def written(self, request: Request) -> list[Action]:
        request.wrote_any = True
        self.dispatcher.written(request, self.clock.now)
        return self.step()

    def answer(self, request: Request, *codes: int, base: int = 0) -> list[Action]:
        """Answer a request: see `response`."""
        request.wrote_any = True
        self.dispatcher.replied(request, response(request, *codes, base=base), self.clock.now)
        return self.step()

    def answer_unread(self, request: Request, code: int) -> list[Action]:
        """Answer an at-most-once request that was written."""
        results = [
            TopicResult(queue.topic, (PartitionResult(queue.partition, ErrorCode(code), 0, 0, 0),))
            for queue, _ in request.unread
        ]
        self.dispatcher.replied(request, ProduceResponse(tuple(results), 0), self.clock.now)
        return self.step()

    def lose(self, pipeline: SpuPipeline, error: FluvioError) -> list[Action]:
        self.dispatcher.disconnected(pipeline, pipeline.generation, error, self.clock.now)
        return self.step()

    def watermark(self, commit_wait: CommitWait, mark: int | None) -> list[Action]:
        self.dispatcher.offsets_replied(commit_wait, mark, self.clock.now)
        return self.step()


def response(request: Request, *codes: int, base: int = 0) -> ProduceResponse:
    """Make an answer: one code for every entry, or one for all; entry n is stored from base + 100 n on."""
    payload: dict[int, tuple[object, ...]] = {7: (1500, 0), 72: ("t", 0), 2: ("why",), 6001: ("filter",)}
    all_codes = codes or (0,)
    topics: list[TopicResult] = []
    for index, (queue, _) in enumerate(request.entries):
        code = all_codes[index % len(all_codes)]
        result = PartitionResult(queue.partition, ErrorCode(code, payload.get(code, ())), base + 100 * index, 0, 0)
        topics.append(TopicResult(queue.topic, (result,)))
    return ProduceResponse(tuple(topics), 0)


def writes(actions: Sequence[Action]) -> list[Request]:
    return [action.request for action in actions if isinstance(action, Write)]


def connects(actions: Sequence[Action]) -> list[SpuPipeline]:
    return [action.pipeline for action in actions if isinstance(action, Connect)]


def disconnects(actions: Sequence[Action]) -> list[SpuPipeline]:
    return [action.pipeline for action in actions if isinstance(action, Disconnect)]


def asks(actions: Sequence[Action]) -> list[CommitWait]:
    return [action.commit_wait for action in actions if isinstance(action, Ask)]


def reports(actions: Sequence[Action]) -> list[str]:
    return [action.event for action in actions if isinstance(action, Report)]


def values(request: Request) -> list[bytes]:
    return [value for batch in request.batches for _, value, _ in batch.builder.records()]
