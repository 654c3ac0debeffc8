# SPDX-License-Identifier: Apache-2.0
"""The code of users: type checkers take it and know its types (`assert_type`), and it runs."""

from __future__ import annotations

import concurrent.futures
import ssl
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import assert_type

import fluvio_sync
from fluvio_sync import (
    AtLeastOnce,
    AtMostOnce,
    CommitTimeoutError,
    Compression,
    ConnectError,
    DeliveryError,
    DeliveryFuture,
    FlushResult,
    FlushTimeoutError,
    Fluvio,
    Health,
    Isolation,
    Partitioner,
    PartitionNotFoundError,
    ProducerConfig,
    ProducerStats,
    RecordMetadata,
    RecordTooLargeError,
    RejectedError,
    RetriesExhaustedError,
    RetryPolicy,
    RetryStrategy,
    ServerError,
    SiphashRoundRobinPartitioner,
    SmartModule,
    SpecificPartitioner,
    TlsConfig,
    TopicDescription,
    TopicNotFoundError,
    TopicProducer,
    UnsupportedVersionError,
    connect,
)
from fluvio_sync._base.pem import PemText
from fluvio_sync.testing import (
    BatchIdentity,
    FakeFluvio,
    FakeProducer,
    FakeRecord,
    FaultProxy,
    LocalCluster,
    ProduceFault,
    StoredRecord,
    read_partition,
    read_records,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@pytest.fixture
def fluvio() -> Iterator[FakeFluvio]:
    with FakeFluvio() as fake:
        yield fake


# A client.


def test_a_client_is_connected_with_every_setting(own: LocalCluster) -> None:
    client = Fluvio.connect(
        own.endpoint,
        profile=None,
        profile_path=None,
        tls=TlsConfig.disabled(),
        client_id="types",
        use_spu_local_address=False,
        spu_address_override={1: "127.0.0.1:9005"},
        connect_timeout=10,
        request_timeout=30.0,
        metadata_timeout=timedelta(seconds=10),
        exit_timeout=5,
        buffer_memory=32 * 1024 * 1024,
    )
    assert_type(client, Fluvio)
    with client as entered:
        assert_type(entered, Fluvio)
        assert_type(client.endpoint, str)
        assert_type(client.client_id, str)
        assert_type(client.running, bool)
    assert_type(client.close(timeout=timedelta(seconds=1)), FlushResult)


def test_the_function_connect_takes_what_the_method_does(own: LocalCluster) -> None:
    def address(spu: int, advertised: str) -> str | None:
        return advertised if spu else None

    with connect(own.endpoint, spu_address_override=address, connect_timeout=timedelta(seconds=5)) as client:
        assert_type(client, Fluvio)


def test_topics_are_made_and_listed(own: LocalCluster) -> None:
    with connect(own.endpoint) as client:
        client.create_topic("orders", partitions=2, replication=1, compression=Compression.GZIP, exist_ok=True)
        client.create_topic("clicks", compression="gzip")
        assert_type(client.topics(), list[str])
        descriptions = assert_type(client.describe_topics(), list[TopicDescription])
        assert_type(descriptions[0].partitions, int)
        assert_type(descriptions[0].replication, int | None)
        assert_type(descriptions[0].compression, Compression | None)
        client.delete_topic("clicks")


def test_a_client_tells_how_it_is(fluvio: Fluvio) -> None:
    fluvio.topic_producer("orders").send(b"tea").result()
    health = assert_type(fluvio.health(), Health)
    assert_type(health.connected, bool)
    assert_type(health.leaders, dict[tuple[str, int], int | None])
    assert_type(health.last_error, str | None)
    stats = assert_type(fluvio.stats(), dict[str, ProducerStats])
    assert_type(stats["orders"].records_acked, int)
    assert_type(stats["orders"].latency, tuple[float, float] | None)
    assert_type(stats["orders"].checksum, str)


@pytest.mark.parametrize("key", [None, "key.pem"])
def test_tls_is_configured(tmp_path: Path, key: str | None) -> None:
    verified = TlsConfig.verified(domain="shop.example", ca_cert=tmp_path / "ca.pem", cert="client.pem", key=key)
    for tls in (TlsConfig.disabled(), TlsConfig.anonymous(), verified):
        assert_type(tls, TlsConfig)
    assert_type(TlsConfig.anonymous().ssl_context(), ssl.SSLContext | None)
    assert_type(verified.ca_cert, str | PemText | None)


# A producer.


def test_a_producer_is_made_with_every_setting(fluvio: Fluvio) -> None:
    producer = fluvio.topic_producer(
        "orders",
        delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=5)),
        isolation=Isolation.READ_COMMITTED,
        linger=0.005,
        batch_size=16_384,
        max_request_size=1_048_576,
        on_full="raise",
        max_block=timedelta(seconds=30),
        compression=Compression.GZIP,
        compression_level=6,
        server_timeout=1.5,
        partitioner=SpecificPartitioner(0),
        key_serializer=str.encode,
        value_serializer=repr,
        smartmodules=[SmartModule("filter", {"keep": "tea"})],
    )
    assert_type(producer, TopicProducer)
    assert_type(producer.topic, str)
    assert_type(producer.config, ProducerConfig)


def test_settings_have_names_too(fluvio: Fluvio) -> None:
    config = ProducerConfig(
        delivery_semantic="at-most-once", isolation="read-committed", compression="gzip", linger=timedelta(seconds=1)
    )
    with fluvio.topic_producer("orders", config, delivery_semantic=AtMostOnce, compression=None) as producer:
        assert_type(producer, TopicProducer)
    settings: dict[str, Any] = {"linger": 1}  # as they come from a file
    assert_type(fluvio.topic_producer("orders", **settings), TopicProducer)


def test_what_a_config_holds_is_in_its_final_form() -> None:
    config = ProducerConfig(linger=timedelta(seconds=1), isolation="read-committed", smartmodules=[SmartModule("a")])
    assert_type(config.delivery_semantic, AtMostOnce | AtLeastOnce)
    assert_type(config.isolation, Isolation)
    assert_type(config.linger, float)
    assert_type(config.compression, Compression | None)
    assert_type(config.smartmodules, tuple[SmartModule, ...])
    assert_type(config.smartmodules[0].params, dict[str, str])


def test_retry_policies_say_when() -> None:
    policy = RetryPolicy(
        max_retries=3,
        initial_delay=timedelta(milliseconds=20),
        max_delay=2,
        timeout=10.0,
        strategy=RetryStrategy.FIBONACCI_BACKOFF,
        multiplier=2,
        jitter=False,
    )
    assert_type(policy.initial_delay, float)
    assert_type(policy.strategy, RetryStrategy)
    assert_type(list(policy.delays()), list[float])
    assert_type(AtLeastOnce(RetryPolicy(strategy="fixed")).retry_policy, RetryPolicy)


def test_a_record_is_sent_and_its_place_known(fluvio: Fluvio) -> None:
    producer = fluvio.topic_producer("orders")
    future = producer.send(b"tea", key="customer 1", partition=0, timestamp=datetime.now(timezone.utc))
    assert_type(future, DeliveryFuture)
    metadata = assert_type(future.result(timeout=5), RecordMetadata)
    assert_type(metadata.topic, str)
    assert_type(metadata.partition, int)
    assert_type(metadata.offset, int | None)
    assert_type(metadata.timestamp, int)
    assert_type(metadata.acknowledged, bool)
    assert_type(future.wait(timedelta(seconds=5)), RecordMetadata)
    assert_type(future.exception(), BaseException | None)
    assert_type(future.done(), bool)


def test_a_future_is_one_of_the_standard_library(fluvio: Fluvio) -> None:
    def print_offset(future: concurrent.futures.Future[RecordMetadata]) -> None:
        assert_type(future.result().offset, int | None)

    futures = fluvio.topic_producer("orders").send_all([b"tea", "coffee", ("customer 1", b"milk")])
    assert_type(futures, list[DeliveryFuture])
    futures[0].add_done_callback(print_offset)
    assert not concurrent.futures.wait(futures, timeout=5).not_done
    offsets = [future.result().offset for future in concurrent.futures.as_completed(futures)]
    assert_type(offsets, list[int | None])


def test_a_producer_is_flushed_counted_and_closed(fluvio: Fluvio) -> None:
    with fluvio.topic_producer("orders") as producer:
        assert_type(producer, TopicProducer)
        producer.send(b"tea")
        result = assert_type(producer.flush(timeout=10), FlushResult)
        assert_type(result.acked, int)
        assert_type(result.first_error, Exception | None)
        assert_type(producer.stats(), ProducerStats)
        assert_type(producer.close(timedelta(seconds=1)), FlushResult)


def test_a_partitioner_is_any_object_with_its_method(fluvio: Fluvio) -> None:
    class FirstByte:
        def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
            assert_type(available, "Sequence[int]")
            return (key or value)[0] % partition_count

    for partitioner in (FirstByte(), SpecificPartitioner(0), SiphashRoundRobinPartitioner(start=7)):
        accepted: Partitioner = partitioner
        fluvio.topic_producer("orders", partitioner=accepted).send(b"tea").result()


# Errors.


def test_errors_say_what_a_program_needs() -> None:
    assert_type(ConnectError("why", address="127.0.0.1:9003").address, str)
    assert_type(TopicNotFoundError("why", topic="orders").topic, str)
    assert_type(PartitionNotFoundError("why", topic="orders", partition=7).partition, int)
    assert_type(RecordTooLargeError("why", size=2, limit=1).limit, int)
    assert_type(FlushTimeoutError("why", outstanding=1).outstanding, int)
    assert_type(ServerError("why", code=1).code, int)
    unsupported = UnsupportedVersionError(api="Produce", ours=(0, 25), theirs=None, platform="0.18.1")
    assert_type(unsupported.ours, tuple[int, int])
    assert_type(unsupported.theirs, tuple[int, int] | None)


def test_a_failed_delivery_says_whether_it_may_be_stored(fluvio: FakeFluvio) -> None:
    fluvio.fail_next(RetriesExhaustedError)
    try:
        fluvio.topic_producer("orders").send(b"tea").result()
    except DeliveryError as error:
        assert_type(error.topic, str)
        assert_type(error.partition, int)
        assert_type(error.attempts, int)
        assert_type(error.elapsed, float)
        assert_type(error.retriable, bool)
        assert_type(error.may_be_stored, bool)
        if isinstance(error, CommitTimeoutError):
            assert_type(error.offset, int | None)
        if isinstance(error, RejectedError):
            assert_type(error.code, int)
            assert_type(error.name, str)


# Tests of applications.


def order(client: Fluvio) -> RecordMetadata:
    return client.topic_producer("orders").send(b"tea").result(timeout=5)


def stock(producer: TopicProducer) -> DeliveryFuture:
    return producer.send(b"tea")


def test_a_fake_stands_where_a_client_is_wanted(fluvio: FakeFluvio) -> None:
    assert_type(order(fluvio), RecordMetadata)
    assert_type(FakeFluvio.connect("127.0.0.1:9003"), FakeFluvio)
    assert_type(FakeFluvio({"orders": 3}, buffer_memory=2**24).topic_producer("orders", linger=1), FakeProducer)
    producer = FakeProducer("orders", ProducerConfig(linger=1), partitions=3, fluvio=None, compression="gzip")
    stock(producer)
    assert_type(producer.fluvio, FakeFluvio)
    assert_type(producer.records, list[FakeRecord])
    assert_type(fluvio.values("orders"), list[bytes])
    fluvio.fail_next(56, count=2, topic="orders")
    with fluvio.held() as nothing:
        assert_type(nothing, None)


def test_a_cluster_is_run_broken_and_read(own: LocalCluster) -> None:
    assert_type(own, LocalCluster)
    assert_type(own.spu_endpoints, dict[int, str])
    own.create_topic("orders", partitions=1, compression="gzip")
    with connect(own.endpoint) as client:
        order(client)
    records = assert_type(own.records("orders"), list[StoredRecord])
    assert_type(records[0].key, bytes | None)
    assert_type(read_records(own.endpoint, "orders"), list[StoredRecord])
    read = assert_type(read_partition(own.endpoint, "orders", 0, timeout=5, identity=True), list[StoredRecord])
    assert_type(read[0].identity, BatchIdentity | None)
    own.cut_next_produce(5001, "before")
    own.cut_next_produce(5001, "late", delay=0.1)


def test_a_proxy_is_put_between(own: LocalCluster) -> None:
    def fault(size: int) -> ProduceFault | None:
        return None if size else ProduceFault("before")

    with FaultProxy(own.endpoint, on_produce=fault) as proxy:
        assert_type(proxy, FaultProxy)
        assert_type(proxy.endpoint, str)
        assert_type(proxy.target, str)
        assert_type(proxy.requests, int)


# Frameworks.


def test_flask_gives_a_producer() -> None:
    flask = pytest.importorskip("flask", reason="Flask is not installed")
    from fluvio_sync.contrib.flask import FlaskFluvio

    app = flask.Flask("shop")
    app.testing = True
    extension = FlaskFluvio(app)
    with app.app_context():
        assert_type(extension.client, Fluvio)
        assert_type(extension.fake, FakeFluvio)
        assert_type(extension.producer("orders", linger=1, compression="gzip"), TopicProducer)


def test_django_gives_a_producer_and_a_fake() -> None:
    pytest.importorskip("django", reason="Django is not installed")
    from fluvio_sync.contrib.django import client, producer
    from fluvio_sync.contrib.django.testing import fake_fluvio
    from tests.support import django_kit  # noqa: F401 - it sets Django up

    @fake_fluvio()
    def ordering(item: str, *, twice: bool = False) -> int:
        assert_type(client(), Fluvio)
        orders = producer("orders", linger=0, value_serializer=str.encode)
        assert_type(orders, TopicProducer)
        for _ in range(1 + twice):
            orders.send(item).result()
        return 1 + twice

    assert_type(ordering("tea", twice=True), int)
    with fake_fluvio(topics={"orders": 3}) as fake:
        assert_type(fake, FakeFluvio)


def test_celery_takes_a_function_that_makes_a_client(fluvio: Fluvio) -> None:
    pytest.importorskip("celery", reason="Celery is not installed")
    from fluvio_sync.contrib.celery import install

    assert_type(install(lambda: fluvio, topics=["orders"], warm_up_timeout=3, drain_timeout=timedelta(seconds=5)), None)


def test_logging_takes_a_key(own: LocalCluster) -> None:
    from fluvio_sync.contrib.logging import FluvioHandler

    def by_logger(record: logging.LogRecord) -> str | None:
        return record.name

    handler = FluvioHandler("logs", own.endpoint, level="INFO", key=by_logger, flush_timeout=1, linger=1, client_id="x")
    as_handler: logging.Handler = handler
    as_handler.close()
    assert_type(handler.dropped, int)


def test_metrics_take_clients(fluvio: Fluvio) -> None:
    prometheus = pytest.importorskip("prometheus_client", reason="its client is not installed")
    from fluvio_sync.contrib.prometheus import FluvioCollector

    assert_type(FluvioCollector(fluvio, registry=prometheus.CollectorRegistry()), FluvioCollector)


def test_a_traced_producer_sends(fluvio: Fluvio) -> None:
    pytest.importorskip("opentelemetry", reason="OpenTelemetry is not installed")
    from fluvio_sync.contrib.opentelemetry import TracedProducer, observe, traced

    observe(fluvio)
    producer = assert_type(traced(fluvio.topic_producer("orders")), TracedProducer)
    assert_type(producer.send(b"tea", key="customer 1"), DeliveryFuture)
    assert_type(producer.send_all([b"tea"]), list[DeliveryFuture])


def test_the_version_is_a_text() -> None:
    assert_type(fluvio_sync.__version__, str)
    assert fluvio_sync.__version__
