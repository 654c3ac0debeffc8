# SPDX-License-Identifier: Apache-2.0
"""Several SPUs, and SPUs that are not where the SC says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio, RetriesExhaustedError
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.client import attempts
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync._net.connection import Connection

pytestmark = pytest.mark.alone

ELSEWHERE = "spu-0.cluster.invalid:9010"  # a name that does not resolve (RFC 2606)
SPUS = (5001, 5002, 5003)


@pytest.fixture
def three() -> Iterator[LocalCluster]:
    with LocalCluster(spus=3, in_process=True) as cluster:
        cluster.create_topic("t", partitions=3)
        yield cluster
        assert cluster.violations() == [], "the client broke the protocol"


def connections(fluvio: Fluvio) -> list[Connection]:
    assert fluvio._holder.engine is not None
    return list(fluvio._holder.engine.sender._connections.values())


def test_each_leader_has_one_connection(three: LocalCluster) -> None:
    assert sorted(three.leader("t", partition) for partition in range(3)) == list(SPUS)
    with Fluvio.connect(three.endpoint) as fluvio:
        for _ in range(20):
            producer = fluvio.topic_producer("t")
            producer.send_all([b"x" * 1000] * 300)
        assert fluvio.topic_producer("t").send(b"last").result(5).acknowledged
        assert sorted(connection.owner.spu for connection in connections(fluvio)) == list(SPUS)
    assert sum(len(three.records("t", partition)) for partition in range(3)) == 6001


def test_read_committed_does_not_hold_up_read_uncommitted(pair: LocalCluster) -> None:
    pair.create_topic("t", replication=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        fast = fluvio.topic_producer("t")
        careful = fluvio.topic_producer("t", isolation="read-committed", server_timeout=5)
        assert careful.send(b"0").result(5).offset == 0
        pair.kill_spu(10003 - pair.leader("t"))
        waiting = careful.send(b"1")
        wait_until(lambda: careful.stats().records_in_flight == 1, "it is on its way")
        with within(0.3):
            for _ in range(10):
                assert fast.send(b"x").result(5).acknowledged
        assert not waiting.done()
        assert len(connections(fluvio)) == 2  # one for each isolation level: a connection is served strictly in order
        pair.restart_spu(10003 - pair.leader("t"))
        assert waiting.result(5).acknowledged


def test_an_address_that_does_not_work_from_here_is_shown_with_where_it_comes_from(own: LocalCluster) -> None:
    own.create_topic("t")
    own.advertise(5001, ELSEWHERE, local="10.255.255.1:9010")
    with Fluvio.connect(own.endpoint) as fluvio:
        error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send(b"x").exception(10)
    assert isinstance(error, RetriesExhaustedError)
    assert f"SPU 5001 at {ELSEWHERE} (the address that the SC advertises)" in str(error)
    assert "its name cannot be resolved" in str(error)
    assert "spu_address_override" in str(error)  # the hint


def test_an_spus_local_address(own: LocalCluster) -> None:
    own.create_topic("t")
    own.advertise(5001, ELSEWHERE, local=own.spu_endpoints[5001])
    with Fluvio.connect(own.endpoint, use_spu_local_address=True) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
    own.advertise(5001, own.spu_endpoints[5001], local=ELSEWHERE)
    with Fluvio.connect(own.endpoint, use_spu_local_address=True) as fluvio:
        error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send(b"x").exception(10)
    assert f"{ELSEWHERE} (the local address that the SC advertises)" in str(error)
    assert "use_spu_local_address" in str(error)


def test_a_cluster_in_containers_is_reached_by_a_mapping_or_a_function(own: LocalCluster) -> None:
    own.create_topic("t")
    own.advertise(5001, ELSEWHERE)
    real = own.spu_endpoints[5001]
    asked: list[tuple[int, str]] = []

    def where(spu: int, advertised: str) -> str | None:
        asked.append((spu, advertised))
        return real

    with Fluvio.connect(own.endpoint, spu_address_override={5001: real, 5002: "unused:1"}) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
    with Fluvio.connect(own.endpoint, spu_address_override=where) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 1
    assert asked == [(5001, ELSEWHERE)]


def test_an_spu_that_moves_is_followed(own: LocalCluster) -> None:
    own.create_topic("t")
    own.advertise(5001, ELSEWHERE)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(5, delay=30, timeout=60))
        future = producer.send(b"x")
        wait_until(lambda: fluvio.health().last_error is not None, "it was tried")
        own.advertise(5001, None)
        with within(0.5):  # the diff cuts the delay short
            assert future.result(5).offset == 0


def test_an_override_that_names_the_sc(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, spu_address_override={5001: own.endpoint}) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(1))
        with pytest.raises(RetriesExhaustedError, match=r"spu_address_override.*this is an SC .* and not an SPU"):
            producer.send(b"x").result(5)
