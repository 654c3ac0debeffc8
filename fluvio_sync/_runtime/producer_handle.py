# SPDX-License-Identifier: Apache-2.0
"""The part of a producer that runs for every record: what an application passes goes into the batching queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._core.record import refuse_single, to_bytes, to_milliseconds
from fluvio_sync._outcomes.batch_futures import BatchFutures
from fluvio_sync._outcomes.handle_stats import HandleStats, OwnerSpan
from fluvio_sync._outcomes.process import PROCESS
from fluvio_sync.errors import ClosedError, FluvioError
from fluvio_sync.futures import DeliveryFuture
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._runtime.engine import Engine
    from fluvio_sync._runtime.holder import EngineHolder
    from fluvio_sync.config import ProducerConfig

# Records that are queued together: the lock is held for a tenth of a millisecond.
_GROUP: Final = 128


@mypyc_attr(allow_interpreted_subclasses=True)  # `TopicProducer`, which applications replace parts of in their tests
class ProducerHandle:
    """A topic, settings, and the outcomes of the records that were sent with them."""

    def __init__(self, holder: EngineHolder, topic: str, config: ProducerConfig) -> None:
        self.topic = topic
        self.config = config
        self._holder = holder
        self._handle_stats = HandleStats()
        self._process: object = None  # attached at first use

    def _attach(self) -> None:
        """Find the topic in the client of this process; threads that do so at once get the same state."""
        engine = self._holder.running()
        topic_state = engine.topic_state(self.topic, self.config, self)
        partitioner = self.config.partitioner or engine.accumulator.default_partitioner(self.topic)
        with engine.accumulator.lock:
            if self._process is PROCESS.identity:
                return
            self._topic_state: TopicState = topic_state
            self._partitioner = partitioner
            self._engine: Engine = engine
            closed = self._handle_stats.closed
            self._handle_stats = HandleStats(engine.handle_stats)
            self._handle_stats.closed = closed
            self._accumulator = engine.accumulator
            self._serializes = self.config.value_serializer is not None or self.config.key_serializer is not None
            self._round: SiphashRoundRobinPartitioner | None = (
                partitioner if type(partitioner) is SiphashRoundRobinPartitioner else None
            )
            self._process = PROCESS.identity  # last: until then other threads enter this method

    def _here(self) -> Engine:
        """Return this process's engine: after a fork it is another one."""
        if self._process is not PROCESS.identity:
            self._attach()
        return self._engine

    def send(
        self,
        value: Any,
        *,
        key: Any = None,
        partition: Any = None,
        timestamp: Any = None,
    ) -> DeliveryFuture:
        """Queue a record and return its future at once.

        * `value`: bytes-like (of an array of numbers the bytes in memory), `str` (as UTF-8), or an object that
          `value_serializer` accepts.
        * `key`: the same, for `key_serializer`; None (default) is no key: such records go round the online partitions.
          `b""` is a key like any other.
        * `partition`: the number of the partition; None (default) leaves the choice to the partitioner.
        * `timestamp`: milliseconds since the epoch (an `int` above 0) or an aware `datetime` (default now).

        Under at-least-once the future resolves to a `RecordMetadata` or raises a `DeliveryError`; under at-most-once
        it is done already, unacknowledged.  Blocks only while `buffer_memory` is full (see `on_full`).

        Errors, with nothing queued:

        * `TypeError`: a value or key of another type; also any error of a serializer.
        * `ValueError`: a timestamp out of range or without a time zone; a `str` with half of a surrogate pair.
        * `PartitionNotFoundError`: the topic does not have the partition.
        * `RecordTooLargeError`: the record does not fit in `max_request_size`.
        * `BufferFullError`: no space in `buffer_memory` within `max_block`, or at once with `on_full="raise"`.
        * `ClosedError`: the producer or its client is closed.
        """
        # Compiled code checks the types of arguments, with other messages: hence `Any`, and checks of our own.
        # Everything between here and `Accumulator.append` costs every record: hence no helper functions.
        if self._process is not PROCESS.identity:
            self._attach()
        if self._handle_stats.closed:
            raise self._closed()
        if type(value) is not bytes or self._serializes:
            value = to_bytes("value", value, self.config.value_serializer)
        if key is not None and (type(key) is not bytes or self._serializes):
            key = to_bytes("key", key, self.config.key_serializer)
        milliseconds = None if timestamp is None else to_milliseconds(timestamp)
        topic_state = self._topic_state
        if partition is not None:
            number = topic_state.check_partition(partition)
        elif key is None and self._round is not None and (rotation := topic_state.rotation):
            number = rotation[0] if len(rotation) == 1 else self._round.next_of(rotation)
        else:
            number = self._accumulator.choose(topic_state, self._partitioner, key, value)
        return self._accumulator.append(topic_state, number, key, value, milliseconds, self._handle_stats)

    def send_all(self, records: Iterable[Any]) -> list[DeliveryFuture]:
        """Queue many records and return a future for each, in order.

        * `records`: values, or `(key, value)` pairs (a tuple of exactly two).  A single text or bytes object, and a
          mapping, raise `TypeError`.

        A record that cannot be queued (a wrong type, too large, no space within `max_block`, which covers the whole
        call) fails the future in its place, and the others are sent.
        """
        refuse_single(records)
        until = self._here().clock.monotonic() + self.config.max_block
        value_serializer, key_serializer = self.config.value_serializer, self.config.key_serializer
        topic_state = self._topic_state
        # Records of a list are queued in groups; a record of a generator does not wait for the next one.
        group = _GROUP if isinstance(records, (list, tuple)) else 1
        futures: list[DeliveryFuture] = []
        ready: list[tuple[int, bytes | None, bytes]] = []
        for record in records:
            key, value = record if type(record) is tuple and len(record) == 2 else (None, record)
            try:
                if type(value) is not bytes or value_serializer is not None:
                    value = to_bytes("value", value, value_serializer)
                if key is not None and (type(key) is not bytes or key_serializer is not None):
                    key = to_bytes("key", key, key_serializer)
                if key is None and self._round is not None and (rotation := topic_state.rotation):
                    partition = rotation[0] if len(rotation) == 1 else self._round.next_of(rotation)
                else:
                    partition = self._accumulator.choose(topic_state, self._partitioner, key, value)
            except Exception as error:  # noqa: BLE001 - a serializer or a partitioner may raise anything
                self._queue(ready, futures, until)
                ready.clear()
                futures.append(self._failed(error))
                continue
            ready.append((partition, key, value))
            if len(ready) >= group:
                self._queue(ready, futures, until)
                ready.clear()
        self._queue(ready, futures, until)
        return futures

    def _queue(
        self, records: list[tuple[int, bytes | None, bytes]], futures: list[DeliveryFuture], until: float
    ) -> None:
        """Queue records and add their futures: all at once as far as that is simple, else one by one."""
        accumulator, topic_state, handle_stats = self._accumulator, self._topic_state, self._handle_stats
        position = 0
        while position < len(records):
            if not handle_stats.closed:
                done = accumulator.append_simply(topic_state, records[position:] if position else records, handle_stats)
                futures += done
                position += len(done)
                if position == len(records):
                    return
            partition, key, value = records[position]
            position += 1
            try:
                if handle_stats.closed:
                    raise self._closed()
                futures.append(accumulator.append(topic_state, partition, key, value, None, handle_stats, until))
            except FluvioError as error:
                futures.append(self._failed(error))

    def _closed(self) -> ClosedError:
        return ClosedError(f"this producer for topic {self.topic!r} is closed; the record was not taken")

    def _failed(self, error: Exception) -> DeliveryFuture:
        """Return a future that raises the reason why its record was not queued."""
        futures = BatchFutures(self.topic, -1, 0, [0], self._engine.callbacks)
        handle_stats = self._handle_stats
        span = OwnerSpan(0, handle_stats)
        span.failure = lambda: error
        futures.spans.append(span)
        handle_stats.add_failed(span, 1)
        futures.fail(lambda _index: error)
        return DeliveryFuture(futures, 0)
