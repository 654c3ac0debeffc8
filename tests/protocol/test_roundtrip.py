# SPDX-License-Identifier: Apache-2.0
"""Every message, with drawn contents, at several versions: read back, and written the same again.

Garbage makes a value or a ProtocolError of every message.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import (
    admin,
    consume,
    envelope,
    error_code,
    metadata,
    offsets,
    produce,
    smartmodules,
    versions,
    watch,
)
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.layout import I64, STRING, U8, U32, U64, VARBYTES
from fluvio_sync.protocol.message import Message
from fluvio_sync.protocol.metadata import partition_key, split_partition_key
from fluvio_sync.protocol.primitives import Duration, Reader, Writer

if TYPE_CHECKING:
    import types

SC_VERSIONS = (12, 13, 14, 15, 16, 17, 18, 19)
SPU_VERSIONS = (23, 24, 25)
PRODUCE_VERSIONS = (8, 19, 20, 21, 24, 25)

# --- contents ------------------------------------------------------------------------------------

u8, u16 = st.integers(0, 2**8 - 1), st.integers(0, 2**16 - 1)
i16, i32 = st.integers(-(2**15), 2**15 - 1), st.integers(-(2**31), 2**31 - 1)
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(max_size=12)
data = st.binary(max_size=20)
flags = st.booleans()


def some(strategy: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=most).map(tuple)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def mapped(key: st.SearchStrategy[Any], value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    return st.dictionaries(key, value, max_size=3)


build = st.builds
durations = build(Duration, u64, u32)
parts: dict[Any, st.SearchStrategy[Any]] = {
    STRING: text,
    error_code._OPTIONAL_STRING: maybe(text),
    U8: u8,
    U32: u32,
    U64: u64,
    I64: i64,
    VARBYTES: data,
    error_code._OPTIONAL_DATA: maybe(data),
}
errors = st.sampled_from(list(error_code.Code)).flatmap(
    lambda code: build(
        ErrorCode,
        st.just(int(code)),
        st.tuples(*[parts[field] for field in error_code._PAYLOADS.get(code, ())]),
    )
)

# --- metadata ------------------------------------------------------------------------------------

m = metadata
remote_partitions = build(m.RemotePartition, text, text, i32, text, flags)
home_partitions = build(m.HomePartition, text, text, flags)
mirrors = remote_partitions | home_partitions
partition_maps = build(m.PartitionMap, u32, some(i32), maybe(mirrors))
home_spus = build(m.HomeSpu, i32, text, text)
remote_mirrors = build(m.RemoteMirror, text, some(home_spus), flags)
home_mirrors = build(m.HomeMirror, some(home_partitions), flags)
replicas = (
    build(m.AssignedReplicas, some(partition_maps))
    | build(m.ComputedReplicas, u32, u32, flags)
    | build(m.MirrorReplicas, remote_mirrors | home_mirrors)
)
cleanup_policies = build(m.CleanupPolicy, u32)
storages = build(m.TopicStorage, maybe(u32), maybe(u64))
compressions = st.sampled_from(m.TopicCompression)
deduplications = build(m.Deduplication, u64, maybe(durations), text, mapped(text, text))
topic_specs = build(
    m.TopicSpec,
    replicas,
    maybe(cleanup_policies),
    maybe(storages),
    compressions,
    maybe(deduplications),
    flags,
)
topic_statuses = build(
    m.TopicStatus,
    st.sampled_from(m.TopicResolution),
    mapped(u32, some(i32)),
    mapped(u32, mirrors),
    text,
)
topics = build(m.TopicObject, text, topic_specs, topic_statuses)
partition_specs = build(
    m.PartitionSpec,
    i32,
    some(i32),
    maybe(cleanup_policies),
    maybe(storages),
    compressions,
    maybe(deduplications),
    flags,
    maybe(mirrors),
)
replica_statuses = build(m.ReplicaStatus, i32, i64, i64)
partition_statuses = build(
    m.PartitionStatus,
    st.sampled_from(m.PartitionResolution),
    replica_statuses,
    u32,
    some(replica_statuses),
    i64,
    flags,
    i64,
)
partitions = build(m.PartitionObject, text, partition_specs, partition_statuses)
encryptions = st.sampled_from(m.Encryption)
addresses = build(m.IngressAddr, maybe(text), maybe(text))
ingress_ports = build(m.IngressPort, u16, some(addresses), encryptions)
endpoints = build(m.Endpoint, u16, text, encryptions)
spu_specs = build(
    m.SpuSpec,
    i32,
    st.sampled_from(m.SpuType),
    ingress_ports,
    endpoints,
    maybe(text),
    maybe(endpoints),
)
spu_statuses = build(m.SpuStatus, st.sampled_from(m.SpuResolution))
spus = build(m.SpuObject, text, spu_specs, spu_statuses)
labels = st.sampled_from(["Topic", "Partition", "SPU"])
objects = {"Topic": topics, "Partition": partitions, "SPU": spus}
other_labels = st.sampled_from(["CustomSpu", "SpuGroup", "SmartModule", "TableFormat", "Mirror"])
watch_updates = labels.flatmap(
    lambda label: build(
        watch.WatchUpdate,
        st.just(label),
        i64,
        some(build(watch.Change, flags, objects[label]), 2),
        some(objects[label], 2),
    )
)
list_responses = labels.flatmap(lambda label: build(watch.ListResponse, st.just(label), some(objects[label])))
foreign = {"name": st.just(""), "label": other_labels, "inner": data}

# --- produce and consume -------------------------------------------------------------------------

p, c = produce, consume
lookbacks = build(smartmodules.Lookback, u64, maybe(durations))
named_kinds = [
    {"kind": st.just(kind)}
    for kind in (
        smartmodules.ModuleKind.FILTER,
        smartmodules.ModuleKind.MAP,
        smartmodules.ModuleKind.ARRAY_MAP,
        smartmodules.ModuleKind.FILTER_MAP,
    )
]
kinds: list[dict[str, Any]] = [
    *named_kinds,
    {"kind": st.just(smartmodules.ModuleKind.AGGREGATE), "accumulator": data},
    {"kind": st.just(smartmodules.ModuleKind.JOIN), "topic": text},
    {"kind": st.just(smartmodules.ModuleKind.JOIN_STREAM), "topic": text, "derived_stream": text},
    {},
    {"context": st.just(smartmodules.ModuleContext.AGGREGATE), "accumulator": data},
    {"context": st.just(smartmodules.ModuleContext.JOIN), "topic": text},
    {"context": st.just(smartmodules.ModuleContext.JOIN_STREAM), "topic": text, "derived_stream": text},
]
given_how: list[dict[str, Any]] = [{"name": text}, {"adhoc": data}]
modules = st.one_of(
    [
        build(
            smartmodules.SmartModuleInvocation,
            params=mapped(text, text),
            lookback=maybe(lookbacks),
            label=maybe(text),
            **kind,
            **how,
        )
        for kind in kinds
        for how in given_how
    ]
)
partition_data = build(p.PartitionData, u32, data)
topic_data = build(p.TopicData, text, some(partition_data))
partition_results = build(p.PartitionResult, u32, errors, i64, i64, i64)
topic_results = build(p.TopicResult, text, some(partition_results))
fetch_offsets_topics = build(offsets.FetchOffsetsTopic, text, some(u32))
partition_offsets = build(offsets.PartitionOffsets, errors, u32, i64, i64)
topic_offsets = build(offsets.TopicOffsets, text, some(partition_offsets))
aborted = maybe(some(build(c.AbortedTransaction, i64, i64)))
fetched_partitions = build(c.FetchedPartition, u32, errors, i64, i64, i64, aborted, data)
isolations = st.integers(0, 1)
offset_updates = build(c.OffsetUpdate, i64, u32)
offset_statuses = build(c.OffsetUpdateStatus, u32, errors)
replica_keys = build(c.ReplicaKey, text, u32)
filters = build(c.ConsumerOffsetFilter, maybe(replica_keys), maybe(text))
consumer_offsets = build(c.ConsumerOffset, text, replica_keys, i64, u64)
fetch_partitions = build(c.FetchPartition, u32, i64, i32, current_leader_epoch=i32, log_start_offset=i64)
fetch_topics = build(c.FetchTopic, text, some(fetch_partitions))
forgotten_topics = build(c.ForgottenTopic, text, some(i32))
fetched_topics = build(c.FetchedTopic, text, some(fetched_partitions))
api_version_keys = build(versions.ApiVersionKey, i16, i16, i16)

MESSAGES: dict[type, tuple[st.SearchStrategy[Any], tuple[int, ...]]] = {
    ErrorCode: (errors, (0, 25)),
    versions.ApiVersionsRequest: (build(versions.ApiVersionsRequest, text, text, text), (0, 1, 2)),
    versions.ApiVersionKey: (api_version_keys, (2,)),
    versions.ApiVersionsResponse: (
        build(versions.ApiVersionsResponse, errors, some(api_version_keys), text),
        (0, 2),
    ),
    m.CleanupPolicy: (cleanup_policies, SC_VERSIONS),
    m.TopicStorage: (storages, SC_VERSIONS),
    m.Deduplication: (deduplications, SC_VERSIONS),
    m.RemotePartition: (remote_partitions, SC_VERSIONS),
    m.HomePartition: (home_partitions, SC_VERSIONS),
    m.HomeSpu: (home_spus, SC_VERSIONS),
    m.RemoteMirror: (remote_mirrors, SC_VERSIONS),
    m.HomeMirror: (home_mirrors, SC_VERSIONS),
    m.PartitionMap: (partition_maps, SC_VERSIONS),
    m.AssignedReplicas: (build(m.AssignedReplicas, some(partition_maps)), SC_VERSIONS),
    m.ComputedReplicas: (build(m.ComputedReplicas, u32, u32, flags), SC_VERSIONS),
    m.MirrorReplicas: (build(m.MirrorReplicas, remote_mirrors | home_mirrors), SC_VERSIONS),
    m.TopicSpec: (topic_specs, SC_VERSIONS),
    m.TopicStatus: (topic_statuses, SC_VERSIONS),
    m.TopicObject: (topics, SC_VERSIONS),
    m.PartitionSpec: (partition_specs, SC_VERSIONS),
    m.ReplicaStatus: (replica_statuses, SC_VERSIONS),
    m.PartitionStatus: (partition_statuses, SC_VERSIONS),
    m.PartitionObject: (partitions, SC_VERSIONS),
    m.IngressAddr: (addresses, SC_VERSIONS),
    m.IngressPort: (ingress_ports, SC_VERSIONS),
    m.Endpoint: (endpoints, SC_VERSIONS),
    m.SpuSpec: (spu_specs, SC_VERSIONS),
    m.SpuStatus: (spu_statuses, SC_VERSIONS),
    m.SpuObject: (spus, SC_VERSIONS),
    envelope.TypeBuffer: (build(envelope.TypeBuffer, text, data), SC_VERSIONS),
    watch.WatchRequest: (build(watch.WatchRequest, labels | other_labels, i64, flags), SC_VERSIONS),
    watch.WatchUpdate: (watch_updates, SC_VERSIONS),
    watch.ListRequest: (
        build(watch.ListRequest, labels | other_labels, some(text), flags, flags),
        SC_VERSIONS,
    ),
    watch.ListResponse: (
        list_responses | build(watch.ListResponse, other_labels),
        SC_VERSIONS,
    ),
    admin.CreateTopicRequest: (
        build(admin.CreateTopicRequest, text, flags, maybe(u32), topic_specs)
        | build(admin.CreateTopicRequest, **foreign),
        SC_VERSIONS,
    ),
    admin.DeleteTopicRequest: (
        build(admin.DeleteTopicRequest, text, flags) | build(admin.DeleteTopicRequest, **foreign),
        SC_VERSIONS,
    ),
    admin.AddPartitions: (build(admin.AddPartitions, u32), SC_VERSIONS),
    admin.AddMirror: (build(admin.AddMirror, text, flags), SC_VERSIONS),
    admin.UpdateTopicRequest: (
        build(admin.UpdateTopicRequest, text, build(admin.AddPartitions, u32))
        | build(admin.UpdateTopicRequest, text, build(admin.AddMirror, text, flags))
        | build(admin.UpdateTopicRequest, **foreign),
        SC_VERSIONS,
    ),
    admin.AdminStatus: (build(admin.AdminStatus, text, errors, maybe(text)), SC_VERSIONS),
    smartmodules.Lookback: (lookbacks, PRODUCE_VERSIONS),
    smartmodules.SmartModuleInvocation: (modules, PRODUCE_VERSIONS),
    p.PartitionData: (partition_data, PRODUCE_VERSIONS),
    p.TopicData: (topic_data, PRODUCE_VERSIONS),
    p.ProduceRequest: (
        build(
            p.ProduceRequest,
            i16,
            st.integers(0, 2**31 - 1),
            some(topic_data),
            some(modules),
            maybe(text),
        ),
        PRODUCE_VERSIONS,
    ),
    p.PartitionResult: (partition_results, PRODUCE_VERSIONS),
    p.TopicResult: (topic_results, PRODUCE_VERSIONS),
    p.ProduceResponse: (
        build(p.ProduceResponse, some(topic_results), i32),
        (0, 1, 2, 5, *PRODUCE_VERSIONS),
    ),
    offsets.FetchOffsetsTopic: (fetch_offsets_topics, SPU_VERSIONS),
    offsets.FetchOffsetsRequest: (
        build(offsets.FetchOffsetsRequest, some(fetch_offsets_topics), maybe(text)),
        SPU_VERSIONS,
    ),
    offsets.PartitionOffsets: (partition_offsets, SPU_VERSIONS),
    offsets.TopicOffsets: (topic_offsets, SPU_VERSIONS),
    offsets.FetchOffsetsResponse: (build(offsets.FetchOffsetsResponse, some(topic_offsets)), SPU_VERSIONS),
    c.StreamFetchRequest: (
        build(c.StreamFetchRequest, text, u32, i64, i32, isolations, some(modules, 2), maybe(text)),
        (19, 22, *SPU_VERSIONS),
    ),
    c.AbortedTransaction: (build(c.AbortedTransaction, i64, i64), SPU_VERSIONS),
    c.FetchedPartition: (fetched_partitions, SPU_VERSIONS),
    c.StreamFetchResponse: (build(c.StreamFetchResponse, text, u32, fetched_partitions), SPU_VERSIONS),
    c.OffsetUpdate: (offset_updates, (0,)),
    c.UpdateOffsetsRequest: (build(c.UpdateOffsetsRequest, some(offset_updates)), (0,)),
    c.OffsetUpdateStatus: (offset_statuses, (0,)),
    c.UpdateOffsetsResponse: (build(c.UpdateOffsetsResponse, some(offset_statuses)), (0,)),
    c.ReplicaKey: (replica_keys, SPU_VERSIONS),
    c.UpdateConsumerOffsetRequest: (build(c.UpdateConsumerOffsetRequest, i64, u32), SPU_VERSIONS),
    c.UpdateConsumerOffsetResponse: (
        build(c.UpdateConsumerOffsetResponse, i64, errors),
        SPU_VERSIONS,
    ),
    c.DeleteConsumerOffsetRequest: (
        build(c.DeleteConsumerOffsetRequest, replica_keys, text),
        SPU_VERSIONS,
    ),
    c.DeleteConsumerOffsetResponse: (
        build(c.DeleteConsumerOffsetResponse, errors),
        SPU_VERSIONS,
    ),
    c.ConsumerOffsetFilter: (filters, SPU_VERSIONS),
    c.FetchConsumerOffsetsRequest: (
        build(c.FetchConsumerOffsetsRequest, maybe(filters)),
        SPU_VERSIONS,
    ),
    c.ConsumerOffset: (consumer_offsets, SPU_VERSIONS),
    c.FetchConsumerOffsetsResponse: (
        build(c.FetchConsumerOffsetsResponse, errors, some(consumer_offsets)),
        SPU_VERSIONS,
    ),
    c.FetchPartition: (fetch_partitions, SPU_VERSIONS),
    c.FetchTopic: (fetch_topics, SPU_VERSIONS),
    c.ForgottenTopic: (forgotten_topics, SPU_VERSIONS),
    c.FetchRequest: (
        build(
            c.FetchRequest,
            some(fetch_topics),
            some(forgotten_topics),
            max_wait=i32,
            min_bytes=i32,
            max_bytes=i32,
            isolation=isolations,
        ),
        (11, *SPU_VERSIONS),
    ),
    c.FetchedTopic: (fetched_topics, SPU_VERSIONS),
    c.FetchResponse: (
        build(c.FetchResponse, some(fetched_topics), error_code=errors, throttle_time_ms=i32, session_id=i32),
        (11, *SPU_VERSIONS),
    ),
}


def messages_of(module: types.ModuleType) -> set[type]:
    return {
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and hasattr(kind, "write") and not kind.__subclasses__()
    }


def test_every_message_is_tested() -> None:
    modules_with_messages = (
        *(error_code, versions, metadata, envelope, watch, admin),
        *(smartmodules, produce, offsets, consume),
    )
    defined = set().union(*(messages_of(module) for module in modules_with_messages))
    assert set(MESSAGES) == defined


def encode(message: Any, version: int) -> bytes:
    w = Writer()
    message.write(w, version)
    return w.getvalue()


def decode(kind: Any, encoded: bytes, version: int) -> Any:
    reader = Reader(encoded)
    message = kind.read(reader, version)
    assert reader.remaining == 0
    return message


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type) -> None:
    strategy, known_versions = MESSAGES[kind]
    # At 23 alone FetchOffsets carries all its fields; everywhere else the newest version does.
    complete = 23 if kind is offsets.FetchOffsetsRequest else max(known_versions)

    @settings(max_examples=25)
    @given(strategy)
    def check(message: Any) -> None:
        assert decode(kind, encode(message, complete), complete) == message
        for version in known_versions:
            encoded = encode(message, version)
            assert encode(decode(kind, encoded, version), version) == encoded

    check()


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_cut_short(kind: type) -> None:
    strategy, known_versions = MESSAGES[kind]

    @settings(max_examples=4)
    @given(strategy)
    def check(message: Any) -> None:
        encoded = encode(message, max(known_versions))
        for length in range(len(encoded)):
            with pytest.raises(ProtocolError):
                kind.read(Reader(encoded[:length]), max(known_versions))  # type: ignore[attr-defined]

    check()


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_garbage(kind: Any) -> None:
    _, known_versions = MESSAGES[kind]
    # Small bytes are counts, lengths and tags that mean something, so they get further.
    garbage = st.binary(max_size=120) | st.lists(st.integers(0, 3), max_size=120).map(bytes)

    @settings(max_examples=30)
    @given(garbage, st.sampled_from(known_versions))
    def check(encoded: bytes, version: int) -> None:
        try:
            message = kind.read(Reader(encoded), version)
        except ProtocolError:
            return
        # A message that can be read can be written, and means the same.
        assert decode(kind, encode(message, version), version) == message

    check()


# Made of zeros, where it is not said otherwise: no text, no element, nothing where something may be missing.
SMALLEST: dict[type, bytes] = {m.MirrorReplicas: b"\1" + bytes(4)}


@pytest.mark.parametrize(
    "kind", [kind for kind in MESSAGES if issubclass(kind, Message)], ids=lambda kind: kind.__name__
)
def test_min_size_is_that_of_the_smallest_message(kind: type[Message]) -> None:
    strategy, known_versions = MESSAGES[kind]
    # That of an envelope is an empty one, which not every label allows.
    if not issubclass(kind, envelope.Enveloped):
        smallest = SMALLEST.get(kind, bytes(kind.min_size))
        version = 24 if kind is offsets.FetchOffsetsRequest else min(known_versions)
        assert len(encode(decode(kind, smallest, version), version)) == kind.min_size

    @settings(max_examples=25)
    @given(strategy, st.sampled_from(known_versions))
    def check(message: Any, version: int) -> None:
        assert len(encode(message, version)) >= kind.min_size

    check()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (p.TopicData, p.TopicData("", (p.PartitionData(0, b""),) * 99)),
        (p.ProduceRequest, p.ProduceRequest(1, 0, (p.TopicData("", ()),) * 99)),
        (p.TopicResult, p.TopicResult("", (p.PartitionResult(0, ErrorCode.NONE, 0),) * 99)),
        (p.ProduceResponse, p.ProduceResponse((p.TopicResult("", ()),) * 99)),
    ],
)
def test_as_many_of_the_smallest_as_fit_are_read(kind: Any, message: Any) -> None:
    assert decode(kind, encode(message, 0), 0) == message


@pytest.mark.parametrize("kind", [m.TopicObject, m.PartitionObject, m.SpuObject])
def test_a_count_of_objects_that_cannot_fit_raises(kind: Any) -> None:
    def envelope_of(inner: bytes) -> Reader:
        return Reader(encode(envelope.TypeBuffer(kind.LABEL, inner), 19))

    size, many = kind.min_size, b"\0\0\0\3"
    with pytest.raises(ProtocolError, match=f"3 elements of at least {size} bytes do not fit"):
        watch.ListResponse.read(envelope_of(many + bytes(3 * size - 1)), 19)
    with pytest.raises(ProtocolError, match=f"3 elements of at least {1 + size} bytes do not fit"):
        watch.WatchUpdate.read(envelope_of(bytes(8) + many + bytes(3 * size + 2)), 19)


@given(text.filter(bool), u32)
def test_the_name_of_a_partition(topic: str, number: int) -> None:
    assert split_partition_key(partition_key(topic, number)) == (topic, number)


@pytest.mark.parametrize(
    "name", ["", "topic", "topic-", "-1", "-", "topic-x", "topic-1x", "topic-²", "topic-+1", "a-" + "1" * 11]
)
def test_names_that_are_no_partitions(name: str) -> None:
    with pytest.raises(ProtocolError, match="not the name of a partition"):
        split_partition_key(name)


def test_the_repr_of_a_message_holds_no_record() -> None:
    request = p.ProduceRequest(1, 0, (p.TopicData("t", (p.PartitionData(3, b"secret"),)),))
    fetched = c.StreamFetchResponse("t", 1, c.FetchedPartition(3, ErrorCode.NONE, 4, records=b"secret"))
    failed = ErrorCode(6004, ("hint", 5, 0, b"secret", b"secret"))
    module = smartmodules.SmartModuleInvocation(adhoc=b"secret")
    for message in (request, fetched, failed, module, envelope.TypeBuffer("Topic", b"secret")):
        assert "secret" not in repr(message)
    assert "PartitionData(partition=3, records=<6 bytes>)" in repr(request)


def test_objects_of_an_unknown_kind() -> None:
    w = Writer()
    envelope.TypeBuffer("SmartModule", b"\0\0\0\x01\x00").write(w, 19)
    with pytest.raises(ProtocolError, match="'SmartModule' are not known"):
        watch.ListResponse.read(Reader(w.getvalue()), 19)
    w = Writer()
    envelope.TypeBuffer("SmartModule", bytes(8) + b"\0\0\0\x01\x01" + bytes(20)).write(w, 19)
    with pytest.raises(ProtocolError, match="'SmartModule' are not known"):
        watch.WatchUpdate.read(Reader(w.getvalue()), 19)
    w = Writer()
    envelope.TypeBuffer("SmartModule", bytes(16)).write(w, 19)
    assert watch.WatchUpdate.read(Reader(w.getvalue()), 19) == watch.WatchUpdate("SmartModule", 0)


@pytest.mark.parametrize(
    ("kind", "encoded", "message"),
    [
        (m.TopicSpec, bytes(5) + b"\1\1", "unknown clean-up policy 1"),
        (m.TopicSpec, b"\3", "unknown kind of replicas 3"),
        (m.TopicSpec, b"\2\2", "unknown kind of mirror 2"),
        (m.PartitionMap, bytes(8) + b"\1\2", "unknown kind of mirror 2"),
        (admin.UpdateTopicRequest, b"\0\5Topic\0\0\0\4\0\1t\2", "unknown kind of update 2"),
        (watch.WatchUpdate, b"\0\5Topic\0\0\0\x1d" + bytes(11) + b"\1\2" + bytes(16), "kind of change 2"),
        (smartmodules.SmartModuleInvocation, b"\2", "unknown kind of SmartModule 2"),
        (smartmodules.SmartModuleInvocation, b"\0\0\1m\x08", "8 is no ModuleKind"),
        (smartmodules.SmartModuleInvocation, b"\0\0\1m\x07\4", "4 is no ModuleContext"),
        (c.StreamFetchRequest, b"\0\1t" + bytes(16) + b"\2", "2 is no isolation level"),
        (p.PartitionData, bytes(4) + b"\xff\xff\xff\xff", "negative"),
    ],
    ids=range(11),
)
def test_tags_that_mean_nothing(kind: Any, encoded: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        kind.read(Reader(encoded), max(MESSAGES[kind][1]))


def test_the_number_of_partitions() -> None:
    maps = tuple(m.PartitionMap(number, (1,)) for number in range(3))
    assert m.TopicSpec(m.AssignedReplicas(maps)).partition_count == 3
    assert m.TopicSpec(m.ComputedReplicas(7)).partition_count == 7
    spus = tuple(m.HomeSpu(number, "k", "e") for number in range(2))
    assert m.TopicSpec(m.MirrorReplicas(m.RemoteMirror("h", spus))).partition_count == 2
    home = m.HomeMirror((m.HomePartition("r", "t-0"),))
    assert m.TopicSpec(m.MirrorReplicas(home)).partition_count == 1
    assert m.TopicSpec().partition_count == 1
