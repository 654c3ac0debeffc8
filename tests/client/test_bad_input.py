# SPDX-License-Identifier: Apache-2.0
"""Wrong arguments raise the right exception, which names them, and have no effect."""

from __future__ import annotations

import ctypes
from array import array
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import fluvio_sync
from fluvio_sync import (
    BufferFullError,
    ConfigError,
    ConnectError,
    FlushResult,
    Fluvio,
    PartitionNotFoundError,
    ProducerConfig,
    RecordTooLargeError,
    RetriesExhaustedError,
)
from fluvio_sync.testing import FakeFluvio
from tests.support.client import WIDE, assert_settled, attempts, used_memory
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fluvio_sync import TopicProducer
    from tests.support.cluster import Where

NAN = float("nan")


@pytest.fixture(scope="module")
def topic(session_where: Where) -> str:
    return session_where.topic(partitions=2)


@pytest.fixture
def producer(client: Fluvio, topic: str) -> TopicProducer:
    return client.topic_producer(topic, linger=60)


@contextmanager
def nothing_changes(client: Fluvio, producer: TopicProducer) -> Iterator[None]:
    """Queue a record; after the block it is all there is, and it is delivered."""
    future = producer.send(b"good", key=b"key")
    before = (producer.stats(), used_memory(client))
    yield
    assert (producer.stats(), used_memory(client)) == before
    assert producer.flush(10) == FlushResult(1, 0, 0, None)
    assert future.result(0).acknowledged
    assert_settled(client)


# --- send ----------------------------------------------------------------------------------------


class Date(ctypes.c_uint8 * 8):  # type: ignore[misc]
    """A scalar that exports the bytes of its number, as numpy's dates do."""

    shape = ()


BAD_RECORDS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"value": None}, TypeError, "value.*NoneType.*value_serializer"),
    ({"value": 5}, TypeError, "value.*int"),
    ({"value": object()}, TypeError, "value.*object"),
    ({"value": ctypes.c_int64(5)}, TypeError, "value.*c_long.*value_serializer"),
    ({"value": (ctypes.py_object * 1)(ctypes.py_object(7))}, TypeError, "value.*py_object_Array_1"),
    ({"value": array(WIDE, "ab")}, TypeError, "value.*array"),
    ({"value": Date()}, TypeError, "value.*Date"),
    ({"value": b"x", "key": ctypes.c_double(5)}, TypeError, "key.*c_double.*key_serializer"),
    ({"value": b"x", "key": 5}, TypeError, "key.*int.*key_serializer"),
    ({"value": "12\ud800"}, ValueError, "value.*UTF-8.*character 2.*surrogates"),
    ({"value": b"x", "key": "\udcff"}, ValueError, "key.*UTF-8.*character 0.*surrogates"),
    ({"value": b"x", "partition": "0"}, TypeError, "partition.*str"),
    ({"value": b"x", "partition": True}, TypeError, "partition.*bool"),
    ({"value": b"x", "partition": -1}, PartitionNotFoundError, "test-.*0 to 1.*-1"),
    ({"value": b"x", "partition": 2}, PartitionNotFoundError, "test-.*0 to 1.*2"),
    ({"value": b"x", "partition": 2**40}, PartitionNotFoundError, str(2**40)),
    ({"value": b"x", "timestamp": 0}, ValueError, "timestamp.*above 0; 0 is not"),
    ({"value": b"x", "timestamp": 2**63}, ValueError, r"timestamp.*below 2\*\*63"),
    ({"value": b"x", "timestamp": True}, TypeError, "timestamp.*bool"),
    ({"value": b"x", "timestamp": "2026-01-01"}, TypeError, "timestamp.*str"),
    ({"value": b"x", "timestamp": datetime(2026, 1, 1)}, ValueError, "timestamp.*time zone"),  # noqa: DTZ001
    ({"value": b"x", "timestamp": datetime(1969, 1, 1, tzinfo=timezone.utc)}, ValueError, "timestamp"),
    ({"value": bytes(1_048_576)}, RecordTooLargeError, "1048576 bytes.*max_request_size"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), BAD_RECORDS)
def test_send_refuses(
    client: Fluvio, producer: TopicProducer, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with nothing_changes(client, producer):
        value = arguments.pop("value")
        with pytest.raises(error, match=text) as caught:
            producer.send(value, **arguments)
        arguments["value"] = value
        assert type(caught.value) is error


def test_a_record_that_is_too_large_says_by_how_much(client: Fluvio, producer: TopicProducer) -> None:
    largest = 1_048_576 - 61 - 11  # the headers of a batch and of its record
    with nothing_changes(client, producer):
        with pytest.raises(RecordTooLargeError) as caught:
            producer.send(bytes(largest + 1))
        assert caught.value.limit == 1_048_576
        assert caught.value.size == 1_048_577
        assert str(caught.value.size) in str(caught.value)
    assert producer.send(bytes(largest)).result(10).acknowledged
    producer.flush(10)


def broken(_: object) -> bytes:
    raise KeyError("no such field")


@pytest.mark.parametrize("setting", ["value_serializer", "key_serializer"])
def test_an_error_of_a_serializer_is_passed_on(where: Where, client: Fluvio, setting: str) -> None:
    settings: dict[str, Any] = {setting: broken}
    producer = client.topic_producer(where.topic(), **settings)
    with pytest.raises(KeyError, match="no such field"):
        producer.send(b"x", key=b"k")
    assert producer.stats().records_queued == 0
    settings = {setting: lambda _: 5}
    with pytest.raises(TypeError, match=f"{setting.partition('_')[0]}.*int"):
        client.topic_producer(producer.topic, **settings).send(b"x", key=b"k")
    assert used_memory(client) == 0
    assert client.topic_producer(producer.topic).send(b"x").result(10).offset == 0


@pytest.mark.parametrize(
    ("result", "error"),
    [(-1, PartitionNotFoundError), (2, PartitionNotFoundError), (None, TypeError), (True, TypeError)],
)
def test_a_partitioner_that_returns_nonsense(client: Fluvio, topic: str, result: Any, error: type[Exception]) -> None:
    class Wrong:
        def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
            if value == b"good":
                return 0
            chosen: int = result
            return chosen

    producer = client.topic_producer(topic, partitioner=Wrong(), linger=60)
    with nothing_changes(client, producer), pytest.raises(error) as caught:
        producer.send(b"bad")
    assert type(caught.value) is error
    assert "partition" in str(caught.value)


def test_an_error_of_a_partitioner_is_passed_on(where: Where, client: Fluvio) -> None:
    class Broken:
        def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
            if value == b"good":
                return 1
            raise ZeroDivisionError

    producer = client.topic_producer(where.topic(partitions=2), partitioner=Broken(), linger=60)
    with nothing_changes(client, producer), pytest.raises(ZeroDivisionError):
        producer.send(b"bad")


SINGLE = pytest.mark.parametrize(
    ("records", "text"),
    [
        ("text", "one str: pass it to send"),
        (b"bytes", "one bytes: pass it to send"),
        (bytearray(b"bytes"), "one bytearray"),
        (memoryview(b"bytes"), "one memoryview"),
        ({"Ann": "tea"}, r"a dict gives its keys alone: pass its items\(\)"),
    ],
)


@SINGLE
def test_send_all_refuses_a_single_record_and_a_mapping(
    client: Fluvio, producer: TopicProducer, records: Any, text: str
) -> None:
    with nothing_changes(client, producer), pytest.raises(TypeError, match=text):
        producer.send_all(records)


@SINGLE
def test_send_all_of_the_fake_refuses_them_as_well(records: Any, text: str) -> None:
    with FakeFluvio() as fake:
        producer = fake.topic_producer("t")
        with pytest.raises(TypeError, match=text):
            producer.send_all(records)
        assert producer.stats().records_acked == 0


def test_send_all_puts_errors_in_their_places(where: Where, client: Fluvio) -> None:
    def serialize(value: object) -> object:
        if value == "broken":
            raise KeyError(value)
        return value

    topic = where.topic()
    producer = client.topic_producer(topic, value_serializer=serialize, max_request_size=20_000)
    records: list[Any] = ["good", 5, bytes(30_000), "broken", ("key", None), ("a", "b", "c"), ("k", "good")]
    futures = producer.send_all(records)
    kinds = [type(future.exception(10)) for future in futures]
    nothing = type(None)
    assert kinds == [nothing, TypeError, RecordTooLargeError, KeyError, TypeError, TypeError, nothing]
    assert [future.result(0).offset for future in (futures[0], futures[-1])] == [0, 1]
    with pytest.raises(TypeError, match="int"):
        futures[1].result(0)
    result = producer.flush(10)
    assert (result.acked, result.failed) == (2, 5)
    assert isinstance(result.first_error, TypeError)
    assert_settled(client)
    assert producer.send("good").result(10).offset == 2


@pytest.mark.alone
def test_a_full_buffer_refuses_at_once_if_told_so(where: Where) -> None:
    with where.connect(buffer_memory=50_000) as fluvio:
        topic = where.topic()
        producer = fluvio.topic_producer(topic, linger=60, on_full="raise", max_request_size=40_000)
        producer.send(bytes(30_000))
        used = used_memory(fluvio)
        with within(0), pytest.raises(BufferFullError, match=f"buffer full: 30128 of 50000 bytes.*{topic}") as caught:
            producer.send(bytes(30_000))
        assert isinstance(caught.value, TimeoutError)
        assert used_memory(fluvio) == used
        futures = producer.send_all([b"small", bytes(30_000), b"small"])
        assert isinstance(futures[1].exception(0), BufferFullError)
        producer.flush(10)
        assert [future.result(0).offset for future in (futures[0], futures[2])] == [1, 2]
        assert producer.send(bytes(30_000)).result(10).offset == 3


# --- timeouts and closing ------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [-0.001, NAN, "5", timedelta(seconds=-1)])
def test_flush_and_close_refuse_durations(client: Fluvio, producer: TopicProducer, duration: Any) -> None:
    with nothing_changes(client, producer):
        for call in (producer.flush, producer.close, client.close):
            with pytest.raises(ConfigError, match="timeout"):
                call(duration)


# --- settings of a producer ----------------------------------------------------------------------

BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"lingr": 1}, "'lingr'.*'linger'"),
    ({"linger": NAN}, "linger.*nan"),
    ({"max_request_size": 10, "batch_size": 10}, "max_request_size"),
    ({"compression": "zstd", "compression_level": 99}, "99"),
]
"""One of each kind; tests/unit/test_config.py has the others."""


@pytest.mark.parametrize(("settings", "text"), BAD_SETTINGS)
def test_a_producers_settings(client: Fluvio, producer: TopicProducer, settings: dict[str, Any], text: str) -> None:
    with nothing_changes(client, producer):
        for call in (lambda: client.topic_producer(producer.topic, **settings), lambda: ProducerConfig(**settings)):
            with pytest.raises(ConfigError, match=text) as caught:
                call()
            assert type(caught.value) is ConfigError


@pytest.mark.alone
@pytest.mark.parametrize(("name", "text"), [("", "empty"), ("Orders", "'O'"), (None, "None")])
def test_topic_names(client: Fluvio, producer: TopicProducer, name: Any, text: str) -> None:
    with nothing_changes(client, producer):
        for call in (client.topic_producer, client.create_topic, client.delete_topic):
            with within(0.1), pytest.raises(ConfigError, match=text):
                call(name)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"partitions": 0}, "partitions.*0"),
        ({"partitions": 2**31}, "partitions"),
        ({"replication": 0}, "replication.*0"),
        ({"replication": True}, "replication"),
        ({"compression": "brotli"}, "compression.*'brotli'"),
    ],
)
def test_creating_a_topic(where: Where, client: Fluvio, settings: dict[str, Any], text: str) -> None:
    name = where.name()
    with pytest.raises(ConfigError, match=text):
        client.create_topic(name, **settings)
    assert name not in client.topics()


# --- connecting ----------------------------------------------------------------------------------

BAD_CONNECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"endpoint": ""}, "empty"),
    ({"endpoint": "http://127.0.0.1:9003"}, "http://127.*URL"),
    ({"endpoint": "127.0.0.1:9003", "profile": "local"}, "endpoint.*profile"),
    ({"conect_timeout": 5}, "'conect_timeout'.*'connect_timeout'"),
    ({"connect_timeout": 0}, "connect_timeout.*0"),
    ({"metadata_timeout": "10"}, "metadata_timeout"),
    ({"exit_timeout": None}, "exit_timeout"),
    ({"buffer_memory": "32M"}, "buffer_memory.*'32M'"),
    ({"client_id": "x" * 256}, "client_id"),
    ({"tls": True}, "tls.*bool"),
    ({"use_spu_local_address": "no"}, "use_spu_local_address.*'no'"),
    ({"spu_address_override": "127.0.0.1:9010"}, "spu_address_override"),
]


@pytest.mark.alone
@pytest.mark.parametrize(("settings", "text"), BAD_CONNECTIONS)
def test_connecting(settings: dict[str, Any], text: str) -> None:
    settings = {"endpoint": "127.0.0.1:1"} | settings
    calls: list[Callable[..., Fluvio]] = [Fluvio.connect, fluvio_sync.connect]
    for call in calls:
        with within(0.1), pytest.raises(ConfigError, match=text) as caught:
            call(**settings)
        assert type(caught.value) is ConfigError


@pytest.mark.parametrize("override", [{5001: "nowhere:"}, {5001: 9010}, {"5001": "127.0.0.1:9010"}])
def test_a_mapping_of_addresses(where: Where, override: Any) -> None:
    with pytest.raises(ConfigError, match="spu_address_override"):
        where.connect(spu_address_override=override)


@pytest.mark.alone
@pytest.mark.parametrize("override", [lambda *_: "http://x", lambda *_: 5, lambda spu, _: {}[spu]])
def test_a_function_of_addresses(where: Where, override: Any) -> None:
    with where.connect(spu_address_override=override) as fluvio:
        producer = fluvio.topic_producer(where.topic(), delivery_semantic=attempts(2))
        with within(0.1):
            error = producer.send(b"x").exception(5)
        assert type(error) is RetriesExhaustedError
        assert isinstance(error.__cause__, ConnectError)
        assert "spu_address_override" in str(error)
        assert not error.may_be_stored


def test_a_buffer_that_is_smaller_than_a_record(where: Where) -> None:
    topic = where.topic()
    with where.connect(buffer_memory=1_048_576) as fluvio:
        with pytest.raises(ConfigError, match=r"max_request_size.*buffer_memory"):
            fluvio.topic_producer(topic)
        producer = fluvio.topic_producer(topic, max_request_size=1_048_000)
        assert producer.send(bytes(1_047_900)).result(10).offset == 0
