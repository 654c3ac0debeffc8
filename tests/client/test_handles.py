# SPDX-License-Identifier: Apache-2.0
"""Handles of a client that works: many at once, their callbacks, flush, close and statistics."""

from __future__ import annotations

import concurrent.futures
import gc
import pickle
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fluvio_sync
from fluvio_sync import (
    ClosedError,
    FlushResult,
    Fluvio,
    ProducerConfig,
    RecordMetadata,
    RejectedError,
)
from fluvio_sync._base.clock import SystemClock
from fluvio_sync.stats import Health
from tests.support.client import assert_settled, used_memory
from tests.support.cluster import place
from tests.support.waiting import in_thread, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.testing.cluster import LocalCluster
    from tests.support.cluster import Where


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- many at once --------------------------------------------------------------------------------


def test_many_threads_topics_and_producers(where: Where, client: Fluvio) -> None:
    topics = {where.topic(partitions=3): 3, where.topic(partitions=2): 2}
    futures: dict[int, list[DeliveryFuture]] = {}

    def work(worker: int) -> None:
        producers = [
            client.topic_producer(topic, linger=linger) for linger in (0.0, 0.002)[: 1 + worker % 2] for topic in topics
        ]
        futures[worker] = [
            producers[number % len(producers)].send(f"{worker}:{number}", key=f"{worker}" if number % 2 else None)
            for number in range(400)
        ]

    threads = [in_thread(lambda worker=worker: work(worker)) for worker in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.join(30)
    everything = [future for worker in range(8) for future in futures[worker]]
    assert not concurrent.futures.wait(everything, 20).not_done
    stored = {topic: where.read_all(topic, count, 1600) for topic, count in topics.items()}
    for worker, sent in futures.items():
        for number, future in enumerate(sent):
            metadata = future.result(0)
            partition, offset = place(metadata)
            assert stored[metadata.topic][partition][offset].value == b"%d:%d" % (worker, number)
    assert_settled(client)


def test_each_threads_records_keep_their_order(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=2)
    producer = client.topic_producer(topic)

    def work(worker: int) -> None:
        for number in range(1000):
            producer.send(b"%d" % number, key=b"%d" % worker, partition=worker % 2)

    threads = [in_thread(lambda worker=worker: work(worker)) for worker in range(4)]  # type: ignore[misc]
    for thread in threads:
        thread.join(30)
    assert producer.flush(20).acked == 4000
    by_worker: dict[bytes | None, list[int]] = defaultdict(list)
    for partition in where.read_all(topic, 2, 4000):
        for record in partition:
            by_worker[record.key].append(int(record.value))
    assert by_worker == {b"%d" % worker: list(range(1000)) for worker in range(4)}


@pytest.mark.alone
def test_a_handle_is_light(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    client.topic_producer(topic).send(b"x").result(10)
    threads, descriptors = threading.active_count(), open_descriptors()
    start = time.perf_counter()
    for number in range(500):
        client.topic_producer(topic).send(b"%d" % number)
    took = time.perf_counter() - start
    assert took < 1
    client.topic_producer(topic).flush(10)
    assert (threading.active_count(), open_descriptors()) == (threads, descriptors)
    assert len(where.records(topic, count=501)) == 501


def test_handles_with_functions_of_their_own_leave_nothing_behind(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    futures = [
        client.topic_producer(topic, value_serializer=f"{number} {{}}".format).send("x") for number in range(200)
    ]
    assert [future.result(10).offset for future in futures] == list(range(200)), "they share one order"
    assert client._holder.engine is not None
    assert len(client._holder.engine.accumulator.topic_states) < 10


def log_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("-log")]


def test_dropped_clients_leave_nothing_behind(where: Where) -> None:
    topic = where.topic()
    gc.collect()
    wait_until(lambda: not log_threads(), "the threads for the events of earlier clients have ended")
    threads, descriptors = threading.active_count(), open_descriptors()
    for number in range(10):
        where.connect().topic_producer(topic, linger=0.02).send(b"%d" % number)
    gc.collect()
    wait_until(
        lambda: (threading.active_count(), open_descriptors()) == (threads, descriptors), "threads and sockets are gone"
    )
    assert sorted(record.value for record in where.records(topic, count=10)) == [b"%d" % number for number in range(10)]


def test_threads_that_use_a_producer_first_at_once_share_it(where: Where, client: Fluvio) -> None:
    """As in a child of a fork, or in uWSGI's worker: `flush()` waits for and counts all that they sent."""
    producer = client.topic_producer(where.topic(partitions=4))
    for _ in range(5):
        copy: TopicProducer = pickle.loads(pickle.dumps(producer))
        together = threading.Barrier(8)

        def send(number: int, copy: TopicProducer = copy, together: threading.Barrier = together) -> DeliveryFuture:
            together.wait(10)
            return copy.send(b"x", partition=number % 4)

        with ThreadPoolExecutor(8) as pool:
            futures = list(pool.map(send, range(8)))
        assert copy.flush(10).acked == 8
        assert all(future.done() for future in futures)
        Fluvio(copy._holder).close()


def test_a_topic_that_is_made_anew_with_another_codec_can_be_produced_to(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        engine = fluvio._holder.engine
        assert engine is not None
        for codec in ("gzip", "none", "gzip"):
            fluvio.create_topic("again", compression=codec)
            assert fluvio.topic_producer("again").send(b"x").result(5).offset == 0
            fluvio.delete_topic("again")
            wait_until(lambda: "again" not in engine.metadata.topics, "the client knows that it is gone")


def test_pickled_clients_and_producers_connect_at_first_use(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=0.001, compression="gzip")
    copy: TopicProducer = pickle.loads(pickle.dumps(producer))
    assert copy.config == producer.config
    assert copy.send(b"x").result(10).offset == 0
    other: Fluvio = pickle.loads(pickle.dumps(client))
    with other:
        assert topic in other.topics()
        assert other.topic_producer(topic).send(b"y").result(10).offset == 1
    Fluvio(copy._holder).close()


# --- callbacks -----------------------------------------------------------------------------------


def test_callbacks_run_on_one_daemon_thread_before_flush_returns(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    calls: list[tuple[Future[RecordMetadata], threading.Thread]] = []
    futures = [producer.send(b"x") for _ in range(20)]
    for future in futures * 2:
        future.add_done_callback(lambda future: calls.append((future, threading.current_thread())))
    assert not calls
    producer.flush(10)
    assert [future for future, _ in calls] == [future for future in futures for _ in range(2)]
    (thread,) = {thread for _, thread in calls}
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_what_a_callback_may_do(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    pending = producer.send(b"pending", partition=0)
    outcomes: list[object] = []

    def callback(future: Future[RecordMetadata]) -> None:
        outcomes.append(future.result())
        for forbidden in (pending.result, pending.exception, producer.flush, producer.close, client.close):
            try:
                outcomes.append(forbidden())
            except RuntimeError as error:
                outcomes.append(type(error))
        outcomes.append(producer.send(b"from the callback"))

    quick = client.topic_producer(producer.topic, linger=0.2)  # pending when the callback is added
    quick.send(b"x").add_done_callback(callback)
    wait_until(lambda: len(outcomes) == 7, "the callback has run")
    assert outcomes[1:6] == [RuntimeError] * 5
    producer.flush(10)
    sent = outcomes[6]
    assert isinstance(sent, fluvio_sync.DeliveryFuture)
    assert sent.result(0).acknowledged, "the refused close() changed nothing"
    assert pending.result(0).acknowledged


def test_closing_waits_for_callbacks(where: Where) -> None:
    with where.connect() as fluvio:
        topic = where.topic()
        ran = threading.Event()
        pause = threading.Event()

        def slow(_: object) -> None:
            pause.wait(0.3)
            ran.set()

        fluvio.topic_producer(topic).send(b"x").add_done_callback(slow)
    assert ran.is_set()


# --- flush, close, with, stats -------------------------------------------------------------------


def test_flush_counts_the_handles_own_records_since_the_last_flush(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    one, other = client.topic_producer(topic, linger=60), client.topic_producer(topic, linger=60)
    for producer, count in ((one, 3), (other, 5), (one, 2)):
        for _ in range(count):
            producer.send(b"x")
    assert one.flush(10) == FlushResult(5, 0, 0, None)
    assert one.flush(10) == FlushResult(0, 0, 0, None)
    assert other.flush(10) == FlushResult(5, 0, 0, None)
    quick = client.topic_producer(topic)
    quick.send(b"x").result(10)
    assert quick.flush(10) == FlushResult(1, 0, 0, None)


def test_flush_counts_failures_and_names_the_first(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=60)
        producer.send(b"good")
        assert producer.flush(10) == FlushResult(1, 0, 0, None)
        own.fail_next_produce(9000)
        bad = [producer.send(b"bad") for _ in range(3)]
        result = producer.flush(10)
        assert result[:3] == (0, 0, 3)
        assert type(result.first_error) is RejectedError
        assert {type(future.exception(0)) for future in bad} == {RejectedError}
        producer.send(b"good")
        assert producer.flush(10) == FlushResult(1, 0, 0, None)
        stats = producer.stats()
        assert (stats.records_acked, stats.records_failed, stats.bytes_acked, stats.bytes_failed) == (2, 3, 8, 9)
        assert (stats.batches_acked, stats.batches_failed) == (2, 1)


def test_stats(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    assert producer.stats().latency is None
    for _ in range(10):
        producer.send(b"value", key=b"key")
    stats = producer.stats()
    assert (stats.records_queued, stats.bytes_queued, stats.batches_queued) == (10, 80, 1)
    assert (stats.records_in_flight, stats.records_acked) == (0, 0)
    assert used_memory(client) == 10 * (8 + 128)
    producer.flush(10)
    stats = producer.stats()
    assert (stats.records_queued, stats.records_in_flight, stats.records_acked) == (0, 0, 10)
    assert (stats.bytes_queued, stats.bytes_acked, stats.batches_acked) == (0, 80, 1)
    assert (stats.records_failed, stats.records_retried, stats.records_dropped, stats.reconnects) == (0, 0, 0, 0)
    assert stats.latency is not None
    assert 0 < stats.latency[0] <= stats.latency[1] < 5
    assert used_memory(client) == 0


def test_a_with_block_drains(where: Where) -> None:
    topic = where.topic(partitions=2)
    with where.connect() as fluvio:
        with fluvio.topic_producer(topic, linger=60) as producer:
            inner = [producer.send(b"x") for _ in range(10)]
        assert all(future.done() for future in inner)
        outer = [fluvio.topic_producer(topic, linger=60).send(b"y") for _ in range(10)]
    assert all(future.result(0).acknowledged for future in outer)


def failing_producer(own: LocalCluster, fluvio: Fluvio) -> TopicProducer:
    own.create_topic("t")
    own.fail_next_produce(9000)
    return fluvio.topic_producer("t")


def test_a_with_block_raises_the_failure_that_nobody_saw(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        with pytest.raises(RejectedError, match="partition 0"), failing_producer(own, fluvio) as producer:  # noqa: PT012
            producer.send(b"x")
            producer.flush(10)
            producer.send(b"y").result(10)
        with pytest.raises(ClosedError):
            producer.send(b"z")


def test_a_with_block_does_not_repeat_a_failure_that_somebody_saw(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio, failing_producer(own, fluvio) as producer:
        assert isinstance(producer.send(b"x").exception(10), RejectedError)


def test_a_with_block_raises_the_failure_unseen_not_the_one_seen(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = failing_producer(own, fluvio)
        with pytest.raises(RejectedError, match="13"), producer:  # noqa: PT012
            first = producer.send(b"x")
            producer.flush(10)
            own.fail_next_produce(13)
            producer.send(b"y")
            producer.flush(10)
            assert isinstance(first.exception(0), RejectedError)


def test_a_with_block_only_logs_a_failure_when_another_error_is_on_its_way(
    own: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    with (  # noqa: PT012
        Fluvio.connect(own.endpoint) as fluvio,
        pytest.raises(ZeroDivisionError),
        failing_producer(own, fluvio) as producer,
    ):
        producer.send(b"x")
        raise ZeroDivisionError
    assert "records.lost" in caplog.text


def test_the_clients_with_block_raises_the_failure_that_nobody_saw(own: LocalCluster) -> None:
    with pytest.raises(RejectedError), Fluvio.connect(own.endpoint) as fluvio:
        failing_producer(own, fluvio).send(b"x")


def test_closing_a_producer_leaves_the_others_open(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    one, other = client.topic_producer(topic, linger=60), client.topic_producer(topic, linger=60)
    future = one.send(b"x")
    assert one.close(10) == FlushResult(1, 0, 0, None)
    assert future.done()
    assert one.close() == FlushResult(0, 0, 0, None)
    with pytest.raises(ClosedError, match=topic):
        one.send(b"y")
    (refused,) = one.send_all([b"y"])
    assert isinstance(refused.exception(0), ClosedError)
    other.send(b"z")
    assert other.flush(10).acked == 1


def test_a_closed_client_is_closed(where: Where) -> None:
    topic = where.topic()
    fluvio = where.connect(client_id="to-be-closed")
    producer = fluvio.topic_producer(topic, linger=60)
    future = producer.send(b"x")
    future.add_done_callback(lambda _: None)
    fluvio.close()
    assert future.result(0).offset == 0
    calls: list[Callable[[], object]] = [
        lambda: producer.send(b"y"),
        lambda: fluvio.topic_producer(topic),
        fluvio.topics,
        lambda: fluvio.create_topic("never"),
        lambda: fluvio.delete_topic(topic),
    ]
    for call in calls:
        with pytest.raises(ClosedError):
            call()
    fluvio.close()
    wait_until(
        lambda: not [thread for thread in threading.enumerate() if "to-be-closed" in thread.name], "its threads end"
    )


def test_health(own: LocalCluster) -> None:
    own.create_topic("t", partitions=2)
    with Fluvio.connect(own.endpoint) as fluvio:
        assert fluvio.health() == Health(
            connected=True,
            leaders={},
            records_queued=0,
            bytes_queued=0,
            records_in_flight=0,
            last_error=None,
            last_error_at=None,
            memory_limit=32 * 1024 * 1024,
        )
        producer = fluvio.topic_producer("t", linger=60)
        producer.send(b"warm", partition=1)
        producer.flush(5)
        producer.send(b"value", key=b"key", partition=1)
        health = fluvio.health()
        assert health.memory_used == 128 + 8, "more than the bytes of key and value"
        assert (health.leaders, health.records_queued, health.bytes_queued) == ({("t", 1): 5001}, 1, 8)
        own.hold_replies(5001)
        with pytest.raises(fluvio_sync.FlushTimeoutError):
            producer.flush(0.1)
        health = fluvio.health()
        assert (health.records_queued, health.records_in_flight, health.last_error) == (0, 1, None)
        before = SystemClock().time_ms()
        own.kill_spu(5001)
        wait_until(lambda: fluvio.health().leaders == {("t", 1): None}, "the leader is gone")
        wait_until(lambda: "5001" in str(fluvio.health().last_error), "it is told of")
        health = fluvio.health()
        assert before <= (health.last_error_at or 0) <= SystemClock().time_ms()
        own.kill_sc()
        wait_until(lambda: not fluvio.health().connected, "the SC is gone")
        own.restart_sc()
        own.restart_spu(5001)
        assert producer.flush(5).acked == 1
        wait_until(lambda: fluvio.health().connected, "the SC is back")
        assert fluvio.health().records_in_flight == 0


def test_the_module_connects_too(where: Where) -> None:
    with fluvio_sync.connect(where.endpoint, tls=where.tls) as fluvio:
        assert isinstance(fluvio, Fluvio)
        assert fluvio.endpoint == where.endpoint
        assert isinstance(fluvio.topics(), list)


def test_a_config_may_be_changed_for_one_producer(where: Where, client: Fluvio) -> None:
    config = ProducerConfig(linger=60, compression="gzip")
    producer = client.topic_producer(where.topic(), config, linger=0)
    assert producer.config == ProducerConfig(linger=0, compression="gzip")
    producer.send(b"x").result(10)
