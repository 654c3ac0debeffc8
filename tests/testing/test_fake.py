# SPDX-License-Identifier: Apache-2.0
"""The fakes: a real client in front of a list."""

from __future__ import annotations

import inspect
import logging
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from fluvio_sync import (
    AtLeastOnce,
    AtMostOnce,
    BufferFullError,
    ClosedError,
    ConfigError,
    DeliveryError,
    DeliveryTimeoutError,
    FlushTimeoutError,
    Fluvio,
    PartitionNotFoundError,
    RecordTooLargeError,
    RejectedError,
    RetriesExhaustedError,
    RetryPolicy,
    ServerError,
    SmartModule,
    SpecificPartitioner,
    TopicNotFoundError,
)
from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.compiled import COMPILED
from fluvio_sync.producer import TopicProducer
from fluvio_sync.testing import FakeFluvio, FakeProducer, FakeRecord
from fluvio_sync.testing._fake_engine import _PATIENCE


def public(cls: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and not isinstance(member, property)
    }


def parameters(function: Any) -> list[tuple[str, object, object]]:
    """Return names, kinds and defaults; the types are for mypy to compare."""
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.skipif(COMPILED, reason="compiled methods have no signature that could be compared")
@pytest.mark.parametrize(("real", "fake"), [(TopicProducer, FakeProducer), (Fluvio, FakeFluvio)])
def test_a_fake_has_the_interface_of_the_real_class(real: type, fake: type) -> None:
    assert issubclass(fake, real)
    for name, member in public(real).items():
        if name != "connect":  # which takes anything
            assert parameters(getattr(fake, name)) == parameters(member), name


def test_records_are_in_a_list_at_once() -> None:
    fluvio = FakeFluvio()
    producer = fluvio.topic_producer("orders", linger=6)
    metadata = producer.send("one", key="k", timestamp=1_700_000_000_123).result(0)
    assert metadata == ("orders", 0, 0, 1_700_000_000_123, True)
    assert producer.send(b"two").result(0).offset == 1
    fluvio.topic_producer("others").send(b"three")
    assert fluvio.records[0] == FakeRecord("orders", 0, 0, b"k", b"one", 1_700_000_000_123)
    assert fluvio.values("orders") == [b"one", b"two"]
    assert [record.offset for record in fluvio.records] == [0, 1, 0]
    assert producer.flush() == (2, 0, 0, None)
    assert producer.stats().records_acked == 2


def test_a_producer_by_itself() -> None:
    producer = FakeProducer("orders", partitions=3, key_serializer=str, value_serializer=repr)
    futures = producer.send_all([("a", 1), ("b", 2), ("a", 3), 4])
    assert producer.values == [b"1", b"2", b"3", b"4"]
    assert futures[0].result(0).partition == futures[2].result(0).partition
    assert [record.key for record in producer.records] == [b"a", b"b", b"a", None]
    assert producer.records == producer.fluvio.records


def test_partitions_are_those_that_the_real_client_chooses() -> None:
    producer = FakeProducer("t", partitions=2)
    assert producer.send(b"x", partition=1).result(0).partition == 1
    assert {producer.send(b"x").result(0).partition for _ in range(2)} == {0, 1}
    assert FakeProducer("t", partitions=2, partitioner=SpecificPartitioner(1)).send(b"x").result(0).partition == 1
    with pytest.raises(PartitionNotFoundError):
        producer.send(b"x", partition=2)


def test_what_the_real_client_refuses_is_refused() -> None:
    producer = FakeProducer("t", max_request_size=20_000)
    with pytest.raises(TypeError):
        producer.send(5)
    with pytest.raises(RecordTooLargeError):
        producer.send(bytes(30_000))
    with pytest.raises(ConfigError, match="did you mean 'linger'"):
        FakeProducer("t", lingr=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError):
        FakeProducer("No Topic")
    assert producer.records == []


def test_topics() -> None:
    fluvio = FakeFluvio({"a": 2})
    assert fluvio.topics() == ["a"]
    with pytest.raises(TopicNotFoundError):
        fluvio.topic_producer("b")
    fluvio.create_topic("b", partitions=3, compression="gzip")
    with pytest.raises(ConfigError, match="gzip"):
        fluvio.topic_producer("b", compression="lz4")
    with pytest.raises(ServerError, match="already"):
        fluvio.create_topic("b")
    fluvio.create_topic("b", exist_ok=True)
    with pytest.raises(ConfigError):
        fluvio.create_topic("c", partitions=0)
    fluvio.delete_topic("a")
    assert fluvio.topics() == ["b"]
    with pytest.raises(TopicNotFoundError):
        fluvio.delete_topic("a")


@pytest.mark.parametrize("kind", [DeliveryTimeoutError, RetriesExhaustedError, DeliveryError])
def test_a_future_fails_on_demand(kind: type[DeliveryError]) -> None:
    producer = FakeProducer("t")
    producer.fail_next(kind, count=2)
    futures = producer.send_all([b"1", b"2", b"3"])
    for future in futures[:2]:
        error = future.exception(0)
        assert type(error) is kind
        assert isinstance(error, DeliveryError)
        assert (error.topic, error.partition, error.attempts) == ("t", 0, 1)
    assert futures[2].result(0).offset == 0
    assert producer.values == [b"3"]
    result = producer.flush()
    assert (result.acked, result.failed) == (1, 2)
    assert producer.fluvio.health().last_error == str(futures[1].exception(0))


def test_a_servers_code_is_a_rejection() -> None:
    producer = FakeProducer("t")
    producer.fail_next(6004)
    error = producer.send(b"x").exception(0)
    assert isinstance(error, RejectedError)
    assert (error.code, error.name) == (6004, "SmartModuleRuntimeError")


def test_an_error_of_the_tests_own() -> None:
    producer = FakeProducer("t")
    mine = RejectedError("mine", topic="t", partition=0, code=10)
    producer.fail_next(mine)
    assert producer.send(b"x").exception(0) is mine


@pytest.mark.parametrize("error", ["DeliveryTimeoutError", None, ValueError("x"), BufferFullError, 1.5])
def test_what_is_no_failure_is_refused_at_once(error: Any) -> None:
    producer = FakeProducer("t")
    with pytest.raises(TypeError, match="a class of DeliveryError or a server's code"):
        producer.fail_next(error)
    assert producer.send(b"x").result(0).offset == 0


def test_send_refuses_on_demand() -> None:
    producer = FakeProducer("t")
    producer.fail_next(BufferFullError("full"))
    with pytest.raises(BufferFullError, match="full"):
        producer.send(b"1")
    assert producer.send(b"2").result(0).offset == 0
    producer.fail_next(BufferFullError("full"))
    assert type(producer.send_all([b"3"])[0].exception(0)) is BufferFullError


def test_a_failure_of_one_topic_leaves_others_alone() -> None:
    fluvio = FakeFluvio()
    fluvio.fail_next(DeliveryTimeoutError, topic="b")
    assert fluvio.topic_producer("a").send(b"x").result(0).acknowledged
    assert fluvio.topic_producer("b").send(b"x").exception(0) is not None


def test_at_most_once() -> None:
    producer = FakeProducer("t", delivery_semantic="at-most-once")
    producer.fail_next(DeliveryTimeoutError)
    futures = [producer.send(b"lost"), producer.send(b"there")]
    assert [future.result(0).acknowledged for future in futures] == [False, False]
    assert producer.values == [b"there"]
    stats = producer.stats()
    assert (stats.records_unacknowledged, stats.records_dropped) == (1, 1)


def test_a_producer_with_smartmodules_delivers() -> None:
    producer = FakeFluvio().topic_producer("t", smartmodules=[SmartModule("filter", {"keep": "y"})])
    future = producer.send(b"x")
    assert future.result(0).acknowledged
    assert future.result(0).offset is None
    assert producer.fluvio.values("t") == [b"x"]


def test_a_with_block_raises_the_failure_that_nobody_saw() -> None:
    def leave_a_producer() -> None:
        with FakeProducer("t") as producer:
            producer.fail_next(DeliveryTimeoutError)
            producer.send(b"x")

    def leave_a_client() -> None:
        with FakeFluvio() as fluvio:
            fluvio.fail_next(DeliveryTimeoutError)
            fluvio.topic_producer("t").send(b"x")

    for leave in (leave_a_producer, leave_a_client):
        with pytest.raises(DeliveryTimeoutError):
            leave()


def test_held_records_are_pending() -> None:
    fluvio = FakeFluvio()
    producer = fluvio.topic_producer("t")
    called: list[Any] = []
    with fluvio.held():
        future = producer.send(b"x")
        future.add_done_callback(called.append)
        assert not future.done()
        assert fluvio.health().records_queued == 1
        with pytest.raises(TimeoutError):
            future.result(0.01)
        with pytest.raises(FlushTimeoutError) as caught:
            producer.flush(0.01)
        assert caught.value.outstanding == 1
        assert fluvio.records == []
    assert future.result(0).offset == 0
    assert producer.flush().acked == 1  # which waits for callbacks
    assert called == [future]


@pytest.mark.parametrize("semantic", [AtLeastOnce(retry_policy=RetryPolicy(timeout=0.01)), AtMostOnce()])
def test_held_records_do_not_expire(semantic: AtLeastOnce | AtMostOnce, monkeypatch: pytest.MonkeyPatch) -> None:
    fluvio = FakeFluvio()
    producer = fluvio.topic_producer("t", delivery_semantic=semantic)
    with fluvio.held():
        future = producer.send(b"1")
        later = time.monotonic() + 1000
        monkeypatch.setattr(SystemClock, "monotonic", lambda _clock: later)
        producer.send(b"2")
    assert future.result(0).topic == "t"
    assert fluvio.values("t") == [b"1", b"2"]


def test_another_thread_may_release() -> None:
    fluvio = FakeFluvio()
    producer = fluvio.topic_producer("t")
    fluvio.hold()
    first, second = producer.send(b"1"), producer.send(b"2")
    thread = threading.Timer(0.05, fluvio.release)
    thread.start()
    began = time.monotonic()
    assert first.result().offset == 0
    assert time.monotonic() - began < _PATIENCE / 2
    assert producer.flush().acked == 2
    assert not wait([second], timeout=0).not_done
    thread.join()


def test_another_thread_may_close() -> None:
    fluvio = FakeFluvio()
    producer = fluvio.topic_producer("t")
    fluvio.hold()
    future = producer.send(b"x")
    thread = threading.Timer(0.05, fluvio.close, (0.0,))
    thread.start()
    began = time.monotonic()
    with pytest.raises(ClosedError):
        future.result()
    assert time.monotonic() - began < _PATIENCE / 2
    thread.join()


def test_waiting_for_what_nobody_releases_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluvio_sync.testing._fake_engine._PATIENCE", 0.01)
    fluvio = FakeFluvio()
    producer = fluvio.topic_producer("t")
    fluvio.hold()
    future = producer.send(b"x")
    with pytest.raises(RuntimeError, match="the test holds the records"):
        future.result()
    with pytest.raises(RuntimeError, match="the test holds the records"):
        producer.flush()
    fluvio.release()


def test_held_records_fill_the_memory() -> None:
    fluvio = FakeFluvio(buffer_memory=2_000_000)
    producer = fluvio.topic_producer("t", on_full="raise")
    fluvio.hold()
    producer.send(bytes(1_000_000))
    with pytest.raises(BufferFullError):
        producer.send(bytes(1_000_000))
    fluvio.release()
    producer.send(bytes(1_000_000))


def test_closing() -> None:
    fluvio = FakeFluvio()
    one, other = fluvio.topic_producer("t"), fluvio.topic_producer("t")
    fluvio.hold()
    lost, kept = one.send(b"lost"), other.send(b"kept")
    assert one.close(0.01).failed == 1
    assert type(lost.exception(0)) is ClosedError
    with pytest.raises(ClosedError):
        one.send(b"x")
    fluvio.release()
    assert kept.result(0).acknowledged
    fluvio.hold()
    late = other.send(b"late")
    fluvio.close(0.01)
    assert type(late.exception(0)) is ClosedError
    with pytest.raises(ClosedError):
        fluvio.topic_producer("t")
    assert fluvio.values("t") == [b"kept"]


def test_threads() -> None:
    fluvio = FakeFluvio({"t": 3})

    def produce(number: int) -> None:
        producer = fluvio.topic_producer("t")
        for index in range(200):
            assert producer.send(b"%d" % index, key=b"%d" % number).result(0).acknowledged

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(produce, range(8)))
    for partition in range(3):
        offsets = [record.offset for record in fluvio.records if record.partition == partition]
        assert offsets == list(range(len(offsets)))
    for number in range(8):
        of_one = [int(record.value) for record in fluvio.records if record.key == b"%d" % number]
        assert of_one == list(range(200))


def test_it_makes_no_thread_and_leaves_none() -> None:
    before = threading.active_count()
    fluvio = FakeFluvio.connect("anything:1", connect_timeout=1)
    assert fluvio.topic_producer("t").send(b"x").result(0).acknowledged
    assert threading.active_count() == before


def test_it_does_not_travel() -> None:
    with pytest.raises(TypeError, match="fake"):
        pickle.dumps(FakeFluvio())
    with pytest.raises(TypeError, match="fake"):
        pickle.dumps(FakeProducer("t"))


def test_failures_are_not_logged_as_losses(caplog: pytest.LogCaptureFixture) -> None:
    producer = FakeProducer("t")
    with caplog.at_level(logging.DEBUG):
        producer.fail_next(DeliveryTimeoutError)
        assert producer.send(b"x").exception(0)
    assert caplog.records == []
