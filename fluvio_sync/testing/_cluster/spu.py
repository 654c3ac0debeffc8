# SPDX-License-Identifier: Apache-2.0
"""A connection to one of the development cluster's SPUs: produce, and all that consumers ask for.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync.protocol.consume import (
    ConsumerOffset,
    ConsumerOffsetFilter,
    DeleteConsumerOffsetRequest,
    DeleteConsumerOffsetResponse,
    FetchConsumerOffsetsRequest,
    FetchConsumerOffsetsResponse,
    FetchedPartition,
    FetchedTopic,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    OffsetUpdateStatus,
    ReplicaKey,
    StreamFetchRequest,
    UpdateConsumerOffsetRequest,
    UpdateConsumerOffsetResponse,
    UpdateOffsetsRequest,
    UpdateOffsetsResponse,
)
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, PartitionOffsets, TopicOffsets
from fluvio_sync.protocol.produce import ProduceRequest
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    ApiVersionKey,
    ApiVersionsRequest,
    ApiVersionsResponse,
    SpuApi,
)
from fluvio_sync.testing._cluster.model import CONSUMER_OFFSET_TOPIC
from fluvio_sync.testing._cluster.produce import ProduceJob
from fluvio_sync.testing._cluster.session import ServerSession
from fluvio_sync.testing._cluster.stream import Stream, rejection, visible_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluvio_sync.protocol.frames import RequestHeader
    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.testing._cluster.core import ClusterCore

_PLATFORM = "0.0.0"

_ANONYMOUS_STREAM_FETCH = 15
"""The highest StreamFetch that an SPU offers to a client that does not tell its version."""


class SpuSession(ServerSession):
    """A connection to an SPU.  `streams`: those of its consumers, by stream id."""

    def __init__(self, core: ClusterCore, spu: int) -> None:
        super().__init__(core, spu)
        self.streams: dict[int, Stream] = {}
        self._last_stream = 0
        self._job: ProduceJob | None = None
        self._job_header: RequestHeader | None = None

    def _handler_table(self) -> Mapping[int, Callable[[RequestHeader, Reader], None]]:
        return {
            API_VERSIONS: self._api_versions,
            SpuApi.PRODUCE: self._produce,
            SpuApi.FETCH: self._fetch,
            SpuApi.FETCH_OFFSETS: self._fetch_offsets,
            SpuApi.STREAM_FETCH: self._stream_fetch,
            SpuApi.UPDATE_OFFSETS: self._update_offsets,
            SpuApi.UPDATE_CONSUMER_OFFSET: self._update_consumer_offset,
            SpuApi.DELETE_CONSUMER_OFFSET: self._delete_consumer_offset,
            SpuApi.FETCH_CONSUMER_OFFSETS: self._fetch_consumer_offsets,
        }

    def _api_versions(self, header: RequestHeader, reader: Reader) -> None:
        request = ApiVersionsRequest.read(reader, header.api_version)
        highest = self._core.spu_version
        streaming = highest if request.client_version else _ANONYMOUS_STREAM_FETCH
        keys = (
            ApiVersionKey(SpuApi.PRODUCE, 0, highest),
            ApiVersionKey(SpuApi.FETCH, 0, highest),
            ApiVersionKey(SpuApi.FETCH_OFFSETS, highest, highest),
            ApiVersionKey(SpuApi.STREAM_FETCH, 0, streaming),
            ApiVersionKey(SpuApi.UPDATE_OFFSETS, 0, 0),
        )
        answer = ApiVersionsResponse(ErrorCode.NONE, keys, _PLATFORM)
        self.push(header.correlation_id, header.api_version, answer)

    # --- produce ---------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """See `ServerSession`: a read-committed reply waits for replication."""
        return self._job is not None or super().waiting

    @property
    def wakeup_at(self) -> float | None:
        """See `ServerSession`."""
        return self._job.deadline if self._job is not None else None

    def on_time(self, now: float) -> None:
        """See `ServerSession`."""
        super().on_time(now)
        if self._job is not None:
            self._go_on()
            self.serve_queue()

    def disconnect(self) -> None:
        """See `ServerSession`; its streams end."""
        for stream in self.streams.values():
            self._core.end_stream(stream)
        super().disconnect()

    def _produce(self, header: RequestHeader, reader: Reader) -> None:
        request = ProduceRequest.read(reader, header.api_version)
        cut = self._core.faults.take_cut(self.node)
        if cut != "before":
            self._job = ProduceJob(self._core, self.node, request)
            self._job_header = header
        if cut is not None:
            self._job = None
            self.close()
            return
        self._go_on()

    def _go_on(self) -> None:
        job, header = self._job, self._job_header
        assert job is not None
        assert header is not None
        done = job.is_done(self._core.now)
        self._core.mark_waiting(self, waiting=not done)
        if done:
            self._job = None
            self.push(header.correlation_id, header.api_version, job.response())

    # --- consume ---------------------------------------------------------------------------------

    def _fetch_offsets(self, header: RequestHeader, reader: Reader) -> None:
        request = FetchOffsetsRequest.read(reader, header.api_version)
        topics = tuple(
            TopicOffsets(
                topic.name,
                tuple(self._offsets(topic.name, index, request.consumer_id) for index in topic.partitions),
            )
            for topic in request.topics
        )
        self.push(header.correlation_id, header.api_version, FetchOffsetsResponse(topics))

    def _offsets(self, topic: str, index: int, consumer_id: str | None) -> PartitionOffsets:
        partition = self._core.led_by(self.node, topic, index)
        if partition is None:
            return PartitionOffsets(PLAIN_CODES[Code.PARTITION_NOT_LEADER], index, 0, 0)
        start = 0
        if consumer_id is not None:
            stored = self._core.consumer_offsets.get((consumer_id, topic, index))
            start = stored[0] + 1 if stored else 0
        return PartitionOffsets(ErrorCode.NONE, index, start, partition.hw)

    def _stream_fetch(self, header: RequestHeader, reader: Reader) -> None:
        request = StreamFetchRequest.read(reader, header.api_version)
        send = partial(self.push, header.correlation_id, header.api_version)
        partition = self._core.led_by(self.node, request.topic, request.partition)
        if partition is None:
            Stream(send, request, 0).end(PLAIN_CODES[Code.NOT_LEADER_FOR_PARTITION])
            return
        self._last_stream += 1
        stream = Stream(send, request, self._last_stream)
        named = next((item.name for item in request.smartmodules if item.name), None)
        rejected = rejection(partition, request.fetch_offset)
        if named is not None:
            stream.end(ErrorCode(Code.SMART_MODULE_NOT_FOUND, (named,)))
        elif rejected is not None:
            stream.end(rejected)
        else:
            self.streams[stream.id] = stream
            self._core.add_stream(stream)
            stream.feed(partition)

    def _update_offsets(self, header: RequestHeader, reader: Reader) -> None:
        request = UpdateOffsetsRequest.read(reader, header.api_version)
        statuses = []
        for update in request.offsets:
            known = update.session_id in self.streams
            error = Code.NONE if known else Code.FETCH_SESSION_NOT_FOUD
            statuses.append(OffsetUpdateStatus(update.session_id, PLAIN_CODES[error]))
        answer = UpdateOffsetsResponse(tuple(statuses))
        self.push(header.correlation_id, header.api_version, answer)
        for update in request.offsets:
            stream = self.streams.get(update.session_id)
            if stream is None:
                continue
            partition = self._core.led_by(self.node, stream.topic, stream.partition)
            if partition is not None:
                stream.advance(update.offset, partition)

    def _fetch(self, header: RequestHeader, reader: Reader) -> None:
        request = FetchRequest.read(reader, header.api_version)
        topics = tuple(
            FetchedTopic(
                topic.name,
                tuple(self._fetched(topic.name, wanted, request.isolation) for wanted in topic.fetch_partitions),
            )
            for topic in request.topics
        )
        self.push(header.correlation_id, header.api_version, FetchResponse(topics))

    def _fetched(self, topic: str, wanted: FetchPartition, isolation: int) -> FetchedPartition:
        index, offset = wanted.partition_index, wanted.fetch_offset
        partition = self._core.led_by(self.node, topic, index)
        if partition is None:
            return FetchedPartition(index, PLAIN_CODES[Code.NOT_LEADER_FOR_PARTITION], 0)
        rejected = rejection(partition, offset)
        if rejected is not None:
            return FetchedPartition(index, rejected, partition.hw)
        end = visible_end(partition, isolation)
        records = b"".join(partition.log.read(offset, end, wanted.max_bytes))
        return FetchedPartition(index, ErrorCode.NONE, partition.hw, records=records)

    # --- consumer offsets ------------------------------------------------------------------------

    def _update_consumer_offset(self, header: RequestHeader, reader: Reader) -> None:
        request = UpdateConsumerOffsetRequest.read(reader, header.api_version)
        stream = self.streams.get(request.session_id)
        error, offset = ErrorCode.NONE, request.offset
        if stream is None:
            error, offset = PLAIN_CODES[Code.FETCH_SESSION_NOT_FOUD], 0
        elif stream.consumer_id is None:
            error, offset = ErrorCode(Code.OTHER, ("stream without consumer id",)), 0
        else:
            key = (stream.consumer_id, stream.topic, stream.partition)
            self._core.store_consumer_offset(key, offset)
        answer = UpdateConsumerOffsetResponse(offset, error)
        self.push(header.correlation_id, header.api_version, answer)

    def _keeps_offsets(self) -> bool:
        return self._core.led_by(self.node, CONSUMER_OFFSET_TOPIC, 0) is not None

    def _delete_consumer_offset(self, header: RequestHeader, reader: Reader) -> None:
        request = DeleteConsumerOffsetRequest.read(reader, header.api_version)
        error = PLAIN_CODES[Code.PARTITION_NOT_LEADER]
        if self._keeps_offsets():
            error = ErrorCode.NONE
            replica = request.replica_id
            key = (request.consumer_id, replica.topic, replica.partition)
            self._core.store_consumer_offset(key, None)
        answer = DeleteConsumerOffsetResponse(error)
        self.push(header.correlation_id, header.api_version, answer)

    def _fetch_consumer_offsets(self, header: RequestHeader, reader: Reader) -> None:
        request = FetchConsumerOffsetsRequest.read(reader, header.api_version)
        answer = FetchConsumerOffsetsResponse(PLAIN_CODES[Code.PARTITION_NOT_LEADER], ())
        if self._keeps_offsets():
            wanted = request.filter_opts or ConsumerOffsetFilter()
            answer = FetchConsumerOffsetsResponse(ErrorCode.NONE, self._stored(wanted))
        self.push(header.correlation_id, header.api_version, answer)

    def _stored(self, wanted: ConsumerOffsetFilter) -> tuple[ConsumerOffset, ...]:
        offsets = (
            ConsumerOffset(consumer, ReplicaKey(topic, partition), offset, time)
            for (consumer, topic, partition), (
                offset,
                time,
            ) in self._core.consumer_offsets.items()
        )
        return tuple(
            item
            for item in offsets
            if wanted.consumer_id in (None, item.consumer_id) and wanted.replica_id in (None, item.replica_id)
        )
