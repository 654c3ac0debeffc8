# SPDX-License-Identifier: Apache-2.0
"""A whole cluster and a client of it in one thread, on a clock that jumps from event to event.

The client's core (accumulator, metadata, dispatcher, codec) and the development cluster's core are the real ones;
between them lies a simulated network that delays, cuts and loses.  Everything is drawn from one seed, so that a run
can be repeated exactly.  `World(seed).run()` raises `Broken` if a promise was not kept.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fluvio_sync._accumulator import Accumulator
from fluvio_sync._actions import Ask, Connect, Disconnect, Write
from fluvio_sync._callbacks import CallbackThread
from fluvio_sync._dispatch import Dispatcher
from fluvio_sync._lane import Acknowledge, Drop, Fail, HandOver
from fluvio_sync._link import Settlement
from fluvio_sync._metadata import LABELS, Metadata
from fluvio_sync._spu_requests import encode_produce, read_high_watermark
from fluvio_sync.config import Compression, ProducerConfig
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, Isolation
from fluvio_sync.errors import BufferFullError, ConnectError, FluvioError, RejectedError
from fluvio_sync.protocol.batch import decode_record_set
from fluvio_sync.protocol.frames import RequestHeader, encode_request, split_response
from fluvio_sync.protocol.metadata import ComputedReplicas, TopicSpec, TopicStorage
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsTopic
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.protocol.versions import ScApi, SpuApi
from fluvio_sync.protocol.watch import WatchRequest, WatchUpdate
from fluvio_sync.retry import RetryPolicy, RetryStrategy
from fluvio_sync.stats import Tally
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._actions import Action
    from fluvio_sync._channel import Channel
    from fluvio_sync._lane import Batch
    from fluvio_sync._link import Link, Request
    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.testing._cluster.model import Partition
    from fluvio_sync.testing._cluster.session import ServerSession

PRODUCE_VERSION = 25
METADATA_VERSION = 19
FAULTS_END = 20.0  # seconds after which nothing is broken any more
EPSILON = 1e-6


class Broken(AssertionError):  # noqa: N818 - it is a promise that is broken
    """A promise was not kept."""


class Interruption(BaseException):
    """What a bug, or Ctrl-C, raises in the middle of a step."""


class Clock:
    """Simulated time; `behind`: how many seconds the wall clock was set back."""

    def __init__(self) -> None:
        self.now = 0.0
        self.behind = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ms(self) -> int:
        return 1_700_000_000_000 + int((self.now - self.behind) * 1000)


@dataclass
class Sent:
    """A record that was accepted."""

    number: int
    channel: Channel
    partition: int
    value: bytes
    future: DeliveryFuture
    deadline: float
    timestamp: int | None  # milliseconds, if the application gave it


@dataclass
class Pipe:
    """One simulated connection, the cluster's side included."""

    session: ServerSession
    node: int
    last_up: float = 0.0
    full: bool = False  # the client's socket takes nothing
    waiting: list[Callable[[], None]] = field(default_factory=list)  # what is written when it does again
    last_down: float = 0.0
    stalled: bool = False  # nothing written arrives any more, and nothing says so
    closed: bool = False
    expected: dict[int, Request | Settlement | str] = field(default_factory=dict)
    on_lost: Callable[[FluvioError], None] = lambda _error: None


class World:
    """See the module's description."""

    def __init__(self, seed: int, **changes: Any) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.clock = Clock()
        self.trace: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._correlations = itertools.count(1)
        self.sent: list[Sent] = []
        self.done_at: dict[int, float] = {}  # by id of the outcome
        self.pipes: dict[Link, Pipe] = {}
        self.watch: Pipe | None = None
        self._make_cluster()
        self._make_client(**changes)
        self._plan()

    # --- making it -------------------------------------------------------------------------------

    def _make_cluster(self) -> None:
        draw = self.random
        spus = draw.choice([1, 1, 2, 3])
        self.core = ClusterCore([SpuAddress(5001 + n, "10.0.0.1", 9000 + n) for n in range(spus)])
        for n in range(draw.choice([1, 1, 2])):
            replication = draw.randint(1, spus)
            storage = TopicStorage(draw.choice([1024, 4096]), 1 << 30) if draw.random() < 0.15 else None
            spec = TopicSpec(ComputedReplicas(draw.choice([1, 2, 5]), replication), storage=storage)
            self.core.create_topic(f"topic-{n}", spec)
        self.refusing: set[int] = set()
        self.delay = draw.choice([0.0001, 0.001, 0.02])
        self.stamped = draw.choice([0.0, 0.0, 0.9])  # how many records the application gives a timestamp

    def _make_client(self, dispatcher: type[Dispatcher] = Dispatcher) -> None:
        draw = self.random
        self.request_timeout = draw.choice([0.5, 2.0, 30.0])
        self.limit = draw.choice([20_000, 200_000])
        self.metadata = Metadata()
        self.accumulator = Accumulator(
            self.limit, self.request_timeout, self.clock, CallbackThread("simulated"), lambda: True
        )
        self.dispatcher = dispatcher(
            self.metadata,
            connect_timeout=draw.choice([0.5, 5.0]),
            request_timeout=self.request_timeout,
            on_failing=self.accumulator.failing_changed,
        )
        self._make_interruptible()
        self.tally = Tally()
        # Half of the seeds are patient enough to outlast every fault: then everything has to arrive.
        self.patient = draw.random() < 0.5
        self.channels: list[Channel] = []
        self._watch_sc()

    def _make_interruptible(self) -> None:
        """Have every tenth or so call within the dispatcher look whether it is to be interrupted."""
        self.interrupt_in = 0  # calls, none if 0
        for name in ("_move", "_arm_lane", "_conclude", "_take", "_queue", "_start", "_note_written", "_leader_moved"):
            setattr(self.dispatcher, name, self._interruptible(getattr(self.dispatcher, name)))

    def _interruptible(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.interrupt_in:
                self.interrupt_in -= 1
                if not self.interrupt_in:
                    raise Interruption
            return method(*arguments, **more)

        return call

    def _open_channels(self) -> None:
        draw = self.random
        for topic in [name for name in self.core.topics if name.startswith("topic-")]:
            for _ in range(draw.choice([1, 1, 2])):
                config = ProducerConfig(
                    delivery_semantic=self._semantic(),
                    isolation=draw.choice(list(Isolation)),
                    linger=draw.choice([0.0, 0.0, 0.005, 0.5]),
                    batch_size=draw.choice([100, 1000, 16_384]),
                    max_request_size=draw.choice([16_384, 16_384, 1 << 20]),
                    on_full="raise",
                    server_timeout=draw.choice([0.1, 1.5]),
                )
                channel = self.accumulator.channel(topic, config, Compression.NONE, self.metadata)
                if channel not in self.channels:
                    self.channels.append(channel)

    def _semantic(self) -> AtLeastOnce | AtMostOnce:
        draw = self.random
        if draw.random() < 0.2:
            return AtMostOnce()
        if self.patient:
            return AtLeastOnce(RetryPolicy(max_retries=100_000, initial_delay=0.01, max_delay=1.0, timeout=300.0))
        return AtLeastOnce(
            RetryPolicy(
                max_retries=draw.choice([0, 1, 5]),
                initial_delay=draw.choice([0.0, 0.01]),
                max_delay=2.0,
                timeout=draw.choice([0.2, 3.0, 30.0]),
                strategy=draw.choice(list(RetryStrategy)),
            )
        )

    def _plan(self) -> None:
        draw = self.random
        self.at(1.0, self._open_channels)
        for _ in range(draw.choice([5, 40, 150])):
            self.at(1.0 + draw.random() * FAULTS_END, self._send_some)
        for _ in range(draw.choice([0, 3, 12])):
            self.at(1.0 + draw.random() * (FAULTS_END - 1.0), draw.choice(self._faults()))
        self.at(FAULTS_END, self._repair)

    # --- what happens ----------------------------------------------------------------------------

    def _send_some(self) -> None:
        draw = self.random
        channel = draw.choice(self.channels)
        for _ in range(draw.choice([1, 1, 3, 10])):
            number = len(self.sent)
            value = b"%d:" % number + b"x" * draw.choice([0, 10, 10, 300])
            partition = draw.randrange(channel.partition_count)
            timestamp = 1_700_000_000_000 + draw.randrange(5000) if draw.random() < self.stamped else None
            try:
                future = self.accumulator.append(channel, partition, None, value, timestamp, self.tally)
            except BufferFullError:
                continue
            lane = channel.lanes[partition]
            deadline = self.clock.now + lane.linger + lane.timeout
            self.sent.append(Sent(number, channel, partition, value, future, deadline, timestamp))
        if draw.random() < 0.1:
            self.accumulator.begin_flush([channel], None)

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._kill_spu,
            self._kill_spu,
            self._move_leader,
            self._error_code,
            self._error_code,
            self._cut_connection,
            self._cut_connection,
            self._cut_produce,
            self._cut_produce,
            self._stall_connection,
            self._fill_socket,
            self._fill_socket,
            self._set_clock_back,
            self._hold_replies,
            self._refuse,
            self._lose_sc,
            self._grow_topic,
            self._interrupt,
            self._interrupt,
        ]

    def _fill_socket(self) -> None:
        """Nothing that is written from now on leaves the client for a while."""
        pipes = [pipe for pipe in self.pipes.values() if not pipe.full]
        if not pipes:
            return
        pipe = self.random.choice(pipes)
        pipe.full = True
        self._note(f"the socket to SPU {pipe.node} is full")

        def empty() -> None:
            pipe.full = False
            waiting, pipe.waiting = pipe.waiting, []
            for write in waiting:
                write()

        self.after(self.random.choice([0.1, 1.0, 5.0]), empty)

    def _set_clock_back(self) -> None:
        self.clock.behind += self.random.choice([0.001, 0.3, 100.0])
        self._note("the wall clock is set back")

    def _kill_spu(self) -> None:
        online = sorted(self.core.online)
        if not online:
            return
        spu = self.random.choice(online)
        self._note(f"SPU {spu} dies")
        self.core.kill_spu(spu)
        self.after(self.random.choice([0.05, 1.0, 5.0]), lambda: self._restart_spu(spu))

    def _restart_spu(self, spu: int) -> None:
        if spu not in self.core.online:
            self._note(f"SPU {spu} is back")
            self.core.restart_spu(spu)

    def _move_leader(self) -> None:
        topic = self.random.choice([name for name in self.core.topics if name.startswith("topic-")])
        partition = self.random.choice(self.core.topics[topic].partitions)
        replicas = [spu for spu in partition.replicas if spu in self.core.online and spu != partition.leader]
        if replicas and partition.leader in self.core.online:
            self._note(f"{partition.name} moves to SPU {replicas[0]}")
            self.core.move_leader(topic, partition.index, replicas[0])

    def _error_code(self) -> None:
        code = self.random.choice([6, 1000, 2003, 3000, -1, 56, 10, 10, 10, 9000])
        self._note(f"the next entries are answered with code {code}")
        self.core.fail_next_produce(code, self.random.choice([1, 3]))

    def _cut_produce(self) -> None:
        spu = self.random.choice(sorted(self.core.spus))
        when: Any = self.random.choice(["before", "after"])
        self._note(f"the next request to SPU {spu} is cut {when}")
        self.core.cut_next_produce(spu, when, self.random.choice([1, 2]))

    def _cut_connection(self) -> None:
        if self.pipes:
            link = self.random.choice(list(self.pipes))
            self._note(f"the connection to SPU {link.spu} is cut")
            self._break(self.pipes[link], "reset")

    def _stall_connection(self) -> None:
        if self.pipes:
            link = self.random.choice(list(self.pipes))
            self._note(f"the connection to SPU {link.spu} goes dead without a word")
            self.pipes[link].stalled = True

    def _hold_replies(self) -> None:
        spu = self.random.choice(sorted(self.core.spus))
        self._note(f"SPU {spu} stalls")
        self.core.hold_replies(spu, on=True)
        self.after(self.random.choice([0.1, 3.0]), lambda: self.core.hold_replies(spu, on=False))

    def _refuse(self) -> None:
        spu = self.random.choice(sorted(self.core.spus))
        self._note(f"connections to SPU {spu} are refused")
        self.refusing.add(spu)
        self.after(self.random.choice([0.05, 2.0]), lambda: self.refusing.discard(spu))

    def _lose_sc(self) -> None:
        if self.watch is not None:
            self._note("the SC's connection is cut")
            self._break(self.watch, "reset")

    def _grow_topic(self) -> None:
        topic = self.random.choice([name for name in self.core.topics if name.startswith("topic-")])
        self._note(f"{topic} grows")
        self.core.add_partitions(topic, 1)

    def _interrupt(self) -> None:
        self.interrupt_in = self.random.randint(1, 30)

    def _repair(self) -> None:
        """From here on nothing is broken."""
        self._note("everything is repaired")
        for spu in sorted(self.core.spus):
            self._restart_spu(spu)
            self.core.hold_replies(spu, on=False)
        self.core.faults._failures.clear()
        self.core.faults._cuts.clear()
        self.refusing.clear()
        self.interrupt_in = 0

    # --- the network -----------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._serial), what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.at(self.clock.now + seconds, what)

    def _latency(self) -> float:
        return self.delay * (0.5 + self.random.random())

    def _deliver(self, pipe: Pipe, payload: bytes) -> None:
        """Bring a request frame to the cluster, behind those before it."""
        pipe.last_up = max(pipe.last_up, self.clock.now + self._latency())

        def arrive() -> None:
            if not pipe.closed and not pipe.stalled:
                pipe.session.receive(payload, self.clock.now)

        self.at(pipe.last_up, arrive)

    def _break(self, pipe: Pipe, why: str) -> None:
        """End a connection from the outside; the client learns of it a little later."""
        if not pipe.closed:
            pipe.closed = True
            pipe.session.disconnect()
            self.after(self._latency(), lambda: pipe.on_lost(ConnectError(f"the connection was lost: {why}")))

    def _cluster_speaks(self) -> None:
        by_session = {id(pipe.session): pipe for pipe in [*self.pipes.values(), self.watch] if pipe is not None}
        for session in self.core.take_ready():
            pipe = by_session.get(id(session))
            if pipe is None:
                continue
            for frame in session.outgoing():
                self._bring_down(pipe, frame[4:])
            if session.closed:
                pipe.last_down = max(pipe.last_down, self.clock.now + self._latency())
                self.at(pipe.last_down, lambda pipe=pipe: self._break(pipe, "closed by the server"))  # type: ignore[misc]

    def _bring_down(self, pipe: Pipe, payload: bytes) -> None:
        pipe.last_down = max(pipe.last_down, self.clock.now + self._latency())

        def arrive() -> None:
            if not pipe.closed and not pipe.stalled:
                self._answered(pipe, payload)

        self.at(pipe.last_down, arrive)

    # --- the client's side -----------------------------------------------------------------------

    def _watch_sc(self) -> None:
        pipe = self.watch = Pipe(ScSession(self.core), 0)
        self.metadata.lose()

        def lost(_error: FluvioError) -> None:
            self.dispatcher.metadata_changed(self.metadata.lose(), self.clock.now)
            self.watch = None
            self.after(self.random.choice([0.1, 3.0]), self._watch_sc)

        pipe.on_lost = lost
        for label in LABELS:
            writer = Writer()
            WatchRequest(label).write(writer, METADATA_VERSION)
            correlation = next(self._correlations)
            pipe.expected[correlation] = label
            header = RequestHeader(ScApi.WATCH, METADATA_VERSION, correlation, "simulated")
            self._deliver(pipe, encode_request(header, writer.getvalue())[4:])

    def _answered(self, pipe: Pipe, payload: bytes) -> None:
        correlation, reader = split_response(payload)
        now = self.clock.now
        if pipe is self.watch:
            if not self.metadata.live:
                self.metadata.begin()
            with self.accumulator.lock:
                news = self.metadata.apply(WatchUpdate.read(reader, METADATA_VERSION))
                self.accumulator.metadata_changed(self.metadata, news)
                self.dispatcher.metadata_changed(news, now)
            return
        expected = pipe.expected.pop(correlation)
        assert not isinstance(expected, str)
        if isinstance(expected, Settlement):
            connection: Any = SimpleNamespace(version=lambda _api: PRODUCE_VERSION)
            self.dispatcher.offsets_replied(expected, read_high_watermark(expected, reader, connection), now)
        else:
            self.dispatcher.replied(expected, ProduceResponse.read(reader, PRODUCE_VERSION), now)

    def _perform(self, action: Action) -> None:
        if isinstance(action, Connect):
            self._connect(action.link, action.generation)
        elif isinstance(action, Disconnect):
            pipe = self.pipes.pop(action.link, None)
            if pipe is not None:
                pipe.closed = True
                pipe.session.disconnect()
        elif isinstance(action, Write):
            self._write(action.request)
        elif isinstance(action, Ask):
            self._ask(action.settlement)
        elif isinstance(action, Acknowledge):
            self._check_acknowledged(action.batch, action.base_offset)
            action.batch.outcome.acknowledge(action.base_offset)
            self._finished.append(action)
        elif isinstance(action, Fail):
            action.batch.outcome.fail(action.failure)
            self._finished.append(action)
        elif isinstance(action, HandOver | Drop):
            self._finished.append(action)

    def _connect(self, link: Link, generation: int) -> None:
        def finish() -> None:
            if generation != link.generation:
                return
            if link.spu not in self.core.online or link.spu in self.refusing:
                error = ConnectError(f"SPU {link.spu}: connection refused")
                self.dispatcher.disconnected(link, generation, error, self.clock.now)
                return
            pipe = self.pipes[link] = Pipe(SpuSession(self.core, link.spu), link.spu)

            def lost(error: FluvioError) -> None:
                if self.pipes.get(link) is pipe:
                    del self.pipes[link]
                self.dispatcher.disconnected(link, generation, error, self.clock.now)

            pipe.on_lost = lost
            self.dispatcher.connected(link, generation, self.clock.now)

        self.after(2 * self._latency(), finish)

    def _write(self, request: Request) -> None:
        pipe = self.pipes.get(request.link)
        if pipe is None or pipe.closed:
            return  # the client is about to learn that it is lost
        correlation = next(self._correlations)
        pipe.expected[correlation] = request
        connection: Any = SimpleNamespace(
            version=lambda _api: PRODUCE_VERSION, peer=SimpleNamespace(client_id="simulated")
        )
        frame = b"".join(encode_produce(request, connection, correlation))

        def write() -> None:
            if pipe.closed or self.pipes.get(request.link) is not pipe:
                return
            request.wrote_any = True
            self._deliver(pipe, frame[4:])
            self.after(0.0, lambda: self.dispatcher.written(request, self.clock.now))

        if pipe.full:
            pipe.waiting.append(write)
        else:
            write()

    def _ask(self, settlement: Settlement) -> None:
        pipe = self.pipes.get(settlement.link)
        if pipe is None or pipe.closed:
            return
        correlation = next(self._correlations)
        pipe.expected[correlation] = settlement
        writer = Writer()
        topic = FetchOffsetsTopic(settlement.lane.topic, (settlement.lane.partition,))
        FetchOffsetsRequest(topics=(topic,)).write(writer, PRODUCE_VERSION)
        header = RequestHeader(SpuApi.FETCH_OFFSETS, PRODUCE_VERSION, correlation, "simulated")
        ask = partial(self._deliver, pipe, encode_request(header, writer.getvalue())[4:])
        if pipe.full:
            pipe.waiting.append(ask)
        else:
            ask()

    # --- running it ------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen, then check the promises."""
        self._finished: list[Any] = []
        standstill = 0
        while True:
            while not self._uninterrupted(self._decide):
                pass
            due = self._next_time()
            if due is None or due > 1000.0:
                break
            standstill = 0 if due > self.clock.now else standstill + 1
            if standstill > 5000:
                raise self.broken("time does not go on")
            self.clock.now = max(self.clock.now, due)
            while self._events and self._events[0][0] <= self.clock.now:
                self._uninterrupted(heapq.heappop(self._events)[2])
            self.core.now = max(self.core.now, self.clock.now)
            if (wakeup := self.core.wakeup_at) is not None and wakeup <= self.clock.now:
                self.core.on_time(self.clock.now)
        self._check_end()

    def _uninterrupted(self, what: Callable[[], None]) -> bool:
        try:
            what()
        except Interruption:
            self._note("the step is interrupted")
            self._recover()
            return False
        return True

    def _recover(self) -> None:
        """What the sender does: lose all connections and begin again."""
        for pipe in self.pipes.values():
            pipe.closed = True
            pipe.session.disconnect()
        self.pipes.clear()
        if self.watch is not None:
            self._break(self.watch, "interrupted")
        self._finished = []
        with self.accumulator.lock:
            self.metadata.lose()
            error = ConnectError("interrupted")
            self.dispatcher.recover(self.accumulator.lanes(), error, self.clock.now)
            self.accumulator.recover(self.metadata)

    def _next_time(self) -> float | None:
        times = [self._events[0][0] if self._events else None, self.dispatcher.next_timer(), self.core.wakeup_at]
        return min((time for time in times if time is not None), default=None)

    def _decide(self) -> None:
        for _ in range(10_000):
            with self.accumulator.lock:
                if self._finished:
                    self.accumulator.settle(self._finished, self.clock.now)
                    for action in self._finished:
                        self.done_at[id(action.batch.outcome)] = self.clock.now
                    self._finished = []
                for lane in self.accumulator.take_noted():
                    self.dispatcher.records(lane, self.clock.now)
                self.dispatcher.tick(self.clock.now)
                actions = self.dispatcher.take_actions(self.clock.now)
            for action in actions:
                self._perform(action)
            self._cluster_speaks()
            self._check_memory()
            if not actions:
                return
        raise self.broken("the dispatcher does not come to rest")

    def _note(self, text: str) -> None:
        self.trace.append(f"{self.clock.now:9.4f} {text}")

    # --- the promises ----------------------------------------------------------------------------

    def broken(self, what: str) -> Broken:
        story = "\n".join(self.trace[-30:])
        replay = f"python tests/simulation/replay.py {self.seed}"
        return Broken(f"seed {self.seed} ({replay}), at {self.clock.now:.4f} s: {what}\n{story}")

    def _check_memory(self) -> None:
        if not 0 <= self.accumulator.used <= self.limit:
            raise self.broken(f"{self.accumulator.used} bytes are accounted for, of {self.limit}")

    def _check_acknowledged(self, batch: Batch, base_offset: int | None) -> None:
        if self.clock.now > batch.deadline + EPSILON:
            raise self.broken("a batch was acknowledged after its deadline")
        partition = self._partition(batch.lane.topic, batch.lane.partition)
        if batch.lane.channel.config.isolation is Isolation.READ_COMMITTED:
            end = (base_offset or 0) + batch.builder.count
            if partition.hw < end:
                raise self.broken(f"{end} was acknowledged as committed, the high watermark is {partition.hw}")

    def _partition(self, topic: str, index: int) -> Partition:
        return self.core.topics[topic].partitions[index]

    def _log(self, topic: str, index: int) -> list[bytes]:
        log = self._partition(topic, index).log
        blobs = log.read(0, log.end_offset, 1 << 40)
        return [record.value for batch in decode_record_set(b"".join(blobs)) for record in batch.records]

    def _check_end(self) -> None:
        if self.core.violations:
            raise self.broken(f"the cluster complains: {self.core.violations[:3]}")
        if self.accumulator.used:
            raise self.broken(f"{self.accumulator.used} bytes are never given back")
        logs = {(sent.channel.topic, sent.partition): [b""] for sent in self.sent}
        for key in logs:
            logs[key] = self._log(*key)
        for sent in self.sent:
            self._check_record(sent, logs[sent.channel.topic, sent.partition])
        self._check_order(logs)

    def _check_record(self, sent: Sent, log: list[bytes]) -> None:
        future = sent.future
        name = f"record {sent.number} ({sent.channel.topic}, {sent.partition})"
        if not future.done():
            raise self.broken(f"{name} is never resolved")
        if isinstance(sent.channel.config.delivery_semantic, AtMostOnce):
            if log.count(sent.value) > 1:
                raise self.broken(f"{name} is stored twice under at-most-once")
            return
        done_at = self.done_at[id(future._locate()[0])]
        if done_at > sent.deadline + EPSILON:
            raise self.broken(f"{name} was resolved {done_at - sent.deadline:.4f} s after its deadline")
        error = future.exception()
        if error is None:
            offset = future.result().offset
            if offset is None or offset >= len(log) or log[offset] != sent.value:
                raise self.broken(f"{name} is not at offset {offset}, which it was resolved with")
            if sent.timestamp not in (None, future.result().timestamp):
                raise self.broken(f"{name} was resolved with another timestamp than its own")
        elif self.patient and not isinstance(error, RejectedError):
            raise self.broken(f"{name} was given up though the cluster came back: {error}")
        elif not getattr(error, "may_be_stored", True) and sent.value in log:
            raise self.broken(f"{name} is stored, and its error says that it is not")

    def _check_order(self, logs: dict[tuple[str, int], list[bytes]]) -> None:
        """Acknowledged records of one sequence first appear in the order in which they were sent."""
        last: dict[tuple[int, int], tuple[int, int]] = {}
        firsts = {key: _first_positions(log) for key, log in logs.items()}
        for sent in self.sent:
            if isinstance(sent.channel.config.delivery_semantic, AtMostOnce) or sent.future.exception() is not None:
                continue
            place = firsts[sent.channel.topic, sent.partition][sent.value]
            sequence = (id(sent.channel), sent.partition)
            before, number = last.get(sequence, (-1, -1))
            if place <= before:
                raise self.broken(f"record {sent.number} first appears before record {number}, which was sent first")
            last[sequence] = (place, sent.number)


def _first_positions(log: list[bytes]) -> dict[bytes, int]:
    firsts: dict[bytes, int] = {}
    for position, value in enumerate(log):
        firsts.setdefault(value, position)
    return firsts
