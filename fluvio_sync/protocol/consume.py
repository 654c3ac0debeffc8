# SPDX-License-Identifier: Apache-2.0
"""The requests of consumers to an SPU (Stream Processing Unit): record streams, single fetches, stored offsets.

Pure.  No producer needs it: it serves the development cluster, and tests that read records back.  Isolation is a
u8 here: 0 read-uncommitted, 1 read-committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import ERROR_CODE, ErrorCode
from fluvio_sync.protocol.layout import I32, I64, STRING, U8, U32, U64, Layout, option, vec
from fluvio_sync.protocol.message import Message, nested, wire
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation

if TYPE_CHECKING:
    from fluvio_sync.protocol.primitives import Reader, Writer


def _read_isolation(r: Reader, _: int) -> int:
    isolation = r.u8()
    if isolation > 1:
        raise ProtocolError(f"{isolation} is no isolation level")
    return isolation


_ISOLATION = Layout(_read_isolation, U8.write, 1)


def _write_record_set(w: Writer, records: bytes, _: int) -> None:
    w.i32(len(records))
    w.raw(records)


_RECORD_SET = Layout(lambda r, _: bytes(r.raw(r.i32())), _write_record_set, 4)

# --- StreamFetch ---------------------------------------------------------------------------------


class StreamFetchRequest(Message):
    """Asks for a partition's records from `fetch_offset` on, until the connection ends.

    `max_bytes`: of one response.  Versions below 19 carry modules in other places.
    """

    topic: str = wire(STRING)
    partition: int = wire(U32)
    fetch_offset: int = wire(I64)
    max_bytes: int = wire(I32)
    isolation: int = wire(_ISOLATION, default=0)
    smartmodules: tuple[SmartModuleInvocation, ...] = wire(vec(nested(SmartModuleInvocation)), default=())
    consumer_id: str | None = wire(option(STRING), default=None, since=23)

    MIN_VERSION: ClassVar[int] = 19


class AbortedTransaction(Message):
    """Never seen: Fluvio has no transactions."""

    producer_id: int = wire(I64)
    first_offset: int = wire(I64)


class FetchedPartition(Message):
    """Records of one partition.

    `next_filter_offset`: where to go on if SmartModules ran, else 0.  `records`: a record set, without its length; it
    begins with the batch that contains the offset asked for.
    """

    partition_index: int = wire(U32)
    error_code: ErrorCode = wire(ERROR_CODE)
    high_watermark: int = wire(I64)
    next_filter_offset: int = wire(I64, default=0)
    log_start_offset: int = wire(I64, default=0)
    aborted: tuple[AbortedTransaction, ...] | None = wire(option(vec(nested(AbortedTransaction))), default=None)
    records: bytes = wire(_RECORD_SET, default=b"", repr=False)


class StreamFetchResponse(Message):
    """One push of a stream.

    `stream_id`: 1, 2 ... on this connection; 0 where the SPU does not lead the partition.  After an error the stream
    is over.
    """

    topic: str = wire(STRING)
    stream_id: int = wire(U32)
    partition: FetchedPartition = wire(nested(FetchedPartition))


# --- UpdateOffsets -------------------------------------------------------------------------------


class OffsetUpdate(Message):
    """The next offset wanted by the stream `session_id` of this connection."""

    offset: int = wire(I64)
    session_id: int = wire(U32)


class UpdateOffsetsRequest(Message):
    """Lets streams go on."""

    offsets: tuple[OffsetUpdate, ...] = wire(vec(nested(OffsetUpdate)))


class OffsetUpdateStatus(Message):
    """The outcome of one `OffsetUpdate`: code 3002 for an unknown session."""

    session_id: int = wire(U32)
    error: ErrorCode = wire(ERROR_CODE)


class UpdateOffsetsResponse(Message):
    """The answer to `UpdateOffsetsRequest`."""

    status: tuple[OffsetUpdateStatus, ...] = wire(vec(nested(OffsetUpdateStatus)))


# --- stored offsets of consumers -----------------------------------------------------------------


class ReplicaKey(Message):
    """A topic and a partition."""

    topic: str = wire(STRING)
    partition: int = wire(U32)


class UpdateConsumerOffsetRequest(Message):
    """Stores the offset of the last record processed, for the consumer of the stream."""

    offset: int = wire(I64)
    session_id: int = wire(U32)


class UpdateConsumerOffsetResponse(Message):
    """The offset stands before the error code here."""

    offset: int = wire(I64)
    error_code: ErrorCode = wire(ERROR_CODE)


class DeleteConsumerOffsetRequest(Message):
    """Forgets a consumer's offset."""

    replica_id: ReplicaKey = wire(nested(ReplicaKey))
    consumer_id: str = wire(STRING)


class DeleteConsumerOffsetResponse(Message):
    """The answer to `DeleteConsumerOffsetRequest`."""

    error_code: ErrorCode = wire(ERROR_CODE)


class ConsumerOffsetFilter(Message):
    """Selects consumers whose offsets are asked for; None selects all."""

    replica_id: ReplicaKey | None = wire(option(nested(ReplicaKey)), default=None)
    consumer_id: str | None = wire(option(STRING), default=None)


class FetchConsumerOffsetsRequest(Message):
    """Asks for stored offsets."""

    filter_opts: ConsumerOffsetFilter | None = wire(option(nested(ConsumerOffsetFilter)), default=None, since=24)


class ConsumerOffset(Message):
    """A stored offset.  `modified_time`: seconds since the epoch."""

    consumer_id: str = wire(STRING)
    replica_id: ReplicaKey = wire(nested(ReplicaKey))
    offset: int = wire(I64)
    modified_time: int = wire(U64)


class FetchConsumerOffsetsResponse(Message):
    """The stored offsets."""

    error_code: ErrorCode = wire(ERROR_CODE)
    consumers: tuple[ConsumerOffset, ...] = wire(vec(nested(ConsumerOffset)), default=())


# --- Fetch, one-shot -----------------------------------------------------------------------------


class FetchPartition(Message):
    """The first offset and the number of bytes to fetch of a partition."""

    partition_index: int = wire(U32)
    current_leader_epoch: int = wire(I32, default=-1, kw_only=True)
    fetch_offset: int = wire(I64)
    log_start_offset: int = wire(I64, default=-1, kw_only=True)
    max_bytes: int = wire(I32)


class FetchTopic(Message):
    """The partitions to fetch of a topic."""

    name: str = wire(STRING)
    fetch_partitions: tuple[FetchPartition, ...] = wire(vec(nested(FetchPartition)))


class ForgottenTopic(Message):
    """Partitions that a later fetch leaves out."""

    name: str = wire(STRING)
    forgotten_partition_indexes: tuple[int, ...] = wire(vec(I32))


class FetchRequest(Message):
    """Asks for records, once.  `max_wait`: milliseconds.  Versions below 11 are laid out otherwise."""

    max_wait: int = wire(I32, default=0, kw_only=True)
    min_bytes: int = wire(I32, default=0, kw_only=True)
    max_bytes: int = wire(I32, default=1024 * 1024, kw_only=True)
    isolation: int = wire(_ISOLATION, default=0, kw_only=True)
    topics: tuple[FetchTopic, ...] = wire(vec(nested(FetchTopic)))
    forgotten: tuple[ForgottenTopic, ...] = wire(vec(nested(ForgottenTopic)), default=())

    MIN_VERSION: ClassVar[int] = 11


class FetchedTopic(Message):
    """The fetched partitions of a topic."""

    name: str = wire(STRING)
    partitions: tuple[FetchedPartition, ...] = wire(vec(nested(FetchedPartition)))


class FetchResponse(Message):
    """The fetched records.  `throttle_time_ms`: milliseconds."""

    throttle_time_ms: int = wire(I32, default=0, kw_only=True)
    error_code: ErrorCode = wire(ERROR_CODE, default=ErrorCode.NONE, kw_only=True)
    session_id: int = wire(I32, default=0, kw_only=True)
    topics: tuple[FetchedTopic, ...] = wire(vec(nested(FetchedTopic)))
