# SPDX-License-Identifier: Apache-2.0
"""Frames: any fragmentation gives the same ones; bad lengths raise at once."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.frames import (
    MAX_FRAME,
    FrameReader,
    RequestHeader,
    encode_request,
    encode_response,
    request_prefix,
    split_request,
    split_response,
)

headers = st.builds(
    RequestHeader,
    st.integers(0, 2**16 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.text(max_size=40),
)


@given(headers, st.binary(max_size=50))
def test_a_request(header: RequestHeader, body: bytes) -> None:
    frame = encode_request(header, body)
    assert frame == request_prefix(header, len(body)) + body
    (payload,) = FrameReader().feed(frame)
    read, reader = split_request(payload)
    assert read == header
    assert reader.rest() == body


@pytest.mark.parametrize(
    "header",
    [
        RequestHeader(65536, 0, 0, ""),
        RequestHeader(0, 32768, 0, ""),
        RequestHeader(0, 0, 2**31, ""),
        RequestHeader(0, 0, 0, "x" * 32768),
    ],
)
def test_a_header_that_does_not_fit(header: RequestHeader) -> None:
    with pytest.raises(ValueError, match=r"is no frame|at most 32767 bytes"):
        request_prefix(header, 0)


def test_a_body_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="is no frame"):
        request_prefix(RequestHeader(0, 0, 0, ""), 2**31 - 10)
    with pytest.raises(ValueError, match="no i32"):
        encode_response(2**31, b"")


@pytest.mark.parametrize("payload", [b"", b"\0\0\0"])
def test_a_payload_too_short_for_a_header(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        split_response(payload)
    with pytest.raises(ProtocolError):
        split_request(payload)


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)


@given(
    st.lists(st.binary(max_size=40), max_size=10),
    st.lists(st.integers(0, 60) | st.just(1), max_size=40),
    st.sampled_from([bytes, bytearray, memoryview]),
)
def test_any_fragmentation_gives_the_same_frames(payloads: list[bytes], cuts: list[int], kind: Any) -> None:
    stream = framed(payloads)
    reader = FrameReader()
    received: list[bytes] = []
    position = 0
    for size in [*cuts, len(stream)]:
        received += reader.feed(kind(stream[position : position + size]))
        position += size
        assert received == [
            payload for index, payload in enumerate(payloads) if len(framed(payloads[: index + 1])) <= position
        ]
    assert received == payloads


def test_a_reused_buffer_does_not_change_frames_read_before() -> None:
    buffer = bytearray(framed([b"first", b"second"])[:-3])
    reader = FrameReader()
    assert reader.feed(memoryview(buffer)) == [b"first"]
    buffer[:] = bytes(len(buffer))
    assert reader.feed(b"ond") == [b"second"]


@pytest.mark.parametrize("length", [-1, MAX_FRAME + 1])
@pytest.mark.parametrize("split", [0, 2, 4])
def test_a_bad_length_is_refused_at_once_and_for_good(length: int, split: int) -> None:
    data = length.to_bytes(4, "big", signed=True)
    reader = FrameReader()
    if split < 4:
        assert reader.feed(data[:split]) == []
    for _ in range(3):
        with pytest.raises(ProtocolError, match=f"claims {length} bytes"):
            reader.feed(data[split:] if split < 4 else data)
        with pytest.raises(ProtocolError, match=f"claims {length} bytes"):
            reader.feed(framed([b"a good one"]))


def test_the_limit_is_a_setting() -> None:
    reader = FrameReader(max_frame=5)
    assert reader.feed(framed([b"12345"])) == [b"12345"]
    with pytest.raises(ProtocolError, match="claims 6 bytes; the limit is 5"):
        reader.feed(framed([b"123456"]))


def test_memory_grows_with_received_bytes_not_with_claimed_ones() -> None:
    reader = FrameReader()
    tracemalloc.start()
    try:
        reader.feed(MAX_FRAME.to_bytes(4, "big") + bytes(1000))
        reader.feed(bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_frame_in_many_pieces_is_not_scanned_again() -> None:
    # If every piece cost a look at all before it, these 40,000 would cost 20 GB of looking.
    pieces, piece = 40_000, bytes(25)
    reader = FrameReader()
    reader.feed((pieces * len(piece)).to_bytes(4, "big"))
    for _ in range(pieces - 1):
        assert reader.feed(piece) == []
    assert reader.feed(piece) == [bytes(pieces * len(piece))]
