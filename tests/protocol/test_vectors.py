# SPDX-License-Identifier: Apache-2.0

"""Every computed vector of `data/wire_vectors.json`, section by section, in both directions."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import errors
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner
from fluvio_sync.protocol import admin, consume, fetch, metadata, offsets, produce, smartmodules, watch
from fluvio_sync.protocol.batch import (
    BatchBuilder,
    BatchHeader,
    decode_batch,
    record_size,
    verify_batch,
)
from fluvio_sync.protocol.checksum import crc32c, crc32c_pure
from fluvio_sync.protocol.compression import Codec, decompress
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.frames import (
    RequestHeader,
    encode_request,
    encode_response,
    request_prefix,
    split_request,
    split_response,
)
from fluvio_sync.protocol.layout import (
    BOOL,
    BYTES,
    DURATION,
    I16,
    I32,
    I64,
    STRING,
    U8,
    U16,
    U32,
    U64,
    Layout,
    mapping,
    option,
    vec,
)
from fluvio_sync.protocol.primitives import (
    Duration,
    Reader,
    Writer,
    decode_varint,
    encode_varint,
    varint_size,
)
from fluvio_sync.protocol.siphash import hash_key, siphash24, siphash24_pure
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    ApiVersionKey,
    ApiVersionsRequest,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
)
from fluvio_sync.retry import RetryPolicy, RetryStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

_COVERED: set[str] = set()


def covers(section: str) -> Callable[[Any], Any]:
    """Mark the test of a section."""
    _COVERED.add(section)
    return lambda test: test


def test_every_section_has_a_test(vectors: dict[str, Any]) -> None:
    assert set(vectors) - {"_about"} == _COVERED


# --- helpers -------------------------------------------------------------------------------------


def assert_value(layout: Layout[Any], value: Any, hexadecimal: str, version: int = 0) -> None:
    """Assert that `value` is written as these bytes and read from them."""
    w = Writer()
    layout.write(w, value, version)
    assert w.getvalue().hex() == hexadecimal
    reader = Reader(bytes.fromhex(hexadecimal))
    assert layout.read(reader, version) == value
    assert reader.remaining == 0


def assert_message(message: Any, hexadecimal: str, version: int) -> None:
    """Assert the same of a message."""
    write: Callable[..., None] = type(message).write
    assert_value(Layout(type(message).read, lambda w, m, v: write(m, w, v), 0), message, hexadecimal, version)


def hex_of(vector: Any) -> str:
    return str(vector if isinstance(vector, str) else vector["hex"])


def assert_request(message: Any, vector: dict[str, Any], key: int, version: int) -> None:
    """Assert that a whole request frame is written as these bytes and read from them."""
    frame = bytes.fromhex(vector["hex"])
    header = RequestHeader(key, version, vector["correlation_id"], vector["client_id"])
    read_header, reader = split_request(frame[4:])
    assert read_header == header
    body = bytes(reader.rest())
    assert encode_request(header, body) == frame
    assert_message(message, body.hex(), version)


# --- primitives ----------------------------------------------------------------------------------

LAYOUTS: dict[str, Layout[Any]] = {
    "bool": BOOL,
    "u8": U8,
    "i16": I16,
    "u16": U16,
    "i32": I32,
    "u32": U32,
    "i64": I64,
    "u64": U64,
    "string": STRING,
}


@covers("ints")
def test_ints(vectors: dict[str, Any]) -> None:
    for vector in vectors["ints"]:
        if vector["type"] not in {"i8", "f32", "f64"}:  # no message has one
            assert_value(LAYOUTS[vector["type"]], vector["value"], vector["hex"])


@covers("duration")
def test_duration(vectors: dict[str, Any]) -> None:
    for vector in vectors["duration"]:
        assert_value(DURATION, Duration(vector["secs"], vector["nanos"]), vector["hex"])


@covers("varint")
def test_varint(vectors: dict[str, Any]) -> None:
    for vector in vectors["varint"]:
        data = bytes.fromhex(vector["hex"])
        assert encode_varint(vector["value"]) == data
        assert varint_size(vector["value"]) == len(data)
        assert decode_varint(data, 0) == (vector["value"], len(data))


@covers("varint_out_of_range_rust_defect")
def test_varint_out_of_range(vectors: dict[str, Any]) -> None:
    for vector in vectors["varint_out_of_range_rust_defect"]["cases"]:
        with pytest.raises(ValueError, match="a varint holds"):
            encode_varint(vector["value"])
        # Where another client wrote one rightly, it is read rightly.
        data = bytes.fromhex(vector["correct_zigzag_hex"])
        assert decode_varint(data, 0) == (vector["value"], len(data))


@covers("string")
def test_string(vectors: dict[str, Any]) -> None:
    for vector in vectors["string"]:
        assert_value(STRING, vector["value"], vector["hex"])


@covers("string_decode_edge")
def test_string_decode_edge(vectors: dict[str, Any]) -> None:
    for vector in vectors["string_decode_edge"]:
        reader = Reader(bytes.fromhex(vector["hex"]))
        assert reader.string() == vector["value"]
        assert reader.remaining == 0


def inner(vector: dict[str, Any]) -> Layout[Any]:
    """Return the layout inside `Option<...>` or `Vec<...>`."""
    return LAYOUTS[vector["type"].partition("<")[2].removesuffix(">").lower()]


@covers("option")
def test_option(vectors: dict[str, Any]) -> None:
    for vector in vectors["option"]:
        assert_value(option(inner(vector)), vector["value"], vector["hex"])


@covers("vec")
def test_vec(vectors: dict[str, Any]) -> None:
    for vector in vectors["vec"]:
        if "value_hex" in vector:
            assert_value(BYTES, bytes.fromhex(vector["value_hex"]), vector["hex"])
        else:
            assert_value(vec(inner(vector)), tuple(vector["value"]), vector["hex"])


@covers("btreemap")
def test_btreemap(vectors: dict[str, Any]) -> None:
    for vector in vectors["btreemap"]:
        if vector["type"] == "BTreeMap<String,String>":
            assert_value(mapping(STRING, STRING), vector["value"], vector["hex"])
        else:
            replicas = {int(key): tuple(spus) for key, spus in vector["value"].items()}
            assert_value(mapping(U32, vec(I32)), replicas, vector["hex"])


@covers("crc32c")
def test_crc32c(vectors: dict[str, Any]) -> None:
    for vector in vectors["crc32c"]:
        data = bytes.fromhex(vector["hex"])
        assert crc32c(data) == crc32c_pure(data) == vector["crc"] == int(vector["crc_hex"], 16)


@covers("siphash")
def test_siphash(vectors: dict[str, Any]) -> None:
    empty, fifteen = vectors["siphash"]["reference"]
    key = bytes(range(16))
    for implementation in (siphash24, siphash24_pure):
        assert implementation(key, b"") == int(empty["hash"], 16)
        assert implementation(key, bytes(range(15))) == int(fifteen["hash"], 16)
    for vector in vectors["siphash"]["keys"]:
        hashed = hash_key(bytes.fromhex(vector["key_hex"]))
        assert hashed == int(vector["hash"], 16) == int(vector["hash_dec"])
        for count, partition in vector["partition"].items():
            assert hashed % int(count) == partition


# --- frames and versions -------------------------------------------------------------------------


@covers("request_header")
def test_request_header(vectors: dict[str, Any]) -> None:
    for vector in vectors["request_header"]:
        header = RequestHeader(vector["api_key"], vector["api_version"], vector["correlation_id"], vector["client_id"])
        data = bytes.fromhex(vector["hex"])
        assert request_prefix(header, 0) == len(data).to_bytes(4, "big") + data
        assert request_prefix(header, 7)[:4] == (len(data) + 7).to_bytes(4, "big")
        read, reader = split_request(data)
        assert read == header
        assert reader.remaining == 0


@covers("api_versions")
def test_api_versions(vectors: dict[str, Any]) -> None:
    request = vectors["api_versions"]["request_frame"]
    message = ApiVersionsRequest(request["client_version"], request["client_os"], request["client_arch"])
    assert_request(message, request, API_VERSIONS, request["api_version"])
    for name in ("sc_response_frame", "spu_response_frame"):
        vector = vectors["api_versions"][name]
        response = ApiVersionsResponse(
            ErrorCode(vector["error_code"]),
            tuple(ApiVersionKey(*key) for key in vector["api_keys"]),
            vector["platform_version"],
        )
        frame = bytes.fromhex(vector["hex"])
        correlation_id, reader = split_response(frame[4:])
        body = bytes(reader.rest())
        assert encode_response(correlation_id, body) == frame
        assert correlation_id == vector["correlation_id"]
        assert_message(response, body.hex(), 2)


# --- the SC's objects ----------------------------------------------------------------------------

TOPIC = metadata.TopicObject(
    "t1",
    metadata.TopicSpec(metadata.ComputedReplicas(1)),
    metadata.TopicStatus(metadata.TopicResolution.PROVISIONED, {0: (5001,)}),
)
PARTITION = metadata.PartitionObject(
    "t1-0",
    metadata.PartitionSpec(5001, (5001,)),
    metadata.PartitionStatus(metadata.PartitionResolution.ONLINE, metadata.ReplicaStatus(5001, 0, 0), size=0),
)
SPU = metadata.SpuObject(
    "custom-spu-5001",
    metadata.SpuSpec(
        5001,
        metadata.SpuType.CUSTOM,
        metadata.IngressPort(9010, (metadata.IngressAddr("127.0.0.1"),)),
        metadata.Endpoint(9011, "127.0.0.1", metadata.Encryption.PLAINTEXT),
    ),
    metadata.SpuStatus(metadata.SpuResolution.ONLINE),
)


@covers("sc_objects_v19")
def test_sc_objects_v19(vectors: dict[str, Any]) -> None:
    section = vectors["sc_objects_v19"]
    spec = metadata.TopicSpec(
        metadata.ComputedReplicas(3),
        metadata.CleanupPolicy(60),
        metadata.TopicStorage(2048),
        metadata.TopicCompression.GZIP,
    )
    messages: dict[str, Any] = {
        "topic_spec_computed_default": TOPIC.spec,
        "topic_spec_3_partitions_gzip_retention_60s_segment_2048": spec,
        "metadata_topic_t1": TOPIC,
        "metadata_partition_t1_0": PARTITION,
        "metadata_spu_5001": SPU,
        "watch_response_body_all_topic": watch.WatchUpdate("Topic", 5, all=(TOPIC,)),
        "watch_response_body_update_partition": watch.WatchUpdate(
            "Partition", 6, (watch.Change(delete=False, content=PARTITION),)
        ),
        "watch_response_body_delete_topic": watch.WatchUpdate("Topic", 7, (watch.Change(delete=True, content=TOPIC),)),
        "watch_response_body_spu": watch.WatchUpdate("SPU", 2, all=(SPU,)),
        "list_request_body_topic_all": watch.ListRequest("Topic"),
        "list_response_body_topic": watch.ListResponse("Topic", (TOPIC,)),
        "status_ok": admin.AdminStatus("t1", ErrorCode.NONE),
        "status_topic_exists": admin.AdminStatus(
            "t1", ErrorCode(2002), section["status_topic_exists"]["error_message"]
        ),
    }
    frames = {
        "watch_request_frame": (watch.WatchRequest("Partition"), ScApi.WATCH),
        "create_topic_request_frame": (
            admin.CreateTopicRequest("t1", spec=TOPIC.spec),
            ScApi.CREATE,
        ),
        "delete_topic_request_frame": (admin.DeleteTopicRequest("t1"), ScApi.DELETE),
    }
    assert set(section) == set(messages) | set(frames)
    for name, message in messages.items():
        assert_message(message, hex_of(section[name]), 19)
    for name, (message, key) in frames.items():
        assert_request(message, section[name], key, 19)


# --- batches -------------------------------------------------------------------------------------


def build(records: list[dict[str, Any]], first_timestamp: int, codec: int = 0, compress: Any = None) -> bytes:
    builder = BatchBuilder(first_timestamp)
    for record in records:
        key = record["key"]
        builder.append(
            None if key is None else key.encode(),
            record["value"].encode(),
            first_timestamp + record["timestamp_delta"],
        )
    return b"".join(builder.build(codec, compress))


@covers("record")
def test_record(vectors: dict[str, Any]) -> None:
    for vector in vectors["record"]:
        data = bytes.fromhex(vector["hex"])
        key = None if vector["key"] is None else vector["key"].encode()
        if "value_repeat" in vector:
            letter, count = vector["value_repeat"]
            value = (letter * count).encode()
        else:
            value = vector["value"].encode()
        delta, offset = vector["timestamp_delta"], vector["offset_delta"]
        assert record_size(key, value, delta, offset) == len(data)
        builder = BatchBuilder(1000)
        for _ in range(offset):
            builder.append(None, b"before", 1000)
        before = b"".join(builder.sections())
        builder.append(key, value, 1000 + delta)
        assert b"".join(builder.sections())[len(before) :] == data
        # Read as the only record of its batch.
        header = BatchHeader(7, 45 + 4 + len(data), -1, 2, 0, 0, 0, 1000, 1000, -1, -1, -1)
        batch = decode_batch(struct.pack(">qiibIhiqqqhi", *header) + (1).to_bytes(4, "big") + data)
        assert batch.records == [(key, value, 1000 + delta, 7)]


@covers("worked_batch")
def test_worked_batch(vectors: dict[str, Any]) -> None:
    vector = vectors["worked_batch"]
    data = build(vector["records"], vector["first_timestamp"])
    assert data.hex() == vector["batch_hex"]
    verify_batch(data)
    header, records = decode_batch(data)
    assert header.crc == vector["crc32c"] == int(vector["crc_hex"], 16) == crc32c(data[21:])
    assert header.batch_len == vector["batch_len"]
    assert header.max_time_stamp == vector["max_time_stamp"]
    assert records == [
        (b"k", b"v1", vector["first_timestamp"], 0),
        (None, b"hello", vector["first_timestamp"] + 5, 1),
    ]


@covers("rust_unit_test_batches")
def test_rust_unit_test_batches(vectors: dict[str, Any]) -> None:
    for vector, has_schema in zip(vectors["rust_unit_test_batches"], (False, True), strict=True):
        data = bytes.fromhex(vector["hex"])
        batch = decode_batch(data)
        assert batch.header.has_schema is has_schema
        assert batch.header.crc == crc32c(data[21:]) == vector["crc"]
        assert batch.records == [(None, b"test", 1555478494747, 0)]
        assert batch.header.last_offset_delta == -1
        assert batch.header.record_count == 0
        with pytest.raises(errors.ProtocolError):
            verify_batch(data)


@covers("compression")
def test_compression(vectors: dict[str, Any]) -> None:
    section = vectors["compression"]
    plain = bytes.fromhex(section["uncompressed_section_hex"])
    names = {
        "gzip": Codec.GZIP,
        "snappy_frame_stored": Codec.SNAPPY,
        "lz4_frame_stored": Codec.LZ4,
        "zstd_frame_stored": Codec.ZSTD,
    }
    assert set(section) == set(names) | {"uncompressed_section_hex", "note"}
    worked = vectors["worked_batch"]
    for name, codec in names.items():
        compressed = bytes.fromhex(section[name]["section_hex"])
        assert decompress(codec, compressed, 1000) == plain
        data = bytes.fromhex(section[name]["batch_hex"])
        verify_batch(data)
        batch = decode_batch(data)
        assert batch.header.attributes == section[name]["attributes"] == batch.header.codec
        assert batch.records == decode_batch(bytes.fromhex(worked["batch_hex"])).records
        # The same compressed section makes the same batch.
        rebuilt = build(worked["records"], worked["first_timestamp"], codec, lambda _, c=compressed: c)
        assert rebuilt == data


# --- produce -------------------------------------------------------------------------------------


def produced(isolation: int, topics: list[tuple[str, list[int]]], batch: bytes) -> produce.ProduceRequest:
    return produce.ProduceRequest(
        isolation,
        1500,
        tuple(
            produce.TopicData(name, tuple(produce.PartitionData(number, batch) for number in partitions))
            for name, partitions in topics
        ),
    )


def result(error: ErrorCode, base_offset: int) -> produce.ProduceResponse:
    return produce.ProduceResponse((produce.TopicResult("t1", (produce.PartitionResult(0, error, base_offset),)),))


@covers("produce")
def test_produce(vectors: dict[str, Any]) -> None:
    section = vectors["produce"]
    batch = bytes.fromhex(vectors["worked_batch"]["batch_hex"])
    uncommitted, committed = produce.IsolationCode.READ_UNCOMMITTED, produce.IsolationCode.READ_COMMITTED
    request = produced(uncommitted, [("t1", [0])], batch)
    adhoc = smartmodules.SmartModuleInvocation(
        adhoc=bytes.fromhex("deadbeef"), kind=smartmodules.ModuleKind.FILTER, label="adhoc-test"
    )
    adhoc_v24 = smartmodules.SmartModuleInvocation(
        adhoc=bytes.fromhex("deadbeef"), kind=smartmodules.ModuleKind.FILTER, lookback=smartmodules.Lookback(1)
    )
    predefined = smartmodules.SmartModuleInvocation(
        "infinyon/regex-filter@0.1.0",
        kind=smartmodules.ModuleKind.GENERIC,
        context=smartmodules.ModuleContext.NONE,
        params={"regex": "[a-z]+"},
    )
    messages: dict[str, tuple[Any, int]] = {
        "request_body_v24_read_committed": (produced(committed, [("t1", [0])], batch), 24),
        "request_body_no_partitions": (produced(uncommitted, [("t1", [])], batch), 25),
        "request_body_two_topics": (
            produced(uncommitted, [("t1", [0, 1]), ("t2", [0])], batch),
            25,
        ),
        "rust_unit_test_request_v25": (
            produce.ProduceRequest(committed, 1000, (), (adhoc,), "t_id"),
            25,
        ),
        "rust_unit_test_request_v24": (
            produce.ProduceRequest(committed, 1000, (), (adhoc_v24,), "t_id"),
            24,
        ),
        "smartmodule_predefined_v25": (predefined, 25),
        "smartmodule_predefined_v24": (predefined, 24),
        "response_body_ok_v25": (result(ErrorCode.NONE, 41), 25),
        "response_body_not_leader_v25": (result(ErrorCode(6), 0), 25),
        "response_body_timed_out_v25": (result(ErrorCode(7, (2000, 0)), 4), 25),
        "response_body_partition_full_v25": (result(ErrorCode(72, ("t1", 0)), 0), 25),
        "response_body_smartmodule_not_found_v25": (result(ErrorCode(6001, ("nosuch",)), 0), 25),
        "response_body_ok_v0": (result(ErrorCode.NONE, 41), 0),
    }
    assert set(section) == set(messages) | {"request_frame_v25"}
    assert_request(request, section["request_frame_v25"], SpuApi.PRODUCE, 25)
    for name, (message, version) in messages.items():
        assert_message(message, hex_of(section[name]), version)


@covers("error_code")
def test_error_code(vectors: dict[str, Any]) -> None:
    payloads: dict[str, tuple[object, ...]] = {
        "Other": ("boom",),
        "RequestTimedOut": (1500, 0),
        "OffsetEvicted": (1, 10),
        "PartitionFull": ("t1", 3),
        "SmartModuleInvalid": ("bad", None),
        "SmartModuleRuntimeError": ("h", 3, 0, None, b"v"),
        "SystemSpecDeletionAttempt": ("topic", "consumer-offset"),
    }
    for vector in vectors["error_code"]:
        reader = Reader(bytes.fromhex(vector["hex"]))
        code = ErrorCode.read(reader, 25)
        assert code.name == vector["name"]
        assert code.payload == payloads.get(vector["name"], ())
        assert_message(code, vector["hex"], 25)


# --- consume -------------------------------------------------------------------------------------


@covers("consume")
def test_consume(vectors: dict[str, Any]) -> None:
    section = vectors["consume"]
    batch = bytes.fromhex(vectors["worked_batch"]["batch_hex"])
    key = consume.ReplicaKey("t1", 0)
    asked = (offsets.FetchOffsetsTopic("t1", (0,)),)
    messages: dict[str, tuple[Any, int]] = {
        "fetch_offsets_request_body_v25": (offsets.FetchOffsetsRequest(asked), 25),
        "fetch_offsets_request_body_v23_consumer": (offsets.FetchOffsetsRequest(asked, "c1"), 23),
        "fetch_offsets_response_body": (
            offsets.FetchOffsetsResponse(
                (offsets.TopicOffsets("t1", (offsets.PartitionOffsets(ErrorCode.NONE, 0, 0, 7),)),)
            ),
            25,
        ),
        "stream_fetch_request_body_v25": (consume.StreamFetchRequest("t1", 0, 0, 1048890), 25),
        "stream_fetch_request_body_v24_consumer_id": (
            consume.StreamFetchRequest("t1", 0, 0, 1048890, consumer_id="cons1"),
            24,
        ),
        "stream_fetch_response_body_v25": (
            consume.StreamFetchResponse("t1", 1, fetch.FetchedPartition(0, ErrorCode.NONE, 2, records=batch)),
            25,
        ),
        "update_offsets_request_body_v0": (consume.UpdateOffsetsRequest((consume.OffsetUpdate(5, 1),)), 0),
        "update_offsets_response_body": (
            consume.UpdateOffsetsResponse((consume.OffsetUpdateStatus(1, ErrorCode.NONE),)),
            0,
        ),
        "update_consumer_offset_request_body": (consume.UpdateConsumerOffsetRequest(2, 2), 25),
        "update_consumer_offset_response_body": (
            consume.UpdateConsumerOffsetResponse(2, ErrorCode.NONE),
            25,
        ),
        "fetch_consumer_offsets_request_body_v24_filter": (
            consume.FetchConsumerOffsetsRequest(consume.ConsumerOffsetFilter(key, "cons1")),
            24,
        ),
        "fetch_consumer_offsets_response_body": (
            consume.FetchConsumerOffsetsResponse(
                ErrorCode.NONE, (consume.ConsumerOffset("cons1", key, 2, 1700000000),)
            ),
            25,
        ),
        "delete_consumer_offset_request_body": (consume.DeleteConsumerOffsetRequest(key, "cons1"), 25),
    }
    assert set(section) == set(messages)
    for name, (message, version) in messages.items():
        assert_message(message, hex_of(section[name]), version)


# --- rules that stand beside the wire ------------------------------------------------------------


@covers("round_robin")
def test_round_robin(vectors: dict[str, Any]) -> None:
    section = vectors["round_robin"]
    available = {
        "partition_count_3_all_available": [0, 1, 2],
        "partition_count_3_available_0_2": [0, 2],
        "partition_count_3_none_known_available": [],
    }
    assert set(section) == set(available) | {"note"}
    for name, partitions in available.items():
        partitioner = SiphashRoundRobinPartitioner(start=0)
        chosen = [partitioner.partition(None, b"", 3, partitions) for _ in section[name]]
        assert chosen == section[name]


@covers("retry_delays_ms")
def test_retry_delays(vectors: dict[str, Any]) -> None:
    section = vectors["retry_delays_ms"]
    # name: initial delay and longest delay in ms, strategy.  The official client's exponential
    # strategy multiplies by the number of milliseconds of the initial delay.
    fixed, fibonacci = RetryStrategy.FIXED_DELAY, RetryStrategy.FIBONACCI_BACKOFF
    exponential = RetryStrategy.EXPONENTIAL_BACKOFF
    policies = {
        "fixed_10": (10, 1, fixed),
        "fibonacci_10_unbounded": (10, 10**9, fibonacci),
        "fibonacci_10_max_30": (10, 30, fibonacci),
        "fibonacci_10_max_200000": (10, 200000, fibonacci),
        "exponential_10_unbounded": (10, 10**9, exponential),
        "exponential_10_max_2000": (10, 2000, exponential),
        "exponential_10_max_200000": (10, 200000, exponential),
        "exponential_20_max_200000_default_policy_4_retries": (20, 200000, exponential),
        "exponential_20_max_200000_8": (20, 200000, exponential),
        "exponential_2_unbounded": (2, 10**9, exponential),
        "exponential_1_unbounded": (1, 10**9, exponential),
        "exponential_20_max_10": (20, 10, exponential),
    }
    assert set(section) == set(policies) | {"rule", "reconnect_backoff_s_official"}
    for name, (initial, longest, strategy) in policies.items():
        if strategy is fixed:
            longest = 10**9  # noqa: PLW2901 - the official client has no bound here, ours has
        policy = RetryPolicy(
            max_retries=len(section[name]),
            initial_delay=initial / 1000,
            max_delay=longest / 1000,
            strategy=strategy,
            multiplier=initial if strategy is exponential else 10,
        )
        assert [round(delay * 1000, 6) for delay in policy.delays()] == section[name]
    official = section["reconnect_backoff_s_official"]
    policy = RetryPolicy(max_retries=len(official), initial_delay=1.1, max_delay=30, multiplier=1.1)
    assert [round(delay, 6) for delay in policy.delays()] == pytest.approx(official, abs=1e-5)
