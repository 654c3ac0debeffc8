# SPDX-License-Identifier: Apache-2.0
"""Captured frames: read to values, with nothing left over, and written to the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol import consume, metadata, produce
from fluvio_sync.protocol.batch import (
    BATCH_HEADER,
    BatchBuilder,
    decode_batch,
    decode_record_set,
    iter_batches,
    verify_batch,
)
from fluvio_sync.protocol.compression import Codec
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.frames import (
    encode_request,
    encode_response,
    split_request,
    split_response,
)
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.versions import (
    SC_CLIENT_RANGES,
    SPU_CLIENT_RANGES,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
    negotiate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def read(captured: Any) -> Any:
    """Return the message of a captured frame; all its bytes have to be used up."""
    if captured.is_request:
        _, reader = split_request(captured.payload)
    else:
        correlation_id, reader = split_response(captured.payload)
        assert correlation_id == captured.header.correlation_id
    message = captured.message.read(reader, captured.header.api_version)
    assert reader.remaining == 0
    return message


def record_sets(message: Any) -> Iterator[bytes]:
    """Yield every record set in a message."""
    if isinstance(message, produce.ProduceRequest):
        for topic in message.topics:
            for partition in topic.partitions:
                yield partition.records
    elif isinstance(message, consume.StreamFetchResponse):
        yield message.partition.records


def test_a_captured_frame_is_read_and_written_back(captured: Any) -> None:
    message = read(captured)
    assert isinstance(message, captured.message)
    w = Writer()
    message.write(w, captured.header.api_version)
    if captured.is_request:
        assert encode_request(captured.header, w.getvalue()) == captured.data
    else:
        assert encode_response(captured.header.correlation_id, w.getvalue()) == captured.data


def test_captured_batches_are_rebuilt_byte_for_byte(all_captured: list[Any]) -> None:
    codecs: dict[int, int] = {}
    for captured in all_captured:
        for record_set in record_sets(read(captured)):
            for (header, whole), decoded in zip(iter_batches(record_set), decode_record_set(record_set), strict=True):
                verify_batch(whole)
                assert decoded == decode_batch(whole)
                assert decoded.header == header
                section = bytes(whole[BATCH_HEADER:])
                builder = BatchBuilder(header.first_timestamp)
                for key, value, timestamp, _ in decoded.records:
                    builder.append(key, value, timestamp)
                # The output of another library's compression cannot be made again, so it is copied.
                compress = None if header.codec == Codec.NONE else (lambda _, s=section: s)
                rebuilt = b"".join(builder.build(header.codec, compress))
                # All but the base offset, which the official client fills in and the SPU overwrites.
                assert rebuilt[8:] == whole[8:]
                if header.codec == Codec.NONE:
                    assert builder.size == len(whole)
                codecs[header.codec] = codecs.get(header.codec, 0) + 1
    assert codecs == {Codec.NONE: 26, Codec.GZIP: 7, Codec.SNAPPY: 6, Codec.LZ4: 6, Codec.ZSTD: 6}


# --- the session of the official client ----------------------------------------------------------


def named(all_captured: list[Any], name: str) -> Any:
    (captured,) = [captured for captured in all_captured if captured.name == name]
    return read(captured)


def of_kind(all_captured: list[Any], source: str, kind: type) -> list[Any]:
    return [
        read(captured) for captured in all_captured if captured.name.startswith(source) and captured.message is kind
    ]


def test_session_handshakes(all_captured: list[Any]) -> None:
    sc, _, spu = of_kind(all_captured, "session:", ApiVersionsResponse)
    assert sc.platform_version == "0.18.2-dev-1"
    assert spu.platform_version == "0.0.0"
    assert sc.error_code is ErrorCode.NONE
    assert sc.offered(ScApi.WATCH) == (15, 19)
    assert spu.offered(SpuApi.FETCH_OFFSETS) == (25, 25)
    for key, ours in SC_CLIENT_RANGES.items():
        assert negotiate("x", key, ours, sc) == 19
    assert negotiate("Produce", SpuApi.PRODUCE, SPU_CLIENT_RANGES[SpuApi.PRODUCE], spu) == 25
    ours = SPU_CLIENT_RANGES[SpuApi.FETCH_OFFSETS]
    assert negotiate("FetchOffsets", SpuApi.FETCH_OFFSETS, ours, spu) == 25


@pytest.mark.parametrize(
    ("session", "sc_version", "spu_version"), [("session-0.11.0", 12, 22), ("session-0.11.12", 17, 23)]
)
def test_an_old_cluster_offers_all_that_a_producer_asks_for(
    all_captured: list[Any], session: str, sc_version: int, spu_version: int
) -> None:
    """A cluster of 0.11.0 offers FetchOffsets at version 22 alone."""
    handshakes = of_kind(all_captured, f"{session}:", ApiVersionsResponse)
    (sc, *_), (spu, *_) = (
        [answer for answer in handshakes if answer.is_of_sc()],
        [answer for answer in handshakes if answer.is_of_spu()],
    )
    for sc_key in (ScApi.CREATE, ScApi.DELETE, ScApi.LIST, ScApi.WATCH):
        assert negotiate("x", sc_key, SC_CLIENT_RANGES[sc_key], sc) == sc_version
    for key in (SpuApi.PRODUCE, SpuApi.FETCH, SpuApi.FETCH_OFFSETS, SpuApi.STREAM_FETCH):
        assert negotiate("x", key, SPU_CLIENT_RANGES[key], spu) == spu_version


def test_session_objects(all_captured: list[Any]) -> None:
    (spu,) = named(all_captured, "session:4 WatchUpdate").all
    assert (spu.name, spu.spec.id) == ("custom-spu-5001", 5001)
    assert spu.spec.public_endpoint.port == 9413
    assert spu.spec.public_endpoint.ingress == (metadata.IngressAddr(hostname="127.0.0.1"),)
    assert spu.status.resolution is metadata.SpuResolution.ONLINE
    system, golden = named(all_captured, "session:9 WatchUpdate").all
    assert (system.name, golden.name) == ("consumer-offset", "golden")
    assert system.spec == metadata.TopicSpec(
        metadata.ComputedReplicas(1),
        metadata.CleanupPolicy(604800),
        metadata.TopicStorage(512_000_000, 2_048_000_000),
        metadata.TopicCompression.ANY,
        system=True,
    )
    assert golden.spec == metadata.TopicSpec(metadata.ComputedReplicas(1, 1, ignore_rack=True))
    golden0, offsets0 = named(all_captured, "session:8 WatchUpdate").all
    assert metadata.split_partition_key(golden0.name) == ("golden", 0)
    assert metadata.split_partition_key(offsets0.name) == ("consumer-offset", 0)
    assert golden0.status.leader == metadata.ReplicaStatus(5001, 10, 10)
    assert golden0.status.size == 840
    pending = named(all_captured, "session:11 WatchUpdate").changes[0].content
    assert pending.status.reason == "waiting for live spus"


def test_session_produces(all_captured: list[Any]) -> None:
    story = []
    for request in of_kind(all_captured, "session:", produce.ProduceRequest):
        assert [topic.name for topic in request.topics] == ["golden2"]
        for entry in request.topics[0].partitions:
            for batch in decode_record_set(entry.records):
                records = [(record.key, record.value) for record in batch.records]
                codec = Codec(batch.header.codec).name
                story.append((entry.partition, request.isolation, request.timeout_ms, codec, records))
    long = [(b"key", b"compress me " * 20), (b"", b"and me " * 20)]
    assert story == [
        (1, 1, 1500, "NONE", [(b"", b"two"), (b"", b"three")]),
        (0, 1, 1500, "NONE", [(b"k", b"one")]),
        (1, 1, 1500, "GZIP", long),
        (1, 1, 1500, "SNAPPY", long),
        (1, 1, 1500, "LZ4", long),
        (1, 1, 1500, "ZSTD", long),
        (0, -1, 2000, "NONE", [(b"rc", b"committed")]),
        (0, 1, 1500, "NONE", [(b"amo", b"fire")]),
    ]
    base_offsets = [
        (entry.partition, entry.error_code, entry.base_offset)
        for response in of_kind(all_captured, "session:", produce.ProduceResponse)
        for entry in response.topics[0].partitions
    ]
    none = ErrorCode.NONE
    assert base_offsets == [
        (1, none, 0),
        (0, none, 0),
        (1, none, 2),
        (1, none, 4),
        (1, none, 6),
        (1, none, 8),
        (0, none, 1),
        (0, none, 2),
    ]


# --- the exchanges ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "topic", "expected"),
    [
        ("14 produce ok", "plain", [(0, ErrorCode.NONE, 0)]),
        ("15 produce ok v24", "plain", [(0, ErrorCode.NONE, 2)]),
        (
            "16 produce two batches one partition",
            "plain",
            [(0, ErrorCode.NONE, 4), (0, ErrorCode.NONE, 5)],
        ),
        ("17 produce unknown topic", "nope", [(0, ErrorCode(6), 0)]),
        ("18 produce to the wrong SPU", "plain", [(1, ErrorCode(6), 0)]),
        (
            "19 produce mixed ok and unknown partition",
            "plain",
            [(0, ErrorCode.NONE, 7), (99, ErrorCode(6), 0)],
        ),
        ("20 wrong codec for gzip-only", "gzip-only", [(0, ErrorCode(9000), 0)]),
        ("21 right codec for gzip-only", "gzip-only", [(0, ErrorCode.NONE, 0)]),
        ("22 message too large (segment 2048)", "small", [(0, ErrorCode(10), 0)]),
        ("23 unknown smartmodule", "plain", [(0, ErrorCode(6001, ("missing",)), 0)]),
        ("24 read-committed ok", "replicated", [(0, ErrorCode.NONE, 0)]),
        (
            "26 read-committed, follower dead -> RequestTimedOut",
            "replicated",
            [(0, ErrorCode(7, (700, 0)), 1)],
        ),
    ],
)
def test_exchanges_of_produce(
    all_captured: list[Any], name: str, topic: str, expected: list[tuple[int, ErrorCode, int]]
) -> None:
    results = tuple(produce.PartitionResult(*result) for result in expected)
    assert named(all_captured, f"exchanges:{name}") == produce.ProduceResponse((produce.TopicResult(topic, results),))


def test_exchanges_of_a_failing_spu(all_captured: list[Any]) -> None:
    name = "exchanges:25 watch Partition first"
    before = {item.name: item for item in named(all_captured, name).all}
    name = "exchanges:33 list Partition after an SPU died"
    after = {item.name: item for item in named(all_captured, name).items}
    assert before["replicated-1"].spec.leader == 5002
    assert before["replicated-1"].status.resolution is metadata.PartitionResolution.ONLINE
    assert before["plain-0"].status.resolution is metadata.PartitionResolution.ONLINE
    assert after["plain-0"].status.resolution is metadata.PartitionResolution.LEADER_OFFLINE
    assert after["plain-0"].spec.leader == 5002
    assert after["replicated-1"].spec.leader == 5001
    assert after["replicated-1"].status.resolution is metadata.PartitionResolution.ONLINE
    replicated = named(all_captured, "exchanges:28 watch Partition push after an SPU died").changes[0]
    assert replicated.content.status.replicas == (metadata.ReplicaStatus(5002, 1, 1),)
    assert replicated.content.status.lsr == 1
