# SPDX-License-Identifier: Apache-2.0
"""Declared messages: their fields and gates, their values, and errors of type checkers and counts.

Each `type: ignore` here is a mistake that mypy has to find: it reports those that are not needed.
"""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import layout
from fluvio_sync.protocol.layout import BYTES, STRING, U8, Layout
from fluvio_sync.protocol.message import Message, apart, one_of, wire
from fluvio_sync.protocol.primitives import Reader, Writer


class Point(Message):
    x: int = wire(U8)
    y: int = wire(U8)


class Size(Message):
    x: int = wire(U8)
    y: int = wire(U8)


class Gated(Message):
    """`old` ended with version 4, `new` began with 3, `only` was in 5 alone."""

    always: int = wire(U8)
    old: int = wire(U8, default=0, until=4)
    new: int = wire(U8, default=9, since=3)
    only: int = wire(U8, default=0, since=5, until=5)
    last: int = wire(U8, default=0)


class Ordered(Message):
    first: int = wire(U8, default=1, kw_only=True)
    second: int = wire(U8)
    third: int = wire(U8, default=3)


class Secret(Message):
    name: str = wire(STRING)
    value: bytes = wire(BYTES, default=b"", repr=False)


def written(message: Any, version: int = 0) -> bytes:
    w = Writer()
    message.write(w, version)
    return w.getvalue()


# --- the wire ------------------------------------------------------------------------------------


def test_fields_are_written_and_read_in_the_order_in_which_they_are_declared() -> None:
    assert written(Ordered(2, first=7)) == b"\7\2\3"
    reader = Reader(b"\7\2\3!")
    assert Ordered.read(reader, 0) == Ordered(2, 3, first=7)
    assert reader.remaining == 1


@pytest.mark.parametrize(
    ("version", "data", "seen"),
    [
        (2, b"\1\2\5", Gated(1, 2, 9, 0, 5)),
        (3, b"\1\2\3\5", Gated(1, 2, 3, 0, 5)),
        (4, b"\1\2\3\5", Gated(1, 2, 3, 0, 5)),
        (5, b"\1\3\4\5", Gated(1, 0, 3, 4, 5)),
        (6, b"\1\3\5", Gated(1, 0, 3, 0, 5)),
    ],
)
def test_a_field_is_on_the_wire_in_its_versions_and_its_default_elsewhere(
    version: int, data: bytes, seen: Gated
) -> None:
    assert written(Gated(1, 2, 3, 4, 5), version) == data
    reader = Reader(data)
    assert Gated.read(reader, version) == seen
    assert reader.remaining == 0


# --- unions --------------------------------------------------------------------------------------


def test_a_union_is_told_apart_by_its_first_byte() -> None:
    either: Layout[Point | Size] = one_of("kind of pair", {4: Point, 2: Size})
    pairs: dict[bytes, Point | Size] = {b"\4\1\2": Point(1, 2), b"\2\1\2": Size(1, 2)}
    for encoded, pair in pairs.items():
        w = Writer()
        either.write(w, pair, 0)
        assert w.getvalue() == encoded
        assert either.read(Reader(encoded), 0) == pair
    with pytest.raises(ProtocolError, match=r"^unknown kind of pair 3$"):
        either.read(Reader(b"\3\1\2"), 0)


# --- the fewest bytes ----------------------------------------------------------------------------

LAYOUTS = {name: value for name, value in vars(layout).items() if isinstance(value, Layout)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_smallest_value_of_a_layout_is_made_of_zeros(name: str) -> None:
    zeros = bytes(LAYOUTS[name].min_size)
    reader = Reader(zeros + b"!")
    value = LAYOUTS[name].read(reader, 0)
    assert reader.remaining == 1
    w = Writer()
    LAYOUTS[name].write(w, value, 0)
    assert w.getvalue() == zeros
    with pytest.raises(ProtocolError):
        LAYOUTS[name].read(Reader(zeros[1:]), 0)


# --- values --------------------------------------------------------------------------------------


def test_messages_are_equal_if_their_class_and_all_their_fields_are() -> None:
    assert Point(1, 2) == Point(1, y=2)
    assert hash(Point(1, 2)) == hash(Point(1, y=2)) != hash(Point(1, 3))
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != (1, 2)
    same_values: Any = Size(1, 2)
    assert Point(1, 2) != same_values
    assert len({Point(1, 2), Point(1, 2), same_values}) == 2


def test_a_message_does_not_change() -> None:
    point = Point(1, 2)
    with pytest.raises(AttributeError, match="Point does not change: 'x' cannot be set"):
        point.x = 3  # type: ignore[misc]
    read: Any = Point.read(Reader(b"\1\2"), 0)
    with pytest.raises(AttributeError, match="Point does not change: 'x' cannot be deleted"):
        del read.x
    for name in ("x", "z"):
        with pytest.raises(AttributeError, match=f"Point does not change: '{name}' cannot be set"):
            setattr(read, name, 3)
    assert point == read == Point(1, 2)
    assert not hasattr(point, "__dict__")


def test_replacing_makes_another_message() -> None:
    point = Point(1, 2)
    assert point.replace(y=3) == Point(1, 3)
    assert point == Point(1, 2)
    with pytest.raises(TypeError, match="Point has no field 'z'"):
        point.replace(z=3)


def test_large_values_are_not_shown() -> None:
    assert repr(Secret("n", b"xyz")) == "Secret(name='n')"
    assert repr(Ordered(2)) == "Ordered(first=1, second=2, third=3)"


def test_bad_arguments_name_the_class_and_the_argument() -> None:
    with pytest.raises(TypeError, match=r"^Point is not given 'y'$"):
        Point(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Point has no field 'z'$"):
        Point(1, 2, z=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Point is given 'x' twice$"):
        Point(1, x=1)  # type: ignore[call-arg, misc]
    with pytest.raises(TypeError, match=r"^Point takes 2 arguments by position, not 3$"):
        Point(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Ordered takes 2 arguments by position, not 3$"):
        Ordered(1, 2, 3)  # type: ignore[call-arg]


# --- methods of a class's own --------------------------------------------------------------------


class Prefixed(Message):
    """Its prefix is written before all else, twice."""

    value: int = wire(U8)
    prefix: str = apart(min_size=4)

    def check(self) -> None:
        if self.prefix == "bad":
            raise ValueError("a bad prefix")

    def write(self, w: Writer, version: int) -> None:
        w.string(self.prefix)
        w.string(self.prefix)
        super().write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> Prefixed:
        prefix = r.string()
        r.string()
        return super().read(r, version).replace(prefix=prefix)


def test_a_field_apart_is_left_to_its_class() -> None:
    data = b"\0\1p\0\1p\7"
    assert written(Prefixed(7, "p")) == data
    assert Prefixed.read(Reader(data), 0) == Prefixed(7, prefix="p")
    assert Prefixed.min_size == 5
    with pytest.raises(TypeError, match="Prefixed is not given 'prefix'"):
        Prefixed(7)  # type: ignore[call-arg]


def test_fields_that_do_not_go_together_are_refused_wherever_they_come_from() -> None:
    with pytest.raises(ValueError, match="a bad prefix"):
        Prefixed(7, "bad")
    with pytest.raises(ValueError, match="a bad prefix"):
        Prefixed(7, "p").replace(prefix="bad")
