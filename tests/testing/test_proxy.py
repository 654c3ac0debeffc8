# SPDX-License-Identifier: Apache-2.0
"""Every fault of `FaultProxy`, seen from a plain socket."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import ConfigError, Fluvio
from fluvio_sync.protocol.frames import FrameReader, RequestHeader, encode_request, split_request, split_response
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import PartitionData, ProduceRequest, TopicData
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.testing import FaultProxy, LocalCluster, ProduceFault
from tests.support.hostile import Server, Talk, acknowledgement, reply_to
from tests.support.sockets import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 5.0


def produce_request(correlation: int, size: int = 100) -> bytes:
    writer = Writer()
    request = ProduceRequest(1, 1000, (TopicData("t", (PartitionData(0, b"x" * size),)),))
    request.write(writer, 25)
    return encode_request(RequestHeader(SpuApi.PRODUCE, 25, correlation, "test"), writer.getvalue())


class Spu:
    """Answers produce requests; everything that it received is in `got`, and how often a connection ended in `ends`."""

    def __init__(self) -> None:
        self.got = b""
        self.ends = 0
        self.server = Server(self._behave)

    def _behave(self, talk: Talk) -> None:
        frames = FrameReader()
        try:
            while True:
                data = talk.receive()
                self.got += data
                for frame in frames.feed(data):
                    header, _ = split_request(frame)
                    talk.send(reply_to(header, acknowledgement(ProduceRequest(1, 1000, ()))))
        finally:
            self.ends += 1


@pytest.fixture
def spu() -> Iterator[Spu]:
    spu = Spu()
    with spu.server:
        yield spu


@pytest.fixture
def proxy(spu: Spu) -> Iterator[FaultProxy]:
    with FaultProxy(spu.server.endpoint) as proxy:
        yield proxy


def open_to(proxy: FaultProxy) -> socket.socket:
    host, _, port = proxy.endpoint.rpartition(":")
    return socket.create_connection((host, int(port)), TIMEOUT)


def replies(sock: socket.socket, count: int) -> list[int]:
    """Return the correlation ids of the next replies."""
    frames = FrameReader()
    found: list[int] = []
    while len(found) < count:
        data = sock.recv(65536)
        assert data, "the connection ended"
        found += [split_response(frame)[0] for frame in frames.feed(data)]
    return found


def is_silent(sock: socket.socket, seconds: float = 0.1) -> bool:
    """Whether nothing comes for a while."""
    sock.settimeout(seconds)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(TIMEOUT)
    return False


def assert_works(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(produce_request(77))
        assert replies(sock, 1) == [77]


def test_it_passes_on_both_ways(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock, open_to(proxy) as other:
        whole = b"".join(produce_request(number) for number in range(1000))
        for start in range(0, len(whole), 1009):  # pieces that do not end where frames do
            sock.sendall(whole[start : start + 1009])
        assert replies(sock, 1000) == list(range(1000))
        other.sendall(produce_request(5))
        assert replies(other, 1) == [5]
        assert proxy.connections == 2
        assert proxy.requests == 1001
        assert spu.got == whole + produce_request(5)
    wait_until(lambda: spu.ends == 2 and proxy.connections == 0, "both ends are passed on")


def test_it_passes_on_bytes_of_other_protocols() -> None:
    def echo(talk: Talk) -> None:
        while True:
            talk.send(talk.receive())

    with Server(echo) as server, FaultProxy(server.endpoint) as proxy, open_to(proxy) as sock:
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00 a TLS handshake", b"\xff" * 1_000_000):
            threading.Thread(target=sock.sendall, args=(text,), daemon=True).start()
            got = b""
            while len(got) < len(text):
                got += sock.recv(65536)
            assert got == text


def test_a_begun_head_is_passed_on_at_the_end(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(b"\0\0\0")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    wait_until(lambda: spu.got == b"\0\0\0", "what was sent arrives")


@pytest.mark.parametrize("reset", [True, False])
def test_cut_now(proxy: FaultProxy, *, reset: bool) -> None:
    with open_to(proxy) as sock, open_to(proxy) as other:
        for each in (sock, other):
            each.sendall(produce_request(1))
            assert replies(each, 1) == [1]
        proxy.cut(reset=reset)
        for each in (sock, other):
            if reset:
                with pytest.raises(ConnectionResetError):
                    each.recv(1)
            else:
                assert each.recv(1) == b""
    assert proxy.faults["now"] == 2
    assert_works(proxy)


def assert_cut(sock: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert sock.recv(1) == b""


def test_cut_before_a_request(spu: Spu, proxy: FaultProxy) -> None:
    proxy.cut("before")
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    wait_until(lambda: spu.ends == 1, "the server sees the end")
    assert spu.got == b""
    assert_works(proxy)
    assert proxy.faults == {"before": 1}


@pytest.mark.parametrize("sent", [1, 30, None, 10_000])
def test_cut_during_a_request(spu: Spu, proxy: FaultProxy, sent: int | None) -> None:
    request = produce_request(2)
    proxy.cut("during", sent=sent)
    with open_to(proxy) as sock:
        sock.sendall(request)
        assert_cut(sock)
    wait_until(lambda: spu.ends == 1, "the server sees the end")
    assert spu.got == request[: len(request) // 2 if sent is None else sent]
    assert_works(proxy)


def test_a_request_before_a_cut_is_carried_out(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        proxy.cut("before", reset=False)
        sock.sendall(produce_request(2) + produce_request(3))
        assert sock.recv(1) == b""
    assert spu.got == produce_request(1)


def test_cut_after_a_request(spu: Spu, proxy: FaultProxy) -> None:
    proxy.cut("after", count=2)
    for number in (1, 2):
        with open_to(proxy) as sock:
            sock.sendall(produce_request(number))
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert spu.got == produce_request(1) + produce_request(2)
    assert proxy.faults == {"after": 2}
    assert_works(proxy)


@pytest.mark.parametrize("reset", [True, False])
def test_a_request_that_arrives_after_its_connection_was_cut(spu: Spu, proxy: FaultProxy, *, reset: bool) -> None:
    proxy.cut("late", delay=0.5, reset=reset)
    with open_to(proxy) as sock:
        start = time.monotonic()
        sock.sendall(produce_request(1))
        if reset:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:
            assert sock.recv(1) == b""
    assert_works(proxy)
    wait_until(lambda: len(proxy._forwarder.connections) == 1, "the other connection is over")
    proxy.cut()
    proxy.forget()
    proxy.half_close()
    assert spu.got == produce_request(77)
    wait_until(lambda: spu.got == produce_request(77) + produce_request(1), "the request arrives")
    assert time.monotonic() - start >= 0.5
    wait_until(lambda: spu.ends == 2 and not proxy._forwarder.ends, "both sides are closed")
    assert proxy.faults == {"late": 1}


def test_requests_before_and_behind_a_late_one(spu: Spu, proxy: FaultProxy) -> None:
    late = ProduceFault("late", delay=0.2)
    faults = iter([None, late])
    with FaultProxy(spu.server.endpoint, on_produce=lambda size: next(faults)) as choosing, open_to(choosing) as sock:
        for piece in (produce_request(1) + produce_request(2)[:50], produce_request(2)[50:] + produce_request(3)):
            sock.sendall(piece)
            time.sleep(0.01)
        with contextlib.suppress(ConnectionResetError):
            assert replies(sock, 1) == [1]
        wait_until(lambda: spu.ends == 1, "the server sees the end")
        assert spu.got == produce_request(1) + produce_request(2)


@pytest.mark.parametrize("delay", [0, 0.01])
def test_a_late_request_that_is_large_arrives_whole(spu: Spu, proxy: FaultProxy, delay: float) -> None:
    proxy.cut("late", delay=delay)
    request = produce_request(1, size=20_000_000)
    with open_to(proxy) as sock, contextlib.suppress(ConnectionResetError):
        sock.sendall(request)
        assert sock.recv(1) == b""
    wait_until(lambda: spu.ends == 1, "the server sees the end")
    assert spu.got == request


def test_a_stall_holds_late_requests_too(spu: Spu, proxy: FaultProxy) -> None:
    proxy.cut("late", delay=0.1)
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert_cut(sock)
    proxy.hold()
    time.sleep(0.2)
    assert spu.got == b""
    proxy.hold(on=False)
    wait_until(lambda: spu.got == produce_request(1), "the request arrives")


def test_a_late_request_that_is_not_whole_is_dropped(spu: Spu, proxy: FaultProxy) -> None:
    proxy.cut("late", delay=0.01)
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1)[:-1])
    wait_until(lambda: spu.ends == 1, "the server sees the end")
    assert spu.got == b""


def test_closing_the_proxy_drops_late_requests(spu: Spu, proxy: FaultProxy) -> None:
    proxy.cut("late", delay=60)
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert_cut(sock)
    proxy.close()
    wait_until(lambda: spu.ends == 1, "the server sees the end")
    assert spu.got == b""


def test_a_lost_reply(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        proxy.lose_replies()
        sock.sendall(produce_request(2))
        assert is_silent(sock)
        sock.sendall(produce_request(3))
        assert replies(sock, 1) == [3]
    assert spu.got.endswith(produce_request(2) + produce_request(3))
    assert proxy.faults == {"lost reply": 1}


def test_faults_may_be_chosen_request_by_request(spu: Spu) -> None:
    sizes: list[int] = []

    def choose(size: int) -> ProduceFault | None:
        sizes.append(size)
        return ProduceFault("lost reply") if len(sizes) % 2 else None

    with FaultProxy(spu.server.endpoint, on_produce=choose) as proxy, open_to(proxy) as sock:
        for number in range(4):
            sock.sendall(produce_request(number))
        assert replies(sock, 2) == [1, 3]
        assert sizes == [len(produce_request(0))] * 4
        assert proxy.faults == {"lost reply": 2}


def test_refused_connections(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        proxy.refuse()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            open_to(proxy)
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        proxy.refuse(on=False)
        proxy.refuse(on=False)
        assert_works(proxy)


def test_a_stall(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        proxy.hold()
        sock.sendall(produce_request(2))
        with open_to(proxy) as late:
            late.sendall(produce_request(3))
            assert is_silent(sock)
            assert is_silent(late)
            assert spu.got == produce_request(1)
            proxy.hold(on=False)
            assert replies(sock, 1) == [2]
            assert replies(late, 1) == [3]


def test_a_stalled_connection_can_be_cut(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        proxy.hold()
        sock.sendall(produce_request(1))
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


@pytest.mark.alone
def test_delayed_bytes(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        proxy.delay(0.1)
        start = time.monotonic()
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        assert 0.2 <= time.monotonic() - start < 1.0
        sock.sendall(produce_request(2))
        proxy.delay(0)
        sock.sendall(produce_request(3))
        assert replies(sock, 2) == [2, 3]


def test_delayed_bytes_do_not_wait_for_each_other(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        proxy.delay(0.2)
        start = time.monotonic()
        for number in range(20):
            sock.sendall(produce_request(number))
            time.sleep(0.005)
        assert replies(sock, 20) == list(range(20))
        assert 0.4 <= time.monotonic() - start < 4.0


def test_a_delay_of_one_direction(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock, open_to(proxy) as other:
        proxy.delay(3600, "responses")
        sock.sendall(produce_request(1))
        wait_until(lambda: spu.got == produce_request(1), "the request arrives")
        assert is_silent(sock)
        proxy.delay(0)
        proxy.delay(3600, "requests")
        other.sendall(produce_request(2))
        assert is_silent(other)
        assert spu.got == produce_request(1)


@contextlib.contextmanager
def forgotten(proxy: FaultProxy) -> Iterator[socket.socket]:
    """Give a connection that has worked and is forgotten."""
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        proxy.forget()
        yield sock


def test_a_forgotten_connection(spu: Spu, proxy: FaultProxy) -> None:
    with forgotten(proxy) as sock:
        proxy.forget()
        sock.sendall(produce_request(2))
        assert_works(proxy)
        assert is_silent(sock)
        assert spu.got == produce_request(1) + produce_request(77)
        assert proxy.faults == {"forgotten": 1}
        proxy.forget(on=False)
        assert replies(sock, 1) == [2]
    wait_until(lambda: proxy.connections == 0, "a remembered connection ends as every other")


def test_the_end_of_a_forgotten_connection_is_not_told(spu: Spu, proxy: FaultProxy) -> None:
    with forgotten(proxy) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
    wait_until(lambda: proxy.connections == 0, "the client has gone")
    assert_works(proxy)
    wait_until(lambda: spu.ends == 1, "the end of the other connection")
    proxy.forget(on=False)
    wait_until(lambda: spu.ends == 2, "the end is told at last")


def test_a_forgotten_connection_can_be_cut(spu: Spu, proxy: FaultProxy) -> None:
    with forgotten(proxy) as sock:
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    wait_until(lambda: spu.ends == 1, "the server sees the end")


def test_a_limited_bandwidth_is_never_exceeded(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        request = produce_request(1)
        proxy.limit(20_000, "requests")
        start = time.monotonic()
        for _ in range(6000 // len(request)):
            sock.sendall(request)
        replies(sock, 6000 // len(request))
        assert time.monotonic() - start >= 5800 / 20_000
        proxy.limit(None)
        sock.sendall(request * 1000)
        replies(sock, 1000)


def test_a_sender_feels_a_limited_bandwidth(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        proxy.limit(1)
        sock.setblocking(False)
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while taken < 1_000_000:
                taken += sock.send(b"\0" * 65536)
        assert taken < 1_000_000
    with pytest.raises(ValueError, match="above 0"):
        proxy.limit(0)


def test_a_limited_connection_can_be_cut(proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        proxy.limit(1)
        sock.sendall(produce_request(1))
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    proxy.limit(None)
    assert_works(proxy)


def test_a_half_closed_connection(spu: Spu, proxy: FaultProxy) -> None:
    with open_to(proxy) as sock:
        sock.sendall(produce_request(1))
        assert replies(sock, 1) == [1]
        proxy.half_close()
        assert sock.recv(1) == b""
        sock.sendall(produce_request(2))
        wait_until(lambda: spu.got.endswith(produce_request(2)), "what the client sends arrives")
        assert spu.ends == 0
    wait_until(lambda: spu.ends == 1, "the client's end arrives")


def test_a_target_that_is_away(proxy: FaultProxy) -> None:
    with (
        FaultProxy(f"127.0.0.1:{free_port()}") as lonely,
        contextlib.suppress(ConnectionResetError),  # which connect() may see already
        open_to(lonely) as sock,
    ):
        assert_cut(sock)
    assert_works(proxy)


def test_its_port_and_its_end(spu: Spu) -> None:
    port = free_port()
    proxy = FaultProxy(spu.server.endpoint, port=port)
    assert proxy.endpoint == f"127.0.0.1:{port}"
    with pytest.raises(OSError, match="Address already in use"):
        FaultProxy(spu.server.endpoint, port=port)
    sock = open_to(proxy)
    proxy.close()
    proxy.close()
    assert_cut(sock)
    sock.close()
    with pytest.raises(ConnectionRefusedError):
        open_to(proxy)
    with pytest.raises(RuntimeError, match="closed"):
        proxy.cut()


def test_a_malformed_target() -> None:
    with pytest.raises(ConfigError, match="URL"):
        FaultProxy("tcp://127.0.0.1:1")


def test_between_a_client_and_its_cluster() -> None:
    with LocalCluster(in_process=True) as cluster, FaultProxy(cluster.endpoint) as sc:
        cluster.create_topic("t")
        with (
            FaultProxy(cluster.spu_endpoints[5001]) as spu,
            Fluvio.connect(sc.endpoint, spu_address_override={5001: spu.endpoint}) as fluvio,
        ):
            producer = fluvio.topic_producer("t")
            spu.cut("after")
            sc.cut()
            assert producer.send(b"value").result(TIMEOUT).offset == 0  # it was stored, and is found in the log
            assert spu.requests == 1
            assert sc.faults == {"now": 1}
