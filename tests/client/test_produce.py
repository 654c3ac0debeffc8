# SPDX-License-Identifier: Apache-2.0
"""Producing to a cluster that works: every record is read back as it was sent."""

from __future__ import annotations

import array
import asyncio
import concurrent.futures
import gc
import logging
import os
import pickle
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fluvio_sync
from fluvio_sync import (
    AtMostOnce,
    ClosedError,
    Compression,
    ConfigError,
    DeliveryError,
    FlushResult,
    Fluvio,
    Isolation,
    ProducerConfig,
    RecordMetadata,
    RejectedError,
    ServerError,
    SpecificPartitioner,
    TopicNotFoundError,
)
from fluvio_sync.protocol.compression import Codec
from fluvio_sync.protocol.siphash import hash_key
from fluvio_sync.stats import Health
from tests.support.client import assert_settled, bring_online, used_memory, wait_online
from tests.support.cluster import place, read_back
from tests.support.waiting import SLACK, in_thread, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.testing.cluster import LocalCluster
    from fluvio_sync.testing.reader import StoredRecord
    from tests.support.cluster import Where

CODECS = [codec.value for codec in Compression]


def pairs(records: Sequence[StoredRecord]) -> list[tuple[bytes | None, bytes]]:
    return [(record.key, record.value) for record in records]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def now_ms() -> int:
    return int(time.time() * 1000)


# --- places --------------------------------------------------------------------------------------


def test_every_future_names_the_place_where_its_record_is_read_back(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=3)
    producer = client.topic_producer(topic)
    sent = [(b"key-%d" % (number % 17) if number % 3 else None, b"value-%d" % number) for number in range(100)]
    futures = [producer.send(value, key=key) for key, value in sent]
    producer.flush(10)
    stored = where.read_all(topic, 3, 100)
    assert sum(map(len, stored)) == 100
    for (key, value), future in zip(sent, futures, strict=True):
        metadata = future.result(0)
        partition, offset = place(metadata)
        assert metadata.topic == topic
        assert stored[partition][offset] == (offset, metadata.timestamp, key, value)


def test_a_null_key_is_not_an_empty_key(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic)
    producer.send("null")
    producer.send("empty", key=b"")
    producer.send("text", key="")
    producer.flush(10)
    assert pairs(where.records(topic, count=3)) == [(None, b"null"), (b"", b"empty"), (b"", b"text")]


def test_records_without_a_key_go_round_and_those_with_one_stay(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=4)
    producer = client.topic_producer(topic)
    bring_online(client, topic, 4)
    keyless = [producer.send(b"x").result(10).partition for _ in range(8)]
    assert sorted(keyless) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [(turn + 1) % 4 for turn in keyless[:-1]] == keyless[1:]
    for key in (b"", b"user-42", "Müller".encode()):
        partitions = {producer.send(b"x", key=key).result(10).partition for _ in range(3)}
        assert partitions == {hash_key(key) % 4}


def test_producers_of_a_topic_share_one_round(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=4)
    bring_online(client, topic, 4)
    turns = [client.topic_producer(topic, linger=0.001 * n).send(b"x").result(10).partition for n in range(4)]
    assert sorted(turns) == [0, 1, 2, 3]


def test_rounds_of_many_clients_begin_anywhere(where: Where) -> None:
    topic = where.topic(partitions=16)
    first = set()
    for _ in range(12):
        with where.connect() as fluvio:
            first.add(fluvio.topic_producer(topic).send(b"x").result(10).partition)
    assert len(first) > 1


def test_an_explicit_partition_overrides_the_key(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=3)
    producer = client.topic_producer(topic)
    for partition in (2, 0, 1):
        assert producer.send(b"x", key=b"always-the-same", partition=partition).result(10).partition == partition


def test_the_specific_partitioner_sends_everything_to_one_partition(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=3)
    producer = client.topic_producer(topic, partitioner=SpecificPartitioner(2))
    futures = [producer.send(b"x", key=key) for key in (None, b"a", b"b", b"c")]
    assert {future.result(10).partition for future in futures} == {2}


def test_a_partitioner_of_the_application_is_asked_for_every_record(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=3)
    asked: list[tuple[bytes | None, bytes, int, tuple[int, ...]]] = []

    class ByLength:
        def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
            asked.append((key, value, partition_count, tuple(available)))
            return len(value) % partition_count

    bring_online(client, topic, 3)
    producer = client.topic_producer(topic, partitioner=ByLength())
    assert producer.send(b"four", key="k").result(10).partition == 1
    assert producer.send("äö").result(10).partition == 1
    assert producer.send(b"12345", partition=0).result(10).partition == 0
    assert asked == [(b"k", b"four", 3, (0, 1, 2)), (None, "äö".encode(), 3, (0, 1, 2))]


# --- records -------------------------------------------------------------------------------------


def test_bytes_like_objects_and_text(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic)
    values: list[tuple[Any, bytes]] = [
        (b"bytes", b"bytes"),
        ("Text: Ünïcödé \N{SNOWMAN}", "Text: Ünïcödé \N{SNOWMAN}".encode()),
        (bytearray(b"bytearray"), b"bytearray"),
        (memoryview(b"memoryview"), b"memoryview"),
        (memoryview(b"every second one")[::2], b"eeyscn n"),
        (array.array("H", [1, 2, 3]), array.array("H", [1, 2, 3]).tobytes()),
        (b"", b""),
        ("", b""),
        (b"\0" * 300, b"\0" * 300),
    ]
    for value, _ in values:
        producer.send(value, key=value)
    producer.flush(10)
    assert pairs(where.records(topic, count=len(values))) == [(plain, plain) for _, plain in values]


def test_a_buffer_may_be_changed_after_send(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=60)
    key, value, viewed = bytearray(b"key"), bytearray(b"value"), bytearray(b"viewed" * 4000)
    producer.send(value, key=key)
    producer.send(memoryview(viewed))
    key[:], value[:], viewed[:] = b"KEY", b"VALUE", b"VIEWED" * 4000
    producer.flush(10)
    assert pairs(where.records(topic, count=2)) == [(b"key", b"value"), (None, b"viewed" * 4000)]


def test_serializers(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, value_serializer=lambda value: f"<{value}>", key_serializer=bytes)
    producer.send({"a": 1}, key=[1, 2])
    producer.send(b"bytes are serialized, too", key=bytearray(b"k"))
    producer.send(None)
    producer.flush(10)
    assert pairs(where.records(topic, count=3)) == [
        (b"\1\2", b"<{'a': 1}>"),
        (b"k", b"<b'bytes are serialized, too'>"),
        (None, b"<None>"),
    ]


@pytest.mark.parametrize("size", [16_384, 100_000, 1_048_576 - 80])
def test_a_record_larger_than_a_batch_has_one_of_its_own(where: Where, client: Fluvio, size: int) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=60)
    large = os.urandom(size)
    for value in (b"before", large, b"after"):
        producer.send(value)
    producer.flush(10)
    assert [record.value for record in where.records(topic, count=3)] == [b"before", large, b"after"]
    assert [batch.record_count for batch in where.batches(topic)] == [1, 1, 1]


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read_back(where: Where, client: Fluvio, codec: str) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, compression=codec, linger=60)
    values = [b"", b"x" * 5000, os.urandom(3000), *(b"line %d\n" % number for number in range(200))]
    for value in values:
        producer.send(value, key=value[:7])
    producer.flush(10)
    assert pairs(where.records(topic, count=len(values))) == [(value[:7], value) for value in values]
    batches = where.batches(topic)
    assert {batch.codec for batch in batches} == {Codec[codec.upper()]}
    if codec not in ("none", "snappy"):
        assert sum(batch.size for batch in batches) < sum(map(len, values))


def test_timestamps_are_read_back_as_they_were_given(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=60)
    east = timezone(timedelta(hours=5, minutes=30))
    given: list[tuple[int | datetime, int]] = [
        (1_700_000_000_123, 1_700_000_000_123),
        (datetime(2023, 11, 14, 22, 13, 20, 124_999, tzinfo=timezone.utc), 1_700_000_000_124),
        (datetime(2023, 11, 15, 3, 43, 20, 125_000, tzinfo=east), 1_700_000_000_125),
        (1, 1),
        (2**40, 2**40),
    ]
    futures = [producer.send(b"x", timestamp=timestamp) for timestamp, _ in given]
    producer.flush(10)
    expected = [milliseconds for _, milliseconds in given]
    assert [future.result(0).timestamp for future in futures] == expected
    assert [record.timestamp for record in where.records(topic, count=len(given))] == expected


def test_an_implicit_timestamp_is_the_time_of_send(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    before = now_ms()
    metadata = client.topic_producer(topic).send(b"x").result(10)
    assert before <= metadata.timestamp <= now_ms()
    assert where.records(topic, count=1)[0].timestamp == metadata.timestamp


def test_a_timestamp_before_its_batchs_first_opens_a_batch(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=60)
    times = [5000, 7000, 5000, 4999, 6000]
    for timestamp in times:
        producer.send(b"x", timestamp=timestamp)
    producer.flush(10)
    assert [record.timestamp for record in where.records(topic, count=5)] == times
    batches = where.batches(topic)
    assert [batch.record_count for batch in batches] == [3, 2]
    assert [(batch.first_timestamp, batch.max_time_stamp) for batch in batches] == [(5000, 7000), (4999, 6000)]


# --- batching ------------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_batch_leaves_when_it_is_full(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=60, batch_size=1000)
    futures = [producer.send(b"x" * 90) for _ in range(50)]
    with within(5):
        futures[29].result(5)  # without a flush
    assert not futures[-1].done(), "the last batch is not full and lingers"
    producer.flush(10)
    batches = where.batches(topic)
    assert [batch.record_count for batch in batches] == [9, 9, 9, 9, 9, 5]
    assert all(batch.size <= 1000 for batch in batches)


@pytest.mark.alone
def test_linger_gathers_records_and_lets_them_go(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=0.2)
    with within(0.2 + SLACK, shortest=0.2):
        futures = [producer.send(b"%d" % number) for number in range(5)]
        concurrent.futures.wait(futures, 5)
    assert [future.result(0).offset for future in futures] == [0, 1, 2, 3, 4]
    where.records(topic, count=5)
    assert [batch.record_count for batch in where.batches(topic)] == [5]


@pytest.mark.alone
def test_a_flush_ends_the_linger(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=timedelta(seconds=60))
    future = producer.send(b"x")
    with within(1):
        assert producer.flush(timedelta(seconds=10)).acked == 1
    assert future.done()


@pytest.mark.alone
def test_a_lone_record_does_not_wait_for_company(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic())
    producer.send(b"warm").result(10)
    latencies = []
    for _ in range(30):
        start = time.perf_counter()
        producer.send(b"x").result(10)
        latencies.append(time.perf_counter() - start)
    assert sorted(latencies)[15] < 0.02


def test_many_records_share_requests(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic)
    producer.send_all([b"x" * 100] * 20_000)
    producer.flush(20)
    stats = producer.stats()
    assert stats.records_acked == 20_000
    assert stats.batches_acked < 2_000
    assert [record.offset for record in where.records(topic, count=20_000)] == list(range(20_000))


# --- delivery semantics --------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", list(Isolation))
def test_isolation_levels(where: Where, client: Fluvio, isolation: Isolation) -> None:
    topic = where.topic(replication=min(2, where.spus), partitions=2)
    producer = client.topic_producer(topic, isolation=isolation)
    metadata = [future.result(20) for future in producer.send_all(b"%d" % number for number in range(6))]
    stored = where.read_all(topic, 2, 6)
    for number, (partition, offset) in enumerate(map(place, metadata)):
        assert stored[partition][offset].value == b"%d" % number


def test_at_most_once_does_not_wait(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, delivery_semantic="at-most-once", linger=0.05)
    before = now_ms()
    futures = [producer.send(b"%d" % number, key=b"k") for number in range(10)]
    assert all(future.done() for future in futures)
    metadata = futures[3].result(0)
    assert (metadata.topic, metadata.partition, metadata.offset, metadata.acknowledged) == (topic, 0, None, False)
    assert before <= metadata.timestamp <= now_ms()
    assert futures[3].exception() is None
    assert producer.flush(10) == FlushResult(0, 10, 0, None)
    assert producer.flush(10) == FlushResult(0, 0, 0, None)
    stored = where.records(topic, count=10)
    assert [record.value for record in stored] == [b"%d" % number for number in range(10)]
    assert stored[3].timestamp == metadata.timestamp
    stats = producer.stats()
    assert (stats.records_unacknowledged, stats.records_acked, stats.records_dropped) == (10, 0, 0)
    assert_settled(client)


def test_at_most_once_under_load_arrives_in_order(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, delivery_semantic=AtMostOnce())
    for number in range(20_000):
        producer.send(b"%08d" % number * 10)
    producer.flush(20)
    stored = where.records(topic, count=20_000)
    assert [int(record.value[:8]) for record in stored] == list(range(20_000))


def test_at_most_once_records_survive_an_immediate_close(where: Where) -> None:
    topic = where.topic()
    with where.connect() as fluvio:
        fluvio.topic_producer(topic, delivery_semantic=AtMostOnce).send_all([b"x" * 1000] * 2000)
    assert len(where.records(topic, count=2000)) == 2000


def test_at_most_once_with_read_committed_is_worth_a_warning(
    where: Where, client: Fluvio, caplog: pytest.LogCaptureFixture
) -> None:
    topic = where.topic()
    client.topic_producer(topic, delivery_semantic=AtMostOnce(), isolation="read-uncommitted")
    assert not caplog.records
    producer = client.topic_producer(topic, delivery_semantic=AtMostOnce(), isolation="read-committed")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert topic in caplog.text
    producer.send(b"x")
    producer.flush(10)
    assert len(where.records(topic, count=1)) == 1


# --- topics --------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_a_topics_own_compression_is_used(where: Where, client: Fluvio, codec: str) -> None:
    topic = where.topic(compression=codec)
    assert client.topic_producer(topic).send(b"x" * 500).result(10).offset == 0
    assert client.topic_producer(topic, compression=codec).send(b"x").result(10).offset == 1
    where.records(topic, count=2)
    assert {batch.codec for batch in where.batches(topic)} == {Codec[codec.upper()]}


def test_compression_that_a_topic_refuses_is_refused_at_once(where: Where, client: Fluvio) -> None:
    topic = where.topic(compression="gzip")
    with pytest.raises(ConfigError, match=f"{topic}.*'gzip'.*'zstd'"):
        client.topic_producer(topic, compression=Compression.ZSTD)
    assert client.topic_producer(topic).send(b"x").result(10).acknowledged


@pytest.mark.alone
def test_a_topic_that_another_client_creates_is_waited_for(where: Where, client: Fluvio) -> None:
    topic = where.name()
    made: list[TopicProducer] = []
    waiting = in_thread(lambda: made.append(client.topic_producer(topic)))
    waiting.join(0.2)
    assert waiting.is_alive()
    where.admin.create_topic(topic)
    with within(2):
        waiting.join(5)
    assert made[0].send(b"x").result(10).offset == 0


@pytest.mark.alone
def test_a_topic_that_does_not_appear(where: Where) -> None:
    with where.connect(metadata_timeout=0.2) as fluvio:
        with within(0.2, shortest=0.2), pytest.raises(TopicNotFoundError, match="no-such-topic") as caught:
            fluvio.topic_producer("no-such-topic")
        assert caught.value.topic == "no-such-topic"
        assert where.endpoint in str(caught.value)
        other = where.topic()
        assert fluvio.topic_producer(other).send(b"x").result(10).offset == 0


@pytest.mark.alone
def test_a_topic_once_found_absent_fails_at_once_until_it_appears(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint, metadata_timeout=0.3) as fluvio:
        with pytest.raises(TopicNotFoundError):
            fluvio.topic_producer("later")
        with within(0), pytest.raises(TopicNotFoundError):
            fluvio.topic_producer("later")
        fluvio.create_topic("later")
        assert fluvio.topic_producer("later").send(b"x").result(10).offset == 0


def test_administration(where: Where, client: Fluvio) -> None:
    name = where.name()
    with pytest.raises(TopicNotFoundError, match=name):
        client.delete_topic(name)
    client.create_topic(name, partitions=2)
    assert name in client.topics()
    with pytest.raises(ServerError, match=f"{name}.*TopicAlreadyExists") as caught:
        client.create_topic(name)
    assert (caught.value.code, caught.value.name) == (2002, "TopicAlreadyExists")
    client.create_topic(name, exist_ok=True)
    futures = [client.topic_producer(name).send(b"x", partition=partition) for partition in (0, 1)]
    assert [future.result(10).offset for future in futures] == [0, 0]
    client.delete_topic(name)
    assert name not in client.topics()


def test_a_replication_that_is_impossible_is_a_server_error(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        expected = r"topic 't' was created, and .* SPUs online as its replication \(17\)\? If not, delete it"
        with pytest.raises(ServerError, match=expected) as caught:
            fluvio.create_topic("t", replication=17)
        assert (caught.value.code, caught.value.name) == (2005, "TopicNotProvisioned")
        assert caught.value.name in str(caught.value)
        assert fluvio.topics() == ["t"]


def test_a_handle_outlives_its_topic(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=60)
        first = producer.send(b"first")
        producer.flush(10)
        assert first.result(0).offset == 0
        queued = producer.send(b"queued")
        own.delete_topic("t")
        error = queued.exception(10)
        assert type(error) is DeliveryError
        assert error.topic == "t"
        assert not error.may_be_stored
        assert isinstance(error.__cause__, TopicNotFoundError)
        late = producer.send(b"while it is gone")
        producer.flush(10)
        assert isinstance(late.exception(0), DeliveryError)
        own.create_topic("t")
        wait_online(fluvio, "t", 1)
        again = producer.send(b"again")
        producer.flush(10)
        assert again.result(0).offset == 0
        assert_settled(fluvio)


def test_a_topic_that_grows_is_used_whole(own: LocalCluster) -> None:
    own.create_topic("growing")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("growing")
        assert producer.send(b"x").result(10).partition == 0
        own.add_partitions("growing", 2)
        wait_online(fluvio, "growing", 3)
        assert {producer.send(b"x").result(10).partition for _ in range(3)} == {0, 1, 2}
        assert producer.send(b"x", partition=2).result(10).partition == 2


def test_a_topics_segment_bounds_its_batches(own: LocalCluster) -> None:
    own.create_topic("small", segment_size=2000)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("small", linger=60)
        futures = [producer.send(b"%03d" % number * 30) for number in range(100)]
        too_large = producer.send(b"y" * 3000)
        result = producer.flush(10)
        assert [future.result(0).offset for future in futures] == list(range(100))
        error = too_large.exception(0)
        assert isinstance(error, RejectedError)
        assert error.code == 10
        assert (result.acked, result.failed) == (100, 1)
        assert [record.value for record in own.records("small")] == [b"%03d" % number * 30 for number in range(100)]


# --- many at once --------------------------------------------------------------------------------


def test_many_threads_topics_and_producers(where: Where, client: Fluvio) -> None:
    topics = {where.topic(partitions=3): 3, where.topic(partitions=2): 2}
    futures: dict[int, list[DeliveryFuture]] = {}

    def work(worker: int) -> None:
        producers = [
            client.topic_producer(topic, linger=linger) for topic in topics for linger in (0.0, 0.002)[: 1 + worker % 2]
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
    stored = {topic: where.read_all(topic, count, 1) for topic, count in topics.items()}
    wait_until(
        lambda: sum(len(where.records(topic, p)) for topic, count in topics.items() for p in range(count)) == 3200,
        "all records can be read",
    )
    stored = {topic: where.read_all(topic, count, 0) for topic, count in topics.items()}
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
def test_waiting_does_not_hold_up_other_threads(where: Where, client: Fluvio) -> None:
    producers = [client.topic_producer(where.topic(), linger=0.3) for _ in range(4)]
    with within(0.3 + SLACK, shortest=0.3):
        threads = [in_thread(lambda p=producer: p.send(b"x").result(10)) for producer in producers]  # type: ignore[misc]
        for thread in threads:
            thread.join(10)


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


def test_a_handle_may_be_dropped_right_after_send(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=2)
    futures = [client.topic_producer(topic, linger=0.02).send(b"%d" % number) for number in range(100)]
    places = {place(future.result(10)) for future in futures}
    assert len(places) == 100
    for number in range(100):
        client.topic_producer(topic, linger=0.02).send(b"unheard %d" % number)
    where.read_all(topic, 2, 200)


def test_a_client_may_be_dropped_right_after_send(where: Where) -> None:
    topic = where.topic()
    future = where.connect().topic_producer(topic, linger=0.1).send(b"orphan")
    assert future.result(10).offset == 0


def test_dropped_clients_leave_nothing_behind(where: Where) -> None:
    topic = where.topic()
    gc.collect()
    threads, descriptors = threading.active_count(), open_descriptors()
    for number in range(10):
        where.connect().topic_producer(topic, linger=0.02).send(b"%d" % number)
    gc.collect()
    wait_until(
        lambda: (threading.active_count(), open_descriptors()) == (threads, descriptors), "threads and sockets are gone"
    )
    assert sorted(record.value for record in where.records(topic, count=10)) == [b"%d" % number for number in range(10)]


def test_memory_is_bounded_however_much_is_sent(where: Where) -> None:
    topic = where.topic(partitions=2)
    with where.connect(buffer_memory=1_200_000) as fluvio:
        producer = fluvio.topic_producer(topic)
        most = 0
        for number in range(3000):
            producer.send(bytes(10_000), partition=number % 2)
            most = max(most, used_memory(fluvio))
        assert producer.flush(20).acked == 3000
        assert 1_100_000 < most <= 1_200_000
        assert_settled(fluvio)


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
        for codec in ("gzip", "none", "gzip"):
            fluvio.create_topic("again", compression=codec)
            assert fluvio.topic_producer("again").send(b"x").result(5).offset == 0
            fluvio.delete_topic("again")
            wait_until(lambda: "again" not in fluvio.topics(), "it is gone")


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


# --- futures -------------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_pending_future(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    future = producer.send(b"x")
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    assert not future.cancel()
    assert not future.cancelled()
    assert future.running()
    for wait in (future.result, future.exception, future.wait):
        with within(0.05, shortest=0.05), pytest.raises(concurrent.futures.TimeoutError) as caught:
            wait(timeout=0.05)
        assert isinstance(caught.value, TimeoutError)
    with pytest.raises(TimeoutError):
        future.result(timedelta(0))
    for meddle in (future.set_running_or_notify_cancel, lambda: future.set_exception(None)):
        with pytest.raises(RuntimeError):
            meddle()
    producer.flush(10)
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    assert future.wait() == future.result() == future.result(0)
    assert isinstance(future.result(), RecordMetadata)
    assert future.exception() is None
    assert "finished" in repr(future)


def test_the_standard_librarys_functions_take_the_futures(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=0.02)
    done, pending = concurrent.futures.wait([producer.send(b"x") for _ in range(50)], 10)
    assert (len(done), len(pending)) == (50, 0)
    futures = [producer.send(b"x") for _ in range(50)]
    assert set(concurrent.futures.as_completed(futures, 10)) == set(futures)
    lingering = client.topic_producer(where.topic(), linger=60).send(b"x")
    done, pending = concurrent.futures.wait(
        [lingering, producer.send(b"x")], 10, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert pending == {lingering}


def test_two_threads_wait_for_the_same_futures(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=0.05)
    futures = [producer.send(b"x") for _ in range(100)]
    counts: list[int] = []
    orders = (futures, futures[::-1])
    threads = [
        in_thread(lambda order=order: counts.append(len(concurrent.futures.wait(order, 10).done)))  # type: ignore[misc]
        for order in orders
    ]
    for thread in threads:
        thread.join(10)
    assert counts == [100, 100]


def test_asyncio(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=0.02)

    async def gather() -> list[RecordMetadata]:
        return await asyncio.gather(*(asyncio.wrap_future(producer.send(b"x")) for _ in range(10)))

    assert sorted(metadata.offset or 0 for metadata in asyncio.run(gather())) == list(range(10))


# --- callbacks -----------------------------------------------------------------------------------


class Calls:
    """A callback that remembers."""

    def __init__(self) -> None:
        self.futures: list[Future[RecordMetadata]] = []
        self.threads: set[threading.Thread] = set()

    def __call__(self, future: Future[RecordMetadata]) -> None:
        self.futures.append(future)
        self.threads.add(threading.current_thread())


def test_callbacks_run_on_one_daemon_thread_before_flush_returns(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    calls = Calls()
    futures = [producer.send(b"x") for _ in range(20)]
    for future in futures:
        future.add_done_callback(calls)
        future.add_done_callback(calls)
    assert not calls.futures
    producer.flush(10)
    assert calls.futures == [future for future in futures for _ in range(2)]
    (thread,) = calls.threads
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_a_callback_for_a_finished_future_runs_here_and_now(where: Where, client: Fluvio) -> None:
    future = client.topic_producer(where.topic()).send(b"x")
    future.result(10)
    calls = Calls()
    future.add_done_callback(calls)
    assert calls.futures == [future]
    assert calls.threads == {threading.current_thread()}


def test_a_broken_callback_is_logged_and_harms_nobody(
    where: Where, client: Fluvio, caplog: pytest.LogCaptureFixture
) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    calls = Calls()
    future = producer.send(b"x")
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(calls)
    producer.flush(10)
    assert calls.futures == [future]
    (record,) = (record for record in caplog.records if record.name == "concurrent.futures")
    assert record.levelno == logging.ERROR
    assert "ZeroDivisionError" in caplog.text
    other = producer.send(b"y")
    other.add_done_callback(calls)
    producer.flush(10)
    assert calls.futures == [future, other]


def test_a_callback_that_exits_does_not_stop_the_others(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic(), linger=60)
    future = producer.send(b"x")

    def leave(_: object) -> None:
        raise SystemExit(3)

    future.add_done_callback(leave)
    calls = Calls()
    producer.flush(10)
    other = producer.send(b"y")
    other.add_done_callback(calls)
    producer.flush(10)
    assert calls.futures == [other]


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


def test_flush_takes_in_what_was_resolved_before(where: Where, client: Fluvio) -> None:
    producer = client.topic_producer(where.topic())
    for _ in range(3):
        producer.send(b"x").result(10)
    assert producer.flush(10).acked == 3


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


def test_send_all_keeps_order_and_takes_pairs(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic)
    records: list[Any] = [b"plain", ("key", "value"), (None, b"keyless"), bytearray(b"buffer"), (b"", b"empty key")]
    futures = producer.send_all(iter(records))
    assert [future.result(10).offset for future in futures] == [0, 1, 2, 3, 4]
    assert pairs(where.records(topic, count=5)) == [
        (None, b"plain"),
        (b"key", b"value"),
        (None, b"keyless"),
        (None, b"buffer"),
        (b"", b"empty key"),
    ]
    assert producer.send_all([]) == []


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
        )
        producer = fluvio.topic_producer("t", linger=60)
        producer.send(b"warm", partition=1)
        producer.flush(5)
        producer.send(b"value", key=b"key", partition=1)
        health = fluvio.health()
        assert (health.leaders, health.records_queued, health.bytes_queued) == ({("t", 1): 5001}, 1, 8)
        own.hold_replies(5001)
        with pytest.raises(fluvio_sync.FlushTimeoutError):
            producer.flush(0.1)
        health = fluvio.health()
        assert (health.records_queued, health.records_in_flight, health.last_error) == (0, 1, None)
        before = now_ms()
        own.kill_spu(5001)
        wait_until(lambda: fluvio.health().leaders == {("t", 1): None}, "the leader is gone")
        health = fluvio.health()
        assert "5001" in str(health.last_error)
        assert before <= (health.last_error_at or 0) <= now_ms()
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


def test_the_endpoint_may_come_from_the_environment(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", where.endpoint)
    with Fluvio.connect() as fluvio:
        assert fluvio.endpoint == where.endpoint


def test_a_config_may_be_changed_for_one_producer(where: Where, client: Fluvio) -> None:
    config = ProducerConfig(linger=60, compression="gzip")
    producer = client.topic_producer(where.topic(), config, linger=0)
    assert producer.config == ProducerConfig(linger=0, compression="gzip")
    producer.send(b"x").result(10)


def test_reading_back_a_topic_shows_nothing_but_what_was_sent(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        assert read_back(own.endpoint, "t") == []
        fluvio.topic_producer("t").send(b"x").result(10)
    assert len(read_back(own.endpoint, "t")) == 1
