# SPDX-License-Identifier: Apache-2.0
"""Leaders that die, stall and move, an SC that is away, topics that grow, go and come back.

How fast the client is, is measured from when the SC said it: a `Watcher` of its own hears the same pushes.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import ConnectError, Fluvio
from fluvio_sync.protocol.metadata import PartitionObject, split_partition_key
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, ScApi
from fluvio_sync.protocol.watch import WatchRequest, WatchUpdate
from tests.support.asking import Asked
from tests.support.cluster import place, read_back
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.alone

TIMEOUT = 10.0
AT_ONCE = 1.0
"""Seconds from the metadata that names a new leader to the next acknowledgement, at most."""


class Watcher:
    """Notes when the SC pushes which leader of a partition; a thread of its own, for one test's time."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.named: list[tuple[float, str, int, int]] = []  # when, topic, partition, leader
        self._cluster = cluster
        self._ending = False
        self._watching = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with Asked(self._cluster.endpoint, SC_CLIENT_RANGES, timeout=60) as sc:
            watch = sc.send(ScApi.WATCH, WatchRequest(PartitionObject.LABEL))
            while not self._ending:
                update = WatchUpdate.read(sc.receive(watch), sc.version(ScApi.WATCH))
                now = time.monotonic()
                for item in (*update.all, *(change.content for change in update.changes)):
                    assert isinstance(item, PartitionObject)
                    self.named.append((now, *split_partition_key(item.name), item.spec.leader))
                self._watching.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._watching.wait(TIMEOUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._cluster.create_topic("the-end")  # something to hear of
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    def heard_at(self, topic: str, partition: int, leader: int) -> float:
        """Wait until this leader was named, and return when that was."""

        def times() -> list[float]:
            return [when for when, *named in self.named if named == [topic, partition, leader]]

        wait_until(times, f"SPU {leader} leads partition {partition} of {topic}")
        return times()[0]


@pytest.fixture
def cluster(pair: LocalCluster) -> LocalCluster:
    """Two SPUs, and a topic t with a replica on each, led by 5001."""
    pair.create_topic("t", replication=2)
    return pair


@pytest.fixture
def watcher(cluster: LocalCluster) -> Iterator[Watcher]:
    with Watcher(cluster) as watcher:
        yield watcher


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Fluvio]:
    """A client with its default timeouts: none of them may end a wait."""
    with Fluvio.connect(cluster.endpoint) as fluvio:
        yield fluvio


def send(producer: TopicProducer, numbers: range) -> list[DeliveryFuture]:
    return [producer.send(b"%d" % number) for number in numbers]


def assert_in_order(cluster: LocalCluster, futures: list[DeliveryFuture]) -> None:
    """Record number n is where its future says, and the first appearances are in order."""
    log = [record.value for record in read_back(cluster.endpoint, "t", 0, len(futures))]
    for number, future in enumerate(futures):
        assert log[place(future.result(0))[1]] == b"%d" % number
    firsts = [log.index(b"%d" % number) for number in range(len(futures))]
    assert firsts == sorted(firsts)


def test_a_killed_leader(cluster: LocalCluster, watcher: Watcher, client: Fluvio) -> None:
    producer = client.topic_producer("t", linger=0.005)
    futures = send(producer, range(50))
    futures[-1].result(TIMEOUT)
    cluster.kill_spu(5001)
    futures += send(producer, range(50, 100))
    futures[-1].result(TIMEOUT)
    acknowledged = time.monotonic()
    assert acknowledged - watcher.heard_at("t", 0, 5002) < AT_ONCE
    assert_in_order(cluster, futures)


def test_a_leader_killed_with_requests_under_way(cluster: LocalCluster, watcher: Watcher, client: Fluvio) -> None:
    producer = client.topic_producer("t")
    producer.send(b"0").result(TIMEOUT)
    cluster.hold_replies(5001)
    futures = send(producer, range(1, 50))
    wait_until(lambda: producer.stats().records_in_flight, "a request is on its way")
    cluster.kill_spu(5001)
    futures[-1].result(TIMEOUT)
    assert time.monotonic() - watcher.heard_at("t", 0, 5002) < AT_ONCE
    log = [int(record.value) for record in cluster.records("t")]
    assert list(dict.fromkeys(log)) == list(range(50))


def test_a_read_committed_leader_killed(cluster: LocalCluster, watcher: Watcher, client: Fluvio) -> None:
    """Nothing is committed without the second replica; then everything is."""
    producer = client.topic_producer("t", isolation="read-committed", server_timeout=0.2)
    futures = send(producer, range(20))
    futures[-1].result(TIMEOUT)
    cluster.kill_spu(5001)
    futures += send(producer, range(20, 40))
    watcher.heard_at("t", 0, 5002)
    wait_until(lambda: len(cluster.records("t")) >= 40, "the new leader has them")
    assert not futures[-1].done()
    cluster.restart_spu(5001)
    restarted = time.monotonic()
    futures[-1].result(TIMEOUT)
    assert time.monotonic() - restarted < AT_ONCE
    assert_in_order(cluster, futures)


def test_a_stalled_leader_that_is_moved(cluster: LocalCluster, watcher: Watcher, client: Fluvio) -> None:
    """As if it were stopped by a signal: it takes everything and says nothing."""
    producer = client.topic_producer("t")
    futures = send(producer, range(10))
    futures[-1].result(TIMEOUT)
    cluster.hold_replies(5001)
    futures += send(producer, range(10, 20))
    wait_until(lambda: producer.stats().records_in_flight, "a request is on its way")
    cluster.move_leader("t", 0, 5002)
    futures[-1].result(TIMEOUT)
    assert time.monotonic() - watcher.heard_at("t", 0, 5002) < AT_ONCE
    assert_in_order(cluster, futures)


def test_a_leader_that_is_back_at_once(cluster: LocalCluster, client: Fluvio) -> None:
    """One replica alone: its records wait, and go on when it is back."""
    cluster.create_topic("alone")
    producer = client.topic_producer("alone")
    spu = cluster.leader("alone")
    producer.send(b"0").result(TIMEOUT)
    cluster.kill_spu(spu)
    futures = send(producer, range(1, 10))
    assert not futures[-1].done()
    cluster.restart_spu(spu)
    restarted = time.monotonic()
    futures[-1].result(TIMEOUT)
    assert time.monotonic() - restarted < AT_ONCE
    assert [int(record.value) for record in cluster.records("alone")] == list(range(10))


def test_an_sc_that_is_away(cluster: LocalCluster, client: Fluvio) -> None:
    """Known topics go on; changes of that time are found afterwards."""
    producer = client.topic_producer("t")
    producer.send(b"before").result(TIMEOUT)
    cluster.kill_sc()
    wait_until(lambda: not client.health().connected, "the client has noticed")
    with pytest.raises(ConnectError):
        client.topics()
    assert producer.send(b"meanwhile").result(TIMEOUT).offset == 1
    cluster.create_topic("new")
    cluster.move_leader("t", 0, 5002)
    moved = producer.send(b"moved")  # the old leader refuses it, and the SC cannot be asked for the new one
    cluster.restart_sc()
    assert moved.result(TIMEOUT).offset == 2
    assert client.topic_producer("new").send(b"new").result(TIMEOUT).offset == 0
    assert client.health().connected
    assert [record.value for record in cluster.records("t")] == [b"before", b"meanwhile", b"moved"]


def test_an_sc_that_restarts_again_and_again(cluster: LocalCluster, client: Fluvio) -> None:
    producer = client.topic_producer("t")
    for number in range(5):
        cluster.kill_sc()
        wait_until(lambda: not client.health().connected, "the client has noticed")
        assert producer.send(b"x").result(TIMEOUT).offset == number
        cluster.restart_sc()
        wait_until(lambda: client.health().connected, "the client is back")


def test_a_partition_that_is_not_online_yet(cluster: LocalCluster, client: Fluvio) -> None:
    """Records for it wait for it to come online; keyless records go elsewhere."""
    cluster.create_topic("grows", replication=2)
    producer = client.topic_producer("grows")
    producer.send(b"x").result(TIMEOUT)
    cluster.kill_spu(5002)
    cluster.add_partitions("grows", 1)  # for two replicas, two SPUs are needed
    engine = client._holder.engine
    assert engine is not None
    wait_until(lambda: engine.metadata.partition_count("grows") == 2, "the client knows of it")
    waiting = producer.send(b"waits", partition=1)
    assert {future.result(TIMEOUT).partition for future in producer.send_all([b"x"] * 8)} == {0}
    assert not waiting.done()
    cluster.restart_spu(5002)
    assert waiting.result(TIMEOUT).partition == 1
