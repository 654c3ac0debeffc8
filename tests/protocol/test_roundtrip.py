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
    fetch,
    metadata,
    offsets,
    produce,
    smartmodules,
    versions,
    watch,
)
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.message import Message
from fluvio_sync.protocol.metadata import partition_key, split_partition_key
from fluvio_sync.protocol.primitives import Reader, Writer
from tests.protocol.invented import invented

if TYPE_CHECKING:
    import types

VERSIONS: dict[types.ModuleType, tuple[int, ...]] = {
    error_code: (0, 25),
    versions: (0, 1, 2),
    **dict.fromkeys((metadata, envelope, watch, admin), (12, 13, 14, 15, 16, 17, 18, 19)),
    **dict.fromkeys((smartmodules, produce), (0, 1, 2, 5, 8, 19, 20, 21, 24, 25)),
    **dict.fromkeys((offsets, consume, fetch), (11, 19, 22, 23, 24, 25)),
}


def messages_of(module: types.ModuleType) -> list[type]:
    return [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and hasattr(kind, "write") and not kind.__subclasses__()
    ]


MESSAGES: dict[type, list[int]] = {
    kind: [version for version in known if version >= getattr(kind, "MIN_VERSION", 0)]
    for module, known in VERSIONS.items()
    for kind in messages_of(module)
}


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
    # At 23 alone FetchOffsets carries all its fields; everywhere else the newest version does.
    complete = 23 if kind is offsets.FetchOffsetsRequest else max(MESSAGES[kind])

    @settings(max_examples=25)
    @given(invented(kind, complete))
    def check(message: Any) -> None:
        assert decode(kind, encode(message, complete), complete) == message
        for version in MESSAGES[kind]:
            encoded = encode(message, version)
            assert encode(decode(kind, encoded, version), version) == encoded

    check()


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_a_message_cut_short(kind: Any) -> None:
    newest = max(MESSAGES[kind])

    @settings(max_examples=4)
    @given(invented(kind, newest))
    def check(message: Any) -> None:
        encoded = encode(message, newest)
        for length in range(len(encoded)):
            with pytest.raises(ProtocolError):
                kind.read(Reader(encoded[:length]), newest)

    check()


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_garbage(kind: Any) -> None:
    # Small bytes are counts, lengths and tags that mean something, so they get further.
    garbage = st.binary(max_size=120) | st.lists(st.integers(0, 3), max_size=120).map(bytes)

    @settings(max_examples=30)
    @given(garbage, st.sampled_from(MESSAGES[kind]))
    def check(encoded: bytes, version: int) -> None:
        try:
            message = kind.read(Reader(encoded), version)
        except ProtocolError:
            return
        # A message that can be read can be written, and means the same.
        assert decode(kind, encode(message, version), version) == message

    check()


# Made of zeros, where it is not said otherwise: no text, no element, nothing where something may be missing.
SMALLEST: dict[type, bytes] = {metadata.MirrorReplicas: b"\1" + bytes(4)}


@pytest.mark.parametrize(
    "kind", [kind for kind in MESSAGES if issubclass(kind, Message)], ids=lambda kind: kind.__name__
)
def test_min_size_is_that_of_the_smallest_message(kind: type[Message]) -> None:
    oldest = min(MESSAGES[kind])
    # That of an envelope is an empty one, which not every label allows.
    if not issubclass(kind, envelope.Enveloped):
        smallest = SMALLEST.get(kind, bytes(kind.min_size))
        assert len(encode(decode(kind, smallest, oldest), oldest)) == kind.min_size

    @settings(max_examples=25)
    @given(invented(kind, max(MESSAGES[kind])), st.sampled_from(MESSAGES[kind]))
    def check(message: Any, version: int) -> None:
        assert len(encode(message, version)) >= kind.min_size

    check()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (produce.TopicData, produce.TopicData("", (produce.PartitionData(0, b""),) * 99)),
        (produce.ProduceRequest, produce.ProduceRequest(1, 0, (produce.TopicData("", ()),) * 99)),
        (produce.TopicResult, produce.TopicResult("", (produce.PartitionResult(0, ErrorCode.NONE, 0),) * 99)),
        (produce.ProduceResponse, produce.ProduceResponse((produce.TopicResult("", ()),) * 99)),
    ],
)
def test_as_many_of_the_smallest_as_fit_are_read(kind: Any, message: Any) -> None:
    assert decode(kind, encode(message, 0), 0) == message


@pytest.mark.parametrize("kind", [metadata.TopicObject, metadata.PartitionObject, metadata.SpuObject])
def test_a_count_of_objects_that_cannot_fit_raises(kind: Any) -> None:
    def envelope_of(inner: bytes) -> Reader:
        return Reader(encode(envelope.TypeBuffer(kind.LABEL, inner), 19))

    size, many = kind.min_size, b"\0\0\0\3"
    with pytest.raises(ProtocolError, match=f"3 elements of at least {size} bytes do not fit"):
        watch.ListResponse.read(envelope_of(many + bytes(3 * size - 1)), 19)
    with pytest.raises(ProtocolError, match=f"3 elements of at least {1 + size} bytes do not fit"):
        watch.WatchUpdate.read(envelope_of(bytes(8) + many + bytes(3 * size + 2)), 19)


@given(st.text(min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_the_name_of_a_partition(topic: str, number: int) -> None:
    assert split_partition_key(partition_key(topic, number)) == (topic, number)


@pytest.mark.parametrize(
    "name", ["", "topic", "topic-", "-1", "-", "topic-x", "topic-1x", "topic-²", "topic-+1", "a-" + "1" * 11]
)
def test_names_that_are_no_partitions(name: str) -> None:
    with pytest.raises(ProtocolError, match="not the name of a partition"):
        split_partition_key(name)


def test_the_repr_of_a_message_holds_no_record() -> None:
    request = produce.ProduceRequest(1, 0, (produce.TopicData("t", (produce.PartitionData(3, b"secret"),)),))
    fetched = consume.StreamFetchResponse("t", 1, fetch.FetchedPartition(3, ErrorCode.NONE, 4, records=b"secret"))
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
        (metadata.TopicSpec, bytes(5) + b"\1\1", "unknown clean-up policy 1"),
        (metadata.TopicSpec, b"\3", "unknown kind of replicas 3"),
        (metadata.TopicSpec, b"\2\2", "unknown kind of mirror 2"),
        (metadata.PartitionMap, bytes(8) + b"\1\2", "unknown kind of mirror 2"),
        (admin.UpdateTopicRequest, b"\0\5Topic\0\0\0\4\0\1t\2", "unknown kind of update 2"),
        (watch.WatchUpdate, b"\0\5Topic\0\0\0\x1d" + bytes(11) + b"\1\2" + bytes(16), "kind of change 2"),
        (smartmodules.SmartModuleInvocation, b"\2", "unknown kind of SmartModule 2"),
        (smartmodules.SmartModuleInvocation, b"\0\0\1m\x08", "8 is no ModuleKind"),
        (smartmodules.SmartModuleInvocation, b"\0\0\1m\x07\4", "4 is no ModuleContext"),
        (consume.StreamFetchRequest, b"\0\1t" + bytes(16) + b"\2", "2 is no isolation level"),
        (produce.PartitionData, bytes(4) + b"\xff\xff\xff\xff", "negative"),
    ],
    ids=range(11),
)
def test_tags_that_mean_nothing(kind: Any, encoded: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        kind.read(Reader(encoded), max(MESSAGES[kind]))


def test_the_number_of_partitions() -> None:
    maps = tuple(metadata.PartitionMap(number, (1,)) for number in range(3))
    assert metadata.TopicSpec(metadata.AssignedReplicas(maps)).partition_count == 3
    assert metadata.TopicSpec(metadata.ComputedReplicas(7)).partition_count == 7
    spus = tuple(metadata.HomeSpu(number, "k", "e") for number in range(2))
    assert metadata.TopicSpec(metadata.MirrorReplicas(metadata.RemoteMirror("h", spus))).partition_count == 2
    home = metadata.HomeMirror((metadata.HomePartition("r", "t-0"),))
    assert metadata.TopicSpec(metadata.MirrorReplicas(home)).partition_count == 1
    assert metadata.TopicSpec().partition_count == 1
