# SPDX-License-Identifier: Apache-2.0
"""Producing to a cluster that works: every record is read back as it was sent."""

from __future__ import annotations

import array
import concurrent.futures
import os
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import (
    AtMostOnce,
    Compression,
    ConfigError,
    DeliveryError,
    FlushResult,
    Fluvio,
    Isolation,
    RejectedError,
    ServerError,
    TopicNotFoundError,
)
from fluvio_sync._base.clock import SystemClock
from fluvio_sync.protocol.compression import Codec
from fluvio_sync.protocol.siphash import hash_key
from tests.support.client import assert_settled, bring_online, emit_events, wait_online
from tests.support.cluster import place
from tests.support.waiting import SLACK, in_thread, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluvio_sync import TopicProducer
    from fluvio_sync.testing import StoredRecord
    from fluvio_sync.testing.cluster import LocalCluster
    from tests.support.cluster import Where

CODECS = [codec.value for codec in Compression]


def pairs(records: Sequence[StoredRecord]) -> list[tuple[bytes | None, bytes]]:
    return [(record.key, record.value) for record in records]


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
        assert stored[partition][offset][:4] == (offset, metadata.timestamp, key, value)


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


def test_an_explicit_partition_overrides_the_key(where: Where, client: Fluvio) -> None:
    topic = where.topic(partitions=3)
    producer = client.topic_producer(topic)
    for partition in (2, 0, 1):
        assert producer.send(b"x", key=b"always-the-same", partition=partition).result(10).partition == partition


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
    before = SystemClock().time_ms()
    futures = [producer.send(b"%d" % number, key=b"k") for number in range(10)]
    assert all(future.done() for future in futures)
    metadata = futures[3].result(0)
    assert (metadata.topic, metadata.partition, metadata.offset, metadata.acknowledged) == (topic, 0, None, False)
    assert before <= metadata.timestamp <= SystemClock().time_ms()
    assert futures[3].exception() is None
    assert producer.flush(10) == FlushResult(0, 10, 0, None)
    assert producer.flush(10) == FlushResult(0, 0, 0, None)
    stored = where.records(topic, count=10)
    assert [record.value for record in stored] == [b"%d" % number for number in range(10)]
    assert stored[3].timestamp == metadata.timestamp
    stats = producer.stats()
    assert (stats.records_unacknowledged, stats.records_acked, stats.records_dropped) == (10, 0, 0)
    assert_settled(client)


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
    emit_events(client)
    assert not caplog.records
    producer = client.topic_producer(topic, delivery_semantic=AtMostOnce(), isolation="read-committed")
    emit_events(client)
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
