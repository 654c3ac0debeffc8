# SPDX-License-Identifier: Apache-2.0
"""Failures of the cluster: retries, the order in which records arrive, and the end of retrying."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

import pytest

from fluvio_sync import (
    ClosedError,
    Fluvio,
    RetriesExhaustedError,
    ServerError,
)
from fluvio_sync._core.pipeline import PipelineState
from fluvio_sync.testing import FaultProxy, LocalCluster
from tests.support.client import assert_settled, attempts, emit_events
from tests.support.cluster import place, read_back
from tests.support.waiting import SLACK, in_thread, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.testing import StoredRecord

pytestmark = pytest.mark.alone

PATIENT = attempts(1000, delay=0.02, timeout=30.0)


class Stream:
    """Sends numbered records from a thread until it is stopped; `futures`: those of the records, by number."""

    def __init__(self, producer: TopicProducer) -> None:
        self.futures: list[DeliveryFuture] = []
        self._producer = producer
        self._end = threading.Event()
        self._thread = in_thread(self._run)
        self.await_acks(10)

    def _run(self) -> None:
        while not self._end.wait(0.0005):
            number = len(self.futures)
            self.futures.append(self._producer.send(b"%d" % number))

    def await_acks(self, count: int) -> None:
        """Wait until `count` further records were sent and acknowledged, or settled."""
        wanted = len(self.futures) + count
        wait_until(lambda: len(self.futures) > wanted and self.futures[wanted].done(), "records are acknowledged")

    def await_pending(self) -> None:
        """Wait until something is under way and not acknowledged."""
        seen = len(self.futures)
        wait_until(lambda: len(self.futures) > seen + 5 and not self.futures[-3].done(), "records are pending")

    def stop(self) -> list[DeliveryFuture]:
        self._end.set()
        self._thread.join(5)
        self._producer.flush(20)
        return self.futures


def first_appearances(records: Sequence[StoredRecord]) -> list[int]:
    """Return the numbers in the log in the order in which each appears first."""
    return list(dict.fromkeys(int(record.value) for record in records))


def check(cluster: LocalCluster, topic: str, futures: list[DeliveryFuture], partitions: int = 1) -> None:
    """Every record is where its future says; each partition has first appearances in the order of sending."""
    stored = [read_back(cluster.endpoint, topic, partition) for partition in range(partitions)]
    for number, future in enumerate(futures):
        partition, offset = place(future.result(0))
        assert stored[partition][offset].value == b"%d" % number
    orders = [first_appearances(records) for records in stored]
    assert all(order == sorted(order) for order in orders)
    assert sorted(number for order in orders for number in order) == list(range(len(futures)))


@pytest.fixture
def producer(own: LocalCluster) -> Iterator[TopicProducer]:
    """A patient producer for topic "t" of `own`."""
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, request_timeout=5) as fluvio:
        yield fluvio.topic_producer("t", delivery_semantic=PATIENT)


# --- SPUs that go and come back ------------------------------------------------------------------


def test_nothing_is_lost_when_an_spu_is_killed_and_restarted(own: LocalCluster, producer: TopicProducer) -> None:
    stream = Stream(producer)
    for _ in range(3):
        own.kill_spu(5001)
        stream.await_pending()
        own.restart_spu(5001)
        stream.await_acks(10)
    futures = stream.stop()
    check(own, "t", futures)
    assert producer.stats().reconnects >= 3
    assert_settled(Fluvio(producer._holder))


def test_the_whole_cluster_crashes_and_comes_back(tmp_path: Path) -> None:
    with LocalCluster(spus=2, data_dir=tmp_path) as cluster:
        cluster.create_topic("t", partitions=3)
        with Fluvio.connect(cluster.endpoint) as fluvio:
            stream = Stream(fluvio.topic_producer("t", delivery_semantic=PATIENT))
            cluster.kill()
            stream.await_pending()
            cluster.start()
            stream.await_acks(10)
            check(cluster, "t", stream.stop(), 3)


# --- attempts ------------------------------------------------------------------------------------


def test_a_code_is_retried_with_the_policys_delays_until_they_are_exhausted(
    own: LocalCluster, producer: TopicProducer
) -> None:
    own.fail_next_produce(1000, count=4)
    limited = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(4, delay=0.05))
    with within(0.15, shortest=0.15):
        error = limited.send(b"failed").exception(5)
    assert type(error) is RetriesExhaustedError
    assert (error.topic, error.partition, error.attempts, error.retriable) == ("t", 0, 4, True)
    assert 0.15 <= error.elapsed < 0.15 + SLACK
    assert error.may_be_stored
    assert type(error.__cause__) is ServerError
    for fact in ("'t'", "partition 0", "4 attempts", "(1000)", error.__cause__.name, "SPU 5001"):
        assert fact in str(error)
    assert limited.send(b"0").result(5).offset == 0


# --- connections that break ----------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_cut_at_a_request_neither_duplicates_records_nor_reorders_them(
    own: LocalCluster, producer: TopicProducer, when: Literal["before", "after"]
) -> None:
    stream = Stream(producer)
    for _ in range(5):
        own.cut_next_produce(5001, when, count=2)
        stream.await_acks(5)
    futures = stream.stop()
    check(own, "t", futures)
    assert len(own.records("t")) == len(futures)


def test_without_a_look_a_lost_answer_duplicates_records_and_does_not_reorder_them(
    own: LocalCluster, producer: TopicProducer
) -> None:
    stream = Stream(Fluvio(producer._holder).topic_producer("t", verify_retries=False))
    for _ in range(5):
        own.cut_next_produce(5001, "after", count=2)
        stream.await_acks(5)
    futures = stream.stop()
    check(own, "t", futures)
    assert len(own.records("t")) > len(futures), "the second attempts are stored as well"


def test_an_idle_connection_that_is_closed_costs_nothing(own: LocalCluster) -> None:
    own.create_topic("t")
    with (
        FaultProxy(own.spu_endpoints[5001]) as proxy,
        Fluvio.connect(own.endpoint, spu_address_override={5001: proxy.endpoint}) as fluvio,
    ):
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(1))
        assert producer.send(b"0").result(5).offset == 0
        for number in (1, 2, 3):
            proxy.cut()
            (pipeline,) = fluvio._holder.engine.dispatcher.pipelines.values()  # type: ignore[union-attr]
            wait_until(lambda pipeline=pipeline: pipeline.state is PipelineState.DOWN, "the end is noticed")  # type: ignore[misc]
            assert producer.send(b"%d" % number).result(5).offset == number
        assert producer.stats().reconnects == 3
        assert producer.stats().records_retried == 0


def test_errors_and_logs_keep_records_to_themselves(
    own: LocalCluster, producer: TopicProducer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    limited = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(2))
    texts = []
    for code, count in ((9000, 1), (6, 2), (1000, 2), (13, 1)):
        own.fail_next_produce(code, count=count)
        error = limited.send(b"secret-value", key=b"secret-key").exception(5)
        texts += [str(error), repr(error), str(error and error.__cause__)]
    own.cut_next_produce(5001, "before", count=2)
    texts.append(str(limited.send(b"secret-value", key=b"secret-key").exception(5)))
    own.kill_spu(5001)
    future = limited.send(b"secret-value", key=b"secret-key")
    texts += [repr(future), repr(limited), repr(limited.stats()), repr(Fluvio(limited._holder)), repr(limited.config)]
    own.restart_spu(5001)
    future.result(5)
    emit_events(Fluvio(producer._holder))
    texts += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert len(caplog.records) > 5
    assert not [text for text in texts if "secret" in text]


# --- closing -------------------------------------------------------------------------------------


def test_closing_a_producer_fails_what_is_left_of_it_and_the_client_goes_on(
    own: LocalCluster, producer: TopicProducer
) -> None:
    client = Fluvio(producer._holder)
    producer.send(b"1").result(10)
    own.hold_replies(5001)
    left = producer.send(b"2")
    began = time.monotonic()
    result = producer.close(0.2)
    assert time.monotonic() - began < 3
    assert result.failed == 1
    with pytest.raises(ClosedError, match="the producer was closed before the record was acknowledged"):
        left.result(0)
    own.hold_replies(5001, on=False)
    assert client.topic_producer("t").send(b"3").result(20).acknowledged
    assert_settled(client)


# --- the SC --------------------------------------------------------------------------------------


def test_an_spu_fails_while_the_sc_is_away(own: LocalCluster, producer: TopicProducer) -> None:
    stream = Stream(producer)
    own.kill_sc()
    own.kill_spu(5001)
    stream.await_pending()
    own.restart_spu(5001)
    stream.await_acks(5)
    own.restart_sc()
    check(own, "t", stream.stop())


# --- read-committed ------------------------------------------------------------------------------


def test_a_record_that_is_not_replicated_yet_is_waited_for(pair: LocalCluster) -> None:
    pair.create_topic("t", replication=2)
    follower = 10003 - pair.leader("t")
    with Fluvio.connect(pair.endpoint) as fluvio:
        policy = attempts(1000, delay=0.05, timeout=2)
        producer = fluvio.topic_producer("t", isolation="read-committed", server_timeout=0.1, delivery_semantic=policy)
        producer.send(b"0").result(5)
        pair.kill_spu(follower)
        future = producer.send(b"1")
        with pytest.raises(TimeoutError):
            future.result(0.5)
        pair.restart_spu(follower)
        with within(0.5):
            assert future.result(5).offset == 1
        assert [int(record.value) for record in pair.records("t")] == [0, 1], "it was written once"
        assert producer.stats().records_retried == 0
