# SPDX-License-Identifier: Apache-2.0
"""Fetch: reads records of an SPU's partitions, once; and the parts that it shares with record streams.

Pure.  Isolation is a u8 here: 0 read-uncommitted, 1 read-committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import ERROR_CODE, ErrorCode
from fluvio_sync.protocol.layout import I32, I64, STRING, U8, U32, Layout, option, vec
from fluvio_sync.protocol.message import Message, nested, wire

if TYPE_CHECKING:
    from fluvio_sync.protocol.primitives import Reader, Writer


def _read_isolation(r: Reader, _: int) -> int:
    isolation = r.u8()
    if isolation > 1:
        raise ProtocolError(f"{isolation} is no isolation level")
    return isolation


ISOLATION = Layout(_read_isolation, U8.write, 1)
"""The isolation of a reader."""


def _write_record_set(w: Writer, records: bytes, _: int) -> None:
    w.i32(len(records))
    w.raw(records)


_RECORD_SET = Layout(lambda r, _: bytes(r.raw(r.i32())), _write_record_set, 4)


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
    isolation: int = wire(ISOLATION, default=0, kw_only=True)
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
