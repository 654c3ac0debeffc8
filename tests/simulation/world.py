# SPDX-License-Identifier: Apache-2.0
"""A whole cluster and a client of it in one thread, on a clock that jumps from event to event.

The client is the real engine: queue, dispatcher, sender, watch, handshake and frames.  So is the core of the
development cluster.  Between them lies a simulated network (`network.py`) that delays, cuts and loses.  Everything is
drawn from one seed, so that a run can be repeated exactly.  `World(seed).run()` raises `Broken` if a promise was not
kept.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fluvio_sync._core.dispatcher import ABANDON_GRACE
from fluvio_sync._core.looking import Looking
from fluvio_sync._core.metadata import kept
from fluvio_sync._core.partition import Acknowledged, Failed
from fluvio_sync._outcomes.handle_stats import HandleStats
from fluvio_sync._runtime.engine import ClientConfig, Engine, Parts
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync.config import ProducerConfig
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, Isolation
from fluvio_sync.errors import BufferFullError, ClosedError, DeliveryTimeoutError, RejectedError
from fluvio_sync.protocol.batch import BatchBuilder, BatchIdentity, decode_record_set
from fluvio_sync.protocol.frames import encode_response
from fluvio_sync.protocol.metadata import ComputedReplicas, TopicSpec, TopicStorage
from fluvio_sync.protocol.metadata import Endpoint as CoreEndpoint
from fluvio_sync.retry import RetryPolicy, RetryStrategy
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._memory import LogInPlace, MemoryPoller
from fluvio_sync.tls import TlsConfig
from tests.simulation.network import SimulatedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.partition import Batch, Outcome
    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._outcomes.batch_futures import BatchFutures
    from fluvio_sync._runtime.accumulator import Accumulator
    from fluvio_sync._runtime.sender import Sender
    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.testing._cluster.model import Partition
    from tests.simulation.network import SimulatedTransport

FAULTS_END = 20.0  # seconds after which nothing is broken any more
EPSILON = 1e-6
FAR = 1.2  # seconds that an answer takes at most, but for the network's own delay
TICK = 0.001 + EPSILON  # within which a last attempt is not followed by another
SC = Endpoint("10.0.0.1", 9003)

# Methods at whose calls a step may be interrupted.
INTERRUPTIBLE = {
    "dispatcher": (
        "handle",
        "tick",
        "records_queued",
        "take_actions",
        "recover",
        "_move",
        "_arm",
        "_conclude",
        "_enqueue",
        "_reschedule",
        "_attempt_failed",
        "_connect",
    ),
    "sender": (
        "_advance",
        "_collect",
        "_take_answer",
        "_lose",
        "_abort",
        "_reregister",
        "_account_for",
        "_take_metadata",
        "_complete",
        "_write",
        "_connect",
    ),
    "accumulator": ("finish", "recover", "take_dirty", "metadata_changed"),
    "watch": ("start", "take_over", "lose"),
}

T = TypeVar("T")


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
    topic_state: TopicState
    partition: int
    value: bytes
    future: DeliveryFuture
    deadline: float
    timestamp: int | None  # milliseconds, if the application gave it


@dataclass
class Loss:
    """The end of a log that its new leader lacks; `told_at`: when the client learned who leads."""

    key: tuple[str, int]
    offset: int  # the first that is lost
    leader: int
    at: float
    told_at: float = math.inf

    @property
    def over_at(self) -> float:
        """After which no acknowledgement of the replaced leader is taken any more."""
        return min(self.told_at + ABANDON_GRACE, self.at + FAR + 0.1)


class NoThread:
    """Stands in for the client's background thread: the world runs the steps."""

    def __init__(self, *_parts: object, **_settings: object) -> None:
        pass

    def stands_still(self) -> bool:
        return False

    def work_at_once(self) -> bool:
        return False

    def go_on(self) -> None:
        pass

    def lead(self, _is_done: Callable[[], bool], timeout: float | None) -> float | None:
        return timeout


def run_all(work: list[Callable[[], None]]) -> None:
    """Run callbacks at once, in place of their thread."""
    for call in work:
        call()


class WatchedLog:
    """Takes an internal error that the sender contained and logged for a broken promise."""

    def __init__(self, violations: list[str]) -> None:
        self._violations = violations

    def error(self, event: str, **_fields: object) -> None:
        if event == "sender.internal_error":
            self._violations.append(f"an internal error: {sys.exc_info()[1]!r}")

    def info(self, event: str, **fields: object) -> None:
        pass

    debug = warning = info


class World:
    """See the module's description.

    `parts`: kinds of the engine's parts, to plant faults; `now`, `after`, `at`: the time, and calls at a later one.
    """

    def __init__(self, seed: int, **parts: Any) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.clock = Clock()
        self.trace: list[str] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self.sent: list[Sent] = []
        self.done_at: dict[BatchFutures, float] = {}
        self.violations: list[str] = []
        self._make_cluster()
        self._make_client(parts)
        self._plan()

    # --- making it -------------------------------------------------------------------------------

    def _make_cluster(self) -> None:
        draw = self.random
        spus = draw.choice([1, 1, 2, 3])
        self.core = ClusterCore([SpuAddress(5001 + n, SC.host, 9010 + n) for n in range(spus)])
        for n in range(draw.choice([1, 1, 2])):
            replication = draw.randint(1, spus)
            storage = TopicStorage(draw.choice([1024, 4096]), 1 << 30) if draw.random() < 0.15 else None
            spec = TopicSpec(ComputedReplicas(draw.choice([1, 2, 5]), replication), storage=storage)
            self.core.create_topic(f"topic-{n}", spec)
        self.network = SimulatedNetwork(self.core, self.clock.monotonic, self.after, draw)
        # The SC elects leaders that lack the end of the log: acknowledged records that are not replicated may be lost.
        self.lossy = spus > 1 and draw.random() < 0.4
        self.losses: list[Loss] = []
        self.unseen: set[tuple[str, int]] = set()  # partitions that got another leader before the client knew the last
        self.stamped = draw.choice([0.0, 0.0, 0.9])  # the share of records that the application gives a timestamp

    def _make_client(self, parts: dict[str, Any]) -> None:
        draw = self.random
        self.limit = draw.choice([20_000, 200_000])
        config = ClientConfig(
            endpoint=SC,
            tls=TlsConfig.disabled(),
            client_id="simulated",
            use_spu_local_address=False,
            spu_address_override=None,
            connect_timeout=draw.choice([0.5, 5.0]),
            # Where the system tells nothing, a batch that takes longer could not be told from one that is lost.
            request_timeout=draw.choice([0.5, 2.0, 30.0] if self.network.tells else [2.0, 30.0]),
            metadata_timeout=0.0,
            exit_timeout=0.0,
            buffer_memory=self.limit,
        )
        chosen: Any = {
            "connector": self.network.connect,
            "poller": MemoryPoller,
            "thread": NoThread,
            "log_thread": LogInPlace,
        } | parts
        chosen |= self._watched_parts(chosen)
        self.engine = Engine(config, self.clock, Parts(**chosen))
        self.accumulator = self.engine.accumulator
        self.sender = self.engine.sender
        self.sender._log = WatchedLog(self.violations)  # type: ignore[assignment]
        # Half of the seeds are patient enough to outlast every fault: then everything has to arrive.
        self.patient = draw.random() < 0.5
        self.topic_states: list[TopicState] = []
        self.handles = [HandleStats(self.engine.handle_stats) for _ in range(2)]
        # A thread that leads sends at once, and another one tells the futures of an interruptible thread.
        self.leading = draw.random() < 0.3
        self.sender.interruptible = draw.random() < 0.3
        self.called_back = draw.choice([0.0, 0.3])  # the share of futures with a callback
        self.to_call: list[int] = []  # numbers of their records
        self.called: list[int] = []
        self.engine.callbacks.submit = run_all  # type: ignore[method-assign]
        self.abandoned = False

    def _watched_parts(self, parts: dict[str, Any]) -> dict[str, Any]:
        """Return classes of the client's parts whose methods tell this world that they are called.

        Calls between and within the parts look whether the step is to be interrupted there.
        """
        self.interrupt_in = 0  # calls, none if 0
        watched: dict[str, Any] = {}
        for part, names in INTERRUPTIBLE.items():
            of = parts.get(part, getattr(Parts(), part))
            methods: dict[str, Callable[..., Any]] = {name: getattr(of, name) for name in names}
            if part == "sender":
                methods["_complete"] = self._checked(methods["_complete"])
            elif part == "accumulator":
                methods["finish"] = self._noted(methods["finish"])
            calls = {name: self._interruptible(method) for name, method in methods.items()}
            watched[part] = type(of.__name__, (of,), calls)
        return watched

    def _checked(self, complete: Callable[..., None]) -> Callable[..., None]:
        """Look at every acknowledgement before it is told."""

        def check(sender: Sender, outcome: Acknowledged | Failed) -> None:
            if isinstance(outcome, Acknowledged):
                # Raised after the step: the sender contains exceptions of its actions.
                self.violations += self._flaws_of(outcome.batch, outcome.base_offset)
            elif isinstance(outcome.failure(0), DeliveryTimeoutError):
                left = outcome.batch.deadline - self.clock.now
                if left > min(1.0, outcome.batch.queue.timeout / 10) + TICK:
                    self.violations.append(f"a batch failed by its timeout {left:.4f} s before its deadline")
            complete(sender, outcome)

        return check

    def _noted(self, finish: Callable[..., None]) -> Callable[..., None]:
        """Note when outcomes were accounted for."""

        def note(accumulator: Accumulator, outcomes: list[Outcome], now: float) -> None:
            finish(accumulator, outcomes, now)
            for outcome in outcomes:
                self.done_at.setdefault(outcome.batch.futures, now)

        return note

    def _interruptible(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.interrupt_in:
                self.interrupt_in -= 1
                if not self.interrupt_in:
                    raise Interruption
            return method(*arguments, **more)

        return call

    def _open_topic_states(self) -> None:
        draw = self.random
        for topic in [name for name in self.core.topics if name.startswith("topic-")]:
            for _ in range(draw.choice([1, 1, 2])):
                config = ProducerConfig(
                    delivery_semantic=self._semantic(),
                    isolation=Isolation.READ_UNCOMMITTED if self.lossy else draw.choice(list(Isolation)),
                    verify_retries=draw.random() < 0.85,
                    linger=draw.choice([0.0, 0.0, 0.005, 0.5]),
                    batch_size=draw.choice([100, 1000, 16_384] if self.network.tells else [100, 1000]),
                    max_request_size=draw.choice([16_384, 16_384, 1 << 20]),
                    on_full="raise",
                    server_timeout=draw.choice([0.1, 1.5]),
                )
                topic_state = self.accumulator.topic_state(topic, config, self.engine.metadata)
                if topic_state not in self.topic_states:
                    self.topic_states.append(topic_state)

    def _semantic(self) -> AtLeastOnce | AtMostOnce:
        draw = self.random
        if draw.random() < 0.2:
            return AtMostOnce()
        if self.patient:
            return AtLeastOnce(RetryPolicy(initial_delay=0.01, max_delay=1.0))
        max_retries = draw.choice([0, 1, 5, None, None])
        return AtLeastOnce(
            RetryPolicy(
                max_retries=max_retries,
                initial_delay=0.01 if max_retries is None else draw.choice([0.0, 0.01]),
                max_delay=2.0,
                timeout=draw.choice([0.2, 3.0, 30.0]),
                strategy=draw.choice(list(RetryStrategy)),
            )
        )

    def _plan(self) -> None:
        draw = self.random
        self.at(1.0, self._open_topic_states)
        for _ in range(draw.choice([5, 40, 150])):
            self.at(1.0 + draw.random() * FAULTS_END, self._send_some)
        faults = draw.choice([0, 12, 25] if self.lossy else [0, 0, 3, 12])
        self.calm = not faults and self.network.tells  # nothing but slowness: nothing is stored twice
        for _ in range(faults):
            self.at(1.0 + draw.random() * (FAULTS_END - 1.0), draw.choice(self._faults()))
        self.at(FAULTS_END, self._repair)
        if draw.random() < 0.2:
            self.at(1.0 + draw.random() * FAULTS_END, self._close_handle)
        if draw.random() < 0.2:
            self.at(1.0 + draw.random() * FAULTS_END, self._close)

    # --- what happens ----------------------------------------------------------------------------

    def _send_some(self) -> None:
        draw = self.random
        topic_state = draw.choice(self.topic_states)
        handle = draw.choice([handle for handle in self.handles if not handle.closed])
        for _ in range(0 if self.accumulator.closed else draw.choice([1, 1, 3, 10])):
            number = len(self.sent)
            value = b"%d:" % number + b"x" * draw.choice([0, 10, 10, 300])
            partition = draw.randrange(topic_state.partition_count)
            timestamp = 1_700_000_000_000 + draw.randrange(5000) if draw.random() < self.stamped else None
            try:
                future = self.accumulator.append(topic_state, partition, None, value, timestamp, handle)
            except BufferFullError:
                continue
            queue = self.accumulator.queue(topic_state, partition)
            deadline = self.clock.now + queue.linger + queue.timeout
            self.sent.append(Sent(number, topic_state, partition, value, future, deadline, timestamp))
            if draw.random() < self.called_back:
                future.add_done_callback(lambda _future, number=number: self.called.append(number))  # type: ignore[misc]
                self.to_call.append(number)
        if draw.random() < 0.1:
            self.accumulator.begin_flush(topic_state, None)
        if self.leading and not self.accumulator.closed:
            self._uninterrupted(self.sender.work_at_once)

    def _close_handle(self) -> None:
        """One of two producer handles is closed without waiting: its records fail."""
        self._note("a producer is closed")
        handle = self.handles[0]
        handle.closed = True
        self.sender.call_soon(lambda now: self.engine.dispatcher.abandon(self.accumulator.queues(), now, handle))

    def _close(self) -> None:
        """The client is closed without waiting: all records fail, and the last answers are read for a while."""
        self._note("the client is closed")
        self.interrupt_in = 0
        self.sender.interruptible = False
        self.sender.fail_rest()
        self.sender.notify()
        self.sender.stop_writing()

        def abandon() -> None:
            self.sender.abandon()
            self.abandoned = True

        self.after(2.0 if self.sender.expects_answers() else 0.0, abandon)

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._kill_spu,
            self._kill_spu,
            self._move_leader,
            self._move_leader,
            self._other_client,
            self._go_far,
            self._go_far,
            self._error_code,
            self._error_code,
            self._cut_connection,
            self._cut_connection,
            self._cut_produce,
            self._cut_produce,
            self._stall_connection,
            self._fill_socket,
            self._fill_socket,
            self._fill_socket,
            self._garble,
            self._set_clock_back,
            self._hold_replies,
            self._refuse,
            self._lose_sc,
            self._forget_sc,
            self._move_address,
            self._push_unreadable,
            self._grow_topic,
            self._interrupt,
            self._interrupt,
        ]

    def _some_transport(self) -> SimulatedTransport | None:
        transports = self.network.to_spus()
        return self.random.choice(transports) if transports else None

    def _fill_socket(self) -> None:
        """The socket takes some bytes more, and then none for a while."""
        transport = self._some_transport()
        if transport is None or transport.full or transport.room is not None:
            return
        transport.room = self.random.choice([0, 1, 40, 500])
        transport.full, transport.room = not transport.room, transport.room or None
        self._note(f"the socket to SPU {self.network.node_of(transport)} takes {transport.room or 0} bytes more")

        def empty() -> None:
            transport.full, transport.room = False, None

        self.after(self.random.choice([0.1, 1.0, 5.0]), empty)

    def _garble(self) -> None:
        """An SPU sends bytes that are no frame of Fluvio's."""
        transport = self._some_transport()
        if transport is not None:
            self._note(f"SPU {self.network.node_of(transport)} sends garbage")
            self.network.bring_down(transport, b"\xff\xff\xff\xffgarbage")

    def _push_unreadable(self) -> None:
        """The SC pushes an update that this client cannot read, as a newer SC might."""
        transport = self.network.to_sc()
        current = self.engine.watch.current
        if transport is not None and current is not None and current.established:
            self._note("the SC pushes an update that cannot be read")
            self.network.bring_down(transport, encode_response(min(current._streams), b"\x00"))

    def _set_clock_back(self) -> None:
        self.clock.behind += self.random.choice([0.001, 0.3, 100.0])
        self._note("the wall clock is set back")

    def _kill_spu(self) -> None:
        online = sorted(self.core.online)
        if not online:
            return
        spu = self.random.choice(online)
        self._note(f"SPU {spu} dies")
        for topic in self.core.topics.values():
            for partition in topic.partitions:
                if partition.leader == spu:
                    self._note_election(topic.name, partition)
        self.core.kill_spu(spu)
        self.after(self.random.choice([0.05, 1.0, 5.0]), lambda: self._restart_spu(spu))

    def _note_election(self, topic: str, partition: Partition) -> None:
        """Note whether the client will not know of a leader, whose log may have lost its end."""
        known = self.engine.metadata.partitions.get((topic, partition.index))
        if known is None or known.leader != partition.leader:
            self.unseen.add((topic, partition.index))

    def _restart_spu(self, spu: int) -> None:
        if spu not in self.core.online:
            self._note(f"SPU {spu} is back")
            self.core.restart_spu(spu)

    def _move_leader(self) -> None:
        topic = self.random.choice([name for name in self.core.topics if name.startswith("topic-")])
        self._elect(topic, self.random.choice(self.core.topics[topic].partitions))

    def _elect(self, topic: str, partition: Partition) -> None:
        replicas = [spu for spu in partition.replicas if spu in self.core.online and spu != partition.leader]
        if replicas and partition.leader in self.core.online:
            lost = self.random.choice([0, 1, 3]) if self.lossy else 0
            end = partition.log.end_offset
            self._note_election(topic, partition)
            self.core.move_leader(topic, partition.index, replicas[0], lost)
            self._note(f"{partition.name} moves to SPU {replicas[0]}, from offset {end} to {partition.log.end_offset}")
            if lost:
                key = (topic, partition.index)
                self.losses.append(Loss(key, partition.log.end_offset, replicas[0], self.clock.now))

    def _other_client(self) -> None:
        """Another client writes batches, whose sequences are those of this one."""
        topic = self.random.choice([name for name in self.core.topics if name.startswith("topic-")])
        partition = self.random.choice(self.core.topics[topic].partitions)
        self._note(f"another client writes to {partition.name}")
        for sequence in range(self.random.choice([3, 30])):
            builder = BatchBuilder(1_700_000_000_000)
            builder.append(None, b"of another client", 1_700_000_000_000)
            batch = b"".join(builder.build(identity=BatchIdentity(1, 0, sequence)))
            self.core.append(partition, [(memoryview(batch), 1)])

    def _error_code(self) -> None:
        code = self.random.choice([6, 1000, 2003, 3000, -1, 56, 10, 10, 10, 9000])
        self._note(f"the next entries are answered with code {code}")
        self.core.fail_next_produce(code, self.random.choice([1, 3]))

    def _cut_produce(self) -> None:
        spu = self.random.choice(sorted(self.core.spus))
        when: Any = self.random.choice(["before", "after", "late"])
        delay = self.random.choice([0.01, 0.1, 0.9])  # less than `SETTLING`
        self._note(f"the next request to SPU {spu} is cut {when}")
        self.core.cut_next_produce(spu, when, self.random.choice([1, 2]), delay)

    def _cut_connection(self) -> None:
        transport = self._some_transport()
        if transport is not None:
            self._note(f"the connection to SPU {self.network.node_of(transport)} is cut")
            self.network.cut(transport)

    def _stall_connection(self) -> None:
        transport = self._some_transport()
        if transport is not None:
            self._note(f"the connection to SPU {self.network.node_of(transport)} goes dead, and neither side is told")
            self.network.forget(transport)

    def _hold_replies(self) -> None:
        spu = self.random.choice(sorted(self.core.spus))
        self._note(f"SPU {spu} stalls")
        self.core.hold_replies(spu, on=True)
        self.after(self.random.choice([0.1, 3.0]), lambda: self.core.hold_replies(spu, on=False))

    def _go_far(self) -> None:
        """The way back from an SPU is long for a while."""
        spu = self.random.choice(sorted(self.core.spus))
        self._note(f"the way back from SPU {spu} is long")
        self.network.far[spu] = self.random.choice([0.1, 0.45, 0.45, FAR])
        seconds = self.random.choice([1.0, 8.0])
        self.after(seconds, self.network.far.clear)
        if self.lossy:  # it is cut off, and others are elected in its place
            self.core.cut_next_produce(spu, "after")
            for n in range(int(10 * seconds)):
                self.after(n / 10, lambda: self._elect_during_looks(spu))

    def _elect_during_looks(self, spu: int) -> None:
        """Others are elected where the client has found batches in an SPU's log, and still reads."""
        for queue in self.accumulator.queues():
            if isinstance(queue.state, Looking) and queue.state.look.found and self.random.random() < 0.5:
                partition = self._partition(queue.topic, queue.partition)
                if partition.leader == spu:
                    self._elect(queue.topic, partition)

    def _refuse(self) -> None:
        spu = self.random.choice(sorted(self.core.spus))
        self._note(f"connections to SPU {spu} are refused")
        self.network.refusing.add(spu)
        self.after(self.random.choice([0.05, 2.0]), lambda: self.network.refusing.discard(spu))

    def _lose_sc(self) -> None:
        transport = self.network.to_sc()
        if transport is not None:
            self._note("the SC's connection is cut")
            self.network.cut(transport)

    def _forget_sc(self) -> None:
        """A firewall forgets the connection to the SC; new ones work."""
        transport = self.network.to_sc()
        if transport is not None:
            self._note("the SC's connection goes dead, and neither side is told")
            self.network.forget(transport)

    def _move_address(self) -> None:
        """An SPU is somewhere else from now on; connections to its old address go dead, or live on for a while."""
        spu = self.random.choice(sorted(self.core.online) or [0])
        if spu:
            port = 9100 + next(self._serial)
            self._note(f"SPU {spu} moves to port {port}")
            for transport in self.network.move(spu, port):
                if self.random.random() < 0.7:
                    self.network.forget(transport)
            self.core.advertise(spu, CoreEndpoint(port, SC.host), None)
            self.after(0.5, lambda: self._look_at_address(spu, port))

    def _look_at_address(self, spu: int, port: int) -> None:
        """Once the client knows an SPU's new address, it leaves the old one soon."""

        def is_known() -> bool:
            address = self.engine.metadata.advertised(spu)
            return address is not None and address.port == port

        def check() -> None:
            connections = self.sender._connections.items()
            old = [item for pipeline, item in connections if pipeline.spu == spu and item.peer.endpoint.port != port]
            if is_known() and old:
                raise self.broken(f"the client stays at the old address of SPU {spu}")

        if is_known():
            self.after(2 * ABANDON_GRACE, check)

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
        self.network.refusing.clear()
        self.network.far.clear()
        self.interrupt_in = 0

    # --- running it ------------------------------------------------------------------------------

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._serial), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self.at(self.clock.now + seconds, call)

    def tell_events(self) -> None:
        """Have the trace tell every event of the dispatcher's as well."""
        handle = self.engine.dispatcher.handle

        def traced(event: Any, now: float) -> None:
            self._note(f"  {event!r}")
            handle(event, now)

        self.engine.dispatcher.handle = traced  # type: ignore[method-assign]

    def run(self) -> None:
        """Let everything happen, then check the promises."""
        standstill = 0
        while True:
            due = min(self._step(), self._next_event())
            self._note_losses_told()
            if due > 1000.0:
                break
            standstill = 0 if due > self.clock.now else standstill + 1
            if standstill > 5000:
                raise self.broken("time does not go on")
            self.clock.now = max(self.clock.now, due)
            self.core.now = max(self.core.now, self.clock.now)
            while self._events and self._events[0][0] <= self.clock.now:
                heapq.heappop(self._events)[2]()
            if (wakeup := self.core.wakeup_at) is not None and wakeup <= self.clock.now:
                self.core.on_time(self.clock.now)
            self.network.collect()
        self._check_end()

    def _note_losses_told(self) -> None:
        for loss in self.losses:
            if loss.told_at == math.inf:
                known = self.engine.metadata.partitions.get(loss.key)
                if known is not None and known.leader == loss.leader:
                    loss.told_at = self.clock.now

    def _next_event(self) -> float:
        times = [self._events[0][0] if self._events else None, self.core.wakeup_at]
        return min((time for time in times if time is not None), default=math.inf)

    def _step(self) -> float:
        """Run the sender's steps until it waits; return until when."""
        if self.abandoned:
            return math.inf
        for _ in range(10_000):
            due = self._uninterrupted(self.sender.prepare)
            if due is not None:
                if due > self.clock.now and not self.sender.unnotified and not self.engine.poller.wait(0.0):
                    return due
                self._uninterrupted(lambda: self.sender.work(0.0))
            # Called by the background thread, which no signal interrupts.
            interrupt_in, self.interrupt_in = self.interrupt_in, 0
            self.sender.notify()
            self.interrupt_in = interrupt_in
            if self.violations:
                raise self.broken(self.violations[0])
            self._check_memory()
        raise self.broken("the sender does not come to rest")

    def _uninterrupted(self, part: Callable[[], T]) -> T | None:
        """Run a part of a step; None if it was interrupted."""
        try:
            return part()
        except Interruption:
            self._note("the step is interrupted")
            return None
        except Exception as error:
            raise self.broken(f"the step raised {error!r}") from error

    def _note(self, text: str) -> None:
        self.trace.append(f"{self.clock.now:9.4f} {text}")

    # --- the promises ----------------------------------------------------------------------------

    def broken(self, what: str) -> Broken:
        story = "\n".join(self.trace[-30:])
        replay = f"python -m tests.simulation.replay {self.seed}"
        return Broken(f"seed {self.seed} ({replay}), at {self.clock.now:.4f} s: {what}\n{story}")

    def _check_memory(self) -> None:
        if not 0 <= self.accumulator.used <= self.limit:
            raise self.broken(f"{self.accumulator.used} bytes are accounted for, of {self.limit}")

    def _flaws_of(self, batch: Batch, base_offset: int | None) -> list[str]:
        """Return which promises an acknowledgement breaks."""
        flaws = []
        if self.clock.now > batch.deadline + EPSILON:
            flaws.append("a batch was acknowledged after its deadline")
        if batch.queue.topic_state.config.isolation is Isolation.READ_COMMITTED:
            mark = self._partition(batch.queue.topic, batch.queue.partition).hw
            end = (base_offset or 0) + batch.builder.count
            if mark < end:
                flaws.append(f"{end} was acknowledged as committed, the high watermark is {mark}")
        return flaws

    def _partition(self, topic: str, index: int) -> Partition:
        return self.core.topics[topic].partitions[index]

    def _log(self, topic: str, index: int) -> list[bytes]:
        log = self._partition(topic, index).log
        blobs = log.read(0, log.end_offset, 1 << 40)
        return [record.value for batch in decode_record_set(b"".join(blobs)) for record in batch.records]

    def _check_metadata(self) -> None:
        """The metadata is the cluster's, and the client knows that it is connected."""
        if self.abandoned:
            return
        metadata = self.engine.metadata
        if not self.engine.health().connected:
            raise self.broken("the client is never connected to the SC again")
        for topic in self.core.topics.values():
            for partition in topic.partitions:
                known = metadata.partitions.get((topic.name, partition.index))
                if known is None or known.leader != partition.leader:
                    raise self.broken(f"the client never learns the leader of {partition.name}")
        for number, spu in self.core.spus.items():
            if metadata.spus[number] != kept(spu.object()):
                raise self.broken(f"the client never learns where SPU {number} is")

    def _check_end(self) -> None:
        self._check_metadata()
        if self.core.violations:
            raise self.broken(f"the cluster complains: {self.core.violations[:3]}")
        if self.accumulator.used:
            raise self.broken(f"{self.accumulator.used} bytes are never given back")
        logs = {(sent.topic_state.topic, sent.partition): [b""] for sent in self.sent}
        for key in logs:
            logs[key] = self._log(*key)
        for sent in self.sent:
            log = logs[sent.topic_state.topic, sent.partition]
            if self.calm and log.count(sent.value) > 1:
                raise self.broken(f"record {sent.number} is stored twice, and nothing went wrong")
            self._check_record(sent, log)
        self._check_order(logs)
        self._check_duplicates(logs)
        if sorted(self.called) != self.to_call:
            raise self.broken("a callback was not called, or called twice")
        self._check_counts()

    def _is_lost(self, sent: Sent) -> bool:
        """Whether the cluster lost a record after, or shortly before, it was acknowledged."""
        key, offset = (sent.topic_state.topic, sent.partition), sent.future.result().offset
        done_at = self.done_at[sent.future._locate()[0]]
        return any(loss.key == key and loss.offset <= (offset or 0) and done_at < loss.over_at for loss in self.losses)

    def _check_duplicates(self, logs: dict[tuple[str, int], list[bytes]]) -> None:
        """Acknowledged records that are stored more than once are counted, and no others."""
        if self.abandoned:
            return
        for topic_state in self.topic_states:
            if not topic_state.config.verify_retries or topic_state.counters.records_unverified:
                continue
            sent = [item for item in self.sent if item.topic_state is topic_state and not _is_at_most_once(item)]
            again = {
                item.number: max(0, logs[topic_state.topic, item.partition].count(item.value) - 1) for item in sent
            }
            if self.lossy:  # it cannot know where to look if the log lost its end under a leader that it did not see
                sent = [item for item in sent if (topic_state.topic, item.partition) not in self.unseen]
            acked = sum(again[item.number] for item in sent if item.future.exception() is None)
            counted = topic_state.counters.records_duplicated
            # Records whose future had failed by then are counted as well.
            if acked > counted or (counted > sum(again.values()) and not self.losses):
                raise self.broken(f"{acked} records are stored again, {counted} were counted")

    def _check_counts(self) -> None:
        """The outcomes of the records add up."""
        at_least_once = [item for item in self.sent if not _is_at_most_once(item)]
        acked = sum(1 for item in at_least_once if item.future.exception() is None)
        counts = self.engine.handle_stats.take()
        total = counts.acked + counts.unacknowledged + counts.failed
        if (counts.acked, total) != (acked, len(self.sent)):
            raise self.broken(f"{counts} was counted of {len(self.sent)} records, {acked} of them acknowledged")

    def _check_record(self, sent: Sent, log: list[bytes]) -> None:
        future = sent.future
        name = f"record {sent.number} ({sent.topic_state.topic}, {sent.partition})"
        if not future.done():
            raise self.broken(f"{name} is never resolved")
        if _is_at_most_once(sent):
            if log.count(sent.value) > 1:
                raise self.broken(f"{name} is stored twice under at-most-once")
            return
        done_at = self.done_at[future._locate()[0]]
        if done_at > sent.deadline + EPSILON:
            raise self.broken(f"{name} was resolved {done_at - sent.deadline:.4f} s after its deadline")
        error = future.exception()
        if error is None:
            offset = future.result().offset
            if (offset is None or offset >= len(log) or log[offset] != sent.value) and not self._is_lost(sent):
                raise self.broken(f"{name} is not at offset {offset}, which it was resolved with")
            if sent.timestamp not in (None, future.result().timestamp):
                raise self.broken(f"{name} was resolved with another timestamp than its own")
        elif self.patient and not isinstance(error, RejectedError | ClosedError):
            raise self.broken(f"{name} was given up though the cluster came back: {error}")
        elif sent.value in log and (not getattr(error, "may_be_stored", True) or "it is not stored" in str(error)):
            raise self.broken(f"{name} is stored, and its error says that it is not")

    def _check_order(self, logs: dict[tuple[str, int], list[bytes]]) -> None:
        """Acknowledged records of one sequence first appear in the order in which they were sent."""
        last: dict[tuple[int, int], tuple[int, int]] = {}
        firsts = {key: _first_positions(log) for key, log in logs.items()}
        for sent in self.sent:
            if _is_at_most_once(sent) or sent.future.exception() is not None:
                continue
            if self._is_lost(sent):
                continue
            place = firsts[sent.topic_state.topic, sent.partition][sent.value]
            sequence = (id(sent.topic_state), sent.partition)
            before, number = last.get(sequence, (-1, -1))
            if place <= before:
                raise self.broken(f"record {sent.number} first appears before record {number}, which was sent first")
            last[sequence] = (place, sent.number)


def _is_at_most_once(sent: Sent) -> bool:
    return isinstance(sent.topic_state.config.delivery_semantic, AtMostOnce)


def _first_positions(log: list[bytes]) -> dict[bytes, int]:
    firsts: dict[bytes, int] = {}
    for position, value in enumerate(log):
        firsts.setdefault(value, position)
    return firsts
