# SPDX-License-Identifier: Apache-2.0
"""Batches: sizes, limits, faults that the checks catch."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.batch import (
    BATCH_HEADER,
    BATCH_OVERHEAD,
    LONE_OVERHEAD,
    MAX_BATCH,
    MAX_TIMESTAMP_DELTA,
    MIN_TIMESTAMP_DELTA,
    BatchBuilder,
    BatchHeader,
    BatchIdentity,
    decode_batch,
    decode_record_set,
    iter_batches,
    iter_headers,
    record_size,
    verify_batch,
)
from fluvio_sync.protocol.checksum import crc32c, crc32c_pure
from fluvio_sync.protocol.compression import Codec, compressor
from fluvio_sync.protocol.primitives import encode_varint
from tests.support.system import replaces_code

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 1_700_000_000_000

sizes = st.sampled_from([0, 1, 63, 64, 8191, 8192, 16383, 16384, 70_000])
values = st.one_of(st.binary(max_size=80), sizes.map(bytes))
keys = st.one_of(st.none(), st.binary(max_size=20), st.sampled_from([63, 64, 8192]).map(bytes))
signed = st.sampled_from([-1, -64, -65, -8192, -8193, MIN_TIMESTAMP_DELTA, 8191, 8192, MAX_TIMESTAMP_DELTA])
deltas = st.one_of(st.integers(-200, 200), signed)
records = st.lists(st.tuples(keys, values, deltas), min_size=1, max_size=12)
codecs = st.sampled_from(list(Codec))


def builder_of(items: list[tuple[bytes | None, bytes, int]], first: int = FIRST) -> BatchBuilder:
    builder = BatchBuilder(first)
    for key, value, delta in items:
        builder.append(key, value, first + delta, lowest_delta=MIN_TIMESTAMP_DELTA)
    return builder


def compress_for(codec: int) -> Callable[[bytes], bytes] | None:
    return None if codec == Codec.NONE else compressor(codec)


@given(records, codecs)
def test_built_batches_are_read_back(items: list[tuple[bytes | None, bytes, int]], codec: Codec) -> None:
    builder = builder_of(items)
    data = b"".join(builder.build(codec, compress_for(codec)))
    verify_batch(data)
    header, decoded = decode_batch(data)
    assert [(record.key, record.value) for record in decoded] == [item[:2] for item in items]
    assert [record.timestamp - FIRST for record in decoded] == [item[2] for item in items]
    assert [record.offset for record in decoded] == list(range(len(items)))
    latest = FIRST + max(item[2] for item in items)
    assert header == BatchHeader(
        0, len(data) - 12, -1, 2, crc32c(data[21:]), codec, len(items) - 1, FIRST, latest, -1, -1, -1
    )
    assert (header.size, header.codec, header.record_count) == (len(data), codec, len(items))
    assert not header.has_schema


@given(records)
def test_a_builder_knows_its_size(items: list[tuple[bytes | None, bytes, int]]) -> None:
    builder = BatchBuilder(FIRST)
    assert builder.size == BATCH_OVERHEAD == BATCH_HEADER + 4
    for index, (key, value, delta) in enumerate(items):
        before = builder.size
        size = record_size(key, value, delta, index)
        assert builder.append(key, value, FIRST + delta, lowest_delta=MIN_TIMESTAMP_DELTA) is True
        assert builder.size == before + size
    assert builder.size == len(b"".join(builder.build()))
    assert builder.size == BATCH_HEADER + len(b"".join(builder.sections()))
    assert builder.count == len(items)
    assert builder.payload == sum(len(key or b"") + len(value) for key, value, _ in items)
    assert builder.timestamps == [item[2] for item in items]
    assert builder.records() == [(key, value, FIRST + delta) for key, value, delta in items]


def encoded(key: bytes | None, value: bytes, delta: int, offset: int) -> bytes:
    key_part = b"\0" if key is None else b"\1" + encode_varint(len(key)) + key
    body = b"\0" + encode_varint(delta) + encode_varint(offset) + key_part
    body += encode_varint(len(value)) + value + b"\0"
    return encode_varint(len(body)) + body


@given(keys, values, deltas, st.sampled_from([0, 63, 64, 8191, 8192, 2**20]))
def test_a_record_size_is_that_of_its_bytes(key: bytes | None, value: bytes, delta: int, offset: int) -> None:
    assert record_size(key, value, delta, offset) == len(encoded(key, value, delta, offset))


def around(*edges: int) -> list[int]:
    """Sizes at which something takes a byte more, or another way of building begins, and those next to them."""
    return sorted({edge + step for edge in edges for step in (-1, 0, 1)})


@pytest.mark.parametrize("key_size", [None, 0, *around(64), *around(8192)])
def test_records_at_every_edge_are_built_to_the_byte(key_size: int | None) -> None:
    """Not left to chance: one byte more in one of a record's numbers makes its length another."""
    key = None if key_size is None else b"k" * key_size
    sizes = [0, *around(*range(50, 65), 8064, *range(8176, 8193), 16384)]
    for position in (0, 63, 64, 65):
        before = [(None, b"", 0)] * position
        start = b"".join(encoded(*record, offset) for offset, record in enumerate(before))
        for size in sizes:
            for delta in (0, 63, 64, 65, 8191, 8192):
                value = b"v" * size
                builder = builder_of([*before, (key, value, delta)])
                expected = struct.pack(">i", position + 1) + start + encoded(key, value, delta, position)
                assert b"".join(builder.sections()) == expected
                assert builder.size == BATCH_HEADER + len(expected)


@pytest.mark.parametrize("position", around(8192))
def test_a_batch_of_many_records_is_built_to_the_byte(position: int) -> None:
    before = [(None, b"", 0)] * position
    start = b"".join(encoded(*record, offset) for offset, record in enumerate(before))
    for key, value in [(None, b""), (None, b"v" * 64), (b"k", b"v"), (b"k" * 64, b"v" * 8000)]:
        builder = builder_of([*before, (key, value, 0)])
        expected = struct.pack(">i", position + 1) + start + encoded(key, value, 0, position)
        assert b"".join(builder.sections()) == expected
        assert builder.size == BATCH_HEADER + len(expected)


def test_large_values_are_not_copied() -> None:
    large = [bytes([i]) * (20_000 + i) for i in range(3)]
    items = [(None, b"a", 0), (b"k", large[0], 1), (None, large[1], 2), (None, b"z", 3)]
    builder = builder_of([*items, (None, large[2], 4)])
    buffers = builder.build()
    for value in large:
        assert sum(buffer is value for buffer in buffers) == 1
    data = b"".join(buffers)
    verify_batch(data)
    assert [record.value for record in decode_batch(data).records] == [
        b"a", large[0], large[1], b"z", large[2],
    ]  # fmt: skip


def test_values_below_16_kib_stand_in_one_buffer() -> None:
    assert len(builder_of([(None, bytes(16 * 1024 - 1), 0)] * 3).build()) == 2
    assert len(builder_of([(None, bytes(16 * 1024), 0)] * 3).build()) == 8


def test_a_record_that_does_not_fit_changes_nothing() -> None:
    builder = builder_of([(None, b"before", 0)])
    limit = builder.size + record_size(b"k", b"v" * 100, 5, 1)
    state = (builder.size, builder.count, builder.payload, builder.records())
    assert builder.append(b"k", b"v" * 100, FIRST + 5, limit - 1) is False
    assert (builder.size, builder.count, builder.payload, builder.records()) == state
    assert builder.append(b"k", b"v" * 100, FIRST + 5, limit) is True
    assert builder.size == limit


class Huge(bytes):
    """Bytes that say that they are more."""

    size = 0

    def __len__(self) -> int:
        return self.size


@replaces_code
def test_a_batch_is_no_larger_than_its_length_can_say() -> None:
    value = Huge()
    value.size = MAX_BATCH - BATCH_OVERHEAD - 15
    assert BATCH_OVERHEAD + record_size(None, value, 0, 0) == MAX_BATCH == 2**31 - 1
    assert BatchBuilder(FIRST).append(None, value, FIRST)
    value.size += 1
    assert not BatchBuilder(FIRST).append(None, value, FIRST)


@replaces_code
def test_the_overhead_of_a_lone_record_is_bounded() -> None:
    huge = Huge()
    huge.size = 2**29
    assert BATCH_OVERHEAD + record_size(huge, huge, 0, 0) - 2 * huge.size == LONE_OVERHEAD


def test_an_interrupted_record_is_undone() -> None:
    builder = builder_of([(b"k", b"v", 1)])
    before = builder.records()
    columns: list[tuple[Any, Any]] = [(builder._keys, b"K"), (builder._values, b"V"), (builder.timestamps, 7)]
    for column, part in columns:
        column.append(part)  # as far as `append` got
        builder.rollback()
        assert builder.records() == before
    assert builder.timestamps == [1]
    keyless = builder_of([(None, b"v", 1)])
    keyless.rollback()
    assert keyless.records() == [(None, b"v", FIRST + 1)]


def test_a_batch_that_was_built_holds_no_keys_and_values() -> None:
    key, value = b"k" * 100, b"v" * 100
    references = [sys.getrefcount(part) for part in (key, value)]
    builder = builder_of([(key, value, 0)])
    builder.build()
    builder.release()
    assert [sys.getrefcount(part) for part in (key, value)] == references


def test_building_twice_and_going_on() -> None:
    builder = builder_of([(b"k", b"v", 0), (None, bytes(20_000), 1)])
    first = b"".join(builder.build())
    assert b"".join(builder.build()) == first
    builder.append(None, b"more", FIRST + 2)
    assert len(decode_batch(b"".join(builder.build())).records) == 3


def test_an_empty_batch_is_never_built() -> None:
    with pytest.raises(ValueError, match="without records"):
        BatchBuilder(FIRST).build()
    with pytest.raises(ValueError, match="without records"):
        BatchBuilder(FIRST).build(Codec.GZIP, compressor(Codec.GZIP))


def test_a_codec_and_its_function_go_together() -> None:
    builder = builder_of([(None, b"v", 0)])
    with pytest.raises(ValueError, match="do not go together"):
        builder.build(Codec.GZIP)
    with pytest.raises(ValueError, match="do not go together"):
        builder.build(Codec.NONE, bytes)


@pytest.mark.parametrize("delta", [-1, MAX_TIMESTAMP_DELTA + 1])
def test_a_timestamp_out_of_range_changes_nothing(delta: int) -> None:
    builder = builder_of([(None, b"before", 0)])
    state = (builder.size, builder.count, builder.records(), list(builder.timestamps))
    assert builder.append(None, bytes(20_000), FIRST + delta) is False
    assert (builder.size, builder.count, builder.records(), list(builder.timestamps)) == state
    builder.append(None, b"after", FIRST + 1)
    data = b"".join(builder.build())
    verify_batch(data)
    assert [record.value for record in decode_batch(data).records] == [b"before", b"after"]


def test_a_timestamp_too_far_ahead_changes_nothing() -> None:
    builder = builder_of([(None, b"before", 0)])
    assert builder.append(None, b"x", FIRST + MIN_TIMESTAMP_DELTA - 1, lowest_delta=MIN_TIMESTAMP_DELTA) is False
    assert builder.append(None, b"y", FIRST + MIN_TIMESTAMP_DELTA, lowest_delta=MIN_TIMESTAMP_DELTA) is True
    assert [time - FIRST for _, _, time in builder.records()] == [0, MIN_TIMESTAMP_DELTA]


@pytest.mark.parametrize("checksum", [crc32c, crc32c_pure])
def test_the_checksum_is_a_choice(checksum: Any) -> None:
    builder = builder_of([(b"k", bytes(20_000), 0), (None, b"v", 1)])
    data = b"".join(builder.build(checksum=checksum))
    assert decode_batch(data).header.crc == crc32c(data[21:])
    without = b"".join(builder.build(checksum=None))
    assert decode_batch(without).header.crc == 0
    assert without[21:] == data[21:]


@pytest.mark.parametrize(("first", "timestamp"), [(0, -1), (-1, -1), (-5, -1), (1, 4)])
def test_records_of_a_batch_without_timestamp_have_none(first: int, timestamp: int) -> None:
    data = b"".join(builder_of([(None, b"v", 3)], first).build())
    assert [record.timestamp for record in decode_batch(data).records] == [timestamp]


def test_offsets_go_by_position_after_the_base() -> None:
    data = bytearray(b"".join(builder_of([(None, b"a", 0), (None, b"b", 0)]).build()))
    data[:8] = (10**12).to_bytes(8, "big")
    assert [record.offset for record in decode_batch(data).records] == [10**12, 10**12 + 1]
    assert decode_batch(b"junk" + data + b"junk", 4) == decode_batch(data)


def test_a_record_set() -> None:
    batches = [b"".join(builder_of([(None, b"%d" % i, 0)] * (i + 1)).build()) for i in range(4)]
    data = b"".join(batches)
    assert decode_record_set(data) == [decode_batch(batch) for batch in batches]
    assert [bytes(view) for _, view in iter_batches(data)] == batches
    assert [header.record_count for header, _ in iter_batches(data)] == [1, 2, 3, 4]
    assert decode_record_set(b"") == []
    for cut in range(1, len(batches[-1])):
        with pytest.raises(ProtocolError):
            decode_record_set(data[:-cut])


def test_the_headers_of_a_record_set_that_is_cut_short() -> None:
    batches = [b"".join(builder_of([(None, b"%d" % i, 0)] * (i + 1)).build()) for i in range(3)]
    data = b"".join(batches)
    starts = [0, len(batches[0]), len(batches[0] + batches[1])]
    headers = [header for header, _ in iter_batches(data)]
    for length in range(len(data) + 1):
        whole = sum(start + BATCH_HEADER <= length for start in starts)
        assert list(iter_headers(data[:length])) == headers[:whole]
    with pytest.raises(ProtocolError, match="claims 44 bytes"):
        list(iter_headers(struct.pack(">qiibIhiqqqhi", 5, 44, -1, 2, 7, 0, -1, -1, -1, -1, -1, -1)))


def test_the_identity_of_a_batch() -> None:
    header = BatchHeader(5, 45, -1, 2, 7, 0, -1, -1, -1, 2**62 - 1, -1, 0)
    assert header.identity == BatchIdentity(2**62 - 1, -1, 0)
    assert header._replace(producer_id=-1).identity is None
    assert header._replace(first_sequence=-1).identity is None


def test_a_header() -> None:
    header = BatchHeader(5, 45, -1, 2, 7, 0, -1, -1, -1, -1, -1, -1)
    data = struct.pack(">qiibIhiqqqhi", *header)
    assert len(data) == BATCH_HEADER
    assert header.record_count == 0
    assert [found for found, _ in iter_batches(data)] == [header]
    for length in range(1, BATCH_HEADER):
        with pytest.raises(ProtocolError):
            list(iter_batches(data[:length]))


# --- faults that the checks catch ----------------------------------------------------------------

GOOD = b"".join(builder_of([(b"k", b"v1", 0), (None, b"hello", 5)]).build())


def changed(offset: int, value: bytes, *, sealed: bool = True) -> bytes:
    """Return the good batch with other bytes at `offset`, by default with the checksum made right."""
    data = bytearray(GOOD)
    data[offset : offset + len(value)] = value
    return with_checksum(data) if sealed else bytes(data)


def with_checksum(data: bytearray) -> bytes:
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


def with_section(section: bytes, count: int, attributes: int = 0) -> bytes:
    """Return a sealed batch that claims `count` records, around a records section."""
    header = struct.pack(
        ">qiibIhiqqqhi",
        0, 45 + len(section), -1, 2, 0, attributes, count - 1, FIRST, FIRST, -1, -1, -1,
    )  # fmt: skip
    return with_checksum(bytearray(header + section))


def raw_record(
    *,
    attributes: int = 0,
    delta: int = 0,
    offset: int = 0,
    key: bytes = b"\0",
    value: bytes = b"\x02v",
    headers: int = 0,
    extra: int = 0,
) -> bytes:
    body = bytes([attributes]) + encode_varint(delta) + encode_varint(offset)
    body += key + value + encode_varint(headers)
    return encode_varint(len(body) + extra) + body


def one(record: bytes) -> bytes:
    return with_section(b"\0\0\0\1" + record, 1)


def test_the_good_batch_is_good() -> None:
    verify_batch(GOOD)
    verify_batch(changed(0, b"\0" * 7 + b"\x01"))  # the base offset of the official client
    verify_batch(one(raw_record()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(16, b"\x01"), "magic"),
        (changed(17, b"\0\0\0\0", sealed=False), "checksum"),
        (changed(60, b"\x07", sealed=False), "checksum"),
        (changed(21, b"\0\x10"), "attributes"),
        (changed(21, b"\0\x05"), "attributes"),
        (changed(21, b"\0\x08"), "attributes"),
        (changed(21, b"\x80\0"), "attributes"),
        (changed(23, b"\0\0\0\0"), "claims 1"),
        (changed(23, b"\0\0\0\x02"), "claims 3"),
        (changed(23, b"\xff\xff\xff\xff"), "claims 0"),
        (GOOD + b"\0", "stands in 85"),
        (with_section(b"\0\0\0\0", 0), "0 records claims 0"),
        (one(raw_record(offset=1)), "offset delta 1"),
        (one(raw_record(attributes=1)), "attributes 1"),
        (one(raw_record(headers=1)), "headers 1"),
    ],
    ids=range(15),
)
def test_a_strict_check_refuses(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        verify_batch(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GOOD[:56], "no batch"),
        (GOOD[:-1], "cut short"),
        (changed(8, b"\0\0\0\x2c"), "less than its header"),
        (changed(8, b"\xff\xff\xff\xff"), "less than its header"),
        (changed(8, b"\x7f\xff\xff\xff"), "cut short"),
        (changed(8, b"\0\0\0\x47"), "claims"),  # one byte short, so the last record is
        (changed(21, b"\0\x05"), "unknown compression codec 5"),
        (with_section(b"\0\0\0", 1), "without a count"),
        (with_section(b"\0\0\0\2" + raw_record(), 2), "2 records do not fit"),
        (with_section(b"\xff\xff\xff\xff" + raw_record(), 1), "-1 records"),
        (with_section(b"\0\0\0\1" + raw_record() + b"\0", 1), "1 bytes follow"),
        (one(raw_record(extra=1)), "claims"),
        (one(raw_record(extra=-1)), "does not have the length"),
        (one(raw_record(extra=-100)), "claims -"),
        (one(raw_record(key=b"\2\2k")), "does not have the length"),
        (one(raw_record(key=b"\1\1")), "does not have the length"),
        (one(raw_record(value=b"\1")), "does not have the length"),
        (one(raw_record(value=b"\x7f")), "cut short"),
        (one(raw_record(value=b"\x7e" + b"v" * 30)), "cut short"),
        (one(raw_record(key=b"\1\x7ek")), "cut short"),
        (one(b"\x0c" + b"\0\x80\x80\x80\x80\x80"), "cut short"),
        (one(b"\x0c" + b"\0\0\x80\x80\x80\0"), "cut short"),  # it ends before it tells whether it has a key
        # Read backwards, a negative length would lead to the right end.
        (one(b"\x0c" + b"\0\x80\x01\0\0\1"), "does not have the length"),
        (one(b"\x0e" + b"\0\x80\x80\x01\2\1\5"), "does not have the length"),
    ],
    ids=range(24),
)
def test_a_decoder_refuses(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        decode_batch(data)
    with pytest.raises(ProtocolError):
        verify_batch(data)


def test_a_decoder_minds_neither_checksum_nor_magic() -> None:
    data = changed(16, b"\x07\0\0\0\0", sealed=False)
    assert decode_batch(data).records == decode_batch(GOOD).records
    # SmartModules leave gaps in the deltas and a last_offset_delta above the number of records.
    batch = decode_batch(with_section(b"\0\0\0\1" + raw_record(offset=5), 9))
    assert [record.offset for record in batch.records] == [0]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_a_compressed_section_is_bounded(codec: Codec) -> None:
    section = b"\0\0\0\1" + raw_record(value=encode_varint(100_000) + bytes(100_000))
    data = with_section(compressor(codec)(section), 1, codec)
    verify_batch(data)
    assert decode_batch(data, max_size=len(section)).records[0].value == bytes(100_000)
    for check in (decode_batch, decode_record_set, verify_batch):
        with pytest.raises(ProtocolError, match="more than"):
            check(data, max_size=len(section) - 1)


def test_a_schema_id_is_skipped() -> None:
    data = with_section(b"\0\0\x12\x34" + b"\0\0\0\1" + raw_record(), 1, 0x10)
    batch = decode_batch(data)
    assert (batch.header.has_schema, len(batch.records)) == (True, 1)
    short = bytearray(with_section(b"\0\0\0", 1, 0x10))
    with pytest.raises(ProtocolError, match="less than its header"):
        decode_batch(short)
