# SPDX-License-Identifier: Apache-2.0
"""Captured frames, damaged in every way: a value or ProtocolError, promptly and in little memory."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import consume, metadata, produce, versions, watch
from fluvio_sync.protocol.batch import decode_batch, decode_record_set, iter_batches, verify_batch
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.frames import FrameReader, split_request, split_response
from fluvio_sync.protocol.layout import STRING, U8, mapping, vec
from fluvio_sync.protocol.primitives import Reader, decode_varint

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024 * 1024
CLAIMS = [b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\xff\xff"]


def decode(captured: Any, payload: bytes) -> Any:
    """Decode a payload as the captured frame that it was, record sets included."""
    if captured.is_request:
        _, reader = split_request(payload)
    else:
        _, reader = split_response(payload)
    message = captured.message.read(reader, captured.header.api_version)
    if isinstance(message, produce.ProduceRequest):
        for topic in message.topics:
            for partition in topic.partitions:
                decode_record_set(partition.records, max_size=MIB)
    if isinstance(message, consume.StreamFetchResponse):
        decode_record_set(message.partition.records, max_size=MIB)
    return message


def survives(captured: Any, payload: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode(captured, payload)


def test_mutated_bytes(captured: Any) -> None:
    draw = random.Random(captured.name)
    for _ in range(60):
        payload = bytearray(captured.payload)
        for _ in range(draw.choice([1, 1, 1, 2, 5, 20])):
            position = draw.randrange(len(payload))
            if draw.random() < 0.2:
                del payload[position : position + draw.randrange(1, 8)]
            elif draw.random() < 0.2:
                payload[position:position] = draw.randbytes(draw.randrange(1, 8))
            elif payload:
                payload[position] = draw.choice([0, 1, 2, 0x7F, 0x80, 0xFF, draw.randrange(256)])
            if not payload:
                break
        survives(captured, bytes(payload))


def test_absurd_numbers_take_no_memory(all_captured: list[Any]) -> None:
    largest = 0
    for captured in all_captured:
        payload = captured.payload
        for position in range(0, len(payload) - 3, 1 + len(payload) // 30):
            claim = CLAIMS[position % 3]
            tracemalloc.start()
            try:
                survives(captured, payload[:position] + claim + payload[position + 4 :])
                largest = max(largest, tracemalloc.get_traced_memory()[1])
            finally:
                tracemalloc.stop()
    assert largest < MIB


HUGE = b"\x7f\xff\xff\xff"
HUGE_VARINT = b"\xfe\xff\xff\xff\x0f"  # 2^31 - 1


def record_set(*, count: bytes = b"\0\0\0\1", length: bytes = b"\0\0\0\x3d") -> bytes:
    header = bytes(8) + length + b"\xff\xff\xff\xff\x02" + bytes(4 + 2 + 4 + 8 + 8) + b"\xff" * 14
    return header + count


CLAIMING: dict[str, Callable[[], object]] = {
    "byte_string": lambda: Reader(HUGE + bytes(100)).byte_string(),
    "varbytes": lambda: Reader(HUGE_VARINT + bytes(100)).varbytes(),
    "raw": lambda: Reader(bytes(100)).raw(2**31 - 1),
    "string": lambda: Reader(b"\x7f\xff" + bytes(100)).string(),
    "vec": lambda: vec(U8).read(Reader(HUGE + bytes(100)), 0),
    "map": lambda: mapping(STRING, STRING).read(Reader(b"\xff\xff" + bytes(100)), 0),
    "varint": lambda: decode_varint(b"\xff" * 100, 0),
    "frame": lambda: FrameReader().feed(HUGE + bytes(100)),
    "versions": lambda: versions.ApiVersionsResponse.read(Reader(b"\0\0" + HUGE + bytes(100)), 2),
    "envelope": lambda: watch.WatchUpdate.read(Reader(b"\0\5Topic" + HUGE + bytes(100)), 19),
    "changes": lambda: watch.WatchUpdate.read(Reader(b"\0\5Topic\0\0\0\x70" + bytes(8) + HUGE + bytes(100)), 19),
    "objects": lambda: watch.ListResponse.read(Reader(b"\0\5Topic\0\0\0\x68" + HUGE + bytes(100)), 19),
    "objects unknown": lambda: watch.ListResponse.read(Reader(b"\0\5Whats\0\0\0\x68" + HUGE + bytes(100)), 19),
    "replicas": lambda: metadata.TopicSpec.read(Reader(b"\0" + HUGE + bytes(100)), 19),
    "produce topics": lambda: produce.ProduceRequest.read(Reader(b"\0\0\1" + bytes(4) + HUGE + bytes(100)), 25),
    "produce records": lambda: produce.PartitionData.read(Reader(bytes(4) + HUGE + bytes(9)), 25),
    "produce response": lambda: produce.ProduceResponse.read(Reader(HUGE + bytes(100)), 25),
    "results": lambda: produce.TopicResult.read(Reader(b"\0\1t" + HUGE + bytes(100)), 25),
    "error": lambda: ErrorCode.read(Reader(b"\x17\x74" + bytes(11) + b"\1" + HUGE_VARINT + bytes(100)), 25),
    "fetched records": lambda: consume.StreamFetchResponse.read(Reader(b"\0\1t" + bytes(35) + HUGE + bytes(100)), 25),
    "batch length": lambda: decode_batch(record_set(length=HUGE) + bytes(100)),
    "batch count": lambda: decode_batch(record_set(count=HUGE, length=b"\0\0\0\x95") + bytes(100)),
    "record length": lambda: decode_batch(record_set(length=b"\0\0\0\x95") + HUGE_VARINT + bytes(95)),
    "value length": lambda: decode_batch(
        record_set(length=b"\0\0\0\x95") + b"\xbe\x01\0\0\0\0" + HUGE_VARINT + bytes(89)
    ),
    "strict": lambda: verify_batch(record_set(length=HUGE) + bytes(100)),
    "batches": lambda: list(iter_batches(record_set(length=HUGE) + bytes(100))),
}


@pytest.mark.parametrize("name", CLAIMING)
def test_a_claim_of_two_gigabytes_allocates_next_to_nothing(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            CLAIMING[name]()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_every_truncation_of_a_record_set_raises(all_captured: list[Any]) -> None:
    seen = 0
    for captured in all_captured:
        if captured.message is not consume.StreamFetchResponse:
            continue
        records = decode(captured, captured.payload).partition.records
        whole = [0]
        for _, batch in iter_batches(records):
            whole.append(whole[-1] + len(batch))
        for length in range(len(records)):
            if length in whole:
                assert len(decode_record_set(records[:length])) == whole.index(length)
            else:
                with pytest.raises(ProtocolError):
                    decode_record_set(records[:length])
                seen += 1
    assert seen > 500
