# SPDX-License-Identifier: Apache-2.0
"""The requests of consumers to an SPU (Stream Processing Unit): record streams and stored offsets.

Pure.  No producer needs it: it serves the development cluster, and tests that read records back.
"""

from __future__ import annotations

from typing import ClassVar

from fluvio_sync.protocol.error_code import ERROR_CODE, ErrorCode
from fluvio_sync.protocol.fetch import ISOLATION, FetchedPartition
from fluvio_sync.protocol.layout import I32, I64, STRING, U32, U64, option, vec
from fluvio_sync.protocol.message import Message, nested, wire
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation

# --- StreamFetch ---------------------------------------------------------------------------------


class StreamFetchRequest(Message):
    """Asks for a partition's records from `fetch_offset` on, until the connection ends.

    `max_bytes`: of one response.  Versions below 19 carry modules in other places.
    """

    topic: str = wire(STRING)
    partition: int = wire(U32)
    fetch_offset: int = wire(I64)
    max_bytes: int = wire(I32)
    isolation: int = wire(ISOLATION, default=0)
    smartmodules: tuple[SmartModuleInvocation, ...] = wire(vec(nested(SmartModuleInvocation)), default=())
    consumer_id: str | None = wire(option(STRING), default=None, since=23)

    MIN_VERSION: ClassVar[int] = 19


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
