# SPDX-License-Identifier: Apache-2.0
"""Peers that misbehave, and a buffer that is full: a clear error within the deadline, and no harm done."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
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
    TlsConfig,
    UnsupportedVersionError,
)
from fluvio_sync.protocol.batch import iter_batches
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.frames import FrameReader, RequestHeader, encode_response, split_request, split_response
from fluvio_sync.protocol.metadata import PartitionObject, PartitionResolution, PartitionStatus
from fluvio_sync.protocol.produce import PartitionResult, ProduceResponse, TopicResult
from fluvio_sync.protocol.versions import ApiVersionKey, ApiVersionsResponse, ScApi, SpuApi
from fluvio_sync.protocol.watch import WatchUpdate
from tests.support.client import assert_settled, attempts, used_memory
from tests.support.hostile import (
    SC_KEYS,
    SPU_KEYS,
    Gone,
    Proxy,
    Server,
    Talk,
    acknowledgement,
    pass_on,
    reply_to,
)
from tests.support.sockets import free_port, swallowing
from tests.support.waiting import SLACK, in_thread, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.protocol.metadata import MetadataObject
    from fluvio_sync.protocol.produce import PartitionData, ProduceRequest
    from fluvio_sync.testing.cluster import LocalCluster

pytestmark = pytest.mark.alone

SHORT = 0.3
"""Seconds of the timeouts in these tests."""

NOT_FLUVIO = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


def resident() -> int:
    """Return the bytes of memory that this process occupies."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a kernel file
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- a hostile server at the beginning of a connection, as an SC or as an SPU --------------------


def stay_silent(talk: Talk) -> None:
    talk.wait_for_end()


def close_at_once(talk: Talk) -> None:
    return


def close_when_asked(talk: Talk) -> None:
    talk.request()


def talk_http(talk: Talk) -> None:
    talk.request()
    talk.send(NOT_FLUVIO)
    talk.wait_for_end()


def send_garbage(talk: Talk) -> None:
    talk.send(b"\0\0\0\x0c" + b"\xff" * 12)
    talk.wait_for_end()


def send_an_empty_frame(talk: Talk) -> None:
    talk.send(b"\0\0\0\0")
    talk.wait_for_end()


def claim_a_huge_frame(talk: Talk) -> None:
    talk.send(b"\x7f\xff\xff\xff")
    talk.wait_for_end()


def claim_a_negative_frame(talk: Talk) -> None:
    talk.send(b"\xff\xff\xff\xff")
    talk.wait_for_end()


def claim_a_large_frame_and_stop(talk: Talk) -> None:
    talk.send((100 * 1024 * 1024).to_bytes(4, "big") + b"\0" * 1000)
    talk.wait_for_end()


def claim_many_keys(talk: Talk) -> None:
    header, _ = talk.request()
    talk.send(encode_response(header.correlation_id, b"\0\0\x7f\xff\xff\xff" + b"\0" * 60))
    talk.wait_for_end()


def close_in_mid_frame(talk: Talk) -> None:
    talk.request()
    talk.send(b"\0\0\0\x40" + b"\0" * 20)


def stop_in_mid_frame(talk: Talk) -> None:
    talk.request()
    talk.send(b"\0\0\0\x40" + b"\0" * 20)
    talk.wait_for_end()


def half_close(talk: Talk) -> None:
    talk.request()
    talk.sock.shutdown(socket.SHUT_WR)
    talk.wait_for_end()


def answer_another_request(talk: Talk) -> None:
    header, _ = talk.request()
    talk.send(
        reply_to(header, ApiVersionsResponse(ErrorCode.NONE, SC_KEYS + SPU_KEYS, "0.18.1")).replace(
            header.correlation_id.to_bytes(4, "big"), b"\0\0\x12\x34", 1
        )
    )
    talk.wait_for_end()


def refuse_versions(talk: Talk) -> None:
    header, _ = talk.request()
    talk.reply(header, ApiVersionsResponse(PLAIN_CODES[Code.PERMISSION_DENIED], (), "0.18.1"))
    talk.wait_for_end()


def offer_old_versions(talk: Talk) -> None:
    talk.shake_hands((ApiVersionKey(ScApi.WATCH, 1, 9), ApiVersionKey(SpuApi.PRODUCE, 0, 6)))
    talk.wait_for_end()


def offer_nothing(talk: Talk) -> None:
    talk.shake_hands(())
    talk.wait_for_end()


def dribble(talk: Talk) -> None:
    header, _ = talk.request()
    pause = threading.Event()
    for byte in reply_to(header, ApiVersionsResponse(ErrorCode.NONE, SC_KEYS + SPU_KEYS, "0.18.1")):
        talk.send(bytes([byte]))
        pause.wait(0.05)
    talk.wait_for_end()


BEGINNINGS: list[tuple[Callable[[Talk], None], type[Exception], str]] = [
    (stay_silent, ConnectTimeoutError, "0.3 s.*connect_timeout"),
    (close_at_once, ConnectError, "closed the connection|reset"),
    (close_when_asked, ConnectError, "closed the connection without an answer.*may want TLS"),
    (talk_http, ProtocolError, "does not speak Fluvio's protocol"),
    (send_garbage, ProtocolError, "does not speak|was not sent"),
    (send_an_empty_frame, ProtocolError, "does not speak"),
    (claim_a_huge_frame, ProtocolError, "2147483647 bytes"),
    (claim_a_negative_frame, ProtocolError, "-1 bytes"),
    (claim_a_large_frame_and_stop, ConnectTimeoutError, "connect_timeout"),
    (claim_many_keys, ProtocolError, "does not speak"),
    (close_in_mid_frame, ConnectError, "closed the connection"),
    (stop_in_mid_frame, ConnectTimeoutError, "connect_timeout"),
    (half_close, ConnectError, "closed the connection"),
    (answer_another_request, ProtocolError, "4660"),
    (refuse_versions, ConnectError, "rejected.*permission denied"),
    (offer_old_versions, UnsupportedVersionError, "0\\.18\\.1"),
    (offer_nothing, UnsupportedVersionError, "0\\.18\\.1"),
    (dribble, ConnectTimeoutError, "connect_timeout"),
]


def named(behaviours: list[tuple[Any, ...]]) -> list[Any]:
    return [pytest.param(*behaviour, id=behaviour[0].__name__) for behaviour in behaviours]


# --- the SC --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("behave", "error", "text"), named(BEGINNINGS))
def test_a_hostile_sc(behave: Callable[[Talk], None], error: type[Exception], text: str) -> None:
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


def test_a_host_that_swallows_packets() -> None:
    with swallowing() as (host, port):
        endpoint = f"{host}:{port}"
        with within(SHORT, shortest=SHORT), pytest.raises(ConnectTimeoutError, match=f"{endpoint}.*connecting"):
            Fluvio.connect(endpoint, connect_timeout=SHORT)


def test_a_name_is_resolved(own: LocalCluster) -> None:
    port = own.endpoint.rpartition(":")[2]
    with Fluvio.connect(f"localhost:{port}") as fluvio:
        assert fluvio.topics() == []


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
    with within(SHORT, shortest=SHORT), pytest.raises(ConnectTimeoutError, match=r"slow\.example:9003.*name"):
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


def test_tls_to_a_plain_sc() -> None:
    def behave(talk: Talk) -> None:
        talk.receive()
        talk.send(NOT_FLUVIO)
        talk.wait_for_end()

    with Server(behave) as server, within(SHORT), pytest.raises(ConnectError, match=f"{server.endpoint}.*TLS"):
        Fluvio.connect(server.endpoint, tls=TlsConfig.anonymous(), connect_timeout=SHORT)


def test_no_tls_to_an_sc_with_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def behave(talk: Talk) -> None:
        try:
            context.wrap_socket(talk.sock, server_side=True)
        except OSError:
            return

    with Server(behave) as server, within(SHORT), pytest.raises(ConnectError, match=f"{server.endpoint}.*TLS"):
        Fluvio.connect(server.endpoint, connect_timeout=SHORT)


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


@pytest.fixture
def sc(own: LocalCluster) -> Iterator[Proxy]:
    """A proxy in front of the SC of `own`."""
    with Proxy(own.endpoint) as proxy:
        yield proxy


def test_an_sc_that_stalls_later(own: LocalCluster, sc: Proxy) -> None:
    own.create_topic("t")
    with Fluvio.connect(sc.endpoint, connect_timeout=SHORT, request_timeout=SHORT, metadata_timeout=SHORT) as fluvio:
        sc.flowing.clear()
        for call in (fluvio.topics, lambda: fluvio.create_topic("other"), lambda: fluvio.delete_topic("t")):
            with within(2 * SHORT), pytest.raises((ConnectTimeoutError, RequestTimeoutError), match=sc.endpoint):
                call()
        assert fluvio.topic_producer("t").send(b"what is known goes on").result(5).offset == 0
        sc.flowing.set()
        wait_until(lambda: fluvio.topics() is not None, "the SC answers")


def test_an_sc_that_is_cut_off_and_comes_back(own: LocalCluster, sc: Proxy) -> None:
    own.create_topic("t")
    with Fluvio.connect(sc.endpoint, metadata_timeout=5) as fluvio:
        producer = fluvio.topic_producer("t")
        for _ in range(3):
            known = sc.connections
            sc.cut()
            assert producer.send(b"x").result(5).acknowledged
            wait_until(lambda known=known: sc.connections > known, "it connects again")  # type: ignore[misc]
        own.create_topic("later")
        assert fluvio.topic_producer("later").send(b"x").result(5).offset == 0


def test_an_unknown_topic_while_the_sc_is_away(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint, metadata_timeout=SHORT, connect_timeout=1) as fluvio:
        own.kill_sc()
        wait_until(lambda: not fluvio.health().connected, "the loss is noticed")
        with within(SHORT), pytest.raises(MetadataTimeoutError, match=f"'t'.*{own.endpoint}") as caught:
            fluvio.topic_producer("t")
        assert isinstance(caught.value, TimeoutError)
        own.restart_sc()
        own.create_topic("t")
        wait_until(lambda: fluvio.health().connected, "it connects again")
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0


@pytest.mark.parametrize("junk", [NOT_FLUVIO, b"\x7f\xff\xff\xff", b"\0\0\0\1x"])
def test_garbage_from_an_sc_later_costs_only_that_connection(own: LocalCluster, sc: Proxy, junk: bytes) -> None:
    own.create_topic("t")
    with Fluvio.connect(sc.endpoint) as fluvio:
        producer = fluvio.topic_producer("t")
        known = sc.connections
        sc.injected = junk
        own.create_topic("makes-it-push")
        wait_until(lambda: sc.connections > known, "it connects again")
        assert producer.send(b"x").result(5).offset == 0
        assert fluvio.topic_producer("makes-it-push").send(b"x").result(5).offset == 0


class ForgetfulSc:
    """An SC in front of another that never learns that partitions are online, as a real one sometimes does not."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __call__(self, talk: Talk) -> None:
        host, _, port = self._target.rpartition(":")
        watches: dict[int, int] = {}  # correlation id: version

        def back(server: socket.socket) -> None:
            frames = FrameReader()
            with contextlib.suppress(OSError, Gone):
                while data := server.recv(65536):
                    for payload in frames.feed(data):
                        correlation, reader = split_response(payload)
                        if correlation in watches:
                            version = watches[correlation]
                            update = self._forget(WatchUpdate.read(reader, version))
                            header = RequestHeader(ScApi.WATCH, version, correlation, "")
                            talk.reply(header, update)
                        else:
                            talk.send(len(payload).to_bytes(4, "big") + payload)

        with socket.create_connection((host, int(port))) as server:
            in_thread(lambda: back(server))
            frames = FrameReader()
            while True:
                data = talk.receive()
                for payload in frames.feed(data):
                    header, _ = split_request(payload)
                    if header.api_key == ScApi.WATCH:
                        watches[header.correlation_id] = header.api_version
                server.sendall(data)

    @staticmethod
    def _forget(update: WatchUpdate) -> WatchUpdate:
        def unborn(item: MetadataObject) -> MetadataObject:
            if isinstance(item, PartitionObject):
                return item.replace(status=PartitionStatus(PartitionResolution.OFFLINE))
            return item

        changes = tuple(change._replace(content=unborn(change.content)) for change in update.changes)
        return update.replace(changes=changes, all=tuple(map(unborn, update.all)))


def test_a_partition_that_the_sc_never_calls_online_is_tried(own: LocalCluster) -> None:
    own.create_topic("t", partitions=2)
    with Server(ForgetfulSc(own.endpoint)) as sc, Fluvio.connect(sc.endpoint) as fluvio:
        futures = fluvio.topic_producer("t").send_all([b"x", (b"key", b"y"), b"z"])
        with within(2):
            assert all(future.result(5).acknowledged for future in futures)
        with within(1.2):
            assert fluvio.topic_producer("t").send(b"x", partition=0).result(5).acknowledged


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
        self.producer = self.fluvio.topic_producer("mixed", delivery_semantic=attempts(2))

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


SPU_BEGINNINGS = [entry for entry in BEGINNINGS if entry[0] is not answer_another_request]


@pytest.mark.parametrize(("behave", "error", "text"), named(BEGINNINGS))
def test_a_hostile_spu(pair: LocalCluster, behave: Callable[[Talk], None], error: type[Exception], text: str) -> None:
    before = resident()
    with Server(behave) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            failure = case.fail(2 * SHORT)
            assert server.connections == failure.attempts
            cause = failure.__cause__
            assert isinstance(cause, error)
            assert not failure.may_be_stored, "no request was written"
            assert "not stored" in str(failure)
            case.recover(server)
    assert resident() - before < 20 * 1024 * 1024


def test_an_spu_where_nobody_listens(pair: LocalCluster) -> None:
    case = SpuCase(pair, f"127.0.0.1:{free_port()}")
    with case.fluvio:
        failure = case.fail(0.1)
        assert type(failure.__cause__) is ConnectError
        assert "refused" in str(failure)
        assert "spu_address_override" in str(failure)
        assert not failure.may_be_stored


def produce_then(answer: Callable[[Talk, Any, Any], None]) -> Callable[[Talk], None]:
    """Shake hands properly, and answer a produce request badly."""

    def behave(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        header, request = talk.produce_request()
        answer(talk, header, request)

    behave.__name__ = answer.__name__
    return behave


def do_not_answer(talk: Talk, header: Any, request: Any) -> None:
    talk.wait_for_end()


def close_on_produce(talk: Talk, header: Any, request: Any) -> None:
    return


def reset_on_produce(talk: Talk, header: Any, request: Any) -> None:
    talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def answer_in_http(talk: Talk, header: Any, request: Any) -> None:
    talk.send(NOT_FLUVIO)
    talk.wait_for_end()


def answer_garbage(talk: Talk, header: Any, request: Any) -> None:
    talk.send(encode_response(header.correlation_id, b"\x7f" * 50))
    talk.wait_for_end()


def answer_nothing(talk: Talk, header: Any, request: Any) -> None:
    talk.send(encode_response(header.correlation_id, b""))
    talk.wait_for_end()


def answer_half(talk: Talk, header: Any, request: Any) -> None:
    data = reply_to(header, acknowledgement(request))
    talk.send(data[: len(data) // 2])
    talk.wait_for_end()


def answer_half_and_close(talk: Talk, header: Any, request: Any) -> None:
    data = reply_to(header, acknowledgement(request))
    talk.send(data[: len(data) // 2])


def answer_slowly(talk: Talk, header: Any, request: Any) -> None:
    pause = threading.Event()
    for byte in reply_to(header, acknowledgement(request)):
        talk.send(bytes([byte]))
        pause.wait(0.05)
    talk.wait_for_end()


def half_close_on_produce(talk: Talk, header: Any, request: Any) -> None:
    talk.sock.shutdown(socket.SHUT_WR)
    talk.wait_for_end()


def answer_other_requests(talk: Talk, header: Any, request: Any) -> None:
    body = reply_to(header, acknowledgement(request))[8:]
    for correlation in (0, -1, header.correlation_id + 1, 2**31 - 1):
        talk.send(encode_response(correlation, body))
    talk.wait_for_end()


def flood(talk: Talk, header: Any, request: Any) -> None:
    frames = encode_response(-7, bytes(200_000)) * 5
    while True:
        talk.send(frames)


def answer_for_no_partition(talk: Talk, header: Any, request: Any) -> None:
    talk.reply(header, ProduceResponse(()))
    talk.wait_for_end()


def answer_for_two_partitions(talk: Talk, header: Any, request: Any) -> None:
    (topic,) = acknowledgement(request).topics
    talk.reply(header, ProduceResponse((TopicResult(topic.name, topic.partitions * 2),)))
    talk.wait_for_end()


def answer_for_another_partition(talk: Talk, header: Any, request: Any) -> None:
    results = (PartitionResult(17, ErrorCode.NONE, 0),)
    talk.reply(header, ProduceResponse((TopicResult("mixed", results),)))
    talk.wait_for_end()


def answer_for_another_topic(talk: Talk, header: Any, request: Any) -> None:
    (topic,) = acknowledgement(request).topics
    talk.reply(header, ProduceResponse((TopicResult("other", topic.partitions),)))
    talk.wait_for_end()


def answer_an_unknown_code(talk: Talk, header: Any, request: Any) -> None:
    (topic,) = acknowledgement(request).topics
    body = b"\0\0\0\1\0\5mixed\0\0\0\1" + topic.partitions[0].partition.to_bytes(4, "big") + (12345).to_bytes(2, "big")
    talk.send(encode_response(header.correlation_id, body + bytes(30)))
    talk.wait_for_end()


def claim_many_topics(talk: Talk, header: Any, request: Any) -> None:
    talk.send(encode_response(header.correlation_id, b"\x7f\xff\xff\xff" + bytes(60)))
    talk.wait_for_end()


def answer_negative_offset(talk: Talk, header: Any, request: Any) -> None:
    talk.reply(header, acknowledgement(request, base_offset=-1))
    talk.wait_for_end()


ANSWERS: list[tuple[Callable[[Talk, Any, Any], None], type[Exception], str]] = [
    (do_not_answer, RequestTimeoutError, "did not answer"),
    (close_on_produce, ConnectError, "closed the connection"),
    (reset_on_produce, ConnectError, "reset"),
    (answer_in_http, ProtocolError, "does not speak"),
    (answer_garbage, ProtocolError, ""),
    (answer_nothing, ProtocolError, ""),
    (answer_half, RequestTimeoutError, "did not answer"),
    (answer_half_and_close, ConnectError, "closed the connection"),
    (answer_slowly, RequestTimeoutError, "did not answer"),
    (half_close_on_produce, ConnectError, "closed the connection"),
    (answer_other_requests, RequestTimeoutError, "did not answer"),
    (flood, RequestTimeoutError, "did not answer"),
    (answer_for_no_partition, ProtocolError, "answered for"),
    (answer_for_two_partitions, ProtocolError, "answered for"),
    (answer_for_another_partition, ProtocolError, "17"),
    (answer_for_another_topic, ProtocolError, "'other'"),
    (answer_an_unknown_code, ProtocolError, "12345"),
    (claim_many_topics, ProtocolError, ""),
    (answer_negative_offset, ProtocolError, "negative offset"),
]


@pytest.mark.parametrize(("answer", "error", "text"), named(ANSWERS))
def test_a_hostile_answer(
    pair: LocalCluster, answer: Callable[[Talk, Any, Any], None], error: type[Exception], text: str
) -> None:
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


def test_an_spu_that_does_not_read(pair: LocalCluster) -> None:
    def behave(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        unread.wait()

    unread = threading.Event()
    with Server(behave) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            futures = [case.producer.send(bytes(1_000_000), partition=case.hostile) for _ in range(3)]
            errors = [future.exception(12 * SHORT + 1) for future in futures]
            assert {type(error) for error in errors} == {RetriesExhaustedError}
            unread.set()
            case.recover(server)


def test_a_hostile_spu_under_at_most_once(pair: LocalCluster) -> None:
    with Server(produce_then(close_on_produce)) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer("mixed", delivery_semantic=AtMostOnce())
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
    def refuse_unless_hung_up(talk: Talk, header: Any, request: Any) -> None:
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
            producer = case.fluvio.topic_producer("mixed", delivery_semantic=AtMostOnce())
            producer.send(b"x", partition=case.hostile)
        assert producer.stats().records_rejected == 1
    assert "at_most_once.rejected" in caplog.text


def test_what_was_not_written_when_the_client_closed_is_not_written(pair: LocalCluster) -> None:
    def read_late(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        given_up.wait()
        while True:
            arrived.append(talk.request())

    arrived: list[Any] = []
    given_up = threading.Event()
    with Server(read_late) as server:
        case = SpuCase(pair, server.endpoint)
        producer = case.fluvio.topic_producer("mixed", max_request_size=31_000_000)
        record = producer.send(bytes(30_000_000), partition=case.hostile)
        record.add_done_callback(lambda _: given_up.set())
        with within(SHORT + 1):
            case.fluvio.close(SHORT / 2)
        assert isinstance(record.exception(0), ClosedError)
    assert arrived == []


def test_at_most_once_records_that_cannot_be_written_in_time_are_dropped(pair: LocalCluster) -> None:
    def behave(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        unread.wait()

    unread = threading.Event()
    with Server(behave) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer("mixed", delivery_semantic=AtMostOnce())
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


def test_at_most_once_records_for_an_spu_where_nobody_listens_are_dropped(pair: LocalCluster) -> None:
    case = SpuCase(pair, f"127.0.0.1:{free_port()}")
    with case.fluvio:
        producer = case.fluvio.topic_producer("mixed", delivery_semantic=AtMostOnce())
        futures = [producer.send(b"x", partition=case.hostile) for _ in range(10)]
        assert producer.flush(5)[:3] == (0, 0, 10)
        assert producer.stats().records_dropped == 10
        assert [future.exception() for future in futures] == [None] * 10
        assert_settled(case.fluvio)
        producer.send(b"x", partition=1 - case.hostile)
        assert producer.flush(5) == FlushResult(0, 1, 0, None)


def test_the_deadline_ends_everything(pair: LocalCluster) -> None:
    with Server(produce_then(do_not_answer)) as server:
        case = SpuCase(pair, server.endpoint)
        with case.fluvio:
            producer = case.fluvio.topic_producer("mixed", delivery_semantic=attempts(1000, timeout=1.0))
            with within(1.0, shortest=0.5):
                error = producer.send(b"x", partition=case.hostile).exception(5)
            assert type(error) is DeliveryTimeoutError
            assert isinstance(error, TimeoutError)
            assert error.attempts >= 2
            assert error.may_be_stored
            assert "1.0 s" in str(error)
            assert server.endpoint in str(error)


def test_no_time_is_waited_in_vain_at_the_end(pair: LocalCluster) -> None:
    case = SpuCase(pair, f"127.0.0.1:{free_port()}")
    with case.fluvio:
        producer = case.fluvio.topic_producer("mixed", delivery_semantic=attempts(5, delay=2.0, timeout=1.0))
        with within(0.1):
            error = producer.send(b"x", partition=case.hostile).exception(5)
        assert type(error) is DeliveryTimeoutError
        assert error.attempts == 1


# --- the client's requests, as an SPU sees them --------------------------------------------------


class CarefulSpu:
    """Numbers records as an SPU does, and looks at all that stands on the connection before it answers."""

    def __init__(self) -> None:
        self.requests: list[ProduceRequest] = []
        self.overlaps: list[list[tuple[str, int]]] = []
        self._ends: dict[tuple[str, int], int] = {}

    def __call__(self, talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        while True:
            waiting = [talk.produce_request()]
            talk.sock.settimeout(0.01)
            with contextlib.suppress(Gone):  # that is, nothing more
                while True:
                    waiting.append(talk.produce_request())
            talk.sock.settimeout(None)
            partitions = [(name, entry.partition) for _, request in waiting for name, entry in entries_of(request)]
            if len(partitions) != len(set(partitions)):
                self.overlaps.append(partitions)
            for header, request in waiting:
                self.requests.append(request)
                topics = tuple(
                    TopicResult(topic.name, tuple(self._store(topic.name, entry) for entry in topic.partitions))
                    for topic in request.topics
                )
                talk.reply(header, ProduceResponse(topics))

    def _store(self, topic: str, entry: PartitionData) -> PartitionResult:
        key = topic, entry.partition
        base = self._ends.get(key, 0)
        self._ends[key] = base + sum(header.record_count for header, _ in iter_batches(entry.records))
        return PartitionResult(entry.partition, ErrorCode.NONE, base)


def entries_of(request: ProduceRequest) -> list[tuple[str, PartitionData]]:
    return [(topic.name, entry) for topic in request.topics for entry in topic.partitions]


def test_requests_keep_to_the_rules(own: LocalCluster) -> None:
    for name in ("a", "b"):
        own.create_topic(name, partitions=10)
    spu = CarefulSpu()
    with Server(spu) as server, Fluvio.connect(own.endpoint, spu_address_override={5001: server.endpoint}) as fluvio:
        producers = [fluvio.topic_producer(name, max_request_size=100_000, batch_size=4_000) for name in ("a", "b")]
        futures = [
            producers[number % 2].send(bytes(number % 900), partition=number % 10 if number % 7 else 0)
            for number in range(2000)
        ]
        for producer in producers:
            producer.flush(10)
        by_partition: dict[tuple[str, int], list[int | None]] = {}
        for future in futures:
            metadata = future.result(0)
            by_partition.setdefault((metadata.topic, metadata.partition), []).append(metadata.offset)
        assert all(found == list(range(len(found))) for found in by_partition.values())
    assert not spu.overlaps, "at most one request with a partition's records is in flight"
    assert max(len(entries_of(request)) for request in spu.requests) > 1
    for request in spu.requests:
        assert (request.isolation, request.timeout_ms) == (1, 1500)
        assert sum(len(entry.records) for _, entry in entries_of(request)) <= 100_000
        assert len({topic.name for topic in request.topics}) == len(request.topics)


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


def test_a_blocked_send_goes_on_when_there_is_space(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture],
) -> None:
    own, fluvio, _, _ = stalled
    producer = fluvio.topic_producer("t", max_request_size=99_000, max_block=10)
    futures: list[DeliveryFuture] = []
    threads = [in_thread(lambda: futures.append(producer.send(bytes(20_000)))) for _ in range(3)]
    threads[0].join(0.1)
    assert not futures
    own.hold_replies(5001, on=False)
    for thread in threads:
        thread.join(5)
    assert sorted(future.result(5).offset or 0 for future in futures) == [2, 3, 4]


def test_send_all_waits_no_longer_than_max_block_in_all(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture],
) -> None:
    own, _, producer, _ = stalled
    with within(SHORT, shortest=SHORT):
        futures = producer.send_all([b"small", *[bytes(20_000)] * 10])
    assert [type(future.exception(0)) for future in futures[1:]] == [BufferFullError] * 10
    own.hold_replies(5001, on=False)
    assert futures[0].result(5).offset == 2


def test_a_lingering_batch_leaves_when_memory_is_short(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, buffer_memory=100_000) as fluvio:
        producer = fluvio.topic_producer("t", max_request_size=99_000, batch_size=99_000, linger=60)
        first = producer.send(bytes(60_000))
        with within(1):
            second = producer.send(bytes(60_000))
        assert first.result(0).offset == 0
        producer.flush(5)
        assert second.result(0).offset == 1


@pytest.mark.parametrize("closes", ["client", "producer"])
def test_a_blocked_send_is_ended_by_close(
    stalled: tuple[LocalCluster, Fluvio, TopicProducer, DeliveryFuture], closes: str
) -> None:
    _, fluvio, _, future = stalled
    producer = fluvio.topic_producer("t", max_request_size=99_000, max_block=60)
    errors: list[BaseException] = []

    def block() -> None:
        try:
            producer.send(bytes(20_000))
        except ClosedError as error:
            errors.append(error)

    thread = in_thread(block)
    thread.join(0.1)
    assert thread.is_alive()
    with within(SHORT + 2):  # 2 s for the replies of an SPU that does not answer
        (fluvio if closes == "client" else producer).close(SHORT)
        thread.join(5)
    assert [type(error) for error in errors] == [ClosedError]
    assert "'t'" in str(errors[0])
    if closes == "client":
        assert type(future.exception(0)) is ClosedError


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


def test_one_dead_spu_does_not_take_all_the_memory(pair: LocalCluster) -> None:
    pair.create_topic("two", partitions=2)
    dead = next(p for p in (0, 1) if pair.leader("two", p) == 5001)
    with Fluvio.connect(pair.endpoint, buffer_memory=400_000) as fluvio:
        policy = attempts(2, delay=2, timeout=4)
        producer = fluvio.topic_producer("two", max_request_size=50_000, max_block=0.1, delivery_semantic=policy)
        producer.send(b"warm", partition=dead).result(5)
        pair.cut_next_produce(5001, "before")
        failing = producer.send(b"x", partition=dead)
        wait_until(lambda: fluvio.health().last_error is not None, "an attempt has failed")
        taken = 0
        with pytest.raises(BufferFullError, match=f"partition {dead} of topic 'two'"):  # noqa: PT012
            for taken in range(100):  # noqa: B007
                producer.send(bytes(10_000), partition=dead)
        assert 8 <= taken <= 10, "a quarter of the memory"
        futures = [producer.send(bytes(10_000)) for _ in range(100)]
        assert {future.result(5).partition for future in futures} == {1 - dead}
        assert not failing.done()
        assert producer.flush(5).failed == 0


def test_a_large_record_to_a_partition_that_failed_is_not_shut_out(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, buffer_memory=2_000_000) as fluvio:
        producer = fluvio.topic_producer("t", max_block=SHORT)
        own.fail_next_produce(9000)
        assert producer.send(b"refused").exception(5) is not None
        assert producer.send(bytes(600_000)).result(5).offset == 0
