# SPDX-License-Identifier: Apache-2.0
"""Reads a whole partition back, off any Fluvio cluster, with plain blocking sockets.

For tests and examples.  Every call uses connections of its own, so any thread may call.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from fluvio_sync._tls_config import TlsConfig
from fluvio_sync.errors import (
    ConnectError,
    PartitionNotFoundError,
    ProtocolError,
    ServerError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.batch import decode_batch, iter_batches
from fluvio_sync.protocol.consume import OffsetUpdate, StreamFetchRequest, StreamFetchResponse, UpdateOffsetsRequest
from fluvio_sync.protocol.metadata import PartitionObject, SpuObject, partition_key
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, SPU_CLIENT_RANGES, ScApi, SpuApi
from fluvio_sync.protocol.watch import ListRequest, ListResponse
from fluvio_sync.testing._link import Link

if TYPE_CHECKING:
    from fluvio_sync.protocol.error_code import ErrorCode

    Object = TypeVar("Object", PartitionObject, SpuObject)

_MAX_BYTES = 40 * 1024 * 1024
"""Of one response.  A real SPU cuts batches short at this size, and no batch is larger than 32 MiB,
so that at least one arrives whole."""


class StoredRecord(NamedTuple):
    """A record as it is in the log.

    `timestamp`: milliseconds since the epoch, -1 if there is none; `key`: None is no key.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes


def read_partition(
    endpoint: str, topic: str, partition: int = 0, *, timeout: float = 10.0, tls: TlsConfig | None = None
) -> list[StoredRecord]:
    """Return all records that a partition has at the time of the call, from the first on.

    `endpoint`: the SC's `"host:port"`; `timeout`: seconds for the whole call; `tls`: as for
    `Fluvio.connect`, default: plain TCP.

    `TopicNotFoundError`, `PartitionNotFoundError`, `ConnectError`, `RequestTimeoutError`, `ProtocolError`,
    `UnsupportedVersionError`, or `ServerError` if the leader refuses.
    """
    deadline = time.monotonic() + timeout
    tls = tls or TlsConfig.disabled()
    context = tls.ssl_context()
    with Link(endpoint, deadline, SC_CLIENT_RANGES, tls=context, server_name=tls.server_name()) as sc:
        found = _find(sc, topic, partition)
        leader = _leader(sc, found.spec.leader)
    server_name = tls.server_name(leader.name)
    with Link(_address(leader), deadline, SPU_CLIENT_RANGES, tls=context, server_name=server_name) as spu:
        start, hw = _offsets(spu, topic, partition)
        # Records that are not replicated yet are behind the high watermark.
        end = max(hw, found.status.leader.leo)
        return _read(spu, topic, partition, start, end)


def _find(sc: Link, topic: str, partition: int) -> PartitionObject:
    partitions = _list(sc, PartitionObject)
    name = partition_key(topic, partition)
    for item in partitions:
        if item.name == name:
            return item
    if any(item.name.rpartition("-")[0] == topic for item in partitions):
        raise PartitionNotFoundError(f"topic {topic!r} has no partition {partition}", topic=topic, partition=partition)
    raise TopicNotFoundError(f"there is no topic {topic!r}", topic=topic)


def _leader(sc: Link, leader: int) -> SpuObject:
    for spu in _list(sc, SpuObject):
        if spu.spec.id == leader and spu.spec.public_endpoint.ingress:
            return spu
    raise ConnectError(f"the leader, SPU {leader}, has no address", address="")


def _address(spu: SpuObject) -> str:
    ingress = spu.spec.public_endpoint.ingress[0]
    return f"{ingress.hostname or ingress.ip}:{spu.spec.public_endpoint.port}"


def _list(sc: Link, kind: type[Object]) -> list[Object]:
    sc.send(ScApi.LIST, 1, ListRequest(kind.LABEL))
    response = ListResponse.read(sc.receive(1), sc.version(ScApi.LIST))
    return [item for item in response.items if isinstance(item, kind)]


def _offsets(spu: Link, topic: str, partition: int) -> tuple[int, int]:
    request = FetchOffsetsRequest((FetchOffsetsTopic(topic, (partition,)),))
    spu.send(SpuApi.FETCH_OFFSETS, 1, request)
    version = spu.version(SpuApi.FETCH_OFFSETS)
    response = FetchOffsetsResponse.read(spu.receive(1), version)
    offsets = [item for entry in response.topics for item in entry.partitions]
    if len(offsets) != 1:
        raise ProtocolError(f"one partition's offsets were asked for, {len(offsets)} came")
    _check(offsets[0].error_code)
    return offsets[0].start_offset, offsets[0].last_stable_offset


def _read(spu: Link, topic: str, partition: int, start: int, end: int) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    if start >= end:
        return records
    spu.send(SpuApi.STREAM_FETCH, 2, StreamFetchRequest(topic, partition, start, _MAX_BYTES))
    version = spu.version(SpuApi.STREAM_FETCH)
    while start < end:
        response = StreamFetchResponse.read(spu.receive(2), version)
        _check(response.partition.error_code)
        reached = _decode(response.partition.records, start, records)
        if reached == start:
            raise ProtocolError("a response without a single whole batch")
        start = reached
        update = OffsetUpdate(start, response.stream_id)
        spu.send(SpuApi.UPDATE_OFFSETS, 3, UpdateOffsetsRequest((update,)))
    return records


def _decode(record_set: bytes, start: int, records: list[StoredRecord]) -> int:
    """Add the records from offset `start` on; returns the offset behind the last whole batch."""
    whole = memoryview(record_set)[: _whole_length(record_set)]
    for header, batch in iter_batches(whole):
        decoded = decode_batch(batch).records
        skipped = max(0, start - header.base_offset)
        records += [StoredRecord(offset, timestamp, key, value) for key, value, timestamp, offset in decoded[skipped:]]
        start = header.base_offset + header.record_count
    return start


def _whole_length(record_set: bytes) -> int:
    """Return the bytes of the batches that are there as a whole: the last one may be cut short."""
    position = 0
    while len(record_set) - position >= 12:
        size = 12 + int.from_bytes(record_set[position + 8 : position + 12], "big")
        if size > len(record_set) - position:
            break
        position += size
    return position


def _check(error: ErrorCode) -> None:
    if error.code:
        raise ServerError(error.text, code=error.code, name=error.name)
