# SPDX-License-Identifier: Apache-2.0
"""The cluster over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.errors import ConnectError
from fluvio_sync.protocol.frames import split_response
from fluvio_sync.protocol.metadata import PartitionObject
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, SPU_CLIENT_RANGES, ScApi, SpuApi
from fluvio_sync.protocol.watch import ListRequest, WatchRequest, WatchUpdate
from fluvio_sync.testing import LocalCluster
from fluvio_sync.testing._cluster import server as cluster_server
from tests.dev_cluster.messages import batch, codes, produce, request_frame
from tests.support.asking import Asked
from tests.support.sockets import TIMEOUT, connect, receive

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(spus=2, in_process=True) as running:
        running.create_topic("t", partitions=2)
        yield running


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def spu(cluster: LocalCluster, number: int = 5001) -> Asked:
    return Asked(cluster.spu_endpoints[number], SPU_CLIENT_RANGES)


def sc(cluster: LocalCluster) -> Asked:
    return Asked(cluster.endpoint, SC_CLIENT_RANGES)


def outcome(asked: Asked, request: Any) -> Any:
    return codes(asked.ask(SpuApi.PRODUCE, request))


# --- peers that behave and peers that do not -----------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">i", 64 * 1024 * 1024 + 1),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting
        struct.pack(">iHhih", 10, 9999, 0, 1, 0),
        struct.pack(">i", 0),
    ],
    ids=["too long", "TLS", "unknown request", "nothing"],
)
@pytest.mark.parametrize("node", ["sc", "spu"])
def test_a_peer_that_talks_nonsense_is_cut_off_and_the_others_are_not(
    cluster: LocalCluster, data: bytes, node: str
) -> None:
    endpoint = cluster.endpoint if node == "sc" else cluster.spu_endpoints[5001]
    with spu(cluster) as asked, connect(endpoint) as sock:
        assert outcome(asked, produce("t", (0, batch(b"a")))) == [(0, 0)]
        sock.sendall(data)
        assert is_closed(sock)
        assert outcome(asked, produce("t", (0, batch(b"b")))) == [(0, 1)]
    assert len(cluster.violations()) == 1


def test_a_frame_up_to_the_bound_is_taken(cluster: LocalCluster) -> None:
    records = batch(b"x" * 33_000_000)
    with spu(cluster) as asked:
        assert outcome(asked, produce("t", (0, records), (0, batch(b"y")))) == [
            (0, 0),
            (0, 1),
        ]


def test_requests_may_arrive_in_pieces_or_many_at_once(cluster: LocalCluster) -> None:
    frames = b"".join(
        request_frame(SpuApi.PRODUCE, produce("t", (0, batch(b"%d" % n))), correlation_id=n) for n in range(3)
    )
    with connect(cluster.spu_endpoints[5001]) as sock:
        for position in range(len(frames)):
            sock.sendall(frames[position : position + 1])
        sock.sendall(frames * 100)
        answers = [split_response(frame) for frame in receive(sock, 303)]
    assert [number for number, _ in answers] == [0, 1, 2] * 101
    offsets = [codes(body)[0] for _, body in answers]
    assert offsets == [(0, n) for n in range(303)]


def test_a_half_closed_connection_gets_its_replies_then_ends(cluster: LocalCluster) -> None:
    frame = request_frame(SpuApi.PRODUCE, produce("t", (0, batch(b"a"))))
    with connect(cluster.spu_endpoints[5001]) as sock:
        sock.sendall(frame * 50)
        sock.shutdown(socket.SHUT_WR)
        assert len(receive(sock, 51)) == 50
    assert len(cluster.records("t")) == 50


def test_a_peer_that_does_not_read_is_not_read_from(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_server, "MAX_UNSENT", 64 * 1024)
    cluster.create_topic("many", partitions=500)
    frame = request_frame(ScApi.LIST, ListRequest("Partition"))
    # Bytes behind a request are ignored, so these fill the sockets' buffers with few requests.
    length = 128 * 1024
    frame = struct.pack(">i", length - 4) + frame[4:] + bytes(length - len(frame))
    with connect(cluster.endpoint) as sock:
        sock.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 100_000_000:
                sent += sock.send(frame[sent % length :])
        assert sent < 100_000_000
        sock.settimeout(TIMEOUT)
        assert len(receive(sock, sent // length)) == sent // length


def test_a_client_that_connects_as_the_cluster_ends_costs_no_socket(cluster: LocalCluster) -> None:
    running: Any = cluster._running
    with contextlib.ExitStack() as clients:

        def connect_and_stop() -> None:  # the loop stops in the round in which it accepts
            clients.enter_context(connect(cluster.endpoint))
            asyncio.get_running_loop().call_soon(running._server.stop)

        running._thread.call(connect_and_stop)
        cluster.close()
        gc.collect()  # warns of sockets that were not closed


# --- nodes that come and go ----------------------------------------------------------------------


def test_a_killed_spu_is_gone_until_it_is_restarted(cluster: LocalCluster) -> None:
    with spu(cluster) as asked:
        assert outcome(asked, produce("t", (0, batch(b"a")))) == [(0, 0)]
        endpoints = cluster.spu_endpoints
        cluster.kill_spu(5001)
        with pytest.raises(ConnectError, match="broke"):
            outcome(asked, produce("t", (0, batch(b"b"))))
    with pytest.raises(ConnectError, match="refused"):
        spu(cluster)
    with spu(cluster, 5002) as other:
        assert outcome(other, produce("t", (1, batch(b"x")))) == [(0, 0)]
    with pytest.raises(ValueError, match="down"):
        cluster.kill_spu(5001)
    cluster.restart_spu(5001)
    assert cluster.spu_endpoints == endpoints
    with spu(cluster) as asked:
        assert outcome(asked, produce("t", (0, batch(b"b")))) == [(0, 1)]
    with pytest.raises(ValueError, match="not down"):
        cluster.restart_spu(5001)


def test_the_spus_go_on_without_the_sc(cluster: LocalCluster) -> None:
    with sc(cluster) as admin, spu(cluster) as asked:
        cluster.kill_sc()
        with pytest.raises(ConnectError, match="broke"):
            admin.receive(99)
        with pytest.raises(ConnectError, match="refused"):
            sc(cluster)
        assert outcome(asked, produce("t", (0, batch(b"a")))) == [(0, 0)]
    cluster.restart_sc()
    assert len(cluster.records("t")) == 1


def test_writes_are_pushed_to_watchers_after_a_while(cluster: LocalCluster) -> None:
    with sc(cluster) as asked, spu(cluster) as producer:
        watch = asked.send(ScApi.WATCH, WatchRequest("Partition"))
        asked.receive(watch)
        outcome(producer, produce("t", (0, batch(b"a", b"b"))))
        (change,) = WatchUpdate.read(asked.receive(watch), 19).changes
        assert isinstance(change.content, PartitionObject)
        assert change.content.status.leader.hw == 2
