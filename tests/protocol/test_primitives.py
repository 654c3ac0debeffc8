# SPDX-License-Identifier: Apache-2.0
"""Primitives: ranges, errors, and the tolerance of the decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.layout import STRING, U8, Layout, enumeration, mapping, option, vec
from fluvio_sync.protocol.metadata import TopicResolution
from fluvio_sync.protocol.primitives import (
    MAX_STRING,
    VARINT,
    VARINT_MAX,
    VARINT_MIN,
    Reader,
    Writer,
    decode_varint,
    encode_varint,
    varint_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable

INTS = {
    "u8": (0, 2**8 - 1),
    "i16": (-(2**15), 2**15 - 1),
    "u16": (0, 2**16 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1),
    "i64": (-(2**63), 2**63 - 1),
    "u64": (0, 2**64 - 1),
}


def written(write: Callable[[Writer], None]) -> bytes:
    w = Writer()
    write(w)
    assert len(w) == len(w.getvalue())
    return w.getvalue()


def zigzag(n: int) -> bytes:
    """Return a varint the slow way."""
    z, out = (n << 1) ^ (n >> 63), []
    while z > 127:
        out.append(z % 128 + 128)
        z //= 128
    return bytes([*out, z])


@pytest.mark.parametrize("name", INTS)
def test_an_int_covers_its_range_and_no_more(name: str) -> None:
    lowest, highest = INTS[name]
    for value in (lowest, highest, 0):
        data = written(lambda w, v=value: getattr(w, name)(v))  # type: ignore[misc]
        assert len(data) == int(name[1:]) // 8
        assert int.from_bytes(data, "big", signed=name[0] == "i") == value
        assert getattr(Reader(data), name)() == value
        with pytest.raises(ProtocolError, match="expected at byte 0, only"):
            getattr(Reader(data[:-1]), name)()
    for value in (lowest - 1, highest + 1):
        with pytest.raises(ValueError, match="do not fit"):
            written(lambda w, v=value: getattr(w, name)(v))  # type: ignore[misc]


@pytest.mark.parametrize("byte", [2, 0x7F, 0xFF])
def test_a_boolean_is_0_or_1(byte: int) -> None:
    with pytest.raises(ProtocolError, match=f"0 or 1, not {byte}"):
        Reader(bytes([byte])).boolean()
    with pytest.raises(ProtocolError):
        option(U8).read(Reader(bytes([byte, 0])), 0)


@given(st.text(max_size=300))
def test_a_string(value: str) -> None:
    data = written(lambda w: w.string(value))
    reader = Reader(data + b"!")
    assert reader.string() == value
    assert bytes(reader.rest()) == b"!"
    for length in range(len(data)):
        with pytest.raises(ProtocolError):
            Reader(data[:length]).string()


def test_a_string_as_long_as_can_be_read_back() -> None:
    longest = "é" * (MAX_STRING // 2) + "x"
    assert Reader(written(lambda w: w.string(longest))).string() == longest
    with pytest.raises(ValueError, match="at most 32767 bytes, not 32768"):
        Writer().string(longest + "x")


def test_a_string_is_utf8() -> None:
    with pytest.raises(ProtocolError, match="not UTF-8"):
        Reader(b"\x00\x02\xc3\x28").string()


def test_an_enumeration() -> None:
    layout = enumeration(TopicResolution)
    assert layout.read(Reader(b"\x04"), 0) is TopicResolution.PROVISIONED
    with pytest.raises(ProtocolError, match="6 is no TopicResolution"):
        layout.read(Reader(b"\x06"), 0)


def test_a_negative_count_is_an_empty_vector() -> None:
    reader = Reader(b"\xff\xff\xff\xff\x07")
    assert vec(U8).read(reader, 0) == ()
    assert reader.remaining == 1


def test_a_count_that_cannot_fit_is_refused_before_anything_is_read() -> None:
    calls: list[int] = []

    def read(r: Reader, _: int) -> int:
        calls.append(1)
        return r.u8()

    element = Layout(read, U8.write, 4)
    with pytest.raises(ProtocolError, match="3 elements of at least 4 bytes do not fit in the 11"):
        vec(element).read(Reader(b"\0\0\0\x03" + bytes(11)), 0)
    with pytest.raises(ProtocolError, match="65535 elements of at least 5 bytes"):
        mapping(element, U8).read(Reader(b"\xff\xff" + bytes(100)), 0)
    assert not calls


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=8))
def test_a_map_is_sorted_by_the_bytes_of_its_keys(items: dict[str, str]) -> None:
    layout = mapping(STRING, STRING)
    data = written(lambda w: layout.write(w, items, 0))
    reader = Reader(data)
    assert layout.read(reader, 0) == items
    assert reader.remaining == 0
    keys = Reader(data[2:])
    assert [(keys.string(), keys.string())[0] for _ in items] == sorted(items, key=str.encode)


@given(st.binary(max_size=300))
def test_bytes(value: bytes) -> None:
    assert Reader(written(lambda w: w.byte_string(value))).byte_string() == value
    assert Reader(written(lambda w: w.varbytes(value))).varbytes() == value
    assert Reader(written(lambda w: w.raw(value))).raw(len(value)) == value


def test_bytes_longer_than_the_buffer() -> None:
    with pytest.raises(ProtocolError, match="4294967295 bytes expected"):
        Reader(b"\xff\xff\xff\xff\x00").byte_string()
    with pytest.raises(ProtocolError, match="negative: -1"):
        Reader(b"\x01\x00").varbytes()
    with pytest.raises(ProtocolError, match="negative: -1"):
        Reader(b"\x01\x00").raw(-1)


def test_raw_bytes_are_not_copied() -> None:
    data = bytearray(b"abc")
    view = Reader(data).raw(3)
    data[0] = ord("x")
    assert bytes(view) == b"xbc"


@given(st.integers(VARINT_MIN, VARINT_MAX))
def test_a_varint(n: int) -> None:
    data = encode_varint(n)
    assert data == zigzag(n)
    assert varint_size(n) == len(data)
    assert decode_varint(b"?" + data, 1) == (n, 1 + len(data))
    assert Reader(written(lambda w: w.varint(n))).varint() == n


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_varint_of_64_bits_is_read(n: int) -> None:
    data = zigzag(n)
    assert decode_varint(data, 0) == (n, len(data))
    assert varint_size(n) == len(data)
    for length in range(len(data)):
        with pytest.raises(ProtocolError, match="cut short"):
            decode_varint(data[:length], 0)


@pytest.mark.parametrize("n", [VARINT_MIN - 1, VARINT_MAX + 1])
def test_a_varint_is_written_within_32_bits(n: int) -> None:
    with pytest.raises(ValueError, match="a varint holds"):
        encode_varint(n)


@pytest.mark.parametrize("data", [b"\xff" * 9 + b"\x02", b"\x80" * 9 + b"\x7f", b"\x80" * 10 + b"\0", b"\xff" * 1000])
def test_a_varint_beyond_64_bits_raises(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="does not fit in 64 bits"):
        decode_varint(data, 0)


def test_the_table_of_varints() -> None:
    assert len(VARINT) == 8192
    assert [zigzag(n) for n in range(8192)] == VARINT
