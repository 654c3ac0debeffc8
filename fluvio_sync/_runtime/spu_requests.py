# SPDX-License-Identifier: Apache-2.0
"""Requests to an SPU: produce requests as bytes, and the questions for a partition's offsets and log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from fluvio_sync._core.events import LogRead
from fluvio_sync.delivery import Isolation
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.batch import iter_headers
from fluvio_sync.protocol.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from fluvio_sync.protocol.frames import MAX_ANSWER
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.primitives import size_of
from fluvio_sync.protocol.produce import (
    PRODUCE,
    IsolationCode,
    ProduceResponse,
    produce_request_buffers,
    read_lone_response,
)
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from fluvio_sync._core.looking import Look
    from fluvio_sync._core.partition import PartitionQueue
    from fluvio_sync._core.pipeline import Request
    from fluvio_sync._net.connection import Connection
    from fluvio_sync.config import SmartModule
    from fluvio_sync.protocol.fetch import FetchedPartition
    from fluvio_sync.protocol.offsets import PartitionOffsets
    from fluvio_sync.protocol.primitives import Buffer, Reader

    Part = TypeVar("Part", PartitionOffsets, FetchedPartition)

_READ_COMMITTED: Final = Isolation.READ_COMMITTED  # a constant: to look a member of an enum up takes as long as a call
# Elements that an answer may have: a topic and a partition for each entry of the request, and those of error texts.
_ELEMENTS_OF_ENTRY: Final = 2
_ELEMENTS: Final = 4096


def encode_produce(request: Request, connection: Connection, correlation: int) -> list[Buffer]:
    """Return the frame of a produce request as buffers."""
    config = request.entries[0][0].topic_state.config
    topics: list[tuple[str, list[tuple[int, int, list[bytes]]]]] = []
    for queue, batches in request.entries:
        if queue.topic_state.may_drop_records:
            connection.accept_answers(MAX_ANSWER + queue.max_request_size)
        buffers = batches[0].encode()
        if len(batches) > 1:
            buffers = [buffer for batch in batches for buffer in batch.encode()]
        if not topics or topics[-1][0] != queue.topic:
            topics.append((queue.topic, []))
        topics[-1][1].append((queue.partition, size_of(buffers), buffers))
    committed = request.pipeline.isolation is _READ_COMMITTED
    return produce_request_buffers(
        version=connection.version(PRODUCE),
        correlation_id=correlation,
        client_id=connection.peer.client_id,
        isolation=IsolationCode.READ_COMMITTED if committed else IsolationCode.READ_UNCOMMITTED,
        timeout_ms=round(config.server_timeout * 1000),
        topics=topics,
        smartmodules=[_invocation(module) for module in config.smartmodules] if config.smartmodules else (),
    )


def _invocation(module: SmartModule) -> SmartModuleInvocation:
    return SmartModuleInvocation(name=module.name, params=module.params)


def read_response(request: Request, reader: Reader, version: int) -> ProduceResponse:
    """Return the answer to a produce request; raises `ProtocolError`."""
    if len(request.entries) == 1 and version >= 5:
        topic = request.entries[0][0].topic
        response = read_lone_response(reader.peek(), topic, topic.encode())
        if response is not None:
            return response
    reader.elements = _ELEMENTS + _ELEMENTS_OF_ENTRY * len(request.entries)
    return ProduceResponse.read(reader, version)


def ask_offsets(queue: PartitionQueue, connection: Connection) -> int:
    """Ask for the partition's offsets and return the correlation id; raises `UnsupportedVersionError`."""
    request = FetchOffsetsRequest(topics=(FetchOffsetsTopic(queue.topic, (queue.partition,)),))
    return connection.request(SpuApi.FETCH_OFFSETS, request)


def read_offsets(queue: PartitionQueue, reader: Reader, connection: Connection) -> PartitionOffsets:
    """Return the partition's offsets in an answer; raises `ProtocolError`."""
    reader.elements = _ELEMENTS
    response = FetchOffsetsResponse.read(reader, connection.version(SpuApi.FETCH_OFFSETS))
    return _only(queue, [(topic.name, item) for topic in response.topics for item in topic.partitions])


def ask_log(look: Look, connection: Connection) -> int:
    """Read the next chunk of a partition's log, not replicated records included, and return the correlation id."""
    assert look.position is not None
    connection.accept_answers(MAX_ANSWER + look.chunk)
    partition = FetchPartition(look.queue.partition, look.position, look.chunk)
    request = FetchRequest((FetchTopic(look.queue.topic, (partition,)),), max_bytes=look.chunk)
    return connection.request(SpuApi.FETCH, request)


def read_log(look: Look, reader: Reader, connection: Connection) -> LogRead:
    """Return the headers of the batches in a chunk; raises `ProtocolError`."""
    reader.elements = _ELEMENTS
    response = FetchResponse.read(reader, connection.version(SpuApi.FETCH))
    found = _only(look.queue, [(topic.name, item) for topic in response.topics for item in topic.partitions])
    return LogRead(look, list(iter_headers(found.records)), len(found.records), found.error_code)


def _only(queue: PartitionQueue, answers: list[tuple[str, Part]]) -> Part:
    """Return the part of an answer that is about a queue's partition; raises `ProtocolError` without one."""
    for topic, part in answers:
        if (topic, part.partition_index) == (queue.topic, queue.partition):
            return part
    raise ProtocolError(f"{queue} was asked about, and the answer is about other partitions")
