# SPDX-License-Identifier: Apache-2.0
"""Retries that store nothing twice, over sockets: every codec and isolation, every version, leaders that move."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import Fluvio
from fluvio_sync.testing import FaultProxy, LocalCluster, ProduceFault, read_partition
from tests.support.client import attempts
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync import TopicProducer
    from fluvio_sync.protocol.batch import BatchIdentity

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PATIENT = attempts(1000, delay=0.02, timeout=30.0)


def every(number: int, kind: Any = "after", **more: Any) -> Callable[[int], ProduceFault | None]:
    """Return a function that gives every so many produce requests a fault."""
    seen = Counter[str]()

    def choose(_size: int) -> ProduceFault | None:
        seen["requests"] += 1
        return None if seen["requests"] % number else ProduceFault(kind, **more)

    return choose


def send_and_compare(producer: TopicProducer, cluster: LocalCluster, partitions: int = 1, count: int = 60) -> None:
    """Send records one burst after the other; each stands in the log once, at its offset, in order."""
    futures = []
    for number in range(count):
        futures.append(producer.send(b"%d" % number, partition=number % partitions))
        if number % 3 == 0:
            producer.flush(30)
    producer.flush(30)
    for partition in range(partitions):
        stored = [record.value for record in read_partition(cluster.endpoint, "t", partition)]
        sent = [b"%d" % number for number in range(count) if number % partitions == partition]
        assert stored == sent
        offsets = [future.result(0).offset for future in futures[partition::partitions]]
        assert offsets == list(range(len(sent)))


@contextmanager
def cut_often(cluster: LocalCluster) -> Iterator[Fluvio]:
    """A client of one SPU, every third of whose requests is carried out without an answer, and a topic `t`."""
    with (
        FaultProxy(cluster.spu_endpoints[5001], on_produce=every(3)) as proxy,
        Fluvio.connect(cluster.endpoint, spu_address_override={5001: proxy.endpoint}) as fluvio,
    ):
        fluvio.create_topic("t")
        yield fluvio


@pytest.fixture
def cut(pair: LocalCluster) -> Iterator[Fluvio]:
    """A client of two SPUs, every third of whose requests is carried out without an answer."""
    endpoints = pair.spu_endpoints
    with (
        FaultProxy(endpoints[5001], on_produce=every(3)) as one,
        FaultProxy(endpoints[5002], on_produce=every(3)) as two,
        Fluvio.connect(pair.endpoint, spu_address_override={5001: one.endpoint, 5002: two.endpoint}) as fluvio,
    ):
        yield fluvio


@pytest.mark.parametrize("isolation", ["read-uncommitted", "read-committed"])
@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_stored_twice(cut: Fluvio, pair: LocalCluster, codec: str, isolation: str) -> None:
    cut.create_topic("t", partitions=2, replication=2)
    producer = cut.topic_producer("t", compression=codec, isolation=isolation, delivery_semantic=PATIENT)
    send_and_compare(producer, pair, partitions=2)
    stats = producer.stats()
    assert stats.records_verified >= 15
    assert (stats.records_unverified, stats.records_duplicated) == (0, 0)


@pytest.mark.parametrize("spu_version", range(8, 26))
def test_every_version(spu_version: int) -> None:
    """SPUs of 0.11.0 speak 22; those that offer no Fetch or FetchOffsets that this client knows are not looked at."""
    with LocalCluster(in_process=True, spu_version=spu_version) as cluster, cut_often(cluster) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=PATIENT)
        if spu_version >= 22:
            send_and_compare(producer, cluster, count=12)
            assert producer.stats().records_unverified == 0
        else:
            producer.send_all([b"x"] * 3)
            producer.flush(30)
            for _ in range(6):
                producer.send(b"x").result(30)
            assert producer.stats().records_unverified > 0
        assert cluster.violations() == []


@pytest.mark.parametrize("sc_version", range(12, 20))
def test_every_version_of_the_sc(sc_version: int) -> None:
    with LocalCluster(in_process=True, sc_version=sc_version) as cluster, cut_often(cluster) as fluvio:
        send_and_compare(fluvio.topic_producer("t", delivery_semantic=PATIENT), cluster, count=12)


def test_leaders_that_move_between_three_spus() -> None:
    with LocalCluster(spus=3) as cluster:
        proxies = {spu: FaultProxy(endpoint, on_produce=every(4)) for spu, endpoint in cluster.spu_endpoints.items()}
        try:
            overrides = {spu: proxy.endpoint for spu, proxy in proxies.items()}
            with Fluvio.connect(cluster.endpoint, spu_address_override=overrides) as fluvio:
                fluvio.create_topic("t", replication=3)
                producer = fluvio.topic_producer("t", delivery_semantic=PATIENT)
                futures = []
                for number in range(90):
                    futures.append(producer.send(b"%d" % number))
                    if number % 10 == 9:
                        cluster.move_leader("t", 0, 5001 + number // 10 % 3)
                    if number % 3 == 0:
                        producer.flush(30)
                producer.flush(30)
                stored = [record.value for record in read_partition(cluster.endpoint, "t", 0)]
                assert stored == [b"%d" % number for number in range(90)]
                assert [future.result(0).offset for future in futures] == list(range(90))
        finally:
            for proxy in proxies.values():
                proxy.close()


def test_batches_that_are_halved(own: LocalCluster) -> None:
    with cut_often(own) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=PATIENT, linger=0.01)
        for _ in range(5):
            own.fail_next_produce(10, 2)
            producer.send_all([b"x" * 10] * 8)
            producer.flush(30)
        assert len(read_partition(own.endpoint, "t", 0)) == 40
        assert producer.stats().records_retried


def test_a_late_request_is_counted_and_closing_waits_for_that(own: LocalCluster) -> None:
    own.create_topic("t")
    with FaultProxy(own.spu_endpoints[5001], on_produce=every(2, "late", delay=0.3)) as proxy:
        fluvio = Fluvio.connect(own.endpoint, spu_address_override={5001: proxy.endpoint})
        producer = fluvio.topic_producer("t", delivery_semantic=PATIENT, linger=0.01)
        producer.send(b"first").result(10)
        assert producer.send_all([b"x"] * 2)[0].result(10).offset == 1
        with within(2.5, shortest=0.5):
            fluvio.close()
        assert producer.stats().records_duplicated == 2
    assert [record.value for record in read_partition(own.endpoint, "t", 0)] == [b"first"] + [b"x"] * 4


def test_closing_waits_for_nothing_if_nothing_is_in_doubt(own: LocalCluster) -> None:
    own.create_topic("t")
    fluvio = Fluvio.connect(own.endpoint)
    fluvio.topic_producer("t").send(b"x").result(10)
    with within(0.0):
        fluvio.close()


def identity_of(fluvio: Fluvio, endpoint: str) -> BatchIdentity:
    metadata = fluvio.topic_producer("t").send(b"x").result(10)
    assert metadata.offset is not None
    found = read_partition(endpoint, "t", 0, identity=True)[metadata.offset].identity
    assert found is not None
    return found


@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "fork"), reason="it forks")
def test_every_client_and_process_has_an_identity_of_its_own(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as one, Fluvio.connect(own.endpoint) as two:
        found = [identity_of(one, own.endpoint), identity_of(two, own.endpoint)]
        with pickle.loads(pickle.dumps(one)) as copy:
            found.append(identity_of(copy, own.endpoint))
        child = os.fork()
        if not child:
            status = 1
            try:
                identity_of(one, own.endpoint)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        forked = read_partition(own.endpoint, "t", 0, identity=True)[-1].identity
        assert forked is not None
        found.append(forked)
        assert len({identity.producer_id for identity in found}) == 4
        assert {identity.first_sequence for identity in found} == {0}
        assert identity_of(one, own.endpoint) == found[0]._replace(first_sequence=1)
