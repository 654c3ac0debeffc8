# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002, ARG003 - `version` is a parameter of every write and read, gates or not
"""What consumers ask an SPU: offsets, streams of records, stored offsets.

Pure.  A producer needs `FetchOffsetsRequest` alone; the rest is for the development cluster and for
reading back what was written.  Isolation is a u8 here: 0 read-uncommitted, 1 read-committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.produce import MIN_INVOCATION, SmartModuleInvocation

if TYPE_CHECKING:
    from fluvio_sync.protocol.primitives import Reader, Writer

MIN_STREAM_FETCH_VERSION = 19
"""The oldest version of StreamFetch here: 18 and older carry modules in other places."""

MIN_FETCH_VERSION = 11
"""The oldest version of the one-shot Fetch here."""


def _read_isolation(r: Reader) -> int:
    isolation = r.u8()
    if isolation > 1:
        raise ProtocolError(f"{isolation} is no isolation level")
    return isolation


def _read_record_set(r: Reader) -> bytes:
    return bytes(r.raw(r.i32()))


def _write_record_set(w: Writer, records: bytes) -> None:
    w.i32(len(records))
    w.raw(records)


# --- FetchOffsets --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FetchOffsetsTopic:
    """The partitions of a topic whose offsets are asked for."""

    name: str
    partitions: tuple[int, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.partitions, w.u32)

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchOffsetsTopic:
        """Read one."""
        return cls(r.string(), r.vec(r.u32, 4))


@dataclass(frozen=True, slots=True)
class FetchOffsetsRequest:
    """Asks for the first and the last offsets of partitions.

    `consumer_id` exists in version 23 alone.
    """

    topics: tuple[FetchOffsetsTopic, ...]
    consumer_id: str | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.vec(self.topics, lambda topic: topic.write(w, version))
        if version == 23:
            w.option(self.consumer_id, w.string)

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchOffsetsRequest:
        """Read one."""
        return cls(
            r.vec(lambda: FetchOffsetsTopic.read(r, version), 6),
            r.option(r.string) if version == 23 else None,
        )


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """`last_stable_offset` is the high watermark; the error code stands before the index here."""

    error_code: ErrorCode
    partition_index: int
    start_offset: int
    last_stable_offset: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        self.error_code.write(w, version)
        w.u32(self.partition_index)
        w.i64(self.start_offset)
        w.i64(self.last_stable_offset)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionOffsets:
        """Read one."""
        return cls(ErrorCode.read(r, version), r.u32(), r.i64(), r.i64())


@dataclass(frozen=True, slots=True)
class TopicOffsets:
    """The offsets of a topic's partitions."""

    name: str
    partitions: tuple[PartitionOffsets, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.partitions, lambda partition: partition.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicOffsets:
        """Read one."""
        return cls(r.string(), r.vec(lambda: PartitionOffsets.read(r, version), 22))


@dataclass(frozen=True, slots=True)
class FetchOffsetsResponse:
    """The offsets."""

    topics: tuple[TopicOffsets, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.vec(self.topics, lambda topic: topic.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchOffsetsResponse:
        """Read one."""
        return cls(r.vec(lambda: TopicOffsets.read(r, version), 6))


# --- StreamFetch ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamFetchRequest:
    """Asks for a partition's records from `fetch_offset` on, until the connection ends.

    `max_bytes`: of one response.  `consumer_id` exists from version 23.
    """

    topic: str
    partition: int
    fetch_offset: int
    max_bytes: int
    isolation: int = 0
    smartmodules: tuple[SmartModuleInvocation, ...] = ()
    consumer_id: str | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it; ValueError for a version below 19."""
        if version < MIN_STREAM_FETCH_VERSION:
            raise ValueError(f"StreamFetch is not written in version {version}")
        w.string(self.topic)
        w.u32(self.partition)
        w.i64(self.fetch_offset)
        w.i32(self.max_bytes)
        w.u8(self.isolation)
        w.vec(self.smartmodules, lambda module: module.write(w, version))
        if version >= 23:
            w.option(self.consumer_id, w.string)

    @classmethod
    def read(cls, r: Reader, version: int) -> StreamFetchRequest:
        """Read one; ProtocolError for a version below 19."""
        if version < MIN_STREAM_FETCH_VERSION:
            raise ProtocolError(f"version {version} of StreamFetch is too old")
        return cls(
            r.string(),
            r.u32(),
            r.i64(),
            r.i32(),
            _read_isolation(r),
            r.vec(lambda: SmartModuleInvocation.read(r, version), MIN_INVOCATION),
            r.option(r.string) if version >= 23 else None,
        )


@dataclass(frozen=True, slots=True)
class AbortedTransaction:
    """Never seen: Fluvio has no transactions."""

    producer_id: int
    first_offset: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i64(self.producer_id)
        w.i64(self.first_offset)

    @classmethod
    def read(cls, r: Reader, version: int) -> AbortedTransaction:
        """Read one."""
        return cls(r.i64(), r.i64())


@dataclass(frozen=True, slots=True)
class FetchedPartition:
    """Records of one partition.

    `next_filter_offset`: where to go on if SmartModules ran, else 0.  `records`: a record set,
    without its length; it begins with the batch that contains the offset asked for.
    """

    partition_index: int
    error_code: ErrorCode
    high_watermark: int
    next_filter_offset: int = 0
    log_start_offset: int = 0
    aborted: tuple[AbortedTransaction, ...] | None = None
    records: bytes = field(default=b"", repr=False)

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u32(self.partition_index)
        self.error_code.write(w, version)
        w.i64(self.high_watermark)
        w.i64(self.next_filter_offset)
        w.i64(self.log_start_offset)
        w.option(self.aborted, lambda items: w.vec(items, lambda item: item.write(w, version)))
        _write_record_set(w, self.records)

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchedPartition:
        """Read one."""
        return cls(
            r.u32(),
            ErrorCode.read(r, version),
            r.i64(),
            r.i64(),
            r.i64(),
            r.option(lambda: r.vec(lambda: AbortedTransaction.read(r, version), 16)),
            _read_record_set(r),
        )


@dataclass(frozen=True, slots=True)
class StreamFetchResponse:
    """One push of a stream; the fields of `FetchedPartition` and where they come from.

    `stream_id`: 1, 2 ... on this connection; 0 where the SPU does not lead the partition.  After an
    error the stream is over.
    """

    topic: str
    stream_id: int
    partition_index: int
    error_code: ErrorCode
    high_watermark: int
    next_filter_offset: int = 0
    log_start_offset: int = 0
    aborted: tuple[AbortedTransaction, ...] | None = None
    records: bytes = field(default=b"", repr=False)

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.topic)
        w.u32(self.stream_id)
        FetchedPartition(
            self.partition_index,
            self.error_code,
            self.high_watermark,
            self.next_filter_offset,
            self.log_start_offset,
            self.aborted,
            self.records,
        ).write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> StreamFetchResponse:
        """Read one."""
        topic, stream_id = r.string(), r.u32()
        partition = FetchedPartition.read(r, version)
        return cls(
            topic,
            stream_id,
            partition.partition_index,
            partition.error_code,
            partition.high_watermark,
            partition.next_filter_offset,
            partition.log_start_offset,
            partition.aborted,
            partition.records,
        )


# --- UpdateOffsets -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OffsetUpdate:
    """How far the stream `session_id` of this connection was read: the next offset wanted."""

    offset: int
    session_id: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i64(self.offset)
        w.u32(self.session_id)

    @classmethod
    def read(cls, r: Reader, version: int) -> OffsetUpdate:
        """Read one."""
        return cls(r.i64(), r.u32())


@dataclass(frozen=True, slots=True)
class UpdateOffsetsRequest:
    """Lets streams go on."""

    offsets: tuple[OffsetUpdate, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.vec(self.offsets, lambda offset: offset.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> UpdateOffsetsRequest:
        """Read one."""
        return cls(r.vec(lambda: OffsetUpdate.read(r, version), 12))


@dataclass(frozen=True, slots=True)
class OffsetUpdateStatus:
    """What became of one `OffsetUpdate`: 3002 for an unknown session."""

    session_id: int
    error: ErrorCode

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u32(self.session_id)
        self.error.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> OffsetUpdateStatus:
        """Read one."""
        return cls(r.u32(), ErrorCode.read(r, version))


@dataclass(frozen=True, slots=True)
class UpdateOffsetsResponse:
    """The answer to `UpdateOffsetsRequest`."""

    status: tuple[OffsetUpdateStatus, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.vec(self.status, lambda status: status.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> UpdateOffsetsResponse:
        """Read one."""
        return cls(r.vec(lambda: OffsetUpdateStatus.read(r, version), 6))


# --- stored offsets of consumers -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplicaKey:
    """A topic and a partition."""

    topic: str
    partition: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.topic)
        w.u32(self.partition)

    @classmethod
    def read(cls, r: Reader, version: int) -> ReplicaKey:
        """Read one."""
        return cls(r.string(), r.u32())


@dataclass(frozen=True, slots=True)
class UpdateConsumerOffsetRequest:
    """Stores the offset of the last record processed, for the consumer of the stream."""

    offset: int
    session_id: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i64(self.offset)
        w.u32(self.session_id)

    @classmethod
    def read(cls, r: Reader, version: int) -> UpdateConsumerOffsetRequest:
        """Read one."""
        return cls(r.i64(), r.u32())


@dataclass(frozen=True, slots=True)
class UpdateConsumerOffsetResponse:
    """The offset stands before the error code here."""

    offset: int
    error_code: ErrorCode

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i64(self.offset)
        self.error_code.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> UpdateConsumerOffsetResponse:
        """Read one."""
        return cls(r.i64(), ErrorCode.read(r, version))


@dataclass(frozen=True, slots=True)
class DeleteConsumerOffsetRequest:
    """Forgets a consumer's offset."""

    replica_id: ReplicaKey
    consumer_id: str

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        self.replica_id.write(w, version)
        w.string(self.consumer_id)

    @classmethod
    def read(cls, r: Reader, version: int) -> DeleteConsumerOffsetRequest:
        """Read one."""
        return cls(ReplicaKey.read(r, version), r.string())


@dataclass(frozen=True, slots=True)
class DeleteConsumerOffsetResponse:
    """The answer to `DeleteConsumerOffsetRequest`."""

    error_code: ErrorCode

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        self.error_code.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> DeleteConsumerOffsetResponse:
        """Read one."""
        return cls(ErrorCode.read(r, version))


@dataclass(frozen=True, slots=True)
class ConsumerOffsetFilter:
    """Which consumers' offsets are asked for; None does not narrow them down."""

    replica_id: ReplicaKey | None = None
    consumer_id: str | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.option(self.replica_id, lambda replica: replica.write(w, version))
        w.option(self.consumer_id, w.string)

    @classmethod
    def read(cls, r: Reader, version: int) -> ConsumerOffsetFilter:
        """Read one."""
        return cls(r.option(lambda: ReplicaKey.read(r, version)), r.option(r.string))


@dataclass(frozen=True, slots=True)
class FetchConsumerOffsetsRequest:
    """Asks for stored offsets.  `filter_opts` exists from version 24."""

    filter_opts: ConsumerOffsetFilter | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if version >= 24:
            w.option(self.filter_opts, lambda options: options.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchConsumerOffsetsRequest:
        """Read one."""
        if version < 24:
            return cls()
        return cls(r.option(lambda: ConsumerOffsetFilter.read(r, version)))


@dataclass(frozen=True, slots=True)
class ConsumerOffset:
    """A stored offset.  `modified_time`: seconds since the epoch."""

    consumer_id: str
    replica_id: ReplicaKey
    offset: int
    modified_time: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.consumer_id)
        self.replica_id.write(w, version)
        w.i64(self.offset)
        w.u64(self.modified_time)

    @classmethod
    def read(cls, r: Reader, version: int) -> ConsumerOffset:
        """Read one."""
        return cls(r.string(), ReplicaKey.read(r, version), r.i64(), r.u64())


@dataclass(frozen=True, slots=True)
class FetchConsumerOffsetsResponse:
    """The stored offsets."""

    error_code: ErrorCode
    consumers: tuple[ConsumerOffset, ...] = ()

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        self.error_code.write(w, version)
        w.vec(self.consumers, lambda consumer: consumer.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchConsumerOffsetsResponse:
        """Read one."""
        return cls(ErrorCode.read(r, version), r.vec(lambda: ConsumerOffset.read(r, version), 24))


# --- Fetch, one-shot -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FetchPartition:
    """From where, and how many bytes, to fetch of a partition."""

    partition_index: int
    fetch_offset: int
    max_bytes: int
    current_leader_epoch: int = -1
    log_start_offset: int = -1

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u32(self.partition_index)
        w.i32(self.current_leader_epoch)
        w.i64(self.fetch_offset)
        w.i64(self.log_start_offset)
        w.i32(self.max_bytes)

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchPartition:
        """Read one."""
        partition_index, epoch, fetch_offset = r.u32(), r.i32(), r.i64()
        log_start_offset = r.i64()
        return cls(partition_index, fetch_offset, r.i32(), epoch, log_start_offset)


@dataclass(frozen=True, slots=True)
class FetchTopic:
    """What to fetch of a topic."""

    name: str
    fetch_partitions: tuple[FetchPartition, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.fetch_partitions, lambda partition: partition.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchTopic:
        """Read one."""
        return cls(r.string(), r.vec(lambda: FetchPartition.read(r, version), 28))


@dataclass(frozen=True, slots=True)
class ForgottenTopic:
    """Partitions that the fetch is no longer about."""

    name: str
    forgotten_partition_indexes: tuple[int, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.forgotten_partition_indexes, w.i32)

    @classmethod
    def read(cls, r: Reader, version: int) -> ForgottenTopic:
        """Read one."""
        return cls(r.string(), r.vec(r.i32, 4))


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Asks for records, once.  `max_wait`: milliseconds."""

    topics: tuple[FetchTopic, ...]
    max_wait: int = 0
    min_bytes: int = 0
    max_bytes: int = 1024 * 1024
    isolation: int = 0
    forgotten: tuple[ForgottenTopic, ...] = ()

    def write(self, w: Writer, version: int) -> None:
        """Append it; ValueError for a version below 11."""
        if version < MIN_FETCH_VERSION:
            raise ValueError(f"Fetch is not written in version {version}")
        w.i32(self.max_wait)
        w.i32(self.min_bytes)
        w.i32(self.max_bytes)
        w.u8(self.isolation)
        w.vec(self.topics, lambda topic: topic.write(w, version))
        w.vec(self.forgotten, lambda topic: topic.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchRequest:
        """Read one; ProtocolError for a version below 11."""
        if version < MIN_FETCH_VERSION:
            raise ProtocolError(f"version {version} of Fetch is too old")
        max_wait, min_bytes, max_bytes = r.i32(), r.i32(), r.i32()
        isolation = _read_isolation(r)
        return cls(
            r.vec(lambda: FetchTopic.read(r, version), 6),
            max_wait,
            min_bytes,
            max_bytes,
            isolation,
            r.vec(lambda: ForgottenTopic.read(r, version), 6),
        )


@dataclass(frozen=True, slots=True)
class FetchedTopic:
    """What was fetched of a topic."""

    name: str
    partitions: tuple[FetchedPartition, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.partitions, lambda partition: partition.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchedTopic:
        """Read one."""
        return cls(r.string(), r.vec(lambda: FetchedPartition.read(r, version), 35))


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """What was fetched.  `throttle_time_ms`: milliseconds."""

    topics: tuple[FetchedTopic, ...]
    error_code: ErrorCode = ErrorCode.NONE
    throttle_time_ms: int = 0
    session_id: int = 0

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i32(self.throttle_time_ms)
        self.error_code.write(w, version)
        w.i32(self.session_id)
        w.vec(self.topics, lambda topic: topic.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> FetchResponse:
        """Read one."""
        throttle_time_ms, error_code, session_id = r.i32(), ErrorCode.read(r, version), r.i32()
        return cls(
            r.vec(lambda: FetchedTopic.read(r, version), 6),
            error_code,
            throttle_time_ms,
            session_id,
        )
