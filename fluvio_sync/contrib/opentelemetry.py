# SPDX-License-Identifier: Apache-2.0
"""OpenTelemetry: metrics of clients, and a span for each record or batch of records that a producer sends.

    observe(fluvio)
    producer = traced(fluvio.topic_producer("orders"))

A span ends when its record is acknowledged or has failed.  Fluvio's records have no headers to carry a trace to a
consumer: an application that wants that puts the trace context into the value.

The rest of the library does not import OpenTelemetry.  Needs the extra `opentelemetry`, and an SDK that the application
configures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        "fluvio_sync.contrib.opentelemetry needs OpenTelemetry: pip install 'fluvio-sync[opentelemetry]'"
    ) from error

from fluvio_sync import __version__
from fluvio_sync._base.threads import OwnedLock
from fluvio_sync.contrib._observation import OF_CLIENTS, OF_TOPICS, distinct, snapshot
from fluvio_sync.errors import DeliveryError, RejectedError
from fluvio_sync.futures import error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from datetime import datetime, timedelta
    from types import TracebackType

    from typing_extensions import Self

    from fluvio_sync.client import Fluvio
    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.contrib._observation import Measure, Snapshot
    from fluvio_sync.futures import DeliveryFuture, RecordMetadata
    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.stats import FlushResult, ProducerStats

    Read = Callable[[metrics.CallbackOptions], Iterable[metrics.Observation]]

_SCOPE = "fluvio_sync"
# Names of the semantic conventions for messaging, which have one for an offset in Kafka only.
_SYSTEM = "messaging.system"
_CLIENT = "messaging.client.id"
_TOPIC = "messaging.destination.name"
_PARTITION = "messaging.destination.partition.id"
_OPERATION_NAME = "messaging.operation.name"
_OPERATION_TYPE = "messaging.operation.type"
_SIZE = "messaging.message.body.size"
_COUNT = "messaging.batch.message_count"
_OFFSET = "messaging.fluvio.message.offset"
_ERROR = "error.type"


# Metrics.


def observe(client: Fluvio, *clients: Fluvio, meter_provider: metrics.MeterProvider | None = None) -> None:
    """Register instruments for clients: `fluvio.producer.*` by topic, and `fluvio.client.*`.

    * `client`, `clients`: the clients; each needs a `client_id` of its own, which is the attribute
      `messaging.client.id`.  The meter provider keeps them as long as it lives.
    * `meter_provider`: where the instruments are made; None (default): the application's global one.

    A client that has not connected in this process is left out; observing never connects.

    Raises `ConfigError` for two clients with one `client_id`.
    """
    observed = distinct((client, *clients))
    meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
    for measure in OF_TOPICS:
        _instrument(meter, f"fluvio.producer.{measure.name}", measure, _of_topics(observed, measure))
    for whole in OF_CLIENTS:
        _instrument(meter, f"fluvio.client.{whole.name}", whole, _of_clients(observed, whole))


def _instrument(meter: metrics.Meter, name: str, measure: Measure[Any], read: Read) -> None:
    create = meter.create_observable_counter if measure.total else meter.create_observable_gauge
    create(name, [read], measure.unit, f"{measure.meaning}.")


def _of_topics(clients: tuple[Fluvio, ...], measure: Measure[ProducerStats]) -> Read:
    def read(_options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        for client in clients:
            for topic, stats in client.stats().items():
                value = measure.read(stats)
                if value is not None:
                    yield metrics.Observation(value, {**_named(client), _TOPIC: topic})

    return read


def _of_clients(clients: tuple[Fluvio, ...], measure: Measure[Snapshot]) -> Read:
    def read(_options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
        for client in clients:
            of = snapshot(client)
            value = None if of is None else measure.read(of)
            if value is not None:
                yield metrics.Observation(value, _named(client))

    return read


def _named(client: Fluvio) -> dict[str, str]:
    return {_SYSTEM: "fluvio", _CLIENT: client.client_id}


# Spans.


def traced(producer: TopicProducer, *, tracer_provider: trace.TracerProvider | None = None) -> TracedProducer:
    """Return a producer that makes a span for each `send()` and `send_all()`.

    * `producer`: sends the records.
    * `tracer_provider`: where the spans are made; None (default): the application's global one.
    """
    return TracedProducer(producer, trace.get_tracer(_SCOPE, __version__, tracer_provider))


class TracedProducer:
    """A `TopicProducer`, made by `traced`, whose records have spans of the kind PRODUCER, called `send <topic>`.

    A span begins in the current context.  It has `messaging.system` "fluvio", `messaging.destination.name`, the
    operation, and, for one record, `messaging.destination.partition.id` and `messaging.fluvio.message.offset` once
    they are known; for `send_all()`, `messaging.batch.message_count`.  It ends when all its records are resolved; the
    first error is recorded as an event, with `error.type`.  Keys and values are in no span.

    A span that is not recorded, because there is no SDK or it is not sampled, costs a call and no callback.
    """

    def __init__(self, producer: TopicProducer, tracer: trace.Tracer) -> None:
        self._producer = producer
        self._tracer = tracer
        self._attributes = {
            _SYSTEM: "fluvio",
            _TOPIC: producer.topic,
            _OPERATION_NAME: "send",
            _OPERATION_TYPE: "send",
        }

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self._producer.topic

    @property
    def config(self) -> ProducerConfig:
        """The settings in force."""
        return self._producer.config

    def send(
        self,
        value: Any,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: int | datetime | None = None,
    ) -> DeliveryFuture:
        """Queue a record, as `TopicProducer.send`; an error that it raises ends the span at once."""
        span = self._start()
        if not span.is_recording():
            return self._producer.send(value, key=key, partition=partition, timestamp=timestamp)
        if isinstance(value, bytes):
            span.set_attribute(_SIZE, len(value))
        try:
            future = self._producer.send(value, key=key, partition=partition, timestamp=timestamp)
        except BaseException as error:
            _fail(span, error)
            span.end()
            raise
        future.add_done_callback(_End(span, 1).one)
        return future

    def send_all(self, records: Iterable[Any]) -> list[DeliveryFuture]:
        """Queue many records, as `TopicProducer.send_all`, under one span."""
        span = self._start()
        if not span.is_recording():
            return self._producer.send_all(records)
        try:
            futures = self._producer.send_all(records)
        except BaseException as error:
            _fail(span, error)
            span.end()
            raise
        span.set_attribute(_COUNT, len(futures))
        if not futures:
            span.end()
        end = _End(span, len(futures))
        for future in futures:
            future.add_done_callback(end.of_many)
        return futures

    def flush(self, timeout: float | timedelta | None = None) -> FlushResult:
        """As `TopicProducer.flush`."""
        return self._producer.flush(timeout)

    def stats(self) -> ProducerStats:
        """As `TopicProducer.stats`."""
        return self._producer.stats()

    def close(self, timeout: float | timedelta | None = None) -> FlushResult:
        """As `TopicProducer.close`."""
        return self._producer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._producer.__exit__(kind, error, traceback)

    def _start(self) -> trace.Span:
        return self._tracer.start_span(f"send {self.topic}", kind=trace.SpanKind.PRODUCER, attributes=self._attributes)


class _End:
    """Ends a span with the last of its records."""

    def __init__(self, span: trace.Span, left: int) -> None:
        self._span = span
        self._left = left
        self._failed = False
        self._lock = OwnedLock()

    def one(self, future: Future[RecordMetadata]) -> None:
        """End the span; called when its only record is resolved."""
        error = error_of(future)
        if error is None:
            metadata = future.result()
            self._span.set_attribute(_PARTITION, str(metadata.partition))
            if metadata.offset is not None:
                self._span.set_attribute(_OFFSET, metadata.offset)
        else:
            _fail(self._span, error)
            if isinstance(error, DeliveryError):
                self._span.set_attribute(_PARTITION, str(error.partition))
        self._span.end()

    def of_many(self, future: Future[RecordMetadata]) -> None:
        """End the span with its last record; called when one of many records is resolved."""
        error = error_of(future)
        with self._lock:
            self._left -= 1
            last = self._left == 0
            first = error is not None and not self._failed
            self._failed = self._failed or first
        if first and error is not None:  # one event for all records
            _fail(self._span, error)
        if last:
            self._span.end()


def _fail(span: trace.Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
    span.set_attribute(_ERROR, str(error.code) if isinstance(error, RejectedError) else type(error).__qualname__)
