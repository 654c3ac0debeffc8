# SPDX-License-Identifier: Apache-2.0
"""Layouts: the encodings of single values, from integers to maps.

Pure.  A layout holds no state: any thread may use any of them.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.primitives import MAX_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluvio_sync.protocol.primitives import Duration, Reader, Writer

T = TypeVar("T")
K = TypeVar("K", int, str)
V = TypeVar("V")
E = TypeVar("E", bound=enum.IntEnum)

_EMPTY: Mapping[Any, Any] = MappingProxyType({})  # one for all: an empty map takes 2 bytes on the wire


class Layout(Generic[T]):
    """The encoding of one value.

    * `read(r, version)` returns a value, or raises ProtocolError.
    * `write(w, value, version)` appends one, or raises ValueError.
    * `min_size`: the fewest bytes that a value takes in any version.  By it a reader rejects a count of elements that
      could not fit in the bytes that are left, before it reads the first of them.
    """

    __slots__ = ("min_size", "read", "write")

    def __init__(
        self, read: Callable[[Reader, int], T], write: Callable[[Writer, T, int], None], min_size: int
    ) -> None:
        self.read = read
        self.write = write
        self.min_size = min_size


BOOL: Layout[bool] = Layout(lambda r, _: r.boolean(), lambda w, value, _: w.boolean(value), 1)
U8: Layout[int] = Layout(lambda r, _: r.u8(), lambda w, value, _: w.u8(value), 1)
U16: Layout[int] = Layout(lambda r, _: r.u16(), lambda w, value, _: w.u16(value), 2)
U32: Layout[int] = Layout(lambda r, _: r.u32(), lambda w, value, _: w.u32(value), 4)
U64: Layout[int] = Layout(lambda r, _: r.u64(), lambda w, value, _: w.u64(value), 8)
I16: Layout[int] = Layout(lambda r, _: r.i16(), lambda w, value, _: w.i16(value), 2)
I32: Layout[int] = Layout(lambda r, _: r.i32(), lambda w, value, _: w.i32(value), 4)
I64: Layout[int] = Layout(lambda r, _: r.i64(), lambda w, value, _: w.i64(value), 8)
STRING: Layout[str] = Layout(lambda r, _: r.string(), lambda w, value, _: w.string(value), 2)
BYTES: Layout[bytes] = Layout(lambda r, _: r.byte_string(), lambda w, value, _: w.byte_string(value), 4)
VARBYTES: Layout[bytes] = Layout(lambda r, _: r.varbytes(), lambda w, value, _: w.varbytes(value), 1)
I32S: Layout[tuple[int, ...]] = Layout(lambda r, _: r.i32s(), lambda w, value, _: w.i32s(value), 4)
DURATION: Layout[Duration] = Layout(lambda r, _: r.duration(), lambda w, value, _: w.duration(value), 12)


def option(layout: Layout[T]) -> Layout[T | None]:
    """Return the layout of a value that may be missing: a boolean, then the value."""
    read_value, write_value = layout.read, layout.write

    def read(r: Reader, version: int) -> T | None:
        return read_value(r, version) if r.boolean() else None

    def write(w: Writer, value: T | None, version: int) -> None:
        w.boolean(value is not None)
        if value is not None:
            write_value(w, value, version)

    return Layout(read, write, 1)


def vec(layout: Layout[T], limit: int = MAX_ELEMENTS) -> Layout[tuple[T, ...]]:
    """Return the layout of a vector: an i32 count, then the elements.

    A count below one is read as an empty vector, as in Fluvio's decoder; one above `limit` is a ProtocolError.
    """
    read_element, write_element, min_size = layout.read, layout.write, layout.min_size

    def read(r: Reader, version: int) -> tuple[T, ...]:
        return tuple([read_element(r, version) for _ in range(r.count(min_size, limit))])

    def write(w: Writer, value: tuple[T, ...], version: int) -> None:
        w.i32(len(value))
        for element in value:
            write_element(w, element, version)

    return Layout(read, write, 4)


def mapping(key: Layout[K], value: Layout[V]) -> Layout[Mapping[K, V]]:
    """Return the layout of a map: a u16 count, then keys and values in ascending order of the keys.

    Code points sort as their UTF-8 does, so that strings stand in the order of Fluvio's BTreeMap.
    """
    min_size = key.min_size + value.min_size

    def read(r: Reader, version: int) -> Mapping[K, V]:
        count = r.map_count(min_size)
        return {key.read(r, version): value.read(r, version) for _ in range(count)} if count else _EMPTY

    def write(w: Writer, items: Mapping[K, V], version: int) -> None:
        w.u16(len(items))
        for one in sorted(items):
            key.write(w, one, version)
            value.write(w, items[one], version)

    return Layout(read, write, 2)


def enumeration(kind: type[E]) -> Layout[E]:
    """Return the layout of a member of `kind`: the byte that numbers it."""
    members = {int(member): member for member in kind}

    def read(r: Reader, _: int) -> E:
        number = r.u8()
        member = members.get(number)
        if member is None:
            raise ProtocolError(f"{number} is no {kind.__name__}")
        return member

    return Layout(read, lambda w, member, _: w.u8(member), 1)
