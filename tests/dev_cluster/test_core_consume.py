# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol.batch import decode_record_set, iter_batches
from fluvio_sync.protocol.consume import (
    ConsumerOffsetFilter,
    DeleteConsumerOffsetRequest,
    DeleteConsumerOffsetResponse,
    FetchConsumerOffsetsRequest,
    FetchConsumerOffsetsResponse,
    OffsetUpdate,
    ReplicaKey,
    StreamFetchRequest,
    StreamFetchResponse,
    UpdateConsumerOffsetRequest,
    UpdateConsumerOffsetResponse,
    UpdateOffsetsRequest,
    UpdateOffsetsResponse,
)
from fluvio_sync.protocol.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from fluvio_sync.protocol.metadata import ComputedReplicas, TopicSpec
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    SPU_CLIENT_RANGES,
    ApiVersionsRequest,
    ApiVersionsResponse,
    SpuApi,
    negotiate,
)
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._cluster.spu import SpuSession
from tests.dev_cluster.messages import batch, identified, produce, sent, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.testing._cluster.core import ServerSession


class Consumer:
    """A session of 5001 that reads the topic `two`, whose leader is 5001 and whose follower is 5002."""

    def __init__(self, core: ClusterCore) -> None:
        self.core = core
        self.session = SpuSession(core, 5001)

    def write(self, *values: bytes) -> None:
        tell(SpuSession(self.core, 5001), SpuApi.PRODUCE, produce("two", (0, batch(*values))))

    def open(self, offset: int, max_bytes: int = 1 << 20, **settings: Any) -> list[Any]:
        request = StreamFetchRequest("two", 0, offset, max_bytes, **settings)
        return _responses(tell(self.session, SpuApi.STREAM_FETCH, request))

    def pushed(self) -> list[Any]:
        return _responses(sent(self.session))

    def acknowledge(self, offset: int, stream: int = 1) -> list[Any]:
        request = UpdateOffsetsRequest((OffsetUpdate(offset, stream),))
        answer, *pushed = tell(self.session, SpuApi.UPDATE_OFFSETS, request, version=1)
        status = UpdateOffsetsResponse.read(answer, 0).status
        assert [(item.session_id, item.error.code) for item in status] == [(stream, 0)]
        return _responses(pushed)


def _responses(bodies: Sequence[Reader]) -> list[Any]:
    """Return (stream id, error code, values) of every response."""
    found = [StreamFetchResponse.read(body, 25) for body in bodies]
    return [(item.stream_id, item.partition.error_code.code, _values(item.partition.records)) for item in found]


def _values(records: bytes) -> list[bytes]:
    return [record.value for batch in decode_record_set(records) for record in batch.records]


@pytest.fixture
def consumer(core: ClusterCore) -> Consumer:
    core.create_topic("two", TopicSpec(ComputedReplicas(1, 2)))
    return Consumer(core)


def test_a_stream_sends_the_present_records_then_waits_for_an_acknowledgement(consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    consumer.write(b"c")
    assert consumer.open(0) == [(1, 0, [b"a", b"b", b"c"])]
    consumer.write(b"d")
    assert consumer.pushed() == []
    assert consumer.acknowledge(3) == [(1, 0, [b"d"])]
    assert consumer.acknowledge(4) == []
    consumer.write(b"e")
    assert consumer.pushed() == [(1, 0, [b"e"])]


def test_a_stream_begins_with_the_batch_that_holds_the_offset(consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    consumer.write(b"c")
    assert consumer.open(1) == [(1, 0, [b"a", b"b", b"c"])]
    assert consumer.open(2) == [(2, 0, [b"c"])]


def test_a_stream_at_the_end_needs_no_acknowledgement(consumer: Consumer) -> None:
    consumer.write(b"a")
    assert consumer.open(1) == []
    consumer.write(b"b")
    assert consumer.pushed() == [(1, 0, [b"b"])]


def test_batches_are_never_cut(consumer: Consumer) -> None:
    consumer.write(b"a" * 100)
    consumer.write(b"b")
    assert consumer.open(0, max_bytes=10) == [(1, 0, [b"a" * 100])]
    assert consumer.acknowledge(1) == [(1, 0, [b"b"])]


@pytest.mark.parametrize(("offset", "code"), [(-1, 71), (2, 2)])
def test_a_stream_cannot_start_outside_the_log(consumer: Consumer, offset: int, code: int) -> None:
    consumer.write(b"a")
    assert consumer.open(offset) == [(1, code, [])]
    consumer.write(b"b")
    assert consumer.pushed() == []


def test_a_stream_of_an_unknown_partition_or_module_is_rejected(core: ClusterCore, consumer: Consumer) -> None:
    request = StreamFetchRequest("nope", 0, 0, 1000)
    refused = _responses(tell(SpuSession(core, 5001), SpuApi.STREAM_FETCH, request))
    assert refused == [(0, 6, [])]
    modules = (SmartModuleInvocation(name="missing"),)
    assert consumer.open(0, smartmodules=modules) == [(1, 6001, [])]


def test_read_committed_streams_stop_at_the_high_watermark(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a")
    core.kill_spu(5002)
    consumer.write(b"b")
    assert consumer.open(0, isolation=1) == [(1, 0, [b"a"])]
    assert consumer.open(0, isolation=0) == [(2, 0, [b"a", b"b"])]
    assert consumer.acknowledge(1) == []
    core.restart_spu(5002)
    assert consumer.pushed() == [(1, 0, [b"b"])]


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (lambda core: core.delete_topic("two"), 2007),
        (lambda core: core.move_leader("two", 0, 5002), 6),
    ],
)
def test_a_stream_ends_with_its_partition_or_leader(
    core: ClusterCore, consumer: Consumer, event: Callable[[ClusterCore], None], code: int
) -> None:
    consumer.open(0)
    event(core)
    assert consumer.pushed() == [(1, code, [])]
    assert consumer.acknowledge(0) == []


def test_streams_of_a_session_that_is_gone_are_not_fed(core: ClusterCore, consumer: Consumer) -> None:
    consumer.open(0)
    consumer.session.disconnect()
    consumer.write(b"a")
    assert consumer.pushed() == []
    assert consumer.session not in core.take_ready()


def test_an_unknown_stream_cannot_be_acknowledged(consumer: Consumer) -> None:
    request = UpdateOffsetsRequest((OffsetUpdate(0, 9),))
    (body,) = tell(consumer.session, SpuApi.UPDATE_OFFSETS, request, version=1)
    (status,) = UpdateOffsetsResponse.read(body, 0).status
    assert (status.session_id, status.error.code) == (9, 3002)


# --- offsets -------------------------------------------------------------------------------------


def test_offsets(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    topics = (FetchOffsetsTopic("two", (0, 7)), FetchOffsetsTopic("nope", (0,)))
    request = FetchOffsetsRequest(topics)
    for spu, expected in ((5001, (0, 0, 2)), (5002, (3001, 0, 0))):
        (body,) = tell(SpuSession(core, spu), SpuApi.FETCH_OFFSETS, request)
        found = [
            (item.partition_index, item.error_code.code, item.start_offset, item.last_stable_offset)
            for topic in FetchOffsetsResponse.read(body, 25).topics
            for item in topic.partitions
        ]
        assert found == [(0, *expected), (7, 3001, 0, 0), (0, 3001, 0, 0)]


def test_the_one_shot_fetch(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a")
    core.kill_spu(5002)
    consumer.write(b"b")
    wanted = tuple(FetchPartition(index, offset, 1) for index, offset in ((0, 0), (0, 9), (1, 0), (0, 2)))
    for isolation, values in ((0, [b"a", b"b"]), (1, [b"a"])):
        request = FetchRequest((FetchTopic("two", wanted),), isolation=isolation)
        (body,) = tell(SpuSession(core, 5001), SpuApi.FETCH, request)
        (topic,) = FetchResponse.read(body, 25).topics
        codes = [item.error_code.code for item in topic.partitions]
        assert codes == [0, 2, 6, 0]
        assert _values(topic.partitions[0].records) == values
        assert topic.partitions[0].high_watermark == 1
        assert topic.partitions[3].records == b""  # at the end


def fetch(core: ClusterCore, offset: int, max_bytes: int = 1 << 20, version: int = 25) -> bytes:
    """Return the records that a one-shot fetch of `two` is answered with."""
    wanted = (FetchTopic("two", (FetchPartition(0, offset, 1),)),)
    (body,) = tell(SpuSession(core, 5001), SpuApi.FETCH, FetchRequest(wanted, max_bytes=max_bytes), version=version)
    (topic,) = FetchResponse.read(body, version).topics
    return topic.partitions[0].records


def test_a_one_shot_fetch_is_cut_in_the_middle_of_a_batch(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    consumer.write(b"c")
    whole = fetch(core, 1)  # from the batch on that holds the offset
    assert _values(whole) == [b"a", b"b", b"c"]
    for size in (0, 1, 57, len(whole) - 1):
        assert fetch(core, 1, size) == whole[:size]


def test_headers_are_handed_out_as_they_came(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    sent = identified(batch(b"c", codec=1), 2**62 - 1, 2**31 - 1, producer_epoch=7)
    tell(SpuSession(core, 5001), SpuApi.PRODUCE, produce("two", (0, sent)))
    assert core.violations == []
    stored = fetch(core, 2)
    assert stored == b"\0\0\0\0\0\0\0\2" + sent[8:]
    ((header, _),) = iter_batches(stored)
    assert (header.producer_id, header.producer_epoch, header.first_sequence) == (2**62 - 1, 7, 2**31 - 1)
    (pushed,) = tell(consumer.session, SpuApi.STREAM_FETCH, StreamFetchRequest("two", 0, 2, 1 << 20))
    assert StreamFetchResponse.read(pushed, 25).partition.records == stored


@pytest.mark.parametrize("version", [22, 23, 24, 25])
def test_every_version_is_answered(version: int) -> None:
    spus = [SpuAddress(5001, "127.0.0.1", 9010)]
    core = ClusterCore(spus, spu_version=version)
    core.create_topic("two", TopicSpec())
    session = SpuSession(core, 5001)
    (body,) = tell(session, API_VERSIONS, ApiVersionsRequest("1.0.0", "linux", "x86"), version=2)
    offered = ApiVersionsResponse.read(body, 2)
    for api in (SpuApi.FETCH, SpuApi.FETCH_OFFSETS):
        assert negotiate(api.name, api, SPU_CLIENT_RANGES[api], offered) == version
    tell(session, SpuApi.PRODUCE, produce("two", (0, batch(b"a", b"b"))), version=version)
    assert _values(fetch(core, 0, version=version)) == [b"a", b"b"]
    request = FetchOffsetsRequest((FetchOffsetsTopic("two", (0,)),))
    (body,) = tell(session, SpuApi.FETCH_OFFSETS, request, version=version)
    (offsets,) = FetchOffsetsResponse.read(body, version).topics[0].partitions
    assert (offsets.error_code.code, offsets.start_offset, offsets.last_stable_offset) == (0, 0, 2)
    assert core.violations == []


def store(session: ServerSession, offset: int, stream: int) -> tuple[int, int]:
    request = UpdateConsumerOffsetRequest(offset, stream)
    (body,) = tell(session, SpuApi.UPDATE_CONSUMER_OFFSET, request, version=25)
    response = UpdateConsumerOffsetResponse.read(body, 25)
    return response.error_code.code, response.offset


def stored(core: ClusterCore, wanted: ConsumerOffsetFilter | None = None, spu: int = 5001) -> Any:
    request = FetchConsumerOffsetsRequest(wanted)
    (body,) = tell(SpuSession(core, spu), SpuApi.FETCH_CONSUMER_OFFSETS, request)
    response = FetchConsumerOffsetsResponse.read(body, 25)
    if response.error_code.code:
        return response.error_code.code
    return [(item.consumer_id, item.replica_id.topic, item.offset) for item in response.consumers]


def test_consumers_store_offsets(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    consumer.open(0)
    consumer.open(0, consumer_id="me")
    consumer.open(0, consumer_id="you")
    assert store(consumer.session, 1, 1) == (2, 0)  # a stream without a consumer
    assert store(consumer.session, 1, 9) == (3002, 0)  # no such stream
    assert store(consumer.session, 1, 2) == (0, 1)
    assert store(consumer.session, 0, 3) == (0, 0)
    assert stored(core) == [("me", "two", 1), ("you", "two", 0)]
    assert stored(core, ConsumerOffsetFilter(consumer_id="you")) == [("you", "two", 0)]
    here, there = ReplicaKey("two", 0), ReplicaKey("two", 1)
    assert len(stored(core, ConsumerOffsetFilter(here))) == 2
    assert stored(core, ConsumerOffsetFilter(there)) == []
    # Only the leader of the system topic knows them.
    assert stored(core, spu=5002) == 3001
    request = DeleteConsumerOffsetRequest(here, "me")
    for spu, code in ((5002, 3001), (5001, 0), (5001, 0)):
        (body,) = tell(SpuSession(core, spu), SpuApi.DELETE_CONSUMER_OFFSET, request, version=25)
        assert DeleteConsumerOffsetResponse.read(body, 25).error_code.code == code
    assert stored(core) == [("you", "two", 0)]


def test_version_23_of_fetch_offsets_knows_the_consumer(core: ClusterCore, consumer: Consumer) -> None:
    consumer.write(b"a", b"b")
    consumer.open(0, consumer_id="me")
    store(consumer.session, 0, 1)
    for name, start in (("me", 1), ("nobody", 0)):
        request = FetchOffsetsRequest((FetchOffsetsTopic("two", (0,)),), name)
        (body,) = tell(SpuSession(core, 5001), SpuApi.FETCH_OFFSETS, request, version=23)
        (offsets,) = FetchOffsetsResponse.read(body, 23).topics[0].partitions
        assert (offsets.start_offset, offsets.last_stable_offset) == (start, 2)
