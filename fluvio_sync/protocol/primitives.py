# SPDX-License-Identifier: Apache-2.0
"""The primitive codec: fixed-width integers, strings, bytes, counts and varints.

Pure.  A `Reader` or `Writer` belongs to one thread at a time.

All integers are big endian.  Counts have two widths: a string's length is 2 bytes (and read as signed, so 32767 bytes
is the longest that can be read back), a map's count is 2 bytes, a vector's is 4.  Varints (zig-zag, then seven bits a
byte, least significant group first) stand only inside records and inside one error payload.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Buffer = bytes | bytearray | memoryview

MAX_STRING: Final = 32767
"""The longest string, in bytes of UTF-8: Fluvio's decoder takes a longer one for an empty one."""

MAX_ELEMENTS: Final = 1 << 20
"""The most elements of vectors and maps that one message may have in all, unless its reader is told otherwise."""

_STRING_PER_ELEMENT: Final = 64

VARINT_MIN: Final = -(2**31)
VARINT_MAX: Final = 2**31 - 1
"""Fluvio's own varint encoder is right only within 32 bits and writes garbage outside."""

_SHIFTS: Final = range(7, 70, 7)  # of the second to the tenth byte of a varint

_U8: Final = struct.Struct(">B")
_I16: Final = struct.Struct(">h")
_U16: Final = struct.Struct(">H")
_I32: Final = struct.Struct(">i")
_U32: Final = struct.Struct(">I")
_I64: Final = struct.Struct(">q")
_U64: Final = struct.Struct(">Q")


class Duration(NamedTuple):
    """A length of time: whole seconds (u64) and nanoseconds (u32)."""

    seconds: int
    nanoseconds: int = 0


def _two_byte_varints() -> list[bytes]:
    low = [bytes((2 * n,)) for n in range(64)]
    return low + [bytes((b | 0x80, a)) for a in range(1, 128) for b in range(0, 128, 2)]


VARINT: Final = _two_byte_varints()
"""The varints of 0 to 8191, one or two bytes each, by value: nearly all records need no others."""

VARINT_TABLE: Final = len(VARINT)

_UNZIGZAG: Final = [(z >> 1) ^ -(z & 1) for z in range(128)]


def size_of(buffers: Iterable[Buffer]) -> int:
    """Return how many bytes they have together; `sum(map(len, buffers))` takes longer in compiled code."""
    size = 0
    for buffer in buffers:
        size += len(buffer)
    return size


def encode_varint(n: int) -> bytes:
    """Return `n` as a varint of 1 to 5 bytes; ValueError outside the signed 32-bit range."""
    if 0 <= n < VARINT_TABLE:
        return VARINT[n]
    if not VARINT_MIN <= n <= VARINT_MAX:
        raise ValueError(f"a varint holds -2^31 to 2^31 - 1, not {n}")
    z = (n << 1) ^ (n >> 31)
    out = bytearray()
    while z > 0x7F:
        out.append(z & 0x7F | 0x80)
        z >>= 7
    out.append(z)
    return bytes(out)


def varint_size(n: int) -> int:
    """Return how many bytes `encode_varint(n)` has, without checking the range."""
    if n < 0:
        n = -n - 1
    if n < VARINT_TABLE:
        return 1 if n < 1 << 6 else 2
    return 3 if n < 1 << 20 else (n.bit_length() + 7) // 7


def decode_varint(buffer: Buffer, position: int) -> tuple[int, int]:
    """Return the varint at `position` and the position behind it.

    The decoded range is 64 bits.  ProtocolError if it is cut short, longer than ten bytes, or does
    not fit.
    """
    try:
        byte = buffer[position]
        if byte < 0x80:
            return _UNZIGZAG[byte], position + 1
        z = byte & 0x7F
        for shift in _SHIFTS:
            position += 1
            byte = buffer[position]
            z |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
    except IndexError:
        raise ProtocolError("a varint is cut short") from None
    if byte > 0x7F or z >> 64:
        raise ProtocolError(f"a varint that ends at byte {position} does not fit in 64 bits")
    return (z >> 1) ^ -(z & 1), position + 1


@mypyc_attr(allow_interpreted_subclasses=True)  # tests draw what is read
class Reader:
    """Reads primitives off a buffer, front to back.

    * `position`: bytes read so far.
    * `elements`: how many elements of vectors and maps it still reads; 64 bytes of a long string count as one.

    Every method raises ProtocolError when the bytes run out or are not valid, and none allocates more than a small
    multiple of the bytes that remain.
    """

    __slots__ = ("_end", "_view", "elements", "position")

    position: int

    def __init__(self, data: Buffer, elements: int = MAX_ELEMENTS) -> None:
        self._view = memoryview(data)
        self._end = len(self._view)
        self.position = 0
        self.elements = elements

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self._end - self.position

    def peek(self) -> memoryview:
        """Return the bytes that are left, without taking them."""
        return self._view[self.position :]

    def _take(self, size: int) -> int:
        start = self.position
        if size > self._end - start:
            raise ProtocolError(f"{size} bytes expected at byte {start}, only {self._end - start} are left")
        self.position = start + size
        return start

    def u8(self) -> int:
        """Return an unsigned 8-bit number."""
        return self._view[self._take(1)]

    def i16(self) -> int:
        """Return a signed 16-bit number."""
        return int(_I16.unpack_from(self._view, self._take(2))[0])

    def u16(self) -> int:
        """Return an unsigned 16-bit number."""
        return int(_U16.unpack_from(self._view, self._take(2))[0])

    def i32(self) -> int:
        """Return a signed 32-bit number."""
        number: int = _I32.unpack_from(self._view, self._take(4))[0]
        return number

    def u32(self) -> int:
        """Return an unsigned 32-bit number."""
        return int(_U32.unpack_from(self._view, self._take(4))[0])

    def i64(self) -> int:
        """Return a signed 64-bit number."""
        return int(_I64.unpack_from(self._view, self._take(8))[0])

    def u64(self) -> int:
        """Return an unsigned 64-bit number."""
        return int(_U64.unpack_from(self._view, self._take(8))[0])

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        """Return the fields of `layout`, whose codes are all integers."""
        return layout.unpack_from(self._view, self._take(layout.size))

    def boolean(self) -> bool:
        """Return a boolean: one byte, 0 or 1."""
        value = self.u8()
        if value > 1:
            raise ProtocolError(f"a boolean is 0 or 1, not {value}")
        return value == 1

    def string(self) -> str:
        """Return a string; a negative length counts as empty, as in Fluvio's decoder."""
        size = self.i16()
        if size <= 0:
            return ""
        start = self._take(size)
        if size > _STRING_PER_ELEMENT:
            self._spend(size // _STRING_PER_ELEMENT)
        try:
            return str(self._view[start : start + size], "utf-8")
        except UnicodeDecodeError as error:
            raise ProtocolError(f"a string at byte {start} is not UTF-8") from error

    def byte_string(self) -> bytes:
        """Return bytes that a u32 counts (`Vec<u8>`, `ByteBuf`)."""
        return bytes(self.raw(self.u32()))

    def varint(self) -> int:
        """Return a varint."""
        value, self.position = decode_varint(self._view, self.position)
        return value

    def varbytes(self) -> bytes:
        """Return bytes that a varint counts."""
        return bytes(self.raw(self.varint()))

    def raw(self, size: int) -> memoryview:
        """Return the next `size` bytes, uncopied."""
        if size < 0:
            raise ProtocolError(f"a length is negative: {size}")
        start = self._take(size)
        return self._view[start : start + size]

    def rest(self) -> memoryview:
        """Return all bytes that are left, uncopied."""
        return self.raw(self.remaining)

    def count(self, min_size: int, limit: int = MAX_ELEMENTS) -> int:
        """Return how many elements of a vector follow; a count below one is none, as in Fluvio's decoder.

        * `min_size`: the fewest bytes that one element takes; ProtocolError for a count that could not fit in the
          remaining bytes.
        * `limit`: the most elements; ProtocolError for more.
        """
        count = self.i32()
        if count > limit:
            raise ProtocolError(f"it has {count} elements at byte {self.position}; the limit is {limit}")
        self._check_count(count, min_size)
        return count

    def map_count(self, min_size: int) -> int:
        """Return how many pairs of a map follow; `min_size`: the fewest bytes that one takes."""
        count = self.u16()
        self._check_count(count, min_size)
        return count

    def i32s(self) -> tuple[int, ...]:
        """Return a vector of signed 32-bit numbers; a count below one is none."""
        count = self.count(4)
        return struct.unpack_from(f">{count}i", self._view, self._take(4 * count)) if count > 0 else ()

    def skip_vectors(self, key_size: int, element_size: int) -> None:
        """Pass over a map of keys of `key_size` bytes to vectors of elements of `element_size` bytes.

        Vectors of one length, as the replicas of a topic's partitions are, take neither time nor memory.
        """
        count = self.u16()
        if count and self.skip_even_vectors(count, key_size, element_size) is None:
            self._check_count(count, key_size + 4)
            for _ in range(count):
                self._take(key_size)
                self._take(max(0, self.i32()) * element_size)

    def skip_even_vectors(self, count: int, key_size: int, element_size: int, zeros: int = 0) -> int | None:
        """Pass over so many keys with vectors of one length, and return the length; None, without a move, for others.

        * `zeros`: bytes behind each vector, which have to be 0.
        """
        start = self.position + key_size
        if start + 4 > self._end:
            return None
        (found,) = _I32.unpack_from(self._view, start)
        length: int = max(0, found)
        size = key_size + 4 + length * element_size + zeros
        end = self.position + count * size
        if end > self._end:
            return None
        # The bytes of all lengths and zeros, place by place.
        wanted = {start + place: byte for place, byte in enumerate(_I32.pack(length))}
        wanted.update(dict.fromkeys(range(self.position + size - zeros, self.position + size), 0))
        if any(self._view[place:end:size] != bytes((byte,)) * count for place, byte in wanted.items()):
            return None
        self.position = end
        return length

    def duration(self) -> Duration:
        """Return a duration: u64 seconds, u32 nanoseconds."""
        return Duration(self.u64(), self.u32())

    def _spend(self, elements: int) -> None:
        if elements > self.elements:
            raise ProtocolError(f"there are too many elements, or too long strings, at byte {self.position}")
        self.elements -= elements

    def _check_count(self, count: int, min_size: int) -> None:
        if count > 0:
            self._spend(count)
        if count * min_size > self.remaining:
            raise ProtocolError(
                f"{count} elements of at least {min_size} bytes do not fit in the {self.remaining} "
                f"bytes that are left at byte {self.position}"
            )


class Writer:
    """Appends primitives to a buffer; the counterpart of `Reader`, method by method.

    ValueError for a number out of its type's range and for a string over 32767 bytes.
    """

    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = bytearray()

    def __len__(self) -> int:
        return len(self._out)

    def getvalue(self) -> bytes:
        """Return everything written so far."""
        return bytes(self._out)

    def pack(self, layout: struct.Struct, *values: int) -> None:
        """Append `values` in `layout`; ValueError if one does not fit."""
        try:
            self._out += layout.pack(*values)
        except struct.error as error:
            raise ValueError(f"{values} do not fit {layout.format!r}: {error}") from None

    def u8(self, value: int) -> None:
        """Append an unsigned 8-bit number."""
        self.pack(_U8, value)

    def i16(self, value: int) -> None:
        """Append a signed 16-bit number."""
        self.pack(_I16, value)

    def u16(self, value: int) -> None:
        """Append an unsigned 16-bit number."""
        self.pack(_U16, value)

    def i32(self, value: int) -> None:
        """Append a signed 32-bit number."""
        self.pack(_I32, value)

    def u32(self, value: int) -> None:
        """Append an unsigned 32-bit number."""
        self.pack(_U32, value)

    def i64(self, value: int) -> None:
        """Append a signed 64-bit number."""
        self.pack(_I64, value)

    def u64(self, value: int) -> None:
        """Append an unsigned 64-bit number."""
        self.pack(_U64, value)

    def boolean(self, value: bool) -> None:  # noqa: FBT001
        """Append a boolean: one byte, 0 or 1."""
        self._out.append(1 if value else 0)

    def string(self, value: str) -> None:
        """Append a string: a u16 length and UTF-8."""
        data = value.encode()
        if len(data) > MAX_STRING:
            raise ValueError(f"a string takes at most {MAX_STRING} bytes, not {len(data)}")
        self._out += _U16.pack(len(data))
        self._out += data

    def i32s(self, values: tuple[int, ...]) -> None:
        """Append a vector of signed 32-bit numbers."""
        self.i32(len(values))
        for value in values:
            self.i32(value)

    def byte_string(self, value: Buffer) -> None:
        """Append bytes behind a u32 length."""
        self.u32(len(value))
        self._out += value

    def varint(self, value: int) -> None:
        """Append a varint."""
        self._out += encode_varint(value)

    def varbytes(self, value: Buffer) -> None:
        """Append bytes behind a varint length."""
        self._out += encode_varint(len(value))
        self._out += value

    def raw(self, value: Buffer) -> None:
        """Append `value` as it is."""
        self._out += value

    def duration(self, value: Duration) -> None:
        """Append a duration: u64 seconds, u32 nanoseconds."""
        self.u64(value.seconds)
        self.u32(value.nanoseconds)
