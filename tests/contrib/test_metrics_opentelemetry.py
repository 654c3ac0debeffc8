# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry: metrics and spans, in the SDK's own memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import BufferFullError, Fluvio, RejectedError, RetriesExhaustedError
from fluvio_sync.client import unconnected
from fluvio_sync.testing import FakeFluvio, FakeProducer

pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry's SDK is not installed")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from fluvio_sync.contrib.opentelemetry import observe, traced

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from tests.support.cluster import Where


# Metrics.


def collected(reader: InMemoryMetricReader) -> dict[tuple[str, str], Any]:
    """Return the values by name and topic."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        (metric.name, str((point.attributes or {}).get("messaging.destination.name", ""))): point.value  # type: ignore[union-attr]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_a_client_is_observed(client: Fluvio, where: Where) -> None:
    topic = where.topic()
    reader = InMemoryMetricReader()
    observe(client, meter_provider=MeterProvider([reader]))
    producer = client.topic_producer(topic)
    producer.send(b"12345").result(10)
    found = collected(reader)
    assert found["fluvio.producer.records_acked", topic] == 1
    assert found["fluvio.producer.bytes_acked", topic] == 5
    assert found["fluvio.client.connected", ""] == 1
    latency = producer.stats().latency
    assert latency is not None
    assert found["fluvio.producer.batch_latency_max", topic] == latency[1]


def test_observing_does_not_connect() -> None:
    reader = InMemoryMetricReader()
    fluvio = unconnected({"endpoint": "127.0.0.1:1"})
    observe(fluvio, meter_provider=MeterProvider([reader]))
    assert collected(reader) == {}
    assert not fluvio.running


# Spans.


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def the_span(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_a_span_lasts_until_the_record_is_acknowledged(
    exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    fluvio = FakeFluvio({"orders": 2})
    producer = traced(fluvio.topic_producer("orders"), tracer_provider=provider)
    with provider.get_tracer("app").start_as_current_span("request") as request, fluvio.held():
        future = producer.send(b"12345", key=b"secret", partition=1)
        assert exporter.get_finished_spans() == ()
    assert future.result(0).offset == 0
    producer.flush()
    span = next(span for span in exporter.get_finished_spans() if span.name == "send orders")
    assert span.kind is trace.SpanKind.PRODUCER
    assert span.parent == request.get_span_context()
    assert span.status.is_unset
    assert dict(span.attributes or {}) == {
        "messaging.system": "fluvio",
        "messaging.destination.name": "orders",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.message.body.size": 5,
        "messaging.destination.partition.id": "1",
        "messaging.fluvio.message.offset": 0,
    }


def test_at_most_once_has_no_offset(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    traced(FakeProducer("orders", delivery_semantic="at-most-once"), tracer_provider=provider).send("x")
    attributes = the_span(exporter).attributes or {}
    assert "messaging.fluvio.message.offset" not in attributes
    assert attributes["messaging.destination.partition.id"] == "0"


@pytest.mark.parametrize(
    ("failure", "kind", "name"),
    [(RetriesExhaustedError, "RetriesExhaustedError", "RetriesExhaustedError"), (6004, "6004", "RejectedError")],
)
def test_a_failure_is_recorded(
    failure: Any, kind: str, name: str, exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    fake = FakeProducer("orders")
    fake.fail_next(failure)
    future = traced(fake, tracer_provider=provider).send(b"x")
    fake.flush()
    span = the_span(exporter)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == str(future.exception(0))
    assert (span.attributes or {})["error.type"] == kind
    (event,) = span.events
    assert str((event.attributes or {})["exception.type"]).endswith(name)


def test_a_recorded_failure_still_counts_as_unseen(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    fake = FakeProducer("orders")
    fake.fail_next(6004)
    with pytest.raises(RejectedError), traced(fake, tracer_provider=provider) as producer:  # noqa: PT012 - leaving raises
        producer.send(b"x")
        producer.flush()
    assert not the_span(exporter).status.is_ok


def test_an_error_of_send_ends_the_span(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    fake = FakeProducer("orders")
    fake.fail_next(BufferFullError("full"))
    with pytest.raises(BufferFullError):
        traced(fake, tracer_provider=provider).send(b"x")
    span = the_span(exporter)
    assert (span.attributes or {})["error.type"] == "BufferFullError"
    assert len(span.events) == 1


def test_many_records_have_one_span(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    fake = FakeProducer("orders")
    producer = traced(fake, tracer_provider=provider)
    with fake.fluvio.held():
        producer.send_all([b"1", b"2", b"3"])
        fake.fail_next(RetriesExhaustedError, count=2)
        assert exporter.get_finished_spans() == ()
    fake.flush()
    span = the_span(exporter)
    assert (span.attributes or {})["messaging.batch.message_count"] == 3
    assert len(span.events) == 1
    exporter.clear()
    assert producer.send_all([]) == []
    assert (the_span(exporter).attributes or {})["messaging.batch.message_count"] == 0


def test_send_all_that_raises_ends_the_span(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    def broken() -> Any:
        yield b"1"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        traced(FakeProducer("orders"), tracer_provider=provider).send_all(broken())
    assert (the_span(exporter).attributes or {})["error.type"] == "ZeroDivisionError"


@pytest.mark.parametrize("off", [None, TracerProvider(sampler=ALWAYS_OFF)], ids=["no SDK", "not sampled"])
def test_a_span_that_is_not_recorded_costs_no_callback(off: TracerProvider | None) -> None:
    fluvio = FakeFluvio()
    producer = traced(fluvio.topic_producer("orders"), tracer_provider=off)
    with fluvio.held():
        futures = [producer.send(b"x"), *producer.send_all([b"x"])]
        assert [list(future._done_callbacks) for future in futures] == [[], []]


def test_other_calls_go_to_the_producer(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    fake = FakeProducer("orders", linger=0.25)
    producer = traced(fake, tracer_provider=provider)
    producer.send("x")
    assert (producer.topic, producer.config.linger) == ("orders", 0.25)
    assert producer.stats() == fake.stats()
    assert producer.flush().acked == 1
    assert producer.close().failed == 0
