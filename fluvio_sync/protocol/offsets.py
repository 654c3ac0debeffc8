# SPDX-License-Identifier: Apache-2.0
"""FetchOffsets: how far an SPU's partitions go.

Pure.  It is all that a producer asks of an SPU beside producing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync.protocol.error_code import ERROR_CODE
from fluvio_sync.protocol.layout import I64, STRING, U32, option, vec
from fluvio_sync.protocol.message import Message, nested, wire

if TYPE_CHECKING:
    from fluvio_sync.protocol.error_code import ErrorCode


class FetchOffsetsTopic(Message):
    """The partitions of a topic whose offsets are asked for."""

    name: str = wire(STRING)
    partitions: tuple[int, ...] = wire(vec(U32))


class FetchOffsetsRequest(Message):
    """Asks for the first and the last offsets of partitions."""

    topics: tuple[FetchOffsetsTopic, ...] = wire(vec(nested(FetchOffsetsTopic)))
    consumer_id: str | None = wire(option(STRING), default=None, since=23, until=23)


class PartitionOffsets(Message):
    """`last_stable_offset` is the high watermark; the error code stands before the index here."""

    error_code: ErrorCode = wire(ERROR_CODE)
    partition_index: int = wire(U32)
    start_offset: int = wire(I64)
    last_stable_offset: int = wire(I64)


class TopicOffsets(Message):
    """The offsets of a topic's partitions."""

    name: str = wire(STRING)
    partitions: tuple[PartitionOffsets, ...] = wire(vec(nested(PartitionOffsets)))


class FetchOffsetsResponse(Message):
    """The offsets."""

    topics: tuple[TopicOffsets, ...] = wire(vec(nested(TopicOffsets)))
