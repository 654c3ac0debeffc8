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
    OffsetUpdateStatus,
    ReplicaKey,
    StreamFetchRequest,
    UpdateConsumerOffsetRequest,
    UpdateConsumerOffsetResponse,
    UpdateOffsetsRequest,
    UpdateOffsetsResponse,
)
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.fetch import FetchedPartition, FetchedTopic, FetchPartition, FetchRequest, FetchResponse
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, PartitionOffsets, TopicOffsets
from fluvio_sync.protocol.produce import ProduceRequest
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    ApiVersionKey,
    ApiVersionsRequest,
    ApiVersionsResponse,
    SpuApi,
)
from fluvio_sync.testing._cluster.core import ServerSession
from fluvio_sync.testing._cluster.model import CONSUMER_OFFSET_TOPIC
from fluvio_sync.testing._cluster.produce import ProduceJob
from fluvio_sync.testing._cluster.stream import Stream, rejection, visible_end

if TYPE_CHECKING:
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
        self.requests = {
            API_VERSIONS: (ApiVersionsRequest, self._api_versions),
            SpuApi.PRODUCE: (ProduceRequest, self._produce),
            SpuApi.FETCH: (FetchRequest, self._fetch),
            SpuApi.FETCH_OFFSETS: (FetchOffsetsRequest, self._fetch_offsets),
            SpuApi.STREAM_FETCH: (StreamFetchRequest, self._stream_fetch),
            SpuApi.UPDATE_OFFSETS: (UpdateOffsetsRequest, self._update_offsets),
            SpuApi.UPDATE_CONSUMER_OFFSET: (UpdateConsumerOffsetRequest, self._update_consumer_offset),
            SpuApi.DELETE_CONSUMER_OFFSET: (DeleteConsumerOffsetRequest, self._delete_consumer_offset),
            SpuApi.FETCH_CONSUMER_OFFSETS: (FetchConsumerOffsetsRequest, self._fetch_consumer_offsets),
        }

    def _api_versions(self, request: ApiVersionsRequest) -> ApiVersionsResponse:
        highest = self._core.spu_version
        streaming = highest if request.client_version else _ANONYMOUS_STREAM_FETCH
        keys = (
            ApiVersionKey(SpuApi.PRODUCE, 0, highest),
            ApiVersionKey(SpuApi.FETCH, 0, highest),
            ApiVersionKey(SpuApi.FETCH_OFFSETS, highest, highest),
            ApiVersionKey(SpuApi.STREAM_FETCH, 0, streaming),
            ApiVersionKey(SpuApi.UPDATE_OFFSETS, 0, 0),
        )
        return ApiVersionsResponse(ErrorCode.NONE, keys, _PLATFORM)

    # --- produce ---------------------------------------------------------------------------------

    @property
    def is_blocked(self) -> bool:
        """See `ServerSession`: a read-committed reply waits for replication."""
        return self._job is not None or super().is_blocked

    @property
    def wakeup_at(self) -> float | None:
        """See `ServerSession`."""
        return self._job.deadline if self._job is not None else None

    def on_time(self, now: float) -> None:
        """See `ServerSession`."""
        super().on_time(now)
        if self._job is not None:
            self._go_on(self._job)
            self.serve_queue()

    def disconnect(self) -> None:
        """See `ServerSession`; its streams end."""
        for stream in self.streams.values():
            self._core.end_stream(stream)
        super().disconnect()

    def _produce(self, request: ProduceRequest) -> None:
        cut = self._core.faults.take_cut(self.node)
        carry_out = partial(ProduceJob, self._core, self.node, request)
        if cut is None:
            self._go_on(carry_out())
            return
        if cut.when == "after":
            carry_out()
        elif cut.when == "late":
            self._core.carry_out_later(self.node, cut.delay, carry_out)
        self.close()

    def _go_on(self, job: ProduceJob) -> None:
        if job.is_done(self._core.now):
            self._job = None
            self._core.waiting.pop(self, None)
            self.push(self.header, job.response())
        else:
            self._job = job
            self._core.waiting[self] = None

    # --- consume ---------------------------------------------------------------------------------

    def _fetch_offsets(self, request: FetchOffsetsRequest) -> FetchOffsetsResponse:
        return FetchOffsetsResponse(
            tuple(
                TopicOffsets(
                    topic.name,
                    tuple(self._offsets(topic.name, index, request.consumer_id) for index in topic.partitions),
                )
                for topic in request.topics
            )
        )

    def _offsets(self, topic: str, index: int, consumer_id: str | None) -> PartitionOffsets:
        partition = self._core.led_by(self.node, topic, index)
        if partition is None:
            return PartitionOffsets(PLAIN_CODES[Code.PARTITION_NOT_LEADER], index, 0, 0)
        start = 0
        if consumer_id is not None:
            stored = self._core.consumer_offsets.get((consumer_id, topic, index))
            start = stored[0] + 1 if stored else 0
        return PartitionOffsets(ErrorCode.NONE, index, start, partition.hw)

    def _stream_fetch(self, request: StreamFetchRequest) -> None:
        send = partial(self.push, self.header)
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

    def _update_offsets(self, request: UpdateOffsetsRequest) -> None:
        statuses = []
        for update in request.offsets:
            known = update.session_id in self.streams
            error = Code.NONE if known else Code.FETCH_SESSION_NOT_FOUD
            statuses.append(OffsetUpdateStatus(update.session_id, PLAIN_CODES[error]))
        self.push(self.header, UpdateOffsetsResponse(tuple(statuses)))
        for update in request.offsets:
            stream = self.streams.get(update.session_id)
            if stream is None:
                continue
            partition = self._core.led_by(self.node, *stream.key)
            if partition is not None:
                stream.advance(update.offset, partition)

    def _fetch(self, request: FetchRequest) -> FetchResponse:
        return FetchResponse(
            tuple(
                FetchedTopic(
                    topic.name,
                    tuple(self._fetched(topic.name, wanted, request) for wanted in topic.fetch_partitions),
                )
                for topic in request.topics
            )
        )

    def _fetched(self, topic: str, wanted: FetchPartition, request: FetchRequest) -> FetchedPartition:
        """Return a partition's part of the answer; as of a real SPU, it has the request's `max_bytes` at most."""
        index, offset = wanted.partition_index, wanted.fetch_offset
        partition = self._core.led_by(self.node, topic, index)
        if partition is None:
            return FetchedPartition(index, PLAIN_CODES[Code.NOT_LEADER_FOR_PARTITION], 0)
        rejected = rejection(partition, offset)
        if rejected is not None:
            return FetchedPartition(index, rejected, partition.hw)
        end = visible_end(partition, request.isolation)
        records = partition.log.read_cut(offset, end, request.max_bytes)
        return FetchedPartition(index, ErrorCode.NONE, partition.hw, records=records)

    # --- consumer offsets ------------------------------------------------------------------------

    def _update_consumer_offset(self, request: UpdateConsumerOffsetRequest) -> UpdateConsumerOffsetResponse:
        stream = self.streams.get(request.session_id)
        if stream is None:
            return UpdateConsumerOffsetResponse(0, PLAIN_CODES[Code.FETCH_SESSION_NOT_FOUD])
        if stream.consumer_id is None:
            return UpdateConsumerOffsetResponse(0, ErrorCode(Code.OTHER, ("stream without consumer id",)))
        self._core.store_consumer_offset((stream.consumer_id, *stream.key), request.offset)
        return UpdateConsumerOffsetResponse(request.offset, ErrorCode.NONE)

    def _keeps_offsets(self) -> bool:
        return self._core.led_by(self.node, CONSUMER_OFFSET_TOPIC, 0) is not None

    def _delete_consumer_offset(self, request: DeleteConsumerOffsetRequest) -> DeleteConsumerOffsetResponse:
        if not self._keeps_offsets():
            return DeleteConsumerOffsetResponse(PLAIN_CODES[Code.PARTITION_NOT_LEADER])
        replica = request.replica_id
        self._core.store_consumer_offset((request.consumer_id, replica.topic, replica.partition), None)
        return DeleteConsumerOffsetResponse(ErrorCode.NONE)

    def _fetch_consumer_offsets(self, request: FetchConsumerOffsetsRequest) -> FetchConsumerOffsetsResponse:
        if not self._keeps_offsets():
            return FetchConsumerOffsetsResponse(PLAIN_CODES[Code.PARTITION_NOT_LEADER], ())
        wanted = request.filter_opts or ConsumerOffsetFilter()
        offsets = (
            ConsumerOffset(consumer, ReplicaKey(topic, partition), *stored)
            for (consumer, topic, partition), stored in self._core.consumer_offsets.items()
        )
        found = tuple(
            item
            for item in offsets
            if wanted.consumer_id in (None, item.consumer_id) and wanted.replica_id in (None, item.replica_id)
        )
        return FetchConsumerOffsetsResponse(ErrorCode.NONE, found)
