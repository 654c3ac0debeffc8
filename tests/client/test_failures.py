# SPDX-License-Identifier: Apache-2.0
"""Peers that misbehave, and a full buffer: a clear error within the deadline, and no harm to other records."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import (
    AtMostOnce,
    BufferFullError,
    ClosedError,
    ConnectError,
    ConnectTimeoutError,
    DeliveryError,
    DeliveryTimeoutError,
    FlushResult,
    FlushTimeoutError,
    Fluvio,
    MetadataTimeoutError,
    ProtocolError,
    RequestTimeoutError,
    RetriesExhaustedError,
    UnsupportedVersionError,
)
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.frames import RequestHeader, encode_response
from fluvio_sync.protocol.produce import ProduceResponse, TopicResult
from fluvio_sync.protocol.versions import ApiVersionKey, ApiVersionsResponse, ScApi, SpuApi
from fluvio_sync.testing import FaultProxy
from tests.support.client import assert_settled, attempts, used_memory
from tests.support.hostile import (
    SC_KEYS,
    SPU_KEYS,
    Server,
    Talk,
    acknowledgement,
    pass_on,
    reply_to,
)
from tests.support.memory import resident
from tests.support.sockets import free_port
from tests.support.waiting import SLACK, in_thread, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.protocol.produce import ProduceRequest
    from fluvio_sync.testing.cluster import LocalCluster

pytestmark = pytest.mark.alone

SHORT = 0.3
"""Seconds of the timeouts in these tests."""

NOT_FLUVIO = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


# --- a hostile server at the beginning of a connection, as an SC or as an SPU --------------------


def says(make: Callable[[RequestHeader], bytes]) -> Callable[[Talk], None]:
    """Return a server that answers the first request like this, and waits."""

    def behave(talk: Talk) -> None:
        header, _ = talk.request()
        talk.send(make(header))
        talk.wait_for_end()

    return behave


def reset(talk: Talk) -> None:
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def half_close(talk: Talk) -> None:
    talk.sock.shutdown(socket.SHUT_WR)
    talk.wait_for_end()


def offer_old_versions(talk: Talk) -> None:
    talk.shake_hands((ApiVersionKey(ScApi.WATCH, 1, 9), ApiVersionKey(SpuApi.PRODUCE, 0, 6)))
    talk.wait_for_end()


def versions(header: RequestHeader) -> bytes:
    return reply_to(header, ApiVersionsResponse(ErrorCode.NONE, SC_KEYS + SPU_KEYS, "0.18.1"))


def dribble(talk: Talk, data: bytes) -> None:
    pause = threading.Event()
    for byte in data:
        talk.send(bytes([byte]))
        pause.wait(0.05)
    talk.wait_for_end()


BEGINNINGS: dict[str, tuple[Callable[[Talk], object], type[Exception], str]] = {
    "is silent": (Talk.wait_for_end, ConnectTimeoutError, "0.3 s.*connect_timeout"),
    "closes": (Talk.request, ConnectError, "closed the connection without an answer.*may want TLS"),
    "closes its half": (half_close, ConnectError, "closed the connection"),
    "speaks HTTP": (says(lambda _: NOT_FLUVIO), ProtocolError, "does not speak Fluvio's protocol"),
    "sends garbage": (says(lambda _: b"\0\0\0\x0c" + b"\xff" * 12), ProtocolError, "does not speak|was not sent"),
    "claims a huge frame": (says(lambda _: b"\x7f\xff\xff\xff"), ProtocolError, "2147483647 bytes"),
    "stops in a large frame": (
        says(lambda _: (64 * 1024).to_bytes(4, "big") + b"\0" * 1000),
        ConnectTimeoutError,
        "connect_timeout",
    ),
    "answers another request": (
        says(lambda header: versions(header._replace(correlation_id=0x1234))),
        ProtocolError,
        "4660",
    ),
    "rejects": (
        says(lambda header: reply_to(header, ApiVersionsResponse(PLAIN_CODES[Code.PERMISSION_DENIED], (), "0.18.1"))),
        ConnectError,
        "rejected.*permission denied",
    ),
    "is old": (offer_old_versions, UnsupportedVersionError, "0\\.18\\.1"),
    "dribbles": (lambda talk: dribble(talk, versions(talk.request()[0])), ConnectTimeoutError, "connect_timeout"),
}


# --- the SC --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_hostile_sc(name: str) -> None:
    behave, error, text = BEGINNINGS[name]
    before = resident()
    threads = threading.active_count()
    with Server(behave) as server:
        with within(SHORT), pytest.raises(error, match=text) as caught:
            Fluvio.connect(server.endpoint, connect_timeout=SHORT)
        assert type(caught.value) is error
        assert server.endpoint in str(caught.value)
        if isinstance(caught.value, ConnectError):
            assert caught.value.address == server.endpoint
        if isinstance(caught.value, ConnectTimeoutError):
            assert isinstance(caught.value, TimeoutError)
    assert threading.active_count() <= threads
    assert resident() - before < 20 * 1024 * 1024


def test_nobody_listens() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    with within(0.05), pytest.raises(ConnectError, match=f"SC at {endpoint}.*refused") as caught:
        Fluvio.connect(endpoint)
    assert type(caught.value) is ConnectError
    assert caught.value.address == endpoint


def test_a_name_that_takes_long_to_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    real = socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **settings: Any) -> Any:
        if host == "slow.example":
            if settings.get("flags"):
                raise socket.gaierror
            answer.wait()
            return []
        return real(host, *arguments, **settings)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with within(SHORT, shortest=SHORT), pytest.raises(ConnectTimeoutError, match=r"slow\.example:9003.*resolver"):
        Fluvio.connect("slow.example", connect_timeout=SHORT)
    answer.set()


def test_an_sc_that_never_tells_the_metadata() -> None:
    def behave(talk: Talk) -> None:
        talk.shake_hands(SC_KEYS)
        talk.wait_for_end()

    with Server(behave) as server, within(SHORT), pytest.raises(ConnectTimeoutError, match="metadata") as caught:
        Fluvio.connect(server.endpoint, connect_timeout=SHORT)
    assert server.endpoint in str(caught.value)


@pytest.mark.parametrize("junk", [b"", b"\xff" * 40, b"\0" * 8 + b"\x7f\xff\xff\xff" + b"\0" * 40])
def test_an_sc_whose_metadata_is_garbage(junk: bytes) -> None:
    def behave(talk: Talk) -> None:
        talk.shake_hands(SC_KEYS)
        header, _ = talk.request()
        talk.send(encode_response(header.correlation_id, junk))
        talk.wait_for_end()

    with Server(behave) as server, within(SHORT), pytest.raises(ProtocolError) as caught:
        Fluvio.connect(server.endpoint, connect_timeout=SHORT)
    assert server.endpoint in str(caught.value)


def test_no_tls_to_an_sc_that_answers_in_tls() -> None:
    def behave(talk: Talk) -> None:
        talk.receive()
        talk.send(b"\x15\x03\x03\0\x02\x02\x46")  # a fatal alert: the version of TLS is not right (RFC 8446, 6)
        talk.wait_for_end()

    with (
        Server(behave) as server,
        within(SHORT),
        pytest.raises(ConnectError, match=f"{server.endpoint}.* TLS") as caught,
    ):
        Fluvio.connect(server.endpoint, connect_timeout=SHORT)
    assert "tls=" in str(caught.value)


def test_an_sc_that_stalls_later(own: LocalCluster) -> None:
    own.create_topic("t")
    timeouts: dict[str, Any] = {"connect_timeout": SHORT, "request_timeout": SHORT, "metadata_timeout": SHORT}
    with FaultProxy(own.endpoint) as sc, Fluvio.connect(sc.endpoint, **timeouts) as fluvio:
        sc.hold()
        for call in (fluvio.topics, lambda: fluvio.create_topic("other"), lambda: fluvio.delete_topic("t")):
            with within(2 * SHORT), pytest.raises((ConnectTimeoutError, RequestTimeoutError), match=sc.endpoint):
                call()
        assert fluvio.topic_producer("t").send(b"known topics go on").result(5).offset == 0
        sc.hold(on=False)
        wait_until(lambda: fluvio.topics() is not None, "the SC answers")


def test_an_unknown_topic_while_the_sc_is_away(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint, metadata_timeout=SHORT, connect_timeout=1) as fluvio:
        own.kill_sc()
        wait_until(lambda: not fluvio.health().connected, "the client has noticed")
        with within(SHORT), pytest.raises(MetadataTimeoutError, match=f"'t'.*{own.endpoint}") as caught:
            fluvio.topic_producer("t")
        assert isinstance(caught.value, TimeoutError)
        own.restart_sc()
        own.create_topic("t")
        wait_until(lambda: fluvio.health().connected, "it connects again")
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0


# --- an SPU --------------------------------------------------------------------------------------


class SpuCase:
    """A pair of SPUs of which 5001 is replaced by a hostile one; topic "mixed" has a partition on each."""

    def __init__(self, pair: LocalCluster, endpoint: str) -> None:
        pair.create_topic("mixed", partitions=2)
        self.pair = pair
        self.endpoint = endpoint
        self.hostile = next(p for p in (0, 1) if pair.leader("mixed", p) == 5001)
        self.fluvio = Fluvio.connect(
            pair.endpoint,
            spu_address_override={5001: endpoint},
            connect_timeout=SHORT,
            request_timeout=SHORT,
        )
        self.producer = self.fluvio.topic_producer("mixed", verify_retries=False, delivery_semantic=attempts(2))

    def fail(self, longest: float) -> DeliveryError:
        """Send to both partitions: that of the hostile SPU fails, the other does not notice."""
        start = time.monotonic()
        future = self.producer.send(b"lost", partition=self.hostile)
        healthy = self.producer.send(b"fine", partition=1 - self.hostile)
        assert healthy.result(SHORT).acknowledged
        with pytest.raises(DeliveryError) as caught:
            future.result(longest + SLACK)
        elapsed = time.monotonic() - start
        error = caught.value
        assert (error.topic, error.partition) == ("mixed", self.hostile)
        assert abs(error.elapsed - elapsed) < 0.1
        for fact in (self.endpoint, "5001", "'mixed'", f"partition {self.hostile}"):
            assert fact in str(error), f"{fact} is missing"
        if isinstance(error.__cause__, UnsupportedVersionError):
            assert type(error) is DeliveryError
            assert not error.retriable
        else:
            assert type(error) is RetriesExhaustedError
            assert error.attempts == 2
            assert error.retriable
            assert "2 attempts" in str(error)
        return error

    def recover(self, server: Server) -> None:
        """Let the hostile server pass everything on to the real SPU: the next send works."""
        server.behave = lambda talk: pass_on(self.pair.spu_endpoints[5001], talk)
        assert self.producer.send(b"works", partition=self.hostile).result(5).acknowledged
        self.producer.flush(5)
        assert_settled(self.fluvio)


@pytest.mark.parametrize("name", ["is silent", "closes", "speaks HTTP", "is old"])
def test_a_hostile_spu(pair: LocalCluster, name: str) -> None:
    behave, error, _ = BEGINNINGS[name]
    with Server(behave) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            failure = case.fail(2 * SHORT)
            assert server.connections == failure.attempts
            assert type(failure.__cause__) is error
            assert not failure.may_be_stored, "no request was written"
            assert "not stored" in str(failure)
            case.recover(server)


def test_an_spu_where_nobody_listens(pair: LocalCluster) -> None:
    case = SpuCase(pair, f"127.0.0.1:{free_port()}")
    with case.fluvio:
        failure = case.fail(0.1)
        assert type(failure.__cause__) is ConnectError
        assert "refused" in str(failure)
        assert "spu_address_override" in str(failure)
        assert not failure.may_be_stored


def produce_then(answer: Callable[[Talk, RequestHeader, ProduceRequest], object]) -> Callable[[Talk], None]:
    """Return an SPU that shakes hands properly, and answers a produce request badly."""

    def behave(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        answer(talk, *talk.produce_request())

    return behave


def answer_in_http(talk: Talk, *_: object) -> None:
    talk.send(NOT_FLUVIO)
    talk.wait_for_end()


def flood(talk: Talk, *_: object) -> None:
    frames = encode_response(-7, bytes(200_000)) * 5
    while True:
        talk.send(frames)


ANSWERS: dict[str, tuple[Callable[[Talk, RequestHeader, ProduceRequest], object], type[Exception], str]] = {
    "none": (lambda talk, *_: talk.wait_for_end(), RequestTimeoutError, "has not answered"),
    "slow": (
        lambda talk, header, request: dribble(talk, reply_to(header, acknowledgement(request))),
        RequestTimeoutError,
        "has not answered",
    ),
    "flood": (flood, RequestTimeoutError, "has not answered"),
    "close": (lambda *_: None, ConnectError, "closed the connection"),
    "half-close": (lambda talk, *_: half_close(talk), ConnectError, "closed the connection"),
    "reset": (lambda talk, *_: reset(talk), ConnectError, "reset"),
    "HTTP": (answer_in_http, ProtocolError, "does not speak"),
}
"""tests/core/test_sender.py and test_requests.py have the answers that cannot be understood."""


@pytest.mark.parametrize("name", ANSWERS)
def test_a_hostile_answer(pair: LocalCluster, name: str) -> None:
    answer, error, text = ANSWERS[name]
    before = resident()
    with Server(produce_then(answer)) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            failure = case.fail(2 * SHORT + 0.05)
            assert server.connections == 2
            cause = failure.__cause__
            assert type(cause) is error
            assert text in str(cause)
            assert failure.may_be_stored
            assert "may have been stored" in str(failure)
            assert case.producer.stats().records_failed == 1
            assert case.producer.stats().records_retried == 1
            case.recover(server)
    assert resident() - before < 20 * 1024 * 1024


def test_a_request_tells_isolation_and_timeout(pair: LocalCluster) -> None:
    seen: list[tuple[int, int]] = []

    def note(_talk: Talk, _header: RequestHeader, request: ProduceRequest) -> None:
        seen.append((request.isolation, request.timeout_ms))

    with Server(produce_then(note)) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio as fluvio:
            committed = fluvio.topic_producer(
                "mixed",
                isolation="read-committed",
                server_timeout=2,
                delivery_semantic=attempts(2),
                verify_retries=False,
            )
            for producer in (case.producer, committed):
                producer.send(b"x", partition=case.hostile).exception(5)
    assert seen == [(1, 1500)] * 2 + [(-1, 2000)] * 2


def test_a_hostile_spu_under_at_most_once(pair: LocalCluster) -> None:
    with Server(produce_then(lambda *_: None)) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer("mixed", verify_retries=False, delivery_semantic=AtMostOnce())
            future = producer.send(b"x", partition=case.hostile)
            assert future.exception() is None
            producer.flush(5)
            wait_until(lambda: server.connections == 1, "it was tried")
            stats = producer.stats()
            assert stats.records_unacknowledged + stats.records_dropped == 1
            case.recover(server)


def test_a_refusal_that_comes_while_the_client_closes_is_counted_and_logged(
    pair: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse_unless_hung_up(talk: Talk, header: RequestHeader, request: ProduceRequest) -> None:
        talk.sock.settimeout(SHORT / 2)
        with pytest.raises(TimeoutError):  # and not the end of the client's half
            talk.sock.recv(1)
        (topic,) = acknowledgement(request).topics
        refusal = topic.partitions[0]._replace(error_code=ErrorCode(9000))
        talk.reply(header, ProduceResponse((TopicResult(topic.name, (refusal,)),)))
        talk.wait_for_end()

    with Server(produce_then(refuse_unless_hung_up)) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer("mixed", verify_retries=False, delivery_semantic=AtMostOnce())
            producer.send(b"x", partition=case.hostile)
        assert producer.stats().records_rejected == 1
    assert "at_most_once.rejected" in caplog.text


def test_what_was_not_written_when_the_client_closed_is_not_written(pair: LocalCluster) -> None:
    def read_late(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        failed.wait()
        while True:
            arrived.append(talk.request())

    arrived: list[Any] = []
    failed = threading.Event()
    with Server(read_late) as server:
        case = SpuCase(pair, server.endpoint)
        producer = case.fluvio.topic_producer("mixed", verify_retries=False, max_request_size=31_000_000)
        record = producer.send(bytes(30_000_000), partition=case.hostile)
        record.add_done_callback(lambda _: failed.set())
        with within(SHORT + 1):
            case.fluvio.close(SHORT / 2)
        assert isinstance(record.exception(0), ClosedError)
    assert arrived == []


def test_a_request_that_was_given_up_arrives_no_more(pair: LocalCluster) -> None:
    def read_late(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        given_up.wait()
        try:
            while True:
                arrived.append(talk.request())
        finally:
            ended.set()

    arrived: list[Any] = []
    given_up, ended = threading.Event(), threading.Event()
    with Server(read_late) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer(
                "mixed",
                delivery_semantic=attempts(1),
                batch_size=1_000_000,
                max_request_size=2_000_000,
                verify_retries=False,
            )
            # More than the server's system takes before it is read, and less than both systems take.
            record = producer.send(bytes(1_000_000), partition=case.hostile)
            assert isinstance(record.exception(5), RetriesExhaustedError)
            given_up.set()
            assert ended.wait(5)
    assert arrived == []


def test_at_most_once_records_that_cannot_be_written_in_time_are_dropped(pair: LocalCluster) -> None:
    def behave(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        unread.wait()

    unread = threading.Event()
    with Server(behave) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer("mixed", verify_retries=False, delivery_semantic=AtMostOnce())
            for _ in range(20):
                producer.send(bytes(1_000_000), partition=case.hostile)
            with within(10):
                producer.flush(10)
            stats = producer.stats()
            assert stats.records_dropped > 0
            assert stats.records_unacknowledged + stats.records_dropped == 20
            assert_settled(case.fluvio)
            unread.set()
            case.recover(server)


def test_the_deadline_ends_everything(pair: LocalCluster) -> None:
    with Server(produce_then(lambda talk, *_: talk.wait_for_end())) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer(
                "mixed", verify_retries=False, delivery_semantic=attempts(1000, timeout=1.0)
            )
            with within(1.0, shortest=0.5):
                error = producer.send(b"x", partition=case.hostile).exception(5)
            assert type(error) is DeliveryTimeoutError
            assert isinstance(error, TimeoutError)
            assert error.attempts >= 2
            assert error.may_be_stored
            assert "1.0 s" in str(error)
            assert server.endpoint in str(error)


# --- a full buffer -------------------------------------------------------------------------------


@pytest.fixture
def stalled(own: LocalCluster) -> Iterator[tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture]]:
    """An SPU that does not answer, and a producer whose buffer of 100 kB is taken up by a record of 90 kB."""
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, buffer_memory=100_000) as fluvio:
        producer = fluvio.topic_producer("t", max_request_size=99_000, max_block=SHORT)
        producer.send(b"warm").result(5)
        own.hold_replies(5001)
        yield own, fluvio, producer, producer.send(bytes(90_000))
        own.hold_replies(5001, on=False)


def test_a_full_buffer_blocks_and_then_raises(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture],
) -> None:
    own, fluvio, producer, future = stalled
    with within(SHORT, shortest=SHORT), pytest.raises(BufferFullError, match=r"100000 bytes.*max_block.*'t'") as caught:
        producer.send(bytes(20_000))
    assert isinstance(caught.value, TimeoutError)
    assert used_memory(fluvio) == 90_128
    with within(0), pytest.raises(BufferFullError):
        fluvio.topic_producer("t", max_request_size=99_000, on_full="raise").send(bytes(20_000))
    assert producer.send(b"a small one fits").running()
    own.hold_replies(5001, on=False)
    assert future.result(5).offset == 1
    assert producer.send(bytes(20_000)).result(5).offset == 3
    assert_settled(fluvio)


def test_send_all_waits_no_longer_than_max_block_in_all(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture],
) -> None:
    own, _, producer, _ = stalled
    with within(SHORT, shortest=SHORT):
        futures = producer.send_all([b"small", *[bytes(20_000)] * 10])
    assert [type(future.exception(0)) for future in futures[1:]] == [BufferFullError] * 10
    own.hold_replies(5001, on=False)
    assert futures[0].result(5).offset == 2


def test_whoever_waits_for_a_topic_is_told_of_the_end(own: LocalCluster) -> None:
    fluvio = Fluvio.connect(own.endpoint, metadata_timeout=60)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            fluvio.topic_producer("never")
        except ClosedError as error:
            errors.append(error)

    threads = [in_thread(wait) for _ in range(2)]
    threads[0].join(0.1)
    closers = [in_thread(fluvio.close) for _ in range(2)]
    with within(1):
        for thread in [*threads, *closers]:
            thread.join(5)
    assert len(errors) == 2


def test_a_thread_with_the_number_of_an_ended_one_is_not_taken_for_it(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        assert fluvio._holder.engine is not None
        thread = fluvio._holder.engine.thread
        wait_until(lambda: thread._ident is not None, "the thread runs")
        number = thread._ident
    with monkeypatch.context() as patch:
        patch.setattr(threading, "get_ident", lambda: number)
        stands_still = thread.stands_still()
    assert not stands_still


def test_a_flush_that_runs_out_of_time(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture],
) -> None:
    own, _, producer, future = stalled
    for _ in range(4):
        producer.send(b"x")
    with within(SHORT, shortest=SHORT), pytest.raises(FlushTimeoutError, match=r"its 0\.3 s with 5 records") as caught:
        producer.flush(SHORT)
    assert caught.value.outstanding == 5
    assert isinstance(caught.value, TimeoutError)
    with within(0), pytest.raises(FlushTimeoutError):
        producer.flush(0)
    own.hold_replies(5001, on=False)
    assert producer.flush(5) == FlushResult(6, 0, 0, None)
    assert future.done()


def test_what_is_unresolved_when_the_client_closes_fails(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture], caplog: pytest.LogCaptureFixture
) -> None:
    _, fluvio, producer, future = stalled
    other = producer.send(b"behind it")
    with within(SHORT + 2):
        result = fluvio.close(SHORT)
    assert (result.acked, result.failed) == (1, 2)
    for pending in (future, other):
        assert type(pending.exception(0)) is ClosedError
    assert "may have been stored" in str(future.exception(0))
    assert "records.lost" in caplog.text
