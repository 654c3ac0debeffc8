# SPDX-License-Identifier: Apache-2.0
"""Clusters of other versions than the newest: the version agreed on, and the error where there is none."""

from __future__ import annotations

import pytest

from fluvio_sync import Fluvio, UnsupportedVersionError
from fluvio_sync.protocol.versions import ScApi, SpuApi
from fluvio_sync.testing._cluster.thread import ClusterThread
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.client import attempts
from tests.support.waiting import wait_until


@pytest.mark.parametrize("sc_version", range(12, 21))
def test_every_version_of_the_metadata(sc_version: int) -> None:
    """From 15 on as real clusters speak it; below by construction."""
    with (
        LocalCluster(spus=2, in_process=True, sc_version=sc_version, platform="0.11.5") as cluster,
        Fluvio.connect(cluster.endpoint) as fluvio,
    ):
        fluvio.create_topic("t", partitions=2, replication=2, compression="gzip")
        assert fluvio.topics() == ["t"]
        producer = fluvio.topic_producer("t")
        offsets = [producer.send(b"x", partition=partition).result(5).offset for partition in (0, 1, 0)]
        assert offsets == [0, 0, 1]
        cluster.kill_spu(cluster.leader("t", 0))  # for the pushes of the SC
        assert producer.send(b"x", partition=0).result(5).offset == 2
        assert fluvio._holder.engine is not None
        (watched,) = fluvio._holder.engine.watch.connections()
        assert watched.version(ScApi.WATCH) == min(sc_version, 19)
        fluvio.delete_topic("t")
        assert cluster.violations() == []


@pytest.mark.parametrize("spu_version", [*range(8, 26), 26])
def test_every_version_of_produce(spu_version: int) -> None:
    with LocalCluster(in_process=True, spu_version=spu_version) as cluster, Fluvio.connect(cluster.endpoint) as fluvio:
        fluvio.create_topic("t")
        producer = fluvio.topic_producer("t", compression="gzip")
        assert producer.send(b"x", key=b"k").result(5).offset == 0
        assert fluvio._holder.engine is not None
        (connection,) = fluvio._holder.engine.sender._connections.values()
        assert connection.version(SpuApi.PRODUCE) == min(spu_version, 25)
        assert cluster.violations() == []


def test_an_sc_that_is_too_old_is_named_with_both_ranges_and_its_platform() -> None:
    with (
        LocalCluster(in_process=True, sc_version=11, platform="0.10.9") as cluster,
        pytest.raises(UnsupportedVersionError) as caught,
    ):
        Fluvio.connect(cluster.endpoint)
    error = caught.value
    assert error.ours == (12, 19)
    assert error.theirs is not None
    assert error.theirs[1] == 11
    assert error.platform == "0.10.9"
    for part in ("SC at 127.0.0.1", "12", "19", "11", "0.10.9"):
        assert part in str(error)


def test_each_socket_agrees_for_itself_while_a_cluster_is_upgraded() -> None:
    with LocalCluster(in_process=True, spu_version=24) as cluster:
        cluster.create_topic("t")
        with Fluvio.connect(cluster.endpoint) as fluvio:
            producer = fluvio.topic_producer("t", delivery_semantic=attempts(1000, timeout=20))
            assert producer.send(b"x").result(5).offset == 0
            assert fluvio._holder.engine is not None
            connections = fluvio._holder.engine.sender._connections
            (before,) = connections.values()
            assert before.version(SpuApi.PRODUCE) == 24
            assert isinstance(cluster._running, ClusterThread)
            cluster._running._server.core.spu_version = 25
            cluster.kill_spu(5001)
            cluster.restart_spu(5001)
            assert producer.send(b"x").result(10).offset == 1
            wait_until(lambda: len(connections) == 1, "it is connected again")
            (after,) = connections.values()
            assert after.version(SpuApi.PRODUCE) == 25
