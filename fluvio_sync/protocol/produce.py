# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002, ARG003 - `version` is a parameter of every write and read, gates or not
"""Produce: the request, in two forms, and the response.

Pure.  A producer writes with `produce_request_buffers`, which copies no record; `ProduceRequest` is
the same message as a value, for servers and tests.  All this is read and written too often to
be declared (see `message`): it is spelled out.
"""

from __future__ import annotations

import enum
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import PLAIN_CODES, ErrorCode
from fluvio_sync.protocol.frames import RequestHeader, request_prefix
from fluvio_sync.protocol.layout import STRING, option, vec
from fluvio_sync.protocol.message import nested
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluvio_sync.protocol.primitives import Buffer, Reader

MIN_VERSION: Final = 8
"""The oldest version in which requests are written."""

PRODUCE: Final = SpuApi.PRODUCE
"""A constant, because looking a member of an enum up takes as long as a call."""
_HOW: Final = struct.Struct(">hi")  # isolation and timeout
_PARTITION: Final = struct.Struct(">Ii")
_RESULT_HEAD: Final = struct.Struct(">Ih")
_RESULT_TAIL: Final = struct.Struct(">qqq")
_NO_ERROR: Final = ErrorCode.NONE
_NO_MODULES: Final = b"\0\0\0\0"
_MODULES: Final = vec(nested(SmartModuleInvocation))
_MAX_TOPICS: Final = 65536  # of an answer of `MAX_ANSWER` bytes, nearly
_new_tuple: Final = tuple.__new__
_TRANSACTIONAL_ID: Final = option(STRING)


class IsolationCode(enum.IntEnum):
    """Isolation as a produce request has it, an i16; everywhere else it is a u8, 0 or 1."""

    READ_UNCOMMITTED = 1
    READ_COMMITTED = -1


# --- the request ---------------------------------------------------------------------------------


class PartitionData(NamedTuple):
    """The records for one partition: a record set (batches back to back), without its length."""

    partition: int
    records: bytes

    def __repr__(self) -> str:
        return f"PartitionData(partition={self.partition}, records=<{len(self.records)} bytes>)"

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.pack(_PARTITION, self.partition, len(self.records))
        w.raw(self.records)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionData:
        """Read one."""
        partition, size = r.unpack(_PARTITION)
        return cls(partition, bytes(r.raw(size)))


class TopicData(NamedTuple):
    """The records for one topic."""

    name: str
    partitions: tuple[PartitionData, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.i32(len(self.partitions))
        for partition in self.partitions:
            partition.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicData:
        """Read one."""
        name, count = r.string(), r.count(_PARTITION.size)
        return cls(name, tuple([PartitionData.read(r, version) for _ in range(count)]))


class ProduceRequest(NamedTuple):
    """Records for any number of partitions.

    `isolation`: see `IsolationCode`; an SPU takes any negative number for read-committed and any
    other for read-uncommitted.  `timeout_ms`: how long, in milliseconds, it waits per partition for
    the replicas under read-committed.  `smartmodules` run on everything in the request.
    """

    isolation: int
    timeout_ms: int
    topics: tuple[TopicData, ...]
    smartmodules: tuple[SmartModuleInvocation, ...] = ()
    transactional_id: str | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        _TRANSACTIONAL_ID.write(w, self.transactional_id, version)
        w.pack(_HOW, self.isolation, self.timeout_ms)
        w.i32(len(self.topics))
        for topic in self.topics:
            topic.write(w, version)
        _MODULES.write(w, self.smartmodules, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> ProduceRequest:
        """Read one; ProtocolError for a negative timeout (a real SPU closes the connection)."""
        transactional_id = _TRANSACTIONAL_ID.read(r, version)
        isolation, timeout_ms = r.unpack(_HOW)
        if timeout_ms < 0:
            raise ProtocolError(f"a produce request's timeout is negative: {timeout_ms} ms")
        topics = tuple([TopicData.read(r, version) for _ in range(r.count(6))])
        return cls(isolation, timeout_ms, topics, _MODULES.read(r, version), transactional_id)


def produce_request_buffers(
    *,
    version: int,
    correlation_id: int,
    client_id: str,
    isolation: int,
    timeout_ms: int,
    topics: Sequence[tuple[str, Sequence[tuple[int, int, Sequence[Buffer]]]]],
    smartmodules: Sequence[SmartModuleInvocation] = (),
) -> list[Buffer]:
    """Return a whole produce frame as buffers, to be written one after the other.

    `topics`: name and partitions; a partition is its number, the length of its record set in bytes,
    and the buffers that make up the record set, which are passed through uncopied.  The length has
    to be right: it is not counted again.

    ValueError for a version below 8, a negative timeout, or a number that does not fit.
    """
    if version < MIN_VERSION:
        raise ValueError(f"produce requests are not written in version {version}")
    if timeout_ms < 0:
        raise ValueError(f"a produce request's timeout cannot be negative: {timeout_ms} ms")
    # The parts that are the same in most requests of a connection are cached as bytes: a lone record pays for them all.
    parts = [_request_head(isolation, timeout_ms, len(topics))]
    buffers: list[Buffer] = [b""]
    body_length = 0
    for name, partitions in topics:
        parts.append(_topic_head(name, len(partitions)))
        for partition, length, records in partitions:
            try:
                parts.append(_PARTITION.pack(partition, length))
            except struct.error as error:
                raise ValueError(f"partition {partition} with {length} bytes: {error}") from None
            head = b"".join(parts)
            parts = []
            body_length += len(head) + length
            buffers.append(head)
            buffers += records
    tail = b"".join(parts) + (_smartmodules(tuple(smartmodules), version) if smartmodules else _NO_MODULES)
    buffers.append(tail)
    header = RequestHeader(PRODUCE, version, correlation_id, client_id)
    buffers[0] = request_prefix(header, body_length + len(tail))
    return buffers


@lru_cache(maxsize=128)
def _request_head(isolation: int, timeout_ms: int, topic_count: int) -> bytes:
    w = Writer()
    w.boolean(False)  # no transaction
    w.pack(_HOW, isolation, timeout_ms)
    w.u32(topic_count)
    return w.getvalue()


@lru_cache(maxsize=1024)
def _topic_head(name: str, partition_count: int) -> bytes:
    w = Writer()
    w.string(name)
    w.u32(partition_count)
    return w.getvalue()


def _smartmodules(modules: tuple[SmartModuleInvocation, ...], version: int) -> bytes:
    w = Writer()
    _MODULES.write(w, modules, version)
    return w.getvalue()


# --- the response --------------------------------------------------------------------------------


class PartitionResult(NamedTuple):
    """The outcome of one partition's records; entries come back in the order of the request.

    `base_offset`: of the first record that was written; 0 on errors, except on RequestTimedOut.
    `log_append_time` exists from version 2, `log_start_offset` from 5; both are always 0.
    """

    partition: int
    error_code: ErrorCode
    base_offset: int
    log_append_time: int = 0
    log_start_offset: int = 0

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u32(self.partition)
        self.error_code.write(w, version)
        w.i64(self.base_offset)
        if version >= 2:
            w.i64(self.log_append_time)
        if version >= 5:
            w.i64(self.log_start_offset)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionResult:
        """Read one."""
        partition, tag = r.unpack(_RESULT_HEAD)
        error = PLAIN_CODES.get(tag) or ErrorCode.read_payload(tag, r, version)
        if version >= 5:
            return cls(partition, error, *r.unpack(_RESULT_TAIL))
        return cls(partition, error, r.i64(), r.i64() if version >= 2 else 0)


class TopicResult(NamedTuple):
    """The outcome of one topic's records."""

    name: str
    partitions: tuple[PartitionResult, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.i32(len(self.partitions))
        for partition in self.partitions:
            partition.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicResult:
        """Read one."""
        name, count = r.string(), r.count(14)
        return cls(name, tuple([PartitionResult.read(r, version) for _ in range(count)]))


class ProduceResponse(NamedTuple):
    """The answer: one entry for each of the request.

    `throttle_time`: milliseconds, always 0; it exists from version 1.
    """

    topics: tuple[TopicResult, ...]
    throttle_time: int = 0

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i32(len(self.topics))
        for topic in self.topics:
            topic.write(w, version)
        if version >= 1:
            w.i32(self.throttle_time)

    @classmethod
    def read(cls, r: Reader, version: int) -> ProduceResponse:
        """Read one."""
        topics = tuple([TopicResult.read(r, version) for _ in range(r.count(6, _MAX_TOPICS))])
        return cls(topics, r.i32() if version >= 1 else 0)


def read_lone_response(data: Buffer, topic: str, name: bytes) -> ProduceResponse | None:
    """Read the answer to a request of one partition, of version 5 or later, as one structure.

    `data`: the body; `name`: the topic's, as bytes.  Returns None if it is any other answer, one with an error code
    included: then `ProduceResponse.read` has to.  It takes a tenth of the time of that, which a record that is sent
    alone pays.
    """
    layout = _lone_layout(len(name))
    if len(data) != layout.size:
        return None
    topics, _, found, partitions, partition, code, base, append_time, start, throttle = layout.unpack(data)
    if topics != 1 or partitions != 1 or found != name or code:
        return None
    # Named tuples are made by a function in Python, which takes three times as long.
    result = _new_tuple(PartitionResult, (partition, _NO_ERROR, base, append_time, start))
    found_topic = _new_tuple(TopicResult, (topic, (result,)))
    return _new_tuple(ProduceResponse, ((found_topic,), throttle))


@lru_cache(maxsize=256)
def _lone_layout(size: int) -> struct.Struct:
    """Return the layout of an answer of one result without an error, for a topic's name of so many bytes."""
    return struct.Struct(f">ih{size}siIhqqqi")
