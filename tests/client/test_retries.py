# SPDX-License-Identifier: Apache-2.0
"""Failures of the cluster: retries, the order in which records arrive, and the end of retrying."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import (
    AtLeastOnce,
    AtMostOnce,
    ClosedError,
    CommitTimeoutError,
    ConnectError,
    DeliveryError,
    DeliveryTimeoutError,
    FlushResult,
    Fluvio,
    RejectedError,
    RequestTimeoutError,
    RetriesExhaustedError,
    RetryPolicy,
    ServerError,
)
from fluvio_sync._core.pipeline import PipelineState
from fluvio_sync._runtime.metadata_watch import MetadataWatch
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.client import assert_settled, attempts, wait_offline, wait_online
from tests.support.cluster import place, read_back
from tests.support.hostile import Proxy
from tests.support.waiting import SLACK, in_thread, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.protocol.watch import WatchUpdate
    from fluvio_sync.testing.reader import StoredRecord

pytestmark = pytest.mark.alone

PATIENT = attempts(1000, delay=0.02, timeout=30.0)


class Stream:
    """Sends numbered records from a thread until it is stopped; `futures`: those of the records, by number."""

    def __init__(self, producer: TopicProducer, pause: float = 0.0005, *, partition: int | None = None) -> None:
        self.futures: list[DeliveryFuture] = []
        self._producer = producer
        self._partition = partition
        self._pause = pause
        self._end = threading.Event()
        self._thread = in_thread(self._run)
        self.await_acks(10)

    def _run(self) -> None:
        while not self._end.wait(self._pause):
            number = len(self.futures)
            self.futures.append(self._producer.send(b"%d" % number, partition=self._partition))

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


def test_nothing_is_lost_when_an_spu_is_killed_with_a_batch_in_flight(
    own: LocalCluster, producer: TopicProducer
) -> None:
    producer.send(b"0").result(5)
    own.hold_replies(5001)
    futures = [producer.send(b"%d" % number) for number in (1, 2, 3)]
    wait_until(lambda: producer.stats().records_in_flight, "a batch is in flight")
    own.kill_spu(5001)
    assert not any(future.done() for future in futures)
    own.restart_spu(5001)
    for future in futures:
        future.result(5)
    records = read_back(own.endpoint, "t")
    assert first_appearances(records) == [0, 1, 2, 3]


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


@pytest.mark.parametrize("settings", [{"compression": "gzip"}, {"linger": 0.01}, {"isolation": "read-committed"}])
def test_another_replica_takes_over(pair: LocalCluster, settings: dict[str, Any]) -> None:
    pair.create_topic("t", partitions=2, replication=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=PATIENT, server_timeout=0.1, **settings)
        stream = Stream(producer)
        pair.kill_spu(5001)
        if "isolation" not in settings:  # which needs all replicas
            stream.await_acks(10)
        pair.restart_spu(5001)
        stream.await_acks(10)
        check(pair, "t", stream.stop(), 2)


def test_leaders_that_move(pair: LocalCluster) -> None:
    pair.create_topic("t", partitions=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        stream = Stream(fluvio.topic_producer("t", delivery_semantic=PATIENT))
        for turn in range(6):
            pair.move_leader("t", turn % 2, 5001 + turn // 2 % 2)
            stream.await_acks(5)
        check(pair, "t", stream.stop(), 2)


def test_nothing_sticks(own: LocalCluster, producer: TopicProducer) -> None:
    hasty = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(2, timeout=0.2))
    for round_ in range(3):
        own.kill_spu(5001)
        wait_offline(Fluvio(producer._holder), 5001)
        futures = [hasty.send(b"lost") for _ in range(3)]
        assert hasty.flush(5).failed == 3
        assert all(isinstance(future.exception(0), DeliveryError) for future in futures)
        own.restart_spu(5001)
        assert producer.send(b"%d" % round_).result(5).offset == 2 * round_
        assert hasty.send(b"%d" % round_).result(5).offset == 2 * round_ + 1
        assert hasty.flush(5) == FlushResult(1, 0, 0, None)
    assert [int(record.value) for record in read_back(own.endpoint, "t")] == [0, 0, 1, 1, 2, 2]


def test_waiting_for_an_spu_that_is_known_to_be_offline_spends_no_retry(
    own: LocalCluster, producer: TopicProducer
) -> None:
    client = Fluvio(producer._holder)
    single = client.topic_producer("t", delivery_semantic=attempts(1, timeout=20))
    own.kill_spu(5001)
    wait_offline(client, 5001)
    future = single.send(b"0")
    with pytest.raises(TimeoutError):
        future.result(0.3)
    own.restart_spu(5001)
    with within(0.5):
        assert future.result(5).offset == 0
    assert single.stats().records_retried == 0


def test_an_spu_that_stays_away_costs_the_policys_time_and_not_more(own: LocalCluster, producer: TopicProducer) -> None:
    client = Fluvio(producer._holder)
    own.kill_spu(5001)
    wait_offline(client, 5001)
    limited = client.topic_producer("t", delivery_semantic=attempts(5, timeout=0.5), linger=0.1)
    with within(0.6, shortest=0.55):
        error = limited.send(b"0").exception(5)
    assert type(error) is DeliveryTimeoutError
    assert (error.topic, error.partition, error.attempts, error.may_be_stored) == ("t", 0, 0, False)
    assert 0.5 <= error.elapsed < 0.5 + SLACK
    for fact in ("'t'", "partition 0", "0 attempts", "0.5 s", "SPU 5001", "offline"):
        assert fact in str(error)
    own.restart_spu(5001)


def test_every_future_is_done_by_linger_plus_timeout(own: LocalCluster, producer: TopicProducer) -> None:
    limited = Fluvio(producer._holder).topic_producer(
        "t", delivery_semantic=attempts(1000, delay=0.05, timeout=0.5), linger=0.1, batch_size=100
    )
    limited.send(b"0")
    limited.flush(5)
    own.hold_replies(5001)
    took: list[float] = []
    pause = threading.Event()
    futures = []
    for _ in range(12):
        start = time.monotonic()
        future = limited.send(b"x" * 60)
        future.add_done_callback(lambda _, start=start: took.append(time.monotonic() - start))  # type: ignore[misc]
        futures.append(future)
        pause.wait(0.03)
    assert {type(future.exception(5)) for future in futures} == {DeliveryTimeoutError}
    wait_until(lambda: len(took) == 12, "the callbacks have run")
    assert max(took) < 0.6 + SLACK
    assert min(took) >= 0.5
    own.hold_replies(5001, on=False)
    assert limited.stats().records_failed == 12


def test_keyless_records_go_where_somebody_is_online(pair: LocalCluster) -> None:
    pair.create_topic("t", partitions=4)
    with Fluvio.connect(pair.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=PATIENT)
        assert {producer.send(b"x").result(5).partition for _ in range(4)} == {0, 1, 2, 3}
        dead = {partition for partition in range(4) if pair.leader("t", partition) == 5001}
        pair.kill_spu(5001)
        wait_online(fluvio, "t", 2)
        for _ in range(10):
            assert producer.send(b"x").result(5).partition not in dead
        pair.kill_spu(5002)
        wait_online(fluvio, "t", 0)
        futures = [producer.send(b"x") for _ in range(8)]
        pair.restart_spu(5001)
        pair.restart_spu(5002)
        assert sorted(future.result(5).partition for future in futures) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("diff", ["restart", "new leader"])
def test_news_cuts_a_delay_short(pair: LocalCluster, diff: str) -> None:
    pair.create_topic("t")
    leader = pair.leader("t")
    with Fluvio.connect(pair.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(3, delay=30, timeout=60))
        producer.send(b"0").result(5)
        pair.cut_next_produce(leader, "before")
        future = producer.send(b"1")
        wait_until(lambda: fluvio.health().last_error is not None, "an attempt has failed")
        with pytest.raises(TimeoutError):
            future.result(0.2)
        if diff == "restart":
            pair.kill_spu(leader)
            pair.restart_spu(leader)
        else:
            pair.move_leader("t", 0, 10003 - leader)
        with within(1):
            assert future.result(5).offset == 1


def test_ordinary_writes_are_no_news(own: LocalCluster, producer: TopicProducer) -> None:
    own.create_topic("other")
    slow = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(2, delay=1.2, timeout=60))
    other = Fluvio(producer._holder).topic_producer("other")
    own.cut_next_produce(5001, "before")
    start = time.monotonic()
    future = slow.send(b"0")
    wait_until(lambda: Fluvio(producer._holder).health().last_error is not None, "an attempt has failed")
    while not future.done():
        other.send(b"x").result(5)
    assert 1.2 <= time.monotonic() - start < 1.2 + SLACK


# --- error codes ---------------------------------------------------------------------------------

RETRIED = [6, 1000]  # of those that tests/core has: one that leaves no doubt, and one that does


@pytest.mark.parametrize("code", RETRIED)
def test_codes_that_are_retried(own: LocalCluster, producer: TopicProducer, code: int) -> None:
    own.fail_next_produce(code, count=2)
    futures = [producer.send(b"%d" % number) for number in range(5)]
    producer.flush(5)
    check(own, "t", futures)
    assert len(own.records("t")) == 5
    stats = producer.stats()
    assert stats.records_retried >= 2
    assert (stats.records_acked, stats.records_failed) == (5, 0)


@pytest.mark.parametrize("code", RETRIED)
def test_retries_that_are_exhausted(own: LocalCluster, producer: TopicProducer, code: int) -> None:
    own.fail_next_produce(code, count=4)
    limited = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(4, delay=0.05))
    with within(0.15, shortest=0.15):
        error = limited.send(b"lost").exception(5)
    assert type(error) is RetriesExhaustedError
    assert (error.topic, error.partition, error.attempts, error.retriable) == ("t", 0, 4, True)
    assert 0.15 <= error.elapsed < 0.15 + SLACK
    assert error.may_be_stored == (code == 1000)
    cause = error.__cause__
    assert type(cause) is ServerError
    assert cause.code == code
    for fact in ("'t'", "partition 0", "4 attempts", f"({code})", cause.name, "SPU 5001"):
        assert fact in str(error)
    assert limited.send(b"0").result(5).offset == 0


@pytest.mark.parametrize("code", [72, 73])
def test_full_and_broken_partitions_are_given_a_second(own: LocalCluster, producer: TopicProducer, code: int) -> None:
    own.fail_next_produce(code, payload=("t", 0) if code == 72 else ())
    with within(1, shortest=1):
        assert producer.send(b"0").result(5).offset == 0


@pytest.mark.parametrize(("code", "payload"), [(2, ("no reason",)), (13, ()), (6001, ("filter",))])
def test_codes_that_are_not_retried(
    own: LocalCluster, producer: TopicProducer, code: int, payload: tuple[object, ...]
) -> None:
    own.fail_next_produce(code, payload=payload)
    with within(0):
        error = producer.send(b"bad").exception(5)
    assert type(error) is RejectedError
    assert (error.topic, error.partition, error.attempts) == ("t", 0, 1)
    assert (error.retriable, error.may_be_stored) == (False, False)
    assert error.code == code
    for fact in ("'t'", "partition 0", f"({code})", error.name, *payload):
        assert str(fact) in str(error)
    assert isinstance(error.__cause__, ServerError)
    assert producer.send(b"0").result(5).offset == 0


def test_a_refused_batch_does_not_stop_those_behind_it(own: LocalCluster, producer: TopicProducer) -> None:
    small = Fluvio(producer._holder).topic_producer("t", batch_size=500, linger=60)
    own.fail_next_produce(9000)
    refused = [small.send(b"x" * 100) for _ in range(4)]
    assert small.flush(5).failed == 4
    for future in refused:
        assert isinstance(future.exception(5), RejectedError)
    futures = [small.send(b"%d" % number * 10) for number in range(10)]
    small.flush(5)
    assert [future.result(0).offset for future in futures] == list(range(10))


def test_a_batch_that_is_too_large_is_halved(own: LocalCluster, producer: TopicProducer) -> None:
    lingering = Fluvio(producer._holder).topic_producer("t", linger=60)
    own.fail_next_produce(10, count=3)
    futures = [lingering.send(b"%d" % number) for number in range(8)]
    assert lingering.flush(5) == FlushResult(8, 0, 0, None)
    check(own, "t", futures)
    assert len(own.records("t")) == 8
    assert_settled(Fluvio(producer._holder))


def test_only_the_record_that_is_too_large_fails(own: LocalCluster, producer: TopicProducer) -> None:
    lingering = Fluvio(producer._holder).topic_producer("t", linger=60)
    own.fail_next_produce(10, count=3)  # the batch of four, its first half, and that one's first record
    futures = [lingering.send(b"%d" % number) for number in range(4)]
    result = lingering.flush(5)
    assert (result.acked, result.failed) == (3, 1)
    error = futures[0].exception(0)
    assert isinstance(error, RejectedError)
    assert error.code == 10
    assert [int(record.value) for record in own.records("t")] == [1, 2, 3]
    assert [future.result(0).offset for future in futures[1:]] == [0, 1, 2]
    assert_settled(Fluvio(producer._holder))


def test_one_failing_topic_does_not_disturb_the_others(own: LocalCluster, producer: TopicProducer) -> None:
    own.create_topic("failing")
    own.create_topic("refusing")
    own.fail_next_produce(6, count=10_000, topic="failing")
    own.fail_next_produce(9000, count=10_000, topic="refusing")
    fluvio = Fluvio(producer._holder)
    failing = fluvio.topic_producer("failing", delivery_semantic=PATIENT).send(b"x")
    refusing = fluvio.topic_producer("refusing")
    for number in range(50):
        refused = refusing.send(b"x")
        with within(0.1):
            assert producer.send(b"x").result(5).offset == number
        assert isinstance(refused.exception(5), RejectedError)
    assert not failing.done()
    fluvio.close(0)
    assert failing.exception(0) is not None


def test_entries_of_one_request_fail_each_for_itself(own: LocalCluster) -> None:
    topics = [f"topic-{number}" for number in range(5)]
    for topic in topics:
        own.create_topic(topic, partitions=2)
    own.fail_next_produce(9000, topic="topic-1", count=2)
    own.fail_next_produce(6, topic="topic-3")
    with Fluvio.connect(own.endpoint) as fluvio:
        producers = [fluvio.topic_producer(topic, linger=0.05) for topic in topics]
        futures = {
            (topic, partition): producer.send(f"{topic} {partition}", partition=partition)
            for topic, producer in zip(topics, producers, strict=True)
            for partition in (0, 1)
        }
        for (topic, partition), future in futures.items():
            if topic == "topic-1":
                assert isinstance(future.exception(5), RejectedError)
            else:
                assert place(future.result(5)) == (partition, 0)
                assert [record.value.decode() for record in own.records(topic, partition)] == [f"{topic} {partition}"]


# --- the policy ----------------------------------------------------------------------------------


def test_no_retries_means_one_attempt(own: LocalCluster, producer: TopicProducer) -> None:
    own.fail_next_produce(6)
    single = Fluvio(producer._holder).topic_producer("t", delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=0)))
    with within(0):
        error = single.send(b"x").exception(5)
    assert type(error) is RetriesExhaustedError
    assert error.attempts == 1
    assert "1 attempt " in str(error)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (RetryPolicy(max_retries=3, initial_delay=0.1, strategy="fixed-delay"), 0.3),
        (RetryPolicy(max_retries=4, initial_delay=0.05, strategy="fibonacci-backoff"), 0.05 + 0.05 + 0.1 + 0.15),
        (RetryPolicy(max_retries=3, initial_delay=0.004, max_delay=0.2), 0.004 + 0.04 + 0.2),
        (RetryPolicy(max_retries=3, initial_delay=0.05, multiplier=2), 0.05 + 0.1 + 0.2),
        (RetryPolicy(max_retries=3, initial_delay=0), 0.0),
    ],
)
def test_the_policys_delays_pass(own: LocalCluster, producer: TopicProducer, policy: RetryPolicy, waits: float) -> None:
    own.fail_next_produce(3000, count=policy.max_retries)
    timed = Fluvio(producer._holder).topic_producer("t", delivery_semantic=AtLeastOnce(policy))
    with within(waits, shortest=waits):
        assert timed.send(b"0").result(5).offset == 0
    assert timed.stats().records_retried == policy.max_retries


def test_the_policys_timeout_covers_attempts_and_delays(own: LocalCluster, producer: TopicProducer) -> None:
    own.fail_next_produce(3000, count=1000)
    limited = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(1000, delay=0.05, timeout=0.5))
    with within(0.5, shortest=0.4):
        error = limited.send(b"0").exception(5)
    assert type(error) is DeliveryTimeoutError
    assert isinstance(error, TimeoutError)
    assert 6 <= error.attempts <= 11
    assert error.retriable
    assert not error.may_be_stored
    assert isinstance(error.__cause__, ServerError)
    assert "0.5 s" in str(error)


def test_a_reply_that_is_late_costs_an_attempt(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, request_timeout=0.2) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(1))
        producer.send(b"0").result(5)
        own.hold_replies(5001)
        with within(0.2, shortest=0.2):
            error = producer.send(b"1").exception(5)
        assert type(error) is RetriesExhaustedError
        assert type(error.__cause__) is RequestTimeoutError
        assert error.may_be_stored
        own.hold_replies(5001, on=False)
        assert producer.send(b"2").result(5).acknowledged
        assert first_appearances(own.records("t")) == [0, 1, 2]


def test_a_batch_whose_deadline_passes_in_flight_fails_alone(own: LocalCluster) -> None:
    own.create_topic("t")
    own.create_topic("u")
    with Fluvio.connect(own.endpoint) as fluvio:
        hasty = fluvio.topic_producer("t", delivery_semantic=attempts(3, timeout=0.3))
        patient = fluvio.topic_producer("u")
        hasty.send(b"0").result(5)
        own.hold_replies(5001)
        late, waiting = hasty.send(b"1"), patient.send(b"0")
        with within(0.3):
            error = late.exception(5)
        assert type(error) is DeliveryTimeoutError
        assert error.may_be_stored
        assert not waiting.done()
        own.hold_replies(5001, on=False)
        assert waiting.result(5).offset == 0
        assert fluvio.topic_producer("t").send(b"2").result(5).offset == 2
        assert hasty.stats().reconnects == 0, "the connection stayed"


# --- connections that break ----------------------------------------------------------------------


def test_a_connection_cut_before_the_request_is_carried_out(own: LocalCluster, producer: TopicProducer) -> None:
    stream = Stream(producer)
    for _ in range(5):
        own.cut_next_produce(5001, "before")
        stream.await_acks(5)
    futures = stream.stop()
    check(own, "t", futures)
    assert len(own.records("t")) == len(futures), "no duplicates"


def test_lost_replies_may_duplicate_but_not_reorder(own: LocalCluster, producer: TopicProducer) -> None:
    stream = Stream(producer)
    for _ in range(5):
        own.cut_next_produce(5001, "after", count=2)
        stream.await_acks(5)
    futures = stream.stop()
    check(own, "t", futures)
    assert len(own.records("t")) > len(futures), "the second attempts are stored as well"


def test_an_idle_connection_that_is_closed_costs_nothing(own: LocalCluster) -> None:
    own.create_topic("t")
    with (
        Proxy(own.spu_endpoints[5001]) as proxy,
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
    for code in (9000, 6, 1000, 13):
        own.fail_next_produce(code, count=2 if code in RETRIED else 1)
        error = limited.send(b"secret-value", key=b"secret-key").exception(5)
        texts += [str(error), repr(error), str(error and error.__cause__)]
    own.cut_next_produce(5001, "after", count=2)
    texts.append(str(limited.send(b"secret-value", key=b"secret-key").exception(5)))
    own.kill_spu(5001)
    future = limited.send(b"secret-value", key=b"secret-key")
    texts += [repr(future), repr(limited), repr(limited.stats()), repr(Fluvio(limited._holder)), repr(limited.config)]
    own.restart_spu(5001)
    future.result(5)
    texts += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert len(caplog.records) > 5
    assert not [text for text in texts if "secret" in text]


def test_a_failure_with_an_unknown_outcome_says_so(own: LocalCluster, producer: TopicProducer) -> None:
    single = Fluvio(producer._holder).topic_producer("t", delivery_semantic=attempts(1))
    own.cut_next_produce(5001, "after")
    error = single.send(b"0").exception(5)
    assert type(error) is RetriesExhaustedError
    assert error.may_be_stored
    assert "may have been stored" in str(error)
    assert type(error.__cause__) is ConnectError
    assert [record.value for record in own.records("t")] == [b"0"]
    assert single.send(b"1").result(5).offset == 1


# --- at most once --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("fault", ["before", "after", "kill", "code"])
def test_at_most_once_is_never_twice(own: LocalCluster, fault: str) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=AtMostOnce())
        producer.send(b"0")
        producer.flush(5)
        for number in range(1, 2000):
            producer.send(b"%d" % number)
            if number % 400 == 0:
                if fault == "kill":
                    own.kill_spu(5001)
                    own.restart_spu(5001)
                elif fault == "code":
                    own.fail_next_produce(56)
                else:
                    own.cut_next_produce(5001, "before" if fault == "before" else "after")
        result = producer.flush(5)
        stats = producer.stats()
        assert stats.records_unacknowledged + stats.records_dropped == 2000
        assert result.unacknowledged + result.failed == 1999
        assert stats.records_failed == stats.records_retried == 0
        numbers: list[int] = []
        sent = 2000

        def arrived() -> bool:
            # A record that is written to a connection which is being cut is lost, so that one may not be enough.
            nonlocal sent
            assert producer.send(b"%d" % sent).exception() is None
            sent += 1
            producer.flush(5)
            numbers[:] = [int(record.value) for record in own.records("t")]
            return numbers[-1] >= 2000

        wait_until(arrived, "what is sent after the faults arrives")
        assert numbers == sorted(set(numbers)), "once each, in order"
        if fault in ("before", "code"):
            assert len(numbers) < sent
        assert_settled(fluvio)


def test_what_a_server_says_to_at_most_once_is_logged(own: LocalCluster, caplog: pytest.LogCaptureFixture) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic="at-most-once")
        own.fail_next_produce(9000, count=3)
        for _ in range(3):
            assert producer.send(b"x").exception() is None
            producer.flush(5)
            wait_until(lambda: "at_most_once.rejected" in caplog.text, "the refusal is logged")
        producer.send(b"y")
        producer.flush(5)
        wait_until(lambda: len(own.records("t")) == 1, "the last one arrives")
    assert "9000" in caplog.text
    refusals = [record for record in caplog.records if record.message.startswith("at_most_once.rejected")]
    assert len(refusals) == 1, "once for a streak"


# --- the SC --------------------------------------------------------------------------------------


def test_producing_goes_on_without_the_sc_and_new_topics_come_with_it(
    own: LocalCluster, producer: TopicProducer
) -> None:
    fluvio = Fluvio(producer._holder)
    producer.send(b"0").result(5)
    for round_ in range(2):
        own.kill_sc()
        wait_until(lambda: not fluvio.health().connected, "the loss is noticed")
        futures = [producer.send(b"%d" % (5 * round_ + number + 1)) for number in range(5)]
        assert [future.result(5).offset for future in futures] == [5 * round_ + number + 1 for number in range(5)]
        with within(1), pytest.raises(ConnectError):
            fluvio.topics()
        own.restart_sc()
        own.create_topic(f"after-{round_}")
        assert fluvio.topic_producer(f"after-{round_}").send(b"x").result(5).offset == 0
    assert len(own.records("t")) == 11


def test_metadata_that_arrives_in_the_last_moment_counts(
    own: LocalCluster, producer: TopicProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fluvio = Fluvio(producer._holder)
    advance = MetadataWatch.advance

    def advance_late(watch: MetadataWatch) -> list[WatchUpdate]:
        updates = advance(watch)
        if updates and watch.connection is not None:
            watch.connection.deadline = -math.inf
        return updates

    monkeypatch.setattr(MetadataWatch, "advance", advance_late)
    own.kill_sc()
    wait_until(lambda: not fluvio.health().connected, "the loss is noticed")
    own.restart_sc()
    engine = fluvio._holder.running()
    wait_until(lambda: engine.watch.established, "it is there")
    with engine.accumulator.lock:
        assert engine.watch.connection is not None


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


@pytest.fixture
def replicated(pair: LocalCluster) -> Iterator[tuple[LocalCluster, TopicProducer, int]]:
    """A pair, a read-committed producer for a topic on both, and the SPU that follows."""
    pair.create_topic("t", replication=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        producer = fluvio.topic_producer(
            "t",
            isolation="read-committed",
            server_timeout=0.1,
            linger=0.02,  # so that records that a test sends at once share a request
            delivery_semantic=attempts(1000, delay=0.05, timeout=2),
        )
        producer.send(b"0").result(5)
        yield pair, producer, 10003 - pair.leader("t")


def test_a_record_that_is_not_replicated_yet_is_waited_for(
    replicated: tuple[LocalCluster, TopicProducer, int],
) -> None:
    pair, producer, follower = replicated
    pair.kill_spu(follower)
    future = producer.send(b"1")
    with pytest.raises(TimeoutError):
        future.result(0.5)
    pair.restart_spu(follower)
    with within(0.5):
        assert future.result(5).offset == 1
    assert [int(record.value) for record in pair.records("t")] == [0, 1], "it was written once"
    assert producer.stats().records_retried == 0


def test_a_replication_that_does_not_come_in_time(replicated: tuple[LocalCluster, TopicProducer, int]) -> None:
    pair, producer, follower = replicated
    pair.kill_spu(follower)
    futures = [producer.send(b"%d" % number) for number in (1, 2, 3)]
    with within(2.02, shortest=1.95):
        errors = [future.exception(5) for future in futures]
    for number, error in enumerate(errors, 1):
        assert type(error) is CommitTimeoutError
        assert isinstance(error, TimeoutError)
        assert error.offset == number
        assert (error.topic, error.partition) == ("t", 0)
        assert error.may_be_stored
    assert [int(record.value) for record in pair.records("t")] == [0, 1, 2, 3]
    pair.restart_spu(follower)
    assert producer.send(b"4").result(5).offset == 4


def test_a_lost_connection_makes_it_an_ordinary_retry(replicated: tuple[LocalCluster, TopicProducer, int]) -> None:
    pair, producer, follower = replicated
    leader = 10003 - follower
    pair.kill_spu(follower)
    future = producer.send(b"1")
    with pytest.raises(TimeoutError):
        future.result(0.3)
    pair.kill_spu(leader)
    pair.restart_spu(leader)
    pair.restart_spu(follower)
    metadata = future.result(5)
    records = pair.records("t")
    assert records[metadata.offset or 0].value == b"1"
    assert first_appearances(records) == [0, 1]


def test_committed_waits_do_not_hold_up_uncommitted_records(
    replicated: tuple[LocalCluster, TopicProducer, int],
) -> None:
    pair, producer, follower = replicated
    quick = Fluvio(producer._holder).topic_producer("t")
    pair.kill_spu(follower)
    waiting = producer.send(b"1")
    for _ in range(5):
        with within(0.1):
            quick.send(b"2").result(5)
    assert not waiting.done()
    pair.restart_spu(follower)
    waiting.result(5)
