# SPDX-License-Identifier: Apache-2.0
"""Messages: a class declares its fields in the order of the wire, and is read and written by that declaration.

Pure.  A message does not change once it is made, so any thread may use it.

    class RemotePartition(Message):
        home_cluster: str = wire(STRING)
        home_spu_id: int = wire(I32)
        target: bool = wire(BOOL, default=False, since=18)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, overload

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self, dataclass_transform

    from fluvio_sync.protocol.primitives import Reader, Writer
else:

    def dataclass_transform(**_: object) -> Any:
        """Stand in for the decorator that only type checkers need: the package does not depend on typing_extensions."""
        return lambda cls: cls


T = TypeVar("T")
M = TypeVar("M", bound="Message")

# Versions are 16-bit numbers.
_ALWAYS = -(2**15)
_LATEST = 2**15 - 1
_NEVER = 2**15

_MISSING: Any = object()


# --- fields --------------------------------------------------------------------------------------


class Field(NamedTuple):
    """A declaration by `wire` or `apart`."""

    layout: Layout[Any]
    default: Any
    since: int
    until: int
    kw_only: bool
    repr: bool

    @property
    def min_size(self) -> int:
        """The fewest bytes of it in any version: 0 if some version does not have it."""
        missing = (self.since, self.until) not in ((_ALWAYS, _LATEST), (_NEVER, _NEVER))
        return 0 if missing else self.layout.min_size


@overload
def wire(layout: Layout[T], *, kw_only: bool = False, repr: bool = True) -> T: ...


@overload
def wire(
    layout: Layout[T],
    *,
    default: T,
    since: int = _ALWAYS,
    until: int = _LATEST,
    kw_only: bool = False,
    repr: bool = True,
) -> T: ...


def wire(
    layout: Layout[Any],
    *,
    default: Any = _MISSING,
    since: int = _ALWAYS,
    until: int = _LATEST,
    kw_only: bool = False,
    repr: bool = True,  # noqa: A002 - as dataclasses name it
) -> Any:
    """Declare a field and its layout.

    * `default`: its value where none is given, and where a version does not have it.
    * `since`, `until`: the first and the last version that have it (default: all have).
    * `kw_only`: it can only be given by name; a field with a default before one without must be.
    * `repr`: False for values that may be large.
    """
    return Field(layout, default, since, until, kw_only, repr)


def apart(
    *,
    default: Any = _MISSING,
    min_size: int = 0,
    kw_only: bool = False,
    repr: bool = True,  # noqa: A002 - as above
) -> Any:
    """Declare a field that its class reads and writes itself, in at least `min_size` bytes.

    `Message.write` passes it over, `Message.read` leaves its default there to be replaced.
    """
    return Field(Layout(_not_here, _not_here, min_size), default, _NEVER, _NEVER, kw_only, repr)


def _not_here(*_: object) -> Any:
    raise AssertionError("no version has it: its class reads and writes it")


# --- messages ------------------------------------------------------------------------------------


class _Slotted(type):
    """Makes a slot of every field, and passes the declarations on as `_declared`."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        declared = {key: value for key, value in namespace.items() if isinstance(value, Field)}
        others = {key: value for key, value in namespace.items() if key not in declared}
        return super().__new__(mcs, name, bases, {**others, "__slots__": tuple(declared), "_declared": declared})


@dataclass_transform(field_specifiers=(wire, apart), frozen_default=True)
class Message(metaclass=_Slotted):
    """The base of all declared messages; two are equal if their classes and all their fields are.

    TypeError for arguments that do not fit its fields, AttributeError for changing one later.  `MIN_VERSION`: the
    oldest version whose layout is declared; writing an older one is a ValueError, reading it a ProtocolError.
    `min_size`: the fewest bytes that it takes in any version.
    """

    MIN_VERSION: ClassVar[int] = _ALWAYS
    min_size: ClassVar[int] = 0
    _declared: ClassVar[Mapping[str, Field]]
    _fields: ClassVar[Mapping[str, Field]] = {}
    _positional: ClassVar[tuple[str, ...]] = ()
    _reads: ClassVar[tuple[tuple[Any, ...], ...]] = ()
    _writes: ClassVar[tuple[tuple[Any, ...], ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = fields = {**cls._fields, **cls._declared}
        cls._positional = tuple([name for name, field in fields.items() if not field.kw_only])
        cls.min_size = sum([field.min_size for field in fields.values()])
        # The parts of each field that `read` and `write` need.  A slot's setter avoids `__setattr__`, which raises.
        cls._reads = tuple(
            [(getattr(cls, name).__set__, f.layout.read, f.since, f.until, f.default) for name, f in fields.items()]
        )
        cls._writes = tuple([(name, f.layout.write, f.since, f.until) for name, f in fields.items()])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kind, values = type(self).__name__, dict(zip(self._positional, args, strict=False))
        if len(args) > len(values):
            raise TypeError(f"{kind} takes {len(values)} arguments by position, not {len(args)}")
        for name, value in kwargs.items():
            if name not in self._fields:
                raise TypeError(f"{kind} has no field {name!r}")
            if name in values:
                raise TypeError(f"{kind} is given {name!r} twice")
            values[name] = value
        for name, field in self._fields.items():
            value = values.get(name, field.default)
            if value is _MISSING:
                raise TypeError(f"{kind} is not given {name!r}")
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raise ValueError if the fields do not go together."""

    def replace(self, **changes: Any) -> Self:
        """Return the same message with these fields changed."""
        return type(self)(**{**{name: getattr(self, name) for name in self._fields}, **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change: {name!r} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change: {name!r} cannot be deleted")

    def _values(self) -> tuple[object, ...]:
        return tuple([getattr(self, name) for name in self._fields])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name, field in self._fields.items() if field.repr]
        return f"{type(self).__name__}({', '.join(shown)})"

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if version < self.MIN_VERSION:
            raise ValueError(f"{self._title()} is not written in version {version}, older than {self.MIN_VERSION}")
        for name, write, since, until in self._writes:
            if since <= version <= until:
                write(w, getattr(self, name), version)

    @classmethod
    def read(cls, r: Reader, version: int) -> Self:
        """Read one."""
        if version < cls.MIN_VERSION:
            raise ProtocolError(f"version {version} of {cls._title()} is too old, older than {cls.MIN_VERSION}")
        message = cls.__new__(cls)
        for put, read, since, until, default in cls._reads:
            put(message, read(r, version) if since <= version <= until else default)
        return message

    @classmethod
    def _title(cls) -> str:
        return cls.__name__.removesuffix("Request")


# --- layouts of messages -------------------------------------------------------------------------


def nested(kind: type[M]) -> Layout[M]:
    """Return the layout of a message inside another."""
    return Layout(kind.read, lambda w, message, version: message.write(w, version), kind.min_size)


def one_of(title: str, kinds: Mapping[int, type[M]]) -> Layout[M]:
    """Return the layout of one of several messages: the byte that numbers its class, then itself.

    * `title`: the name of the number in the error for an unknown one.
    """
    tags = {kind: tag for tag, kind in kinds.items()}

    def read(r: Reader, version: int) -> M:
        tag = r.u8()
        kind = kinds.get(tag)
        if kind is None:
            raise ProtocolError(f"unknown {title} {tag}")
        return kind.read(r, version)

    def write(w: Writer, message: M, version: int) -> None:
        w.u8(tags[type(message)])
        message.write(w, version)

    return Layout(read, write, 1 + min(kind.min_size for kind in kinds.values()))
