# SPDX-License-Identifier: Apache-2.0
"""Reads a whole partition back, off any Fluvio cluster.

For tests and examples.  Every call uses connections of its own and drives them in its thread, so any thread may call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.errors import ConnectTimeoutError, ProtocolError, RequestTimeoutError
from fluvio_sync.protocol.batch import decode_batch, iter_batches
from fluvio_sync.protocol.consume import StreamFetchRequest, StreamFetchResponse
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.testing._nodes import Limits, Nodes, check, offsets
from fluvio_sync.tls import TlsConfig

if TYPE_CHECKING:
    from fluvio_sync.protocol.batch import BatchIdentity
    from fluvio_sync.testing._nodes import Node

_CLOCK = SystemClock()

_MAX_BYTES = 40 * 1024 * 1024
"""Of one response.  A real SPU cuts batches short at this size, and no batch is larger than 32 MiB,
so that at least one arrives whole."""


class StoredRecord(NamedTuple):
    """A record as it is in the log.

    `timestamp`: milliseconds since the epoch, -1 if there is none; `key`: None is no key.
    `identity`: that of its batch; None if it was not asked for, or if the batch has none.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    identity: BatchIdentity | None = None


def read_partition(
    endpoint: str,
    topic: str,
    partition: int = 0,
    *,
    timeout: float = 10.0,
    tls: TlsConfig | None = None,
    identity: bool = False,
) -> list[StoredRecord]:
    """Return all records that a partition has at the time of the call, from the first on.

    `endpoint`: the `"host:port"` of the SC (Streaming Controller).
    `topic`, `partition`: the partition to read.
    `timeout`: seconds for the whole call.
    `tls`: as for `Fluvio.connect`; default: plain TCP.
    `identity`: tell the identity of each record's batch, which another batch has only if it is the same one, stored
    again.

    Raises `TopicNotFoundError`, `PartitionNotFoundError`, `ConnectError`, `RequestTimeoutError`, `ProtocolError`,
    `UnsupportedVersionError`, `ConfigError` for a malformed endpoint, or `ServerError` if the leader refuses.
    """
    limits = Limits.until(_CLOCK.monotonic() + timeout)
    try:
        with Nodes(parse_endpoint(endpoint), tls or TlsConfig.disabled(), "fluvio-sync-testing", limits) as nodes:
            return _read_partition(nodes, topic, partition, identity=identity)
    except (ConnectTimeoutError, RequestTimeoutError) as error:
        raise RequestTimeoutError(f"reading partition {partition} of {topic!r} took longer than {timeout} s") from error


def _read_partition(nodes: Nodes, topic: str, partition: int, *, identity: bool) -> list[StoredRecord]:
    found = nodes.partition(topic, partition)
    spu = nodes.leader(found)
    start, hw = offsets(spu, topic, partition)
    # Records that are not replicated yet are behind the high watermark.
    end = max(hw, found.status.leader.leo)
    return _read(spu, topic, partition, start, end, identity=identity)


def _read(spu: Node, topic: str, partition: int, start: int, end: int, *, identity: bool) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    while start < end:
        # Each request begins a stream, of which only the first response is used.
        request = StreamFetchRequest(topic, partition, start, _MAX_BYTES)
        response = spu.ask(SpuApi.STREAM_FETCH, request, StreamFetchResponse.read)
        check(response.partition.error_code)
        reached = _decode(response.partition.records, start, records, identity=identity)
        if reached == start:
            raise ProtocolError("a response without a single whole batch")
        start = reached
    return records


def _decode(record_set: bytes, start: int, records: list[StoredRecord], *, identity: bool = False) -> int:
    """Add the records from offset `start` on; returns the offset behind the last whole batch."""
    whole = memoryview(record_set)[: _whole_length(record_set)]
    for header, batch in iter_batches(whole):
        decoded = decode_batch(batch).records
        skipped = max(0, start - header.base_offset)
        told = header.identity if identity else None
        records += [StoredRecord(at, timestamp, key, value, told) for key, value, timestamp, at in decoded[skipped:]]
        start = header.next_offset
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
