# SPDX-License-Identifier: Apache-2.0
"""What is said to an SPU: a dispatcher's request as bytes, and the question how far a partition is replicated."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from fluvio_sync.delivery import Isolation
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.produce import IsolationCode, produce_request_buffers
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from fluvio_sync._core.batch import Batch
    from fluvio_sync._core.partition import Lane
    from fluvio_sync._core.pipeline import Request, Settlement
    from fluvio_sync._net.connection import Connection
    from fluvio_sync.protocol.primitives import Buffer, Reader


def encode_produce(request: Request, connection: Connection, correlation: int) -> list[Buffer]:
    """Return the frame of a produce request as buffers."""
    config = request.entries[0][0].channel.config
    topics = [
        (topic, [_partition(lane, batches) for lane, batches in entries])
        for topic, entries in groupby(request.entries, key=lambda entry: entry[0].topic)
    ]
    committed = request.link.isolation is Isolation.READ_COMMITTED
    return produce_request_buffers(
        version=connection.version(SpuApi.PRODUCE),
        correlation_id=correlation,
        client_id=connection.peer.client_id,
        isolation=IsolationCode.READ_COMMITTED if committed else IsolationCode.READ_UNCOMMITTED,
        timeout_ms=round(config.server_timeout * 1000),
        topics=topics,
        smartmodules=[SmartModuleInvocation(name=module.name, params=module.params) for module in config.smartmodules],
    )


def _partition(lane: Lane, batches: list[Batch]) -> tuple[int, int, list[bytes]]:
    buffers = [buffer for batch in batches for buffer in batch.encode()]
    return lane.partition, sum(map(len, buffers)), buffers


def ask_offsets(settlement: Settlement, connection: Connection) -> int:
    """Ask for the partition's offsets and return the correlation id; raises `UnsupportedVersionError`."""
    lane = settlement.lane
    request = FetchOffsetsRequest(topics=(FetchOffsetsTopic(lane.topic, (lane.partition,)),))
    return connection.request(SpuApi.FETCH_OFFSETS, request)


def read_high_watermark(settlement: Settlement, reader: Reader, connection: Connection) -> int | None:
    """Return the high watermark that the SPU told, None if it does not know the partition."""
    response = FetchOffsetsResponse.read(reader, connection.version(SpuApi.FETCH_OFFSETS))
    for topic in response.topics:
        for partition in topic.partitions:
            if (topic.name, partition.partition_index) == (settlement.lane.topic, settlement.lane.partition):
                return None if partition.error_code.code else partition.last_stable_offset
    return None
