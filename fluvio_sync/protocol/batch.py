# SPDX-License-Identifier: Apache-2.0
"""Batches of records: building, decoding, checking.

Pure.  The owner of a `BatchBuilder` guards it; the functions may run anywhere.

A batch is a header of 57 bytes and a records section: a 4-byte count and the records, compressed as a whole if the
batch has a codec.  The SPU (Stream Processing Unit) counts a batch's records by `last_offset_delta` alone and does not
check it, so this module must: an empty batch would disable its partition until the SPU restarts.
"""

from __future__ import annotations

import struct
from itertools import repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.checksum import crc32c
from fluvio_sync.protocol.compression import Codec, decompress
from fluvio_sync.protocol.primitives import (
    VARINT,
    VARINT_TABLE,
    decode_varint,
    encode_varint,
    size_of,
    varint_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync._base.compiling import i64
    from fluvio_sync.protocol.primitives import Buffer

BATCH_HEADER: Final = 57
"""Bytes of a batch's header."""

BATCH_OVERHEAD: Final = 61
"""Bytes of a batch without its records: the header and the count."""

LONE_OVERHEAD: Final = BATCH_OVERHEAD + 20
"""The most that a lone record takes beyond key and value, in bytes: a batch, 5 bytes, 3 lengths of up to 5."""

MAX_TIMESTAMP_DELTA: Final = 2**31 - 1
"""The furthest, in milliseconds, that a record can be behind its batch's first timestamp."""

MIN_TIMESTAMP_DELTA: Final = -(2**31)
"""The furthest, in milliseconds, that a record can be ahead of it: a delta is a signed varint, and readers add it to
the header's timestamp."""

MAX_BATCH: Final = 2**31 - 1
"""The largest batch, in bytes, whose length its field can hold."""

MAX_DECOMPRESSED: Final = 256 * 1024 * 1024
"""The largest records section, in bytes, that is decompressed unless said otherwise."""

_HEADER: Final = struct.Struct(">qiibIhiqqqhi")
_UP_TO_CRC: Final = struct.Struct(">qiibI")
_AFTER_CRC: Final = struct.Struct(">hiqqqhi")
_COUNT: Final = struct.Struct(">i")

_CRC_START: Final = 21  # the first byte under the checksum
_LENGTH_END: Final = 12  # `batch_len` counts the bytes from here on
_MAGIC: Final = 2
_NO_CODEC: Final = int(Codec.NONE)  # a constant: to look a member of an enum up takes as long as a call
_CODEC_MASK: Final = 0x07
_SCHEMA_BIT: Final = 0x10
_SCHEMA_SIZE: Final = 4
_MIN_RECORD: Final = 7

_ONE_BYTE: Final = 64  # below it, a varint takes one byte
_ATTRIBUTES: Final = b"\0"
_NO_KEY: Final = b"\0"
_KEY: Final = b"\1"
_HEADERS: Final = b"\0"
_APART: Final = 16 * 1024  # from this size on, in bytes, a value is not copied into the section
# A zero byte and a varint, by value: attributes and the timestamp, or no key and the value's length.
_ZERO: Final = [b"\0" + varint for varint in VARINT]
_KEY_HEAD: Final = [_KEY + varint for varint in VARINT[:_ONE_BYTE]]
_SMALL: Final = VARINT_TABLE - 2 * _ONE_BYTE  # a value so small that the record's length is in the table


class Record(NamedTuple):
    """A record as a consumer sees it.

    `key`: None is no key, `b""` an empty one.  `timestamp`: milliseconds since the epoch, -1 if the
    batch has none.  `offset`: the batch's base offset plus the record's position in it.
    """

    key: bytes | None
    value: bytes
    timestamp: int
    offset: int


class BatchIdentity(NamedTuple):
    """The fields of a batch's header that tell it from all others of its partition; SPUs store them, and use none.

    * `producer_id`: random, of one client in one process; -1: none.
    * `producer_epoch`: 0 of this package's clients; -1: none.
    * `first_sequence`: counts the client's batches for the partition, from 0 up to `MAX_SEQUENCE`, and begins again.
    """

    producer_id: int
    producer_epoch: int
    first_sequence: int


NO_IDENTITY: Final = BatchIdentity(-1, -1, -1)
"""The identity of a batch of a client that gives none, as the official one."""

MAX_SEQUENCE: Final = 2**31 - 1
"""The highest sequence."""


class BatchHeader(NamedTuple):
    """The 57 bytes before a batch's records section."""

    base_offset: int
    batch_len: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_time_stamp: int
    producer_id: int
    producer_epoch: int
    first_sequence: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return _LENGTH_END + self.batch_len

    @property
    def identity(self) -> BatchIdentity | None:
        """The batch's identity; None if it has none, which a `producer_id` or a `first_sequence` below 0 says."""
        if self.producer_id < 0 or self.first_sequence < 0:
            return None
        return BatchIdentity(self.producer_id, self.producer_epoch, self.first_sequence)

    @property
    def codec(self) -> int:
        """The number of the codec, see `compression.Codec`; 5 to 7 are none."""
        return self.attributes & _CODEC_MASK

    @property
    def has_schema(self) -> bool:
        """Whether a schema id (4 bytes) stands before the records section."""
        return bool(self.attributes & _SCHEMA_BIT)

    @property
    def record_count(self) -> int:
        """The number of records as the SPU counts them."""
        return max(0, self.last_offset_delta + 1)

    @property
    def next_offset(self) -> int:
        """The offset behind its last record."""
        return self.base_offset + self.record_count


class DecodedBatch(NamedTuple):
    """A batch and its records."""

    header: BatchHeader
    records: list[Record]


# --- building ------------------------------------------------------------------------------------


def record_size(key: bytes | None, value: bytes, timestamp_delta: int, offset_delta: int) -> int:
    """Return how many bytes a record takes in a batch, its own length included, uncompressed."""
    size = len(value)
    body = 3 + varint_size(timestamp_delta) + varint_size(offset_delta) + varint_size(size) + size
    if key is not None:
        body += varint_size(len(key)) + len(key)
    return varint_size(body) + body


class BatchBuilder:
    """Collects records and makes a batch of them.

    * `first_timestamp`: milliseconds since the epoch, from which the records' deltas count.
    * `count`: the number of records.
    * `size`: bytes of the batch, uncompressed.
    * `payload`: bytes of keys and values.
    * `timestamps`: the records' milliseconds after `first_timestamp`.

    Keys and values are kept by reference, in columns, until `release`.
    """

    __slots__ = ("_codec", "_keys", "_prepared", "_values", "count", "first_timestamp", "payload", "size", "timestamps")

    def __init__(self, first_timestamp: int) -> None:
        self.first_timestamp: i64 = first_timestamp
        self.count: i64 = 0
        self.size: i64 = BATCH_OVERHEAD
        self.payload: i64 = 0
        self.timestamps: list[int] = []
        self._values: list[bytes] = []
        self._keys: list[bytes | None] | None = None  # None: no record has a key
        self._prepared: list[bytes] | None = None  # the records section
        self._codec: int = _NO_CODEC  # of that

    def append(
        self, key: bytes | None, value: bytes, timestamp: i64, limit: i64 = MAX_BATCH, lowest_delta: i64 = 0
    ) -> bool:
        """Add a record and return True.

        False, with nothing changed, if the batch would take more than `limit` bytes, or if the timestamp is before
        `first_timestamp` + `lowest_delta` (at least `MIN_TIMESTAMP_DELTA`), or `MAX_TIMESTAMP_DELTA` behind it.
        """
        delta = timestamp - self.first_timestamp
        if not lowest_delta <= delta <= MAX_TIMESTAMP_DELTA:
            return False
        count = self.count
        payload: i64 = len(value)
        # As `record_size`, in place: a call would cost a third of all this.
        body: i64 = 6 + payload
        if payload >= _ONE_BYTE:
            body += 1 if payload < VARINT_TABLE else varint_size(payload) - 1
        if count >= _ONE_BYTE:
            body += 1 if count < VARINT_TABLE else varint_size(count) - 1
        if not 0 <= delta < _ONE_BYTE:
            body += varint_size(delta) - 1
        if key is not None:
            key_size: i64 = len(key)
            payload += key_size
            body += key_size + (1 if key_size < _ONE_BYTE else varint_size(key_size))
        size = self.size + body + (1 if body < _ONE_BYTE else 2 if body < VARINT_TABLE else varint_size(body))
        if size > limit:
            return False
        if key is not None or self._keys is not None:
            self._append_key(key)
        self._values.append(value)
        self.timestamps.append(delta)
        self.count, self.size, self.payload = count + 1, size, self.payload + payload  # from here on the record counts
        return True

    def _append_key(self, key: bytes | None) -> None:
        if self._keys is None:
            self._keys = [None for _ in range(self.count)]
        self._keys.append(key)

    def rollback(self) -> None:
        """Undo an interrupted `append`."""
        for column in (self._keys, self._values, self.timestamps):
            if column is not None:
                del column[self.count :]

    def records(self) -> list[tuple[bytes | None, bytes, int]]:
        """Return key, value and timestamp of every record, as they were appended; not after `release`."""
        keys = self._keys or repeat(None, self.count)
        times = [self.first_timestamp + delta for delta in self.timestamps]
        return list(zip(keys, self._values, times, strict=True))

    def release(self) -> None:
        """Forget keys and values: the batch is built."""
        self._values = []
        self._keys = self._prepared = None

    def sections(self, compress: Callable[[bytes], bytes] | None = None) -> list[bytes]:
        """Return the records section as buffers; uncompressed, large values are not copied."""
        pieces, buffers = [_COUNT.pack(self.count)], []
        keys = self._keys
        front, back = _HEADERS, _HEADERS  # the bytes around the offset of a record without key, and its size and time:
        last_size: i64 = -1
        last_delta: i64 = -1
        count: i64 = 0
        for value, time in zip(self._values, self.timestamps):  # noqa: B905 - `strict` takes compiled code much longer
            key = None if keys is None else keys[count]
            size: i64 = len(value)
            delta: i64 = time
            if key is None and size == last_size and delta == last_delta and _ONE_BYTE != count < VARINT_TABLE:
                pieces += (front, VARINT[count], back, value, _HEADERS)
            elif (
                size >= _SMALL
                or count >= VARINT_TABLE
                or not 0 <= delta < VARINT_TABLE
                or (key is not None and len(key) >= _ONE_BYTE)
            ):
                last_size = -1
                pieces.append(_head(key, value, delta, count))
                if size >= _APART:
                    buffers += [b"".join(pieces), value]
                    pieces = [_HEADERS]
                else:
                    pieces += (value, _HEADERS)
            else:
                # In place, from tables, which takes a third of the time.
                body: i64 = 6 + size
                body += (1 if size >= _ONE_BYTE else 0) + (1 if count >= _ONE_BYTE else 0)
                body += 1 if delta >= _ONE_BYTE else 0
                if key is None:
                    last_size, last_delta = size, delta
                    front, back = VARINT[body] + _ZERO[delta], _ZERO[size]
                    pieces += (front, VARINT[count], back, value, _HEADERS)
                else:
                    body += 1 + len(key)
                    head = (VARINT[body], _ZERO[delta], VARINT[count], _KEY_HEAD[len(key)])
                    pieces += (*head, key, VARINT[size], value, _HEADERS)
            count += 1  # noqa: SIM113 - enumerate() would make an object of it
        buffers.append(b"".join(pieces))
        return buffers if compress is None else [compress(b"".join(buffers))]

    def prepare(self, codec: int = _NO_CODEC, compress: Callable[[bytes], bytes] | None = None) -> None:
        """Make the records section, which `build` with the same codec uses.  No record may be added afterwards."""
        if self._prepared is None or self._codec != codec:
            self._prepared, self._codec = self.sections(compress), codec

    def build(
        self,
        codec: int = _NO_CODEC,
        compress: Callable[[bytes], bytes] | None = None,
        checksum: Callable[[bytes, int], int] | None = crc32c,
        identity: tuple[int, int, int] = NO_IDENTITY,
    ) -> list[bytes]:
        """Return the batch as buffers: the header, then the records section.

        * `codec`, `compress`: both or neither (see `compression.compressor`).
        * `checksum`: continues a CRC-32C over a buffer; None leaves the field 0, which no SPU checks.
        * `identity`: a `BatchIdentity`, or its fields, by which the batch can be found in the log.

        ValueError without any record.
        """
        if not self.count:
            raise ValueError("a batch without records must not be sent: it disables its partition")
        if (codec == _NO_CODEC) != (compress is None):
            raise ValueError(f"codec {codec} and a compress function do not go together")
        prepared = self._prepared if self._codec == codec else None
        sections = self.sections(compress) if prepared is None else prepared
        return [self._header(codec, sections, checksum, identity), *sections]

    def _header(
        self,
        codec: int,
        sections: list[bytes],
        checksum: Callable[[bytes, int], int] | None,
        identity: tuple[int, int, int],
    ) -> bytes:
        latest = self.first_timestamp + max(self.timestamps)
        producer_id, epoch, sequence = identity
        after_crc = _AFTER_CRC.pack(codec, self.count - 1, self.first_timestamp, latest, producer_id, epoch, sequence)
        length = BATCH_HEADER - _LENGTH_END + size_of(sections)
        crc = 0
        if checksum is not None and length < _APART:
            crc = checksum(b"".join([after_crc, *sections]), 0)  # a copy of so little takes less than another call
        elif checksum is not None:
            crc = checksum(after_crc, 0)
            for section in sections:
                crc = checksum(section, crc)
        return _UP_TO_CRC.pack(0, length, -1, _MAGIC, crc) + after_crc


def _head(key: bytes | None, value: bytes, delta: int, count: int) -> bytes:
    """Return the bytes before a record's value."""
    head = _ATTRIBUTES + encode_varint(delta) + encode_varint(count)
    head += _NO_KEY if key is None else _KEY + encode_varint(len(key)) + key
    head += encode_varint(len(value))
    return encode_varint(len(head) + len(value) + len(_HEADERS)) + head


# --- decoding ------------------------------------------------------------------------------------


def _header_at(data: Buffer, offset: int) -> BatchHeader:
    left = len(data) - offset
    if left < BATCH_HEADER:
        raise ProtocolError(f"{left} bytes at the end are no batch")
    header = BatchHeader._make(_HEADER.unpack_from(data, offset))
    least = BATCH_HEADER - _LENGTH_END + (_SCHEMA_SIZE if header.has_schema else 0)
    if header.batch_len < least:
        raise ProtocolError(f"a batch claims {header.batch_len} bytes, less than its header takes")
    if header.size > left:
        raise ProtocolError(f"a batch of {header.size} bytes is cut short: {left} are there")
    return header


def iter_batches(data: Buffer) -> Iterator[tuple[BatchHeader, memoryview]]:
    """Yield header and bytes (header included, uncopied) of every batch of a record set.

    ProtocolError where a batch is cut short; the records are not looked at.
    """
    view = memoryview(data)
    offset = 0
    while offset < len(view):
        header = _header_at(view, offset)
        end = offset + header.size
        yield header, view[offset:end]
        offset = end


def iter_headers(data: Buffer) -> Iterator[BatchHeader]:
    """Yield the header of every batch of a record set that may be cut short anywhere, even within the last batch.

    ProtocolError for a header that claims fewer bytes than it takes itself.
    """
    view = memoryview(data)
    offset = 0
    while len(view) - offset >= BATCH_HEADER:
        header = BatchHeader._make(_HEADER.unpack_from(view, offset))
        if header.size < BATCH_HEADER:
            raise ProtocolError(f"a batch claims {header.batch_len} bytes, less than its header takes")
        yield header
        offset += header.size


def decode_batch(data: Buffer, offset: int = 0, *, max_size: int = MAX_DECOMPRESSED) -> DecodedBatch:
    """Return the batch that begins at byte `offset` of `data`, and ignore the bytes after it.

    * `max_size`: the largest records section, decompressed, in bytes.

    ProtocolError if any part of it is wrong except the checksum and the magic number, which the SPU does not check.
    """
    header = _header_at(data, offset)
    return _decode(header, memoryview(data)[offset : offset + header.size], max_size)


def decode_record_set(data: Buffer, *, max_size: int = MAX_DECOMPRESSED) -> list[DecodedBatch]:
    """Return all batches of a record set; ProtocolError as `decode_batch`, and for a cut tail."""
    return [_decode(header, batch, max_size) for header, batch in iter_batches(data)]


def _decode(header: BatchHeader, batch: memoryview, max_size: int) -> DecodedBatch:
    start = BATCH_HEADER + (_SCHEMA_SIZE if header.has_schema else 0)
    section = decompress(header.codec, batch[start:], max_size)
    return DecodedBatch(header, _decode_records(header, section))


def _record_count(section: bytes) -> int:
    if len(section) < _COUNT.size:
        raise ProtocolError("a records section without a count")
    (count,) = _COUNT.unpack_from(section)
    if not 0 <= count <= (len(section) - _COUNT.size) // _MIN_RECORD:
        raise ProtocolError(f"{count} records do not fit in {len(section)} bytes")
    return int(count)


def _decode_records(header: BatchHeader, section: bytes, *, strict: bool = False) -> list[Record]:
    try:
        return _records(header, section, strict=strict)
    except IndexError:
        raise ProtocolError("a record is cut short") from None


def _records(header: BatchHeader, section: bytes, *, strict: bool) -> list[Record]:
    records: list[Record] = []
    add, make = records.append, tuple.__new__
    base_offset, first_timestamp = header.base_offset, header.first_timestamp
    position, limit = _COUNT.size, len(section)
    for index in range(_record_count(section)):
        size, position = decode_varint(section, position)
        end = position + size
        if size < _MIN_RECORD - 1 or end > limit:
            raise ProtocolError(f"record {index} claims {size} of {limit - position} bytes")
        attributes = section[position]
        time, position = decode_varint(section, position + 1)
        offset, position = decode_varint(section, position)
        has_key, position = section[position], position + 1
        key, key_size = None, 0
        if has_key:
            key_size, position = decode_varint(section, position)
            key = section[position : position + key_size] if key_size >= 0 else None
            position += key_size
        size, position = decode_varint(section, position)
        value = section[position : position + size] if size >= 0 else b""
        headers, position = decode_varint(section, position + size)
        # A slice past the end is no error, but then neither is the record's end where it should be.
        if position != end or size < 0 or key_size < 0 or has_key > 1:
            raise ProtocolError(f"record {index} does not have the length that it claims")
        if strict and (attributes or headers or offset != index):
            raise ProtocolError(f"record {index} has attributes {attributes}, offset delta {offset}, headers {headers}")
        timestamp = first_timestamp + time if first_timestamp > 0 else -1
        add(make(Record, (key, value, timestamp, base_offset + index)))
    if position != limit:
        raise ProtocolError(f"{limit - position} bytes follow the last record")
    return records


def verify_batch(data: Buffer, *, max_size: int = MAX_DECOMPRESSED) -> None:
    """Check one whole batch more strictly than any SPU does; ProtocolError names the fault.

    It checks length, magic number, attributes (a known codec, no schema id, no other bit) and checksum, and that the
    batch has records, as many as `last_offset_delta` says, numbered from 0, without record attributes and headers.  It
    ignores the base offset: the official client fills in n - 1, and the SPU overwrites it.
    """
    header = _header_at(data, 0)
    if header.size != len(data):
        raise ProtocolError(f"a batch of {header.size} bytes stands in {len(data)}")
    if header.magic != _MAGIC:
        raise ProtocolError(f"a batch's magic number is {_MAGIC}, not {header.magic}")
    if not 0 <= header.attributes <= Codec.ZSTD:
        raise ProtocolError(f"a batch has the attributes {header.attributes:#06x}")
    view = memoryview(data)
    crc = crc32c(view[_CRC_START:])
    if crc != header.crc:
        raise ProtocolError(f"a batch's checksum is {crc:#010x}, not {header.crc:#010x}")
    section = decompress(header.codec, view[BATCH_HEADER:], max_size)
    count = len(_decode_records(header, section, strict=True))
    if not count or count != header.last_offset_delta + 1:
        raise ProtocolError(f"a batch of {count} records claims {header.last_offset_delta + 1}")
