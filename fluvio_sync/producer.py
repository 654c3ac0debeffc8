# SPDX-License-Identifier: Apache-2.0
"""`TopicProducer`: an application sends records through it.

A handle: a topic, settings, and the records that were sent through it.  Queue, connections and the sender thread are
the client's, and shared.  `send()` serialises, chooses a partition and appends to a batch; the sender does everything
else.  Any thread may use any method.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from fluvio_sync._core.topic import check_size
from fluvio_sync._runtime.loss import tell_loss
from fluvio_sync._settings.checks import seconds
from fluvio_sync.delivery import AtMostOnce, Isolation
from fluvio_sync.errors import ClosedError, FluvioError
from fluvio_sync.futures import BatchFutures, DeliveryFuture, Process
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner
from fluvio_sync.stats import FlushResult, HandleStats, OwnerSpan, ProducerStats, Unseen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from fluvio_sync._core.topic import TopicState
    from fluvio_sync._runtime.engine import Engine
    from fluvio_sync._runtime.holder import EngineHolder
    from fluvio_sync.config import ProducerConfig

# Records that are queued together: the lock is held for a tenth of a millisecond.
_GROUP = 128
_FIELD_NAMES = re.compile(":[^:]*:")  # in the format of a buffer of structures (PEP 3118)
_NOT_DATA = frozenset("OP&uw")  # the formats of objects, pointers and wide characters
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


__all__ = ["TopicProducer", "check_size"]


class TopicProducer:
    """Sends records to one topic; made by `Fluvio.topic_producer`.  Any thread may use any method.

    * `topic`: the topic's name.
    * `config`: the `ProducerConfig` in force.
    """

    def __init__(self, holder: EngineHolder, topic: str, config: ProducerConfig) -> None:
        self.topic = topic
        self.config = config
        self._holder = holder
        self._handle_stats = HandleStats()
        self._process: object = None  # attached at first use

    def _begin(self) -> None:
        """Find the topic, and log a legal setting without effect; called by `Fluvio.topic_producer`."""
        self._attach()
        if isinstance(self.config.delivery_semantic, AtMostOnce) and self.config.isolation is Isolation.READ_COMMITTED:
            self._engine.log.warning(
                "config.isolation_without_effect",
                topic=self.topic,
                reason="at-most-once waits for no answer, so read-committed changes nothing for the caller",
            )

    def _attach(self) -> None:
        """Find the topic in the client of this process; threads that do so at once get the same state."""
        engine = self._holder.running()
        topic_state = engine.topic_state(self.topic, self.config, self)
        partitioner = self.config.partitioner or engine.accumulator.default_partitioner(self.topic)
        with engine.accumulator.lock:
            if self._process is Process.current:
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
            self._process = Process.current  # last: until then other threads enter this method

    def _here(self) -> Engine:
        """Return this process's engine: after a fork it is another one."""
        if self._process is not Process.current:
            self._attach()
        return self._engine

    def send(
        self,
        value: Any,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: int | datetime | None = None,
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
        # Everything between here and `Accumulator.append` costs every record: hence no helper functions.
        if self._process is not Process.current:
            self._attach()
        if self._handle_stats.closed:
            raise self._closed()
        if type(value) is not bytes or self._serializes:
            value = to_bytes("value", value, self.config.value_serializer)
        if key is not None and (type(key) is not bytes or self._serializes):
            key = to_bytes("key", key, self.config.key_serializer)
        if timestamp is not None:
            timestamp = to_milliseconds(timestamp)
        topic_state = self._topic_state
        if partition is not None:
            topic_state.check_partition(partition)
        elif key is None and self._round is not None and (rotation := topic_state.rotation):
            partition = rotation[0] if len(rotation) == 1 else self._round.next_of(rotation)
        else:
            partition = self._accumulator.choose(topic_state, self._partitioner, key, value)
        return self._accumulator.append(topic_state, partition, key, value, timestamp, self._handle_stats)

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

    def flush(self, timeout: float | timedelta | None = None) -> FlushResult:
        """Wait until every record sent through this handle before the call is resolved.

        * `timeout`: seconds; None (default) waits as long as the records' own deadlines allow.

        At-most-once records count as resolved once they are handed to the socket or dropped.  Returns the outcomes of
        the handle's records since its last flush.  Raises `FlushTimeoutError`, whose `outstanding` is the number of
        unresolved records (they are still sent), and `RuntimeError` from a callback.
        """
        engine = self._here()
        engine.flush(self._topic_state, self._handle_stats, seconds("timeout", timeout, optional=True))
        return self._handle_stats.take()

    def stats(self) -> ProducerStats:
        """Return a snapshot of this topic's counters under these settings, including those of other handles."""
        engine = self._here()
        return engine.accumulator.stats(self._topic_state, engine.reconnects)

    def close(self, timeout: float | timedelta | None = None) -> FlushResult:
        """Accept no more records through this handle, and wait for its records as `flush` does.

        * `timeout`: seconds; None (default) waits as long as the records' own deadlines allow.

        Records that are unresolved then fail with `ClosedError`, except those in batches that other handles share; a
        blocked `send()` of this handle raises it.  The client and other handles go on.  May be repeated.  Raises
        `RuntimeError` from a callback.
        """
        limit = seconds("timeout", timeout, optional=True)
        engine = self._here()
        engine.close_handle(self._topic_state, self._handle_stats, limit)
        return self._handle_stats.take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; raise the first failure if records failed whose futures no caller looked at.

        If an exception leaves the block, it waits at most the client's `exit_timeout`, and raises nothing.  A note of
        the exception (Python 3.11), and a line on standard error unless the application logs errors, tell how many
        records were lost.  After Ctrl-C or the like it does not wait: the client delivers the records.
        """
        if error is not None and not isinstance(error, Exception):
            self._handle_stats.closed = True
            return
        timeout = None if error is None else self._holder.config.exit_timeout
        result = self.close(timeout)
        unseen = self._handle_stats.take_unseen()
        if error is None:
            if unseen.first_error is not None:
                raise unseen.first_error
            return
        if isinstance(self.config.delivery_semantic, AtMostOnce):  # its records raise no error
            unseen = Unseen(result.failed, None)
        log = self._engine.log.bind(topic=self.topic)
        tell_loss(error, unseen, f"the producer for topic {self.topic!r}", self._holder.config.exit_timeout, log)

    def __repr__(self) -> str:
        return f"<TopicProducer for {self.topic!r} at {self._holder.endpoint}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return TopicProducer, (self._holder, self.topic, self.config)


def to_bytes(part: str, data: Any, serializer: Any) -> bytes:
    """Return a record's part, "key" or "value", as bytes.

    Raises `TypeError`, `ValueError` for a text that is no UTF-8, and any error of the serializer.
    """
    if serializer is not None:
        data = serializer(data)
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return _as_utf8(part, data)
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)  # a copy: the caller may change the buffer after send() returned
    try:
        view = memoryview(data)
    except TypeError:
        raise _not_bytes(part, data) from None
    # A number has no bytes but those of this machine's memory, and an object only an address in it.  numpy's dates are
    # numbers that export bytes; all its scalars have a shape, which is empty.
    if (
        not view.ndim
        or getattr(data, "shape", None) == ()
        or not _NOT_DATA.isdisjoint(_FIELD_NAMES.sub("", view.format))
    ):
        raise _not_bytes(part, data)
    return view.tobytes()


def _as_utf8(part: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        position = error.start
    # Not raised while that error is handled: it holds the whole text, and would be the context of this one.
    raise ValueError(
        f"a record's {part} cannot be encoded as UTF-8: its character {position}, counted from 0, is one of the "
        "surrogates (U+D800 to U+DFFF), halves of characters; if it stands for a byte that could not be decoded, send "
        "bytes: text.encode(errors='surrogateescape')"
    )


def _not_bytes(part: str, data: Any) -> TypeError:
    return TypeError(
        f"a record's {part} is bytes-like or str, not {type(data).__name__}; "
        f"set {part}_serializer to send other objects"
    )


def refuse_single(records: object) -> None:
    """Raise `TypeError` for an object that is iterable, but into no records."""
    if isinstance(records, (str, bytes, bytearray, memoryview)):
        raise TypeError(
            f"send_all() takes an iterable of records, and this is one {type(records).__name__}: pass it to send(), "
            "or in a list"
        )
    if isinstance(records, Mapping):
        raise TypeError(
            f"send_all() takes values or (key, value) pairs, and iterating over a {type(records).__name__} gives its "
            "keys alone: pass its items()"
        )


def to_milliseconds(timestamp: int | datetime) -> int:
    """Return a timestamp as milliseconds since the epoch; raises `TypeError`, `ValueError`."""
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise ValueError("a timestamp without a time zone is ambiguous; use datetime.now(timezone.utc)")
        timestamp = (timestamp - _EPOCH) // timedelta(milliseconds=1)
    elif isinstance(timestamp, bool) or not isinstance(timestamp, int):
        raise TypeError(
            f"a timestamp is an int (milliseconds since the epoch) or an aware datetime, not {type(timestamp).__name__}"
        )
    if not 0 < timestamp < 1 << 63:
        bound = "above 0" if timestamp <= 0 else "below 2**63"
        raise ValueError(f"a timestamp counts milliseconds since 1970, so it is {bound}; {timestamp} is not")
    return timestamp
