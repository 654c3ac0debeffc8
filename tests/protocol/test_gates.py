# SPDX-License-Identifier: Apache-2.0
"""Which fields a version adds: the bytes just below the gate, and just at it.

Bytes are spelled out, so that a gate that moved, or a field in the wrong place, does not pass.
"""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import admin, consume, metadata, offsets, produce, smartmodules, watch
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.primitives import Duration, Reader, Writer

DEDUPLICATION = metadata.Deduplication(5, Duration(2, 3), "dedup", {"k": "v"})
DEDUPLICATION_HEX = (
    "01" "0000000000000005" "01" "0000000000000002" "00000003"
    "0005" "6465647570" "0001" "0001" "6b" "0001" "76"
)  # fmt: skip
REMOTE = metadata.RemotePartition("h", "s", 7, "e:1", target=True)
HOME = metadata.HomePartition("r", "t-0", source=True)
REMOTE_V14 = "00000168000173000000070003653a31"
HOME_V14 = "010001720003742d30"


def written(message: Any, version: int) -> str:
    w = Writer()
    message.write(w, version)
    return w.getvalue().hex()


def assert_gates(full: Any, bytes_by_version: dict[int, str], seen_by_version: Any = None) -> None:
    """Assert the bytes of `full` at each version, and that they are read back.

    `seen_by_version`: the values read, where a field of `full` is not in that version's bytes.
    """
    for version, expected in bytes_by_version.items():
        assert written(full, version) == expected, version
        reader = Reader(bytes.fromhex(expected))
        seen = (seen_by_version or {}).get(version, full)
        assert type(full).read(reader, version) == seen, version
        assert reader.remaining == 0


# --- the SC: 12, 13, 14, 16, 18, 19 --------------------------------------------------------------


def test_sc_12_deduplication_and_13_system_of_a_topic() -> None:
    full = metadata.TopicSpec(metadata.ComputedReplicas(2), deduplication=DEDUPLICATION, system=True)
    at_12 = "01000000020000000100000004" + DEDUPLICATION_HEX
    seen = metadata.TopicSpec(metadata.ComputedReplicas(2), deduplication=DEDUPLICATION)
    assert_gates(full, {12: at_12, 13: at_12 + "01", 19: at_12 + "01"}, {12: seen})


def test_sc_13_system_and_14_mirror_of_a_partition() -> None:
    full = metadata.PartitionSpec(1, (1, 2), deduplication=DEDUPLICATION, system=True, mirror=HOME)
    at_12 = "00000001000000020000000100000002000004" + DEDUPLICATION_HEX
    mirror = metadata.HomePartition("r", "t-0")
    seen = {
        12: metadata.PartitionSpec(1, (1, 2), deduplication=DEDUPLICATION),
        13: metadata.PartitionSpec(1, (1, 2), deduplication=DEDUPLICATION, system=True),
        14: metadata.PartitionSpec(1, (1, 2), deduplication=DEDUPLICATION, system=True, mirror=mirror),
    }
    assert_gates(
        full,
        {
            12: at_12,
            13: at_12 + "01",
            14: at_12 + "0101" + HOME_V14,
            18: at_12 + "0101" + HOME_V14 + "01",
        },
        seen,
    )


def test_sc_13_system_of_a_list() -> None:
    full = watch.ListRequest("Topic", ("a",), system=True)
    envelope = "0005546f7069630000000"
    inner = "0000000100016100"
    assert_gates(
        full,
        {12: envelope + "8" + inner, 13: envelope + "9" + inner + "01"},
        {12: watch.ListRequest("Topic", ("a",))},
    )


def test_sc_13_force_of_a_deletion() -> None:
    full = admin.DeleteTopicRequest("t", force=True)
    envelope = "0005546f7069630000000"
    assert_gates(
        full,
        {12: envelope + "3000174", 13: envelope + "400017401"},
        {12: admin.DeleteTopicRequest("t")},
    )


def test_sc_14_mirror_map_of_a_topic() -> None:
    full = metadata.TopicStatus(metadata.TopicResolution.PROVISIONED, {0: (1,)}, {3: REMOTE}, "why")
    head = "040001000000000000000100000001"
    reason = "0003776879"
    mirrors = "000100000003" + REMOTE_V14
    untargeted = metadata.RemotePartition("h", "s", 7, "e:1")
    resolution, replicas = full.resolution, full.replica_map
    assert_gates(
        full,
        {
            13: head + reason,
            14: head + mirrors + reason,
            17: head + mirrors + reason,
            18: head + mirrors + "01" + reason,
            19: head + mirrors + "01" + reason,
        },
        {
            13: metadata.TopicStatus(resolution, replicas, {}, "why"),
            14: metadata.TopicStatus(resolution, replicas, {3: untargeted}, "why"),
            17: metadata.TopicStatus(resolution, replicas, {3: untargeted}, "why"),
        },
    )


def test_sc_14_mirror_of_an_assigned_partition() -> None:
    full = metadata.TopicSpec(metadata.AssignedReplicas((metadata.PartitionMap(0, (1,), REMOTE),)))
    head, tail = "0000000001000000000000000100000001", "0000040000"
    assert written(full, 13) == head + tail
    assert written(full, 14) == head + "01" + REMOTE_V14 + tail
    assert written(full, 18) == head + "01" + REMOTE_V14 + "01" + tail
    assert metadata.TopicSpec.read(Reader(bytes.fromhex(written(full, 18))), 18) == full
    bare = metadata.TopicSpec(metadata.AssignedReplicas((metadata.PartitionMap(0, (1,)),)))
    assert metadata.TopicSpec.read(Reader(bytes.fromhex(written(full, 13))), 13) == bare


def test_sc_16_base_offset_of_a_partition() -> None:
    full = metadata.PartitionStatus(
        metadata.PartitionResolution.ONLINE,
        metadata.ReplicaStatus(1, 2, 3),
        1,
        (metadata.ReplicaStatus(2, 2, 2),),
        100,
        is_being_deleted=True,
        base_offset=9,
    )
    at_15 = (
        "01" "00000001" "0000000000000002" "0000000000000003" "00000001"
        "00000001" "00000002" "0000000000000002" "0000000000000002" "0000000000000064" "01"
    )  # fmt: skip
    at_16 = at_15 + "0000000000000009"
    seen = metadata.PartitionStatus(full.resolution, full.leader, 1, full.replicas, 100, is_being_deleted=True)
    assert_gates(full, {12: at_15, 15: at_15, 16: at_16, 19: at_16}, {12: seen, 15: seen})


@pytest.mark.parametrize(
    ("full", "seen", "at_17"),
    [
        (
            metadata.RemoteMirror("h", (metadata.HomeSpu(1, "k", "e"),), target=True),
            metadata.RemoteMirror("h", (metadata.HomeSpu(1, "k", "e"),)),
            "000168000000010000000100016b000165",
        ),
        (REMOTE, metadata.RemotePartition("h", "s", 7, "e:1"), REMOTE_V14[2:]),
        (HOME, metadata.HomePartition("r", "t-0"), HOME_V14[2:]),
        (
            metadata.HomeMirror((), source=True),
            metadata.HomeMirror(()),
            "00000000",
        ),
    ],
)
def test_sc_18_the_direction_of_mirrors(full: Any, seen: Any, at_17: str) -> None:
    assert_gates(full, {14: at_17, 17: at_17, 18: at_17 + "01"}, {14: seen, 17: seen})


def test_sc_18_both_directions_of_a_home_mirror() -> None:
    full = metadata.TopicSpec(metadata.MirrorReplicas(metadata.HomeMirror((HOME,), source=False)))
    head, tail = "020100000001", "0000040000"
    assert written(full, 17) == head + HOME_V14[2:] + tail
    assert written(full, 18) == head + HOME_V14[2:] + "0100" + tail
    assert metadata.TopicSpec.read(Reader(bytes.fromhex(written(full, 18))), 18) == full
    assert full.partition_count == 1


def test_sc_19_adds_nothing_that_is_used_here() -> None:
    topic = metadata.TopicObject(
        "t",
        metadata.TopicSpec(
            metadata.AssignedReplicas((metadata.PartitionMap(0, (1,), REMOTE),)),
            metadata.CleanupPolicy(60),
            metadata.TopicStorage(2048, 4096),
            metadata.TopicCompression.ZSTD,
            DEDUPLICATION,
            system=True,
        ),
        metadata.TopicStatus(metadata.TopicResolution.PROVISIONED, {0: (1,)}, {0: HOME}, "x"),
    )
    assert written(topic, 18) == written(topic, 19)
    request = admin.CreateTopicRequest("t", dry_run=True, timeout=5, spec=topic.spec)
    assert written(request, 18) == written(request, 19)


@pytest.mark.parametrize("version", [-1, 0, 11])
@pytest.mark.parametrize(
    "message",
    [
        watch.WatchRequest("Topic"),
        watch.WatchUpdate("Topic", 1),
        watch.ListRequest("Topic"),
        watch.ListResponse("Topic"),
        admin.CreateTopicRequest("t"),
        admin.DeleteTopicRequest("t"),
        admin.UpdateTopicRequest("t", admin.AddPartitions(1)),
    ],
)
def test_sc_below_12_raises(message: Any, version: int) -> None:
    with pytest.raises(ValueError, match="older than 12"):
        written(message, version)
    data = bytes.fromhex(written(message, 12))
    with pytest.raises(ProtocolError, match="older than 12"):
        type(message).read(Reader(data), version)


# --- the SPU: 8, 20, 21, 24, 25 ------------------------------------------------------------------


def frame(version: int) -> list[bytes | bytearray | memoryview]:
    return produce.produce_request_buffers(
        version=version,
        correlation_id=1,
        client_id="c",
        isolation=1,
        timeout_ms=2,
        topics=[("t", [(3, 2, [b"ab"])])],
        smartmodules=[smartmodules.SmartModuleInvocation("m", lookback=smartmodules.Lookback(1), label="l")],
    )


def test_spu_8_is_the_oldest_written() -> None:
    assert b"".join(frame(8)).hex() == (
        "00000033" "0000" "0008" "00000001" "0001" "63"
        "00" "0001" "00000002" "00000001" "0001" "74" "00000001" "00000003" "00000002" "6162"
        "00000001" "00" "0001" "6d" "07" "00" "0000"
    )  # fmt: skip
    for version in (7, 0, -1):
        with pytest.raises(ValueError, match=f"not written in version {version}"):
            frame(version)


def test_spu_a_negative_timeout_is_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        produce.produce_request_buffers(
            version=25, correlation_id=1, client_id="", isolation=1, timeout_ms=-1, topics=[]
        )
    data = bytes.fromhex(written(produce.ProduceRequest(1, -1, ()), 25))
    with pytest.raises(ProtocolError, match="timeout is negative"):
        produce.ProduceRequest.read(Reader(data), 25)


@pytest.mark.parametrize(("partition", "length"), [(1 << 32, 0), (-1, 0), (0, 1 << 31)])
def test_spu_a_partition_whose_numbers_do_not_fit_is_not_written(partition: int, length: int) -> None:
    with pytest.raises(ValueError, match=f"^partition {partition} with {length} bytes: "):
        produce.produce_request_buffers(
            version=25,
            correlation_id=1,
            client_id="",
            isolation=1,
            timeout_ms=0,
            topics=[("t", [(partition, length, [])])],
        )


def test_spu_a_timeout_of_nothing_is_written() -> None:
    buffers = produce.produce_request_buffers(
        version=25, correlation_id=1, client_id="", isolation=1, timeout_ms=0, topics=[]
    )
    assert b"".join(buffers).hex().endswith("00" "0001" "00000000" "00000000" "00000000")  # fmt: skip


def test_spu_1_2_and_5_of_a_produce_response() -> None:
    entry = produce.PartitionResult(3, ErrorCode(7, (9, 0)), 4, 5, 6)
    full = produce.ProduceResponse((produce.TopicResult("t", (entry,)),), 8)
    topic, throttle = "0000000100017400000001", "00000008"
    base = "0000000300070000000000000009000000000000000004"
    append, start = "0000000000000005", "0000000000000006"

    def seen(version: int) -> produce.ProduceResponse:
        result = produce.PartitionResult(3, entry.error_code, 4, 5 if version >= 2 else 0, 6 if version >= 5 else 0)
        return produce.ProduceResponse((produce.TopicResult("t", (result,)),), 8 if version >= 1 else 0)

    assert_gates(
        full,
        {
            0: topic + base,
            1: topic + base + throttle,
            2: topic + base + append + throttle,
            4: topic + base + append + throttle,
            5: topic + base + append + start + throttle,
            8: topic + base + append + start + throttle,
            25: topic + base + append + start + throttle,
        },
        {version: seen(version) for version in (0, 1, 2, 4)},
    )


def test_spu_20_lookback_21_its_age_and_25_the_label() -> None:
    lookback = smartmodules.Lookback(1, Duration(2, 3))
    full = smartmodules.SmartModuleInvocation("m", params={"k": "v"}, lookback=lookback, label="l")
    at_19 = "0000016d0700000100016b000176"
    at_20 = at_19 + "010000000000000001"
    at_21 = at_20 + "01000000000000000200000003"
    plain = smartmodules.SmartModuleInvocation("m", params={"k": "v"})
    young = smartmodules.SmartModuleInvocation("m", params={"k": "v"}, lookback=smartmodules.Lookback(1))
    aged = smartmodules.SmartModuleInvocation("m", params={"k": "v"}, lookback=lookback)
    assert_gates(
        full,
        {19: at_19, 20: at_20, 21: at_21, 24: at_21, 25: at_21 + "0100016c"},
        {19: plain, 20: young, 21: aged, 24: aged},
    )


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"kind": smartmodules.ModuleKind.FILTER}, "00"),
        ({"kind": smartmodules.ModuleKind.MAP}, "01"),
        ({"kind": smartmodules.ModuleKind.ARRAY_MAP}, "02"),
        ({"kind": smartmodules.ModuleKind.AGGREGATE, "accumulator": b"a"}, "030000000161"),
        ({"kind": smartmodules.ModuleKind.FILTER_MAP}, "04"),
        ({"kind": smartmodules.ModuleKind.JOIN, "topic": "t"}, "05000174"),
        (
            {"kind": smartmodules.ModuleKind.JOIN_STREAM, "topic": "t", "derived_stream": "d"},
            "06000174000164",
        ),
        ({}, "0700"),
        (
            {"context": smartmodules.ModuleContext.AGGREGATE, "accumulator": b"a"},
            "07010000000161",
        ),
        ({"context": smartmodules.ModuleContext.JOIN, "topic": "t"}, "0702000174"),
        (
            {
                "context": smartmodules.ModuleContext.JOIN_STREAM,
                "topic": "t",
                "derived_stream": "d",
            },
            "0703000174000164",
        ),
    ],
)
def test_spu_kinds_of_smartmodules(fields: dict[str, Any], kind: str) -> None:
    by_name = smartmodules.SmartModuleInvocation("m", **fields)
    adhoc = smartmodules.SmartModuleInvocation(adhoc=b"\0asm", **fields)
    tail = "00000000"
    assert_gates(by_name, {25: "0000016d" + kind + tail})
    assert_gates(adhoc, {25: "01000000040061736d" + kind + tail})


def test_spu_a_module_is_named_or_given() -> None:
    for fields in ({}, {"name": "m", "adhoc": b""}):
        with pytest.raises(ValueError, match="either by name or as ad-hoc bytes"):
            smartmodules.SmartModuleInvocation(**fields)  # type: ignore[arg-type]


def test_spu_23_the_consumer_of_fetch_offsets_and_of_no_other_version() -> None:
    full = offsets.FetchOffsetsRequest((offsets.FetchOffsetsTopic("t", (3,)),), "c")
    bare = "000000010001740000000100000003"
    seen = offsets.FetchOffsetsRequest(full.topics)
    assert_gates(
        full,
        {22: bare, 23: bare + "01000163", 24: bare, 25: bare},
        {22: seen, 24: seen, 25: seen},
    )


def test_spu_23_the_consumer_of_a_stream() -> None:
    full = consume.StreamFetchRequest("t", 3, 4, 5, 1, consumer_id="c")
    bare = "000174000000030000000000000004000000050100000000"
    with_id = bare + "01000163"
    seen = consume.StreamFetchRequest("t", 3, 4, 5, 1)
    assert_gates(full, {19: bare, 22: bare, 23: with_id, 25: with_id}, {19: seen, 22: seen})
    with pytest.raises(ValueError, match="not written in version 18"):
        written(full, 18)
    with pytest.raises(ProtocolError, match="version 18 of StreamFetch is too old"):
        consume.StreamFetchRequest.read(Reader(bytes.fromhex(bare)), 18)


def test_spu_24_the_filter_of_stored_offsets() -> None:
    options = consume.ConsumerOffsetFilter(consume.ReplicaKey("t", 3), "c")
    full = consume.FetchConsumerOffsetsRequest(options)
    at_24 = "01010001740000000301000163"
    assert_gates(full, {23: "", 24: at_24, 25: at_24}, {23: consume.FetchConsumerOffsetsRequest()})


def test_spu_11_is_the_oldest_one_shot_fetch() -> None:
    full = consume.FetchRequest(
        (consume.FetchTopic("t", (consume.FetchPartition(3, 4, 5, current_leader_epoch=6, log_start_offset=7),)),),
        (consume.ForgottenTopic("f", (9,)),),
        max_wait=1,
        min_bytes=2,
        max_bytes=8,
        isolation=1,
    )
    data = (
        "00000001" "00000002" "00000008" "01" "00000001" "0001" "74" "00000001"
        "00000003" "00000006" "0000000000000004" "0000000000000007" "00000005"
        "00000001" "0001" "66" "00000001" "00000009"
    )  # fmt: skip
    assert_gates(full, {11: data, 25: data})
    with pytest.raises(ValueError, match="not written in version 10"):
        written(full, 10)
    with pytest.raises(ProtocolError, match="version 10 of Fetch is too old"):
        consume.FetchRequest.read(Reader(bytes.fromhex(data)), 10)


def test_the_order_of_a_one_shot_fetch_response() -> None:
    partition = consume.FetchedPartition(3, ErrorCode(6), 4, 5, 6, (consume.AbortedTransaction(7, 8),), b"ab")
    full = consume.FetchResponse(
        (consume.FetchedTopic("t", (partition,)),), error_code=ErrorCode(2, ("x",)), throttle_time_ms=1, session_id=2
    )
    assert_gates(
        full,
        {
            25: "00000001"
            "0002"
            "0001"
            "78"
            "00000002"
            "00000001"
            "0001"
            "74"
            "00000001"
            "00000003"
            "0006"
            "0000000000000004"
            "0000000000000005"
            "0000000000000006"
            "01"
            "00000001"
            "0000000000000007"
            "0000000000000008"
            "00000002"
            "6162"
        },
    )
