# SPDX-License-Identifier: Apache-2.0
"""Reads a whole partition back, off any Fluvio cluster.

For tests and examples.  Every call uses connections of its own and drives them in its thread, so any thread may call.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._net import blocking
from fluvio_sync._net.transport import Peer
from fluvio_sync._settings.endpoint import Endpoint, parse_endpoint
from fluvio_sync.errors import (
    ConnectError,
    ConnectTimeoutError,
    PartitionNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    ServerError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.batch import decode_batch, iter_batches
from fluvio_sync.protocol.consume import StreamFetchRequest, StreamFetchResponse
from fluvio_sync.protocol.frames import MAX_FRAME
from fluvio_sync.protocol.metadata import PartitionObject, SpuObject, partition_key
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, SPU_CLIENT_RANGES, ScApi, SpuApi
from fluvio_sync.protocol.watch import ListRequest, ListResponse
from fluvio_sync.tls import TlsConfig, authority

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.protocol.error_code import ErrorCode
    from fluvio_sync.protocol.primitives import Reader

    Object = TypeVar("Object", PartitionObject, SpuObject)
    Answer = TypeVar("Answer")

_CLOCK = SystemClock()

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

    `endpoint`: the `"host:port"` of the SC (Streaming Controller).
    `topic`, `partition`: the partition to read.
    `timeout`: seconds for the whole call.
    `tls`: as for `Fluvio.connect`; default: plain TCP.

    Raises `TopicNotFoundError`, `PartitionNotFoundError`, `ConnectError`, `RequestTimeoutError`, `ProtocolError`,
    `UnsupportedVersionError`, `ConfigError` for a malformed endpoint, or `ServerError` if the leader refuses.
    """
    try:
        return _read_partition(endpoint, topic, partition, _CLOCK.monotonic() + timeout, tls or TlsConfig.disabled())
    except (ConnectTimeoutError, RequestTimeoutError) as error:
        raise RequestTimeoutError(f"reading partition {partition} of {topic!r} took longer than {timeout} s") from error


def _read_partition(endpoint: str, topic: str, partition: int, deadline: float, tls: TlsConfig) -> list[StoredRecord]:
    peer = Peer(
        "SC",
        parse_endpoint(endpoint),
        SC_CLIENT_RANGES,
        "fluvio-sync-testing",
        tls=tls.ssl_context(),
        server_name=tls.server_name(),
        authority=authority(tls),
    )
    with closing(_Node(peer, deadline)) as sc:
        found = _find(sc, topic, partition)
        leader = _leader(sc, found.spec.leader)
    peer = peer._replace(
        name=f"SPU {leader.spec.id}",
        endpoint=_address(leader),
        ranges=SPU_CLIENT_RANGES,
        server_name=tls.server_name(leader.name),
        max_frame=MAX_FRAME,
    )
    with closing(_Node(peer, deadline)) as spu:
        start, hw = _offsets(spu, topic, partition)
        # Records that are not replicated yet are behind the high watermark.
        end = max(hw, found.status.leader.leo)
        return _read(spu, topic, partition, start, end)


class _Node:
    """A connected SC or SPU; `deadline`: monotonic seconds, for everything that it is asked."""

    def __init__(self, peer: Peer, deadline: float) -> None:
        self._deadline = deadline
        self._connection = blocking.connect(peer, self._left(), _CLOCK)

    def ask(self, api: ScApi | SpuApi, message: Any, read: Callable[[Reader, int], Answer]) -> Answer:
        """Send a request and return its response."""
        answer = blocking.call(self._connection, api, message, self._left(), _CLOCK, is_done=lambda: False)
        assert answer is not None  # it is only where `settled`
        return read(*answer)

    def _left(self) -> float:
        return max(0.0, self._deadline - _CLOCK.monotonic())

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _find(sc: _Node, topic: str, partition: int) -> PartitionObject:
    partitions = _list(sc, PartitionObject)
    name = partition_key(topic, partition)
    for item in partitions:
        if item.name == name:
            return item
    if any(item.name.rpartition("-")[0] == topic for item in partitions):
        raise PartitionNotFoundError(f"topic {topic!r} has no partition {partition}", topic=topic, partition=partition)
    raise TopicNotFoundError(f"there is no topic {topic!r}", topic=topic)


def _leader(sc: _Node, leader: int) -> SpuObject:
    for spu in _list(sc, SpuObject):
        if spu.spec.id == leader and spu.spec.public_endpoint.ingress:
            return spu
    raise ConnectError(f"the leader, SPU {leader}, has no address", address="")


def _address(spu: SpuObject) -> Endpoint:
    ingress = spu.spec.public_endpoint.ingress[0]
    return Endpoint(ingress.hostname or ingress.ip or "", spu.spec.public_endpoint.port)


def _list(sc: _Node, kind: type[Object]) -> list[Object]:
    response = sc.ask(ScApi.LIST, ListRequest(kind.LABEL), ListResponse.read)
    return [item for item in response.items if isinstance(item, kind)]


def _offsets(spu: _Node, topic: str, partition: int) -> tuple[int, int]:
    request = FetchOffsetsRequest((FetchOffsetsTopic(topic, (partition,)),))
    response = spu.ask(SpuApi.FETCH_OFFSETS, request, FetchOffsetsResponse.read)
    offsets = [item for entry in response.topics for item in entry.partitions]
    if len(offsets) != 1:
        raise ProtocolError(f"one partition's offsets were asked for, {len(offsets)} came")
    _check(offsets[0].error_code)
    return offsets[0].start_offset, offsets[0].last_stable_offset


def _read(spu: _Node, topic: str, partition: int, start: int, end: int) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    while start < end:
        # Each request begins a stream, of which only the first response is used.
        request = StreamFetchRequest(topic, partition, start, _MAX_BYTES)
        response = spu.ask(SpuApi.STREAM_FETCH, request, StreamFetchResponse.read)
        _check(response.partition.error_code)
        reached = _decode(response.partition.records, start, records)
        if reached == start:
            raise ProtocolError("a response without a single whole batch")
        start = reached
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
