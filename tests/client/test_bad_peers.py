# SPDX-License-Identifier: Apache-2.0
"""A peer that brings a bug to light, or floods the client, costs itself alone."""

from __future__ import annotations

import math
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import AtLeastOnce, ConnectError, DeliveryError, Fluvio, ProtocolError, RetryPolicy
from fluvio_sync._net.connection import Connection
from fluvio_sync._net.peer import Peer
from fluvio_sync._net.transport import READ, WRITE, SocketTransport, Stage
from fluvio_sync._runtime.sender import Sender
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync.protocol.frames import MAX_ANSWER, MAX_VERSIONS
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES
from tests.support.hostile import SPU_KEYS, Server, Talk
from tests.support.system import replaces_code
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.testing.cluster import LocalCluster

pytestmark = pytest.mark.alone

QUICK = AtLeastOnce(RetryPolicy(timeout=1.0, initial_delay=0.01, max_delay=0.02))


def is_of(connection: Connection, spu: int) -> bool:
    return connection.peer.name == f"SPU {spu}"


def fail_in(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, spu: int) -> list[int]:
    """Have a method raise for the connections to an SPU; return a list that grows with each time."""
    original = getattr(owner, name)
    raised: list[int] = []

    def failing(self: Any, *arguments: Any, **more: Any) -> Any:
        connection = self if isinstance(self, Connection) else arguments[-1]
        if is_of(connection, spu) and (connection.stage is Stage.READY or name == "advance"):
            raised.append(1)
            raise ZeroDivisionError("a bug")
        return original(self, *arguments, **more)

    monkeypatch.setattr(owner, name, failing)
    return raised


@replaces_code
@pytest.mark.parametrize(
    ("owner", "name"), [(Connection, "advance"), (Connection, "_digest"), (Sender, "_take_answer")]
)
def test_a_bug_that_an_spu_brings_to_light_costs_its_own_records(
    pair: LocalCluster, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    pair.create_topic("t", partitions=2)
    bad = pair.leader("t", 0)
    raised = fail_in(monkeypatch, owner, name, bad)
    with Fluvio.connect(pair.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=QUICK)
        done = threading.Event()
        lost = [producer.send(b"lost", partition=0) for _ in range(5)]
        lost[-1].add_done_callback(lambda _: done.set())
        fine = []
        while not done.wait(0.01):  # the background thread leads
            fine.append(producer.send(b"fine", partition=1))
        assert all(future.result(5).acknowledged for future in fine)
        for future in lost:
            assert isinstance(future.exception(5), DeliveryError)
        assert "internal error of the sender" in str(lost[0].exception(0))
        assert len(raised) > 12
        assert fluvio.running
        assert producer.send(b"fine", partition=1).result(5).acknowledged


@replaces_code
def test_a_bug_in_a_thread_that_leads_is_left_to_the_background_thread(
    pair: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.create_topic("t", partitions=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=QUICK)
        assert producer.send(b"first", partition=1).result(5).acknowledged
        raised = fail_in(monkeypatch, Connection, "_digest", pair.leader("t", 0))
        met = 0
        lost = []
        for _ in range(20):
            lost.append(producer.send(b"lost", partition=0))
            for _ in range(3):
                try:
                    assert producer.send(b"fine", partition=1).result(5).acknowledged
                except ZeroDivisionError:
                    met += 1
        assert raised
        assert met <= 3, "each of the calls met it"
        assert fluvio.running
        wait_until(lambda: all(future.done() for future in lost), "the end of the lost ones")
        assert all(isinstance(future.exception(0), DeliveryError) for future in lost)


# TLS names.


@pytest.mark.parametrize("name", ["a..b.example", "main-0..example", "x" * 70 + ".example", "a\0b.example"])
def test_a_name_that_no_tls_name_can_be_made_of_is_a_connect_error(name: str) -> None:
    import ssl

    with Server(lambda talk: talk.wait_for_end()) as server:
        host, _, port = server.endpoint.rpartition(":")
        context = ssl.create_default_context()
        peer = Peer("SPU 5001", Endpoint(host, int(port)), SPU_CLIENT_RANGES, "test", tls=context, server_name=name)
        transport = SocketTransport(peer, deadline=math.inf, now=0.0, notify=lambda: None)

        def ended() -> bool:
            transport.advance(READ | WRITE, 0.0)
            return False

        with pytest.raises(ConnectError, match="no TLS name can be made of"):
            wait_until(ended, "an error")
        transport.close()


# Floods and long frames.


def connected(server: Server, made: list[Connection], **settings: Any) -> tuple[Connection, Callable[[], None]]:
    """Return a connection that is ready, and a function that lets it go on; it is added to `made`."""
    host, _, port = server.endpoint.rpartition(":")
    peer = Peer("SPU 5001", Endpoint(host, int(port)), SPU_CLIENT_RANGES, "test", **settings)
    connection = Connection(peer, SocketTransport, timeout=5.0, now=0.0, notify=lambda: None)
    made.append(connection)

    def go_on() -> None:
        connection.advance(READ | WRITE, 0.0)

    def is_ready() -> bool:
        go_on()
        return connection.stage is Stage.READY

    wait_until(is_ready, "the connection")
    connection.ask_versions()  # a server waits for it before it attacks
    return connection, go_on


def test_a_flood_of_frames_stays_in_the_socket() -> None:
    def flood(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        talk.request()
        while True:
            talk.send(struct.pack(">ii", 4, 7) * 8192)

    with Server(flood) as server:
        connection, go_on = connected(server, [])

        def is_full() -> bool:
            go_on()
            return len(connection.inbox) >= 256

        wait_until(is_full, "a full inbox")
        for _ in range(50):
            go_on()
        assert len(connection.inbox) < 1000
        assert connection.polls() == ()
        connection.inbox.clear()
        go_on()
        assert 256 <= len(connection.inbox) < 1000
        connection.close()


def test_long_answers_are_taken_one_by_one() -> None:
    def flood(talk: Talk) -> None:
        talk.shake_hands(SPU_KEYS)
        talk.request()
        while True:
            talk.send(struct.pack(">ii", MAX_ANSWER, 7) + bytes(MAX_ANSWER - 4))

    with Server(flood) as server:
        connection, go_on = connected(server, [], max_frame=MAX_ANSWER)

        def has_two() -> bool:
            go_on()
            return len(connection.inbox) >= 2

        wait_until(has_two, "two answers")
        for _ in range(100):
            go_on()
        assert len(connection.inbox) == 2
        connection.close()


@pytest.mark.parametrize(("ready", "limit"), [(False, MAX_VERSIONS), (True, MAX_ANSWER)])
def test_a_frame_may_be_as_long_as_what_is_asked_for(*, ready: bool, limit: int) -> None:
    def claim(talk: Talk) -> None:
        if ready:
            talk.shake_hands(SPU_KEYS)
        talk.request()
        talk.send(struct.pack(">i", limit + 1))
        talk.wait_for_end()

    made: list[Connection] = []

    def meet() -> None:
        _, go_on = connected(server, made, max_frame=MAX_ANSWER)
        wait_until(lambda: go_on() is not None, "an error")

    with Server(claim) as server:
        with pytest.raises(ProtocolError, match=f"a frame claims {limit + 1} bytes; the limit is {limit}"):
            meet()
        made[0].close()
