# SPDX-License-Identifier: Apache-2.0
"""The fields that a version adds, and layouts spelled out with the ends of their ranges, which no vector has."""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import admin, consume, fetch, metadata, offsets, produce, smartmodules, versions, watch
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.primitives import Duration, Reader, Writer


def written(message: Any, version: int) -> str:
    w = Writer()
    message.write(w, version)
    return w.getvalue().hex()


def assert_layout(message: Any, version: int, layout: str) -> None:
    """Assert that a message is written as these bytes, and read from them."""
    assert written(message, version) == layout.replace(" ", "")
    reader = Reader(bytes.fromhex(layout))
    assert type(message).read(reader, version) == message
    assert reader.remaining == 0


# --- declared fields -----------------------------------------------------------------------------

MOST = 2**32 - 1
PLAIN = metadata.HomePartition(remote_cluster="r", remote_replica="t-0")
MIRROR = PLAIN.replace(source=True)
ONLINE = metadata.PartitionResolution.ONLINE


@pytest.mark.parametrize(
    ("full", "field", "since"),
    [
        (versions.ApiVersionsRequest("0.50.2"), "client_version", 1),
        (metadata.TopicSpec(system=True), "system", 13),
        (metadata.PartitionSpec(1, (1,), system=True), "system", 13),
        (metadata.PartitionSpec(1, (1,), mirror=PLAIN), "mirror", 14),
        (metadata.PartitionMap(0, (1,), PLAIN), "mirror", 14),
        (metadata.TopicStatus(metadata.TopicResolution.PROVISIONED, mirror_map={3: PLAIN}), "mirror_map", 14),
        (metadata.PartitionStatus(ONLINE, base_offset=9), "base_offset", 16),
        (MIRROR, "source", 18),
        (metadata.HomeMirror((), source=True), "source", 18),
        (metadata.RemotePartition("h", "s", 7, "e:1", target=True), "target", 18),
        (metadata.RemoteMirror("h", (), target=True), "target", 18),
        (watch.ListRequest("Topic", system=True), "system", 13),
        (admin.DeleteTopicRequest("t", force=True), "force", 13),
        (smartmodules.SmartModuleInvocation("m", lookback=smartmodules.Lookback(1)), "lookback", 20),
        (smartmodules.Lookback(1, Duration(2, 3)), "age", 21),
        (offsets.FetchOffsetsRequest((), "c"), "consumer_id", 23),
        (consume.StreamFetchRequest("t", 3, 4, 5, consumer_id="c"), "consumer_id", 23),
        (consume.FetchConsumerOffsetsRequest(consume.ConsumerOffsetFilter()), "filter_opts", 24),
        (smartmodules.SmartModuleInvocation("m", label="l"), "label", 25),
    ],
)
def test_a_field_begins_with_its_version(full: Any, field: str, since: int) -> None:
    for version, is_there in ((since - 1, False), (since, True)):
        seen = type(full).read(Reader(bytes.fromhex(written(full, version))), version)
        assert (getattr(seen, field) == getattr(full, field)) is is_there


def test_version_23_of_fetch_offsets_alone_names_a_consumer() -> None:
    full = offsets.FetchOffsetsRequest((offsets.FetchOffsetsTopic("t", (3,)),), "c")
    assert written(full, 22) == written(full, 24) == written(full, 25) != written(full, 23)


@pytest.mark.parametrize(
    ("full", "layout"),
    [
        (
            metadata.Deduplication(5, Duration(2, 3), "dedup", {"k": "v"}),
            "0000000000000005 01 0000000000000002 00000003 0005 6465647570 0001 0001 6b 0001 76",
        ),
        (
            metadata.RemotePartition(
                home_cluster="h", home_spu_key="s", home_spu_id=-1, home_spu_endpoint="e:1", target=True
            ),
            "0001 68 0001 73 ffffffff 0003 653a31 01",
        ),
        (MIRROR, "0001 72 0003 742d30 01"),
        (
            metadata.RemoteMirror("h", (metadata.HomeSpu(id=-1, key="k", endpoint="e"),), target=True),
            "0001 68 00000001 ffffffff 0001 6b 0001 65 01",
        ),
        (
            metadata.TopicSpec(metadata.MirrorReplicas(metadata.HomeMirror((MIRROR,), source=False))),
            "02 01 00000001 0001 72 0003 742d30 01 00 00 00 04 00 00",
        ),
        (
            metadata.TopicSpec(metadata.AssignedReplicas((metadata.PartitionMap(MOST, (-1,), MIRROR),))),
            "00 00000001 ffffffff 00000001 ffffffff 01 01 0001 72 0003 742d30 01 00 00 04 00 00",
        ),
        (
            metadata.TopicStatus(metadata.TopicResolution.PROVISIONED, {0: (1,)}, {3: MIRROR}, "why"),
            "04 0001 00000000 00000001 00000001 0001 00000003 01 0001 72 0003 742d30 01 0003 776879",
        ),
        (
            metadata.PartitionSpec(-1, (1, -2), system=True, mirror=MIRROR),
            "ffffffff 00000002 00000001 fffffffe 00 00 04 00 01 01 01 0001 72 0003 742d30 01",
        ),
        (
            metadata.PartitionStatus(
                ONLINE,
                metadata.ReplicaStatus(spu=-1, hw=-2, leo=-3),
                lsr=MOST,
                size=-4,
                is_being_deleted=True,
                base_offset=-5,
            ),
            "01 ffffffff fffffffffffffffe fffffffffffffffd ffffffff 00000000 fffffffffffffffc 01 fffffffffffffffb",
        ),
        (watch.ListRequest("Topic", ("a",), system=True), "0005 546f706963 00000009 00000001 0001 61 00 01"),
        (admin.DeleteTopicRequest("t", force=True), "0005 546f706963 00000004 0001 74 01"),
        (
            metadata.TopicSpec(
                metadata.ComputedReplicas(partitions=MOST, replication_factor=MOST),
                metadata.CleanupPolicy(MOST),
                metadata.TopicStorage(segment_size=MOST, max_partition_size=2**64 - 1),
            ),
            "01 ffffffff ffffffff 00 01 00 ffffffff 01 01 ffffffff 01 ffffffffffffffff 04 00 00",
        ),
        (
            metadata.SpuSpec(
                id=-1,
                spu_type=metadata.SpuType.CUSTOM,
                public_endpoint=metadata.IngressPort(65535, ()),
                private_endpoint=metadata.Endpoint(9011, "p"),
                rack="r",
                public_endpoint_local=metadata.Endpoint(65535, "l", metadata.Encryption.SSL),
            ),
            "ffffffff 01 ffff 00000000 00 2333 0001 70 00 01 0001 72 01 ffff 0001 6c 01",
        ),
        (
            admin.CreateTopicRequest("t", dry_run=True, timeout=MOST),
            "0005 546f706963 00000018 0001 74 01 01 ffffffff 01 00000001 00000001 00 00 00 04 00 00",
        ),
        (
            admin.UpdateTopicRequest("t", admin.AddPartitions(count=MOST)),
            "0005 546f706963 00000008 0001 74 00 ffffffff",
        ),
        (
            admin.UpdateTopicRequest("t", admin.AddMirror("r", home_to_mirror=True)),
            "0005 546f706963 00000008 0001 74 01 0001 72 01",
        ),
        (
            offsets.PartitionOffsets(ErrorCode.NONE, partition_index=MOST, start_offset=-1, last_stable_offset=-2),
            "0000 ffffffff ffffffffffffffff fffffffffffffffe",
        ),
        (
            smartmodules.Lookback(2**64 - 1, Duration(2**64 - 1, MOST)),
            "ffffffffffffffff 01 ffffffffffffffff ffffffff",
        ),
        (ErrorCode(71, (-1, -2)), "0047 ffffffffffffffff fffffffffffffffe"),
        (ErrorCode(72, ("t", MOST)), "0048 0001 74 ffffffff"),
        (ErrorCode(6008, (2**64 - 1, 5)), "1778 ffffffffffffffff 0000000000000005"),
        (consume.OffsetUpdate(offset=-1, session_id=MOST), "ffffffffffffffff ffffffff"),
        (
            consume.ConsumerOffset("c", consume.ReplicaKey("t", MOST), offset=-1, modified_time=2**64 - 2),
            "0001 63 0001 74 ffffffff ffffffffffffffff fffffffffffffffe",
        ),
        (
            consume.StreamFetchRequest(
                "t", partition=MOST, fetch_offset=-4, max_bytes=-5, isolation=1, consumer_id="c"
            ),
            "0001 74 ffffffff fffffffffffffffc fffffffb 01 00000000 01 0001 63",
        ),
        (
            fetch.FetchRequest(
                (fetch.FetchTopic("t", ()),),
                (fetch.ForgottenTopic("f", (9,)),),
                max_wait=1,
                min_bytes=2,
                max_bytes=8,
                isolation=1,
            ),
            "00000001 00000002 00000008 01 00000001 0001 74 00000000 00000001 0001 66 00000001 00000009",
        ),
        (
            fetch.FetchPartition(
                partition_index=MOST, fetch_offset=-4, max_bytes=-5, current_leader_epoch=-6, log_start_offset=-7
            ),
            "ffffffff fffffffa fffffffffffffffc fffffffffffffff9 fffffffb",
        ),
        (fetch.AbortedTransaction(7, 8), "0000000000000007 0000000000000008"),
        (
            fetch.FetchedPartition(
                partition_index=MOST,
                error_code=ErrorCode(6),
                high_watermark=-4,
                next_filter_offset=-5,
                log_start_offset=-6,
                aborted=(),
                records=b"ab",
            ),
            "ffffffff 0006 fffffffffffffffc fffffffffffffffb fffffffffffffffa 01 00000000 00000002 6162",
        ),
        (
            fetch.FetchResponse((), error_code=ErrorCode(2, ("x",)), throttle_time_ms=1, session_id=2),
            "00000001 0002 0001 78 00000002 00000000",
        ),
    ],
)
def test_layouts_and_the_ends_of_their_ranges(full: Any, layout: str) -> None:
    assert_layout(full, 25, layout)


@pytest.mark.parametrize(
    ("message", "oldest", "title"),
    [
        (watch.WatchRequest("Topic"), 12, "TypeBuffer"),
        (watch.WatchUpdate("Topic", 1), 12, "TypeBuffer"),
        (admin.CreateTopicRequest("t"), 12, "TypeBuffer"),
        (fetch.FetchRequest(()), 11, "Fetch"),
        (consume.StreamFetchRequest("t", 0, 0, 0), 19, "StreamFetch"),
    ],
)
def test_a_version_with_another_layout_raises(message: Any, oldest: int, title: str) -> None:
    with pytest.raises(ValueError, match=f"^{title} is not written in version {oldest - 1}, older than {oldest}$"):
        written(message, oldest - 1)
    data = bytes.fromhex(written(message, oldest))
    with pytest.raises(ProtocolError, match=f"^version {oldest - 1} of {title} is too old, older than {oldest}$"):
        type(message).read(Reader(data), oldest - 1)


# --- fields that are spelled out -----------------------------------------------------------------


def test_versions_1_2_and_5_of_a_produce_response() -> None:
    def response(version: int) -> produce.ProduceResponse:
        times = (5 if version >= 2 else 0, 6 if version >= 5 else 0)
        result = produce.PartitionResult(3, ErrorCode(7, (9, 0)), 4, *times)
        return produce.ProduceResponse((produce.TopicResult("t", (result,)),), 8 if version >= 1 else 0)

    base = "00000001 0001 74 00000001 00000003 0007 0000000000000009 00 0000000000000004"
    append, start, throttle = " 0000000000000005", " 0000000000000006", " 00000008"
    layouts = {0: base, 1: base + throttle, 2: base + append + throttle, 5: base + append + start + throttle}
    for version, layout in (layouts | {4: layouts[2], 25: layouts[5]}).items():
        assert written(response(25), version) == layout.replace(" ", "")
        assert_layout(response(version), version, layout)


KIND, CONTEXT = smartmodules.ModuleKind, smartmodules.ModuleContext


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"kind": KIND.FILTER}, "00"),
        ({"kind": KIND.AGGREGATE, "accumulator": b"a"}, "03 00000001 61"),
        ({"kind": KIND.JOIN, "topic": "t"}, "05 0001 74"),
        ({"kind": KIND.JOIN_STREAM, "topic": "t", "derived_stream": "d"}, "06 0001 74 0001 64"),
        ({}, "07 00"),
        ({"context": CONTEXT.AGGREGATE, "accumulator": b"a"}, "07 01 00000001 61"),
        ({"context": CONTEXT.JOIN, "topic": "t"}, "07 02 0001 74"),
        ({"context": CONTEXT.JOIN_STREAM, "topic": "t", "derived_stream": "d"}, "07 03 0001 74 0001 64"),
    ],
)
def test_kinds_of_smartmodules(fields: dict[str, Any], kind: str) -> None:
    by_name = smartmodules.SmartModuleInvocation("m", **fields)
    adhoc = smartmodules.SmartModuleInvocation(adhoc=b"\0asm", **fields)
    assert_layout(by_name, 25, f"00 0001 6d {kind} 0000 00 00")
    assert_layout(adhoc, 25, f"01 00000004 0061736d {kind} 0000 00 00")


def test_a_module_is_named_or_given() -> None:
    for fields in ({}, {"name": "m", "adhoc": b""}):
        with pytest.raises(ValueError, match="either by name or as ad-hoc bytes"):
            smartmodules.SmartModuleInvocation(**fields)  # type: ignore[arg-type]
