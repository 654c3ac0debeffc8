# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002, ARG003 - `version` is a parameter of every write and read, gates or not
"""Produce: the request, in two forms, and the response.

Pure.  A producer writes with `produce_request_buffers`, which copies no record; `ProduceRequest` is
the same message as a value, for whoever has to read one.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import PLAIN_CODES, ErrorCode
from fluvio_sync.protocol.frames import RequestHeader, request_prefix
from fluvio_sync.protocol.primitives import Duration, Writer
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluvio_sync.protocol.primitives import Buffer, Reader

MIN_VERSION = 8
"""The oldest version in which requests are written."""

_PARTITION = struct.Struct(">Ii")
_RESULT_HEAD = struct.Struct(">Ih")
_RESULT_TAIL = struct.Struct(">qqq")
_NO_MODULES = b"\0\0\0\0"


class IsolationCode(enum.IntEnum):
    """Isolation as a produce request has it, an i16; everywhere else it is a u8, 0 or 1."""

    READ_UNCOMMITTED = 1
    READ_COMMITTED = -1


# --- SmartModules --------------------------------------------------------------------------------


class ModuleKind(enum.IntEnum):
    """What a SmartModule does; GENERIC leaves that to the cluster."""

    FILTER = 0
    MAP = 1
    ARRAY_MAP = 2
    AGGREGATE = 3
    FILTER_MAP = 4
    JOIN = 5
    JOIN_STREAM = 6
    GENERIC = 7


class ModuleContext(enum.IntEnum):
    """What a GENERIC module is given."""

    NONE = 0
    AGGREGATE = 1
    JOIN = 2
    JOIN_STREAM = 3


@dataclass(frozen=True, slots=True)
class Lookback:
    """Records that a module is shown first: the `last` ones, not older than `age` (version 21)."""

    last: int
    age: Duration | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u64(self.last)
        if version >= 21:
            w.option(self.age, w.duration)

    @classmethod
    def read(cls, r: Reader, version: int) -> Lookback:
        """Read one."""
        return cls(r.u64(), r.option(r.duration) if version >= 21 else None)


_CONTEXT_SHAPES: Mapping[ModuleContext, ModuleKind] = {
    ModuleContext.NONE: ModuleKind.GENERIC,
    ModuleContext.AGGREGATE: ModuleKind.AGGREGATE,
    ModuleContext.JOIN: ModuleKind.JOIN,
    ModuleContext.JOIN_STREAM: ModuleKind.JOIN_STREAM,
}


@dataclass(frozen=True, slots=True)
class SmartModuleInvocation:
    """One SmartModule for the SPU to run on what is produced or consumed.

    Either `name`, of a module that the cluster has (`name`, `group/name`, `group/name@version`), or
    `adhoc`, the module itself, gzipped.  `context` counts for the kind GENERIC only; `accumulator`
    for an aggregate, `topic` for joins, `derived_stream` for a join with a stream.  `lookback`
    exists from version 20, `label` (a name for metrics) from 25.  ValueError unless exactly one of
    `name` and `adhoc` is given.
    """

    name: str | None = None
    adhoc: bytes | None = None
    kind: ModuleKind = ModuleKind.GENERIC
    context: ModuleContext = ModuleContext.NONE
    accumulator: bytes = b""
    topic: str = ""
    derived_stream: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    lookback: Lookback | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if (self.name is None) == (self.adhoc is None):
            raise ValueError("a SmartModule is given either by name or as ad-hoc bytes")

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if self.adhoc is not None:
            w.u8(1)
            w.byte_string(self.adhoc)
        else:
            w.u8(0)
            w.string(self.name or "")
        self._write_kind(w)
        w.mapping(self.params)
        if version >= 20:
            w.option(self.lookback, lambda lookback: lookback.write(w, version))
        if version >= 25:
            w.option(self.label, w.string)

    def _write_kind(self, w: Writer) -> None:
        w.u8(self.kind)
        shape = self.kind
        if shape is ModuleKind.GENERIC:
            w.u8(self.context)
            shape = _CONTEXT_SHAPES[self.context]
        if shape is ModuleKind.AGGREGATE:
            w.byte_string(self.accumulator)
        elif shape is ModuleKind.JOIN:
            w.string(self.topic)
        elif shape is ModuleKind.JOIN_STREAM:
            w.string(self.topic)
            w.string(self.derived_stream)

    @classmethod
    def read(cls, r: Reader, version: int) -> SmartModuleInvocation:
        """Read one."""
        name, adhoc = _read_module(r)
        shape = kind = r.enumeration(ModuleKind)
        context = ModuleContext.NONE
        if kind is ModuleKind.GENERIC:
            context = r.enumeration(ModuleContext)
            shape = _CONTEXT_SHAPES[context]
        joins = shape in {ModuleKind.JOIN, ModuleKind.JOIN_STREAM}
        return cls(
            name,
            adhoc,
            kind,
            context,
            r.byte_string() if shape is ModuleKind.AGGREGATE else b"",
            r.string() if joins else "",
            r.string() if shape is ModuleKind.JOIN_STREAM else "",
            r.mapping(),
            r.option(lambda: Lookback.read(r, version)) if version >= 20 else None,
            r.option(r.string) if version >= 25 else None,
        )


MIN_INVOCATION = 6
"""The fewest bytes of a `SmartModuleInvocation`."""


def _read_module(r: Reader) -> tuple[str | None, bytes | None]:
    tag = r.u8()
    if tag == 0:
        return r.string(), None
    if tag == 1:
        return None, r.byte_string()
    raise ProtocolError(f"unknown kind of SmartModule {tag}")


# --- the request ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartitionData:
    """What goes to one partition: a record set (batches back to back), without its length."""

    partition: int
    records: bytes = field(repr=False)

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.pack(_PARTITION, self.partition, len(self.records))
        w.raw(self.records)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionData:
        """Read one."""
        partition, size = r.unpack(_PARTITION)
        return cls(partition, bytes(r.raw(size)))


@dataclass(frozen=True, slots=True)
class TopicData:
    """What goes to one topic."""

    name: str
    partitions: tuple[PartitionData, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.partitions, lambda partition: partition.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicData:
        """Read one."""
        return cls(r.string(), r.vec(lambda: PartitionData.read(r, version), _PARTITION.size))


@dataclass(frozen=True, slots=True)
class ProduceRequest:
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
        w.option(self.transactional_id, w.string)
        w.i16(self.isolation)
        w.i32(self.timeout_ms)
        w.vec(self.topics, lambda topic: topic.write(w, version))
        w.vec(self.smartmodules, lambda module: module.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> ProduceRequest:
        """Read one; ProtocolError for a negative time-out (a real SPU closes the connection)."""
        transactional_id = r.option(r.string)
        isolation, timeout_ms = r.i16(), r.i32()
        if timeout_ms < 0:
            raise ProtocolError(f"a produce request's time-out is negative: {timeout_ms} ms")
        return cls(
            isolation,
            timeout_ms,
            r.vec(lambda: TopicData.read(r, version), 6),
            r.vec(lambda: SmartModuleInvocation.read(r, version), MIN_INVOCATION),
            transactional_id,
        )


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

    ValueError for a version below 8, a negative time-out, or a number that does not fit.
    """
    if version < MIN_VERSION:
        raise ValueError(f"produce requests are not written in version {version}")
    if timeout_ms < 0:
        raise ValueError(f"a produce request's time-out cannot be negative: {timeout_ms} ms")
    # What is the same in most requests of a connection is kept, as bytes: a record that is sent alone pays for it all.
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
    tail = b"".join(parts) + _smartmodules(tuple(smartmodules), version)
    buffers.append(tail)
    header = RequestHeader(SpuApi.PRODUCE, version, correlation_id, client_id)
    buffers[0] = request_prefix(header, body_length + len(tail))
    return buffers


@lru_cache(maxsize=128)
def _request_head(isolation: int, timeout_ms: int, topic_count: int) -> bytes:
    w = Writer()
    w.boolean(False)  # no transaction
    w.i16(isolation)
    w.i32(timeout_ms)
    w.u32(topic_count)
    return w.getvalue()


@lru_cache(maxsize=1024)
def _topic_head(name: str, partition_count: int) -> bytes:
    w = Writer()
    w.string(name)
    w.u32(partition_count)
    return w.getvalue()


def _smartmodules(modules: tuple[SmartModuleInvocation, ...], version: int) -> bytes:
    if not modules:
        return _NO_MODULES
    w = Writer()
    w.u32(len(modules))
    for module in modules:
        module.write(w, version)
    return w.getvalue()


# --- the response --------------------------------------------------------------------------------


class PartitionResult(NamedTuple):
    """What became of one partition's records; entries come back in the order of the request.

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
        error = PLAIN_CODES.get(tag) or ErrorCode.read_payload(tag, r)
        if version >= 5:
            return cls(partition, error, *r.unpack(_RESULT_TAIL))
        return cls(partition, error, r.i64(), r.i64() if version >= 2 else 0)


class TopicResult(NamedTuple):
    """What became of one topic's records."""

    name: str
    partitions: tuple[PartitionResult, ...]

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        w.vec(self.partitions, lambda partition: partition.write(w, version))

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
        w.vec(self.topics, lambda topic: topic.write(w, version))
        if version >= 1:
            w.i32(self.throttle_time)

    @classmethod
    def read(cls, r: Reader, version: int) -> ProduceResponse:
        """Read one."""
        topics = tuple([TopicResult.read(r, version) for _ in range(r.count(6))])
        return cls(topics, r.i32() if version >= 1 else 0)
