# SPDX-License-Identifier: Apache-2.0
"""The client's engine on a clock that a test moves: the real sender, watch, handshake, frames and dispatcher.

There is no thread and no socket.  `Servers` stands in for the SC (Streaming Controller), which answers at once, and for
the SPUs (Stream Processing Units), which do when the test says so.  An SPU's connection takes the bytes of a request
only when the test lets them out: until then they wait as for a full socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluvio_sync._core.actions import AskOffsets, Connect, Disconnect, ReadLog, Report, Write
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.looking import FirstOffsets, Look
from fluvio_sync._core.pipeline import CommitWait
from fluvio_sync._net.transport import Stage
from fluvio_sync._outcomes.handle_stats import HandleStats
from fluvio_sync._runtime.engine import ClientConfig, Engine, Parts
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync.config import ProducerConfig
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.fetch import FetchedPartition, FetchedTopic, FetchResponse
from fluvio_sync.protocol.frames import encode_response
from fluvio_sync.protocol.offsets import FetchOffsetsResponse, PartitionOffsets, TopicOffsets
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import PartitionResult, ProduceRequest, ProduceResponse, TopicResult
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.protocol.watch import Change
from fluvio_sync.testing._memory import LogInPlace, MemoryPoller
from fluvio_sync.tls import TlsConfig
from tests.support.interruption import Interruption, paused
from tests.support.servers import Servers, partition, response, spu, topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.events import Event
    from fluvio_sync._core.partition import PartitionQueue, State
    from fluvio_sync._core.pipeline import Request, SpuPipeline
    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._core.transitions import Move
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.futures import DeliveryFuture


Question = CommitWait | FirstOffsets | Look


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
        self.move_to(self.now + seconds)

    def move_to(self, now: float) -> None:
        self.wall += round((now - self.now) * 1000)
        self.now = now


class RecordingDispatcher(Dispatcher):
    """Keeps the actions and moves; `interrupted`: an exception leaves the next step once the events are handled."""

    interrupted = False

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.taken: list[Action] = []
        self.moves: list[tuple[type[State], Move, type[State]]] = []

    def take_actions(self, now: float) -> list[Action]:
        if self.interrupted:
            self.interrupted = False
            raise Interruption
        actions = super().take_actions(now)
        self.taken += actions
        return actions

    def _move(self, queue: PartitionQueue, move: Move, state: State) -> None:
        before = type(queue.state)
        super()._move(queue, move, state)
        self.moves.append((before, move, type(state)))


class NoThread:
    """Stands in for `SenderThread`: the test runs the steps."""

    def __init__(self, *_parts: object, **_settings: object) -> None:
        pass

    def stands_still(self) -> bool:
        return False

    def work_at_once(self) -> bool:
        return False

    def go_on(self) -> None:
        pass

    def lead(self, _is_done: object, timeout: float | None) -> float | None:
        return timeout


class Rig:
    """A client of topic `t`, whose partitions are led by SPU 5001 unless a test says otherwise.

    Methods that return actions return all that were taken since the last ones were returned.
    """

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
        self.servers = Servers()
        config = ClientConfig(
            endpoint=Endpoint("127.0.0.1", 9003),
            tls=TlsConfig.disabled(),
            client_id="rig",
            use_spu_local_address=False,
            spu_address_override=None,
            connect_timeout=connect_timeout,
            request_timeout=request_timeout,
            metadata_timeout=0.0,
            exit_timeout=0.0,
            buffer_memory=limit,
        )
        replaced: dict[str, Any] = {
            "poller": MemoryPoller,
            "dispatcher": RecordingDispatcher,
            "thread": NoThread,
            "log_thread": LogInPlace,
        }
        engine = Engine(config, self.clock, Parts(connector=self.servers.connect, **replaced))
        self.engine = engine
        self.metadata, self.accumulator, self.sender = engine.metadata, engine.accumulator, engine.sender
        self.poller: Any = engine.poller
        self.dispatcher: Any = engine.dispatcher
        known: dict[str, list[Any]] = {
            "SPU": [spu(number) for number in spus],
            "Partition": [partition(f"t-{index}", 5001) for index in range(partitions)],
            "Topic": [topic("t", partitions, segment_size)],
        }
        self.servers.objects = {label: {item.name: item for item in items} for label, items in known.items()}
        self._work()
        self.handle_stats = HandleStats()
        self.topic_state = self.make_topic_state(**settings)

    def make_topic_state(self, **settings: Any) -> TopicState:
        # What a retry is without looks into the log, unless a test is about these.
        config = ProducerConfig.from_settings(None, {"verify_retries": False} | settings)
        return self.accumulator.topic_state("t", config, self.metadata)

    def queue(self, number: int = 0, topic_state: TopicState | None = None) -> PartitionQueue:
        return self.accumulator.queue(topic_state or self.topic_state, number)

    # The application.

    def send(self, value: bytes = b"v", *, to: int = 0, key: bytes | None = None, **more: Any) -> DeliveryFuture:
        topic_state = more.pop("topic_state", self.topic_state)
        handle_stats = more.pop("handle_stats", self.handle_stats)
        return self.accumulator.append(topic_state, to, key, value, more.pop("timestamp", None), handle_stats)

    def abandon(self, handle_stats: HandleStats | None = None) -> list[Action]:
        """Close the client, or one handle."""
        queues = self.accumulator.queues()
        self.sender.call_soon(lambda now: self.dispatcher.abandon(queues, now, handle_stats))
        return self.step()

    # Time.

    def step(self, seconds: float = 0.0) -> list[Action]:
        """Let time pass, and run the sender's steps until nothing is left to do."""
        self.clock.advance(seconds)
        self._work()
        actions: list[Action] = [*self.dispatcher.taken]
        self.dispatcher.taken.clear()
        return actions

    def _work(self) -> None:
        self.sender.work(0.0)
        for _ in range(1000):
            if self.sender.prepare() > self.clock.now and not self.poller.wait(0.0):
                return
            self.sender.work(0.0)
        raise AssertionError("the sender spins")

    def run(self, seconds: float) -> list[Action]:
        """Let time pass, stopping at every timer on the way."""
        end = self.clock.now + seconds
        actions = self.step()
        while (due := self.sender.next_timer()) <= end:
            self.clock.move_to(max(due, self.clock.now))
            actions += self.step()
        self.clock.move_to(end)
        return actions + self.step()

    def interrupt(self, cause: Callable[[], object] | None = None) -> None:
        """Have an exception leave the next step, by itself or after a cause, when the dispatcher has decided.

        Nothing of the decision is carried out, and the step after it recovers.
        """
        self.dispatcher.interrupted = True
        with pytest.raises(Interruption):
            (cause or self.step)()

    # The SC.

    def push(self, label: str, items: Sequence[Any], *, delete: bool = False) -> None:
        """Have the SC push changes of one kind."""
        known = self.servers.objects[label]
        for item in items:
            known.pop(item.name, None)
            if not delete:
                known[item.name] = item
        self._tell(label, changes=tuple(Change(delete, item) for item in items))

    def list_all(self, label: str, items: Sequence[Any]) -> None:
        """Have the SC push all objects of one kind."""
        self.servers.objects[label] = {item.name: item for item in items}
        self._tell(label, everything=tuple(items))

    def _tell(self, label: str, **pushed: tuple[Any, ...]) -> None:
        with paused():
            self.servers.tell(label, **pushed)
        self._work()

    def forget_sc(self) -> None:
        """Have a firewall forget the connections to the SC; new ones work."""
        self.servers.forget_sc_connections()

    def lose_sc(self) -> list[Action]:
        """End the connection to the SC, which takes no other one until `sc_online` is set."""
        self.servers.sc_online = False
        self.servers.end_sc_connection()
        return self.step()

    # The SPUs.

    def connected(self) -> list[SpuPipeline]:
        """Return the pipelines that have a connection, made or being made."""
        return [*self.sender._connections]

    def connection(self, pipeline: SpuPipeline) -> Any:
        return self.sender._connections[pipeline]

    def connect(self) -> list[Action]:
        """Complete every connection that is being made."""
        self.step()
        for pipeline in self.connected():
            connection = self.connection(pipeline)
            if connection.stage is Stage.CONNECTING:
                connection.transport.session = self.servers
        return self.step()

    def is_unwritten(self, request: Request) -> bool:
        """Whether bytes of a request still wait for room."""
        return any(frame.tag is request for frame in self.connection(request.pipeline)._unfinished)

    def begin_to_write(self, request: Request) -> list[Action]:
        """Let out the first byte of a request."""
        return self._let_out(request.pipeline, request, start=True)

    def written(self, request: Request) -> list[Action]:
        """Let out the bytes of a request, and of those before it."""
        return self._let_out(request.pipeline, request)

    def _let_out(self, pipeline: SpuPipeline, tag: Request | None, *, start: bool = False) -> list[Action]:
        connection = self.connection(pipeline)
        frame = next(frame for frame in connection._unfinished if frame.tag is tag)
        end = frame.start + 1 if start else frame.end
        connection.transport.take_more(max(0, end - connection._sent_bytes))
        return self.step()

    def answer(self, request: Request, *codes: int, base: int = 0) -> list[Action]:
        """Let a request out if need be, and answer it: see `response`."""
        with paused():
            message = response(request, *codes, base=base)
        return self.answer_with(request, message)

    def answer_with(self, request: Request, message: ProduceResponse) -> list[Action]:
        actions = self.written(request) if self.is_unwritten(request) else []
        self._feed(request.pipeline, request, SpuApi.PRODUCE, message)
        return actions + self.step()

    def answer_unread(self, request: Request, code: int) -> list[Action]:
        """Answer an at-most-once request that was written."""
        with paused():
            results = [
                TopicResult(queue.topic, (PartitionResult(queue.partition, ErrorCode(code), 0, 0, 0),))
                for queue, _ in request.unread
            ]
        return self.answer_with(request, ProduceResponse(tuple(results), 0))

    def watermark(self, question: Question, mark: int | None, start: int = 0) -> list[Action]:
        """Answer the question how far a partition goes; None: the SPU does not know the partition."""
        code = ErrorCode(3001) if mark is None else ErrorCode.NONE
        with paused():
            offsets = PartitionOffsets(code, question.queue.partition, start, mark or 0)
            message = FetchOffsetsResponse((TopicOffsets(question.queue.topic, (offsets,)),))
        return self._answer_question(question, SpuApi.FETCH_OFFSETS, message)

    def log(self, look: Look, records: bytes = b"", code: int = 0) -> list[Action]:
        """Answer a look with a part of the partition's log."""
        with paused():
            fetched = FetchedPartition(look.queue.partition, ErrorCode(code), 0, records=records)
            message = FetchResponse((FetchedTopic(look.queue.topic, (fetched,)),))
        return self._answer_question(look, SpuApi.FETCH, message)

    def _answer_question(self, question: Question, api: SpuApi, message: Any) -> list[Action]:
        actions = []
        if any(frame.tag is None for frame in self.connection(question.pipeline)._unfinished):
            actions = self._let_out(question.pipeline, None)
        self._feed(question.pipeline, question, api, message)
        return actions + self.step()

    def _feed(self, pipeline: SpuPipeline, expected: Request | Question, api: SpuApi, message: Any) -> None:
        connection = self.connection(pipeline)
        with paused():
            writer = Writer()
            message.write(writer, connection.version(api))
            connection.transport.feed(encode_response(self._correlation(pipeline, expected), writer.getvalue()))

    def _correlation(self, pipeline: SpuPipeline, expected: Request | Question) -> int:
        (number,) = [number for number, item in self.connection(pipeline).expected.items() if item is expected]
        return int(number)

    def arrived(self, request: Request) -> ProduceRequest:
        """Return a request that is not answered yet, as its SPU received it."""
        transport = self.connection(request.pipeline).transport
        return self.servers.arrived[transport, self._correlation(request.pipeline, request)]

    def feed(self, pipeline: SpuPipeline, data: bytes) -> list[Action]:
        """Have bytes arrive on a connection."""
        self.connection(pipeline).transport.feed(data)
        return self.step()

    def lose(self, pipeline: SpuPipeline, error: FluvioError) -> list[Action]:
        """Have a connection fail, while it is made or later."""
        self.connection(pipeline).transport.failure = error
        return self.step()

    def handle(self, event: Event) -> list[Action]:
        """Tell the dispatcher of an event: one that comes too late, from a connection that is gone."""
        self.sender._events.append(event)
        return self.step()


def writes(actions: Sequence[Action]) -> list[Request]:
    return [action.request for action in actions if isinstance(action, Write)]


def connects(actions: Sequence[Action]) -> list[SpuPipeline]:
    return [action.pipeline for action in actions if isinstance(action, Connect)]


def disconnects(actions: Sequence[Action]) -> list[SpuPipeline]:
    return [action.pipeline for action in actions if isinstance(action, Disconnect)]


def asks(actions: Sequence[Action]) -> list[CommitWait]:
    return [
        action.question
        for action in actions
        if isinstance(action, AskOffsets) and isinstance(action.question, CommitWait)
    ]


def questions(actions: Sequence[Action]) -> list[FirstOffsets | Look]:
    """Return the questions that the sender asked before it sends records, looks among them."""
    asked = [action.question for action in actions if isinstance(action, AskOffsets)]
    return [question for question in asked if not isinstance(question, CommitWait)]


def reads(actions: Sequence[Action]) -> list[Look]:
    return [action.look for action in actions if isinstance(action, ReadLog)]


def reports(actions: Sequence[Action]) -> list[str]:
    return [action.event for action in actions if isinstance(action, Report)]


def replicated_to(mark: int) -> PartitionOffsets:
    """Return an SPU's answer how far partition 0 goes."""
    with paused():
        return PartitionOffsets(ErrorCode.NONE, 0, 0, mark)


def values(request: Request) -> list[bytes]:
    with paused():
        return [value for batch in request.batches for _, value, _ in batch.records()]
