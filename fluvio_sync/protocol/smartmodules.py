# SPDX-License-Identifier: Apache-2.0
"""SmartModules, as requests name them or carry them.

Pure.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.layout import DURATION, STRING, U64, enumeration, mapping, option
from fluvio_sync.protocol.message import Message, apart, nested, wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from fluvio_sync.protocol.primitives import Duration, Reader, Writer


class ModuleKind(enum.IntEnum):
    """The kind of a SmartModule; GENERIC leaves that to the cluster."""

    FILTER = 0
    MAP = 1
    ARRAY_MAP = 2
    AGGREGATE = 3
    FILTER_MAP = 4
    JOIN = 5
    JOIN_STREAM = 6
    GENERIC = 7


class ModuleContext(enum.IntEnum):
    """The input of a GENERIC module."""

    NONE = 0
    AGGREGATE = 1
    JOIN = 2
    JOIN_STREAM = 3


_CONTEXT_SHAPES: Mapping[ModuleContext, ModuleKind] = {
    ModuleContext.NONE: ModuleKind.GENERIC,
    ModuleContext.AGGREGATE: ModuleKind.AGGREGATE,
    ModuleContext.JOIN: ModuleKind.JOIN,
    ModuleContext.JOIN_STREAM: ModuleKind.JOIN_STREAM,
}
_JOINS = {ModuleKind.JOIN, ModuleKind.JOIN_STREAM}
_KIND = enumeration(ModuleKind)
_CONTEXT = enumeration(ModuleContext)


class Lookback(Message):
    """Records that a module is shown first: the `last` ones, not older than `age`."""

    last: int = wire(U64)
    age: Duration | None = wire(option(DURATION), default=None, since=21)


class SmartModuleInvocation(Message):
    """One SmartModule for the SPU to run on produced or consumed records.

    Either `name`, of a module that the cluster has (`name`, `group/name`, `group/name@version`), or `adhoc`, the module
    itself, gzipped.  `context` counts for the kind GENERIC only; `accumulator` for an aggregate, `topic` for joins,
    `derived_stream` for a join with a stream.  `label` is a name for metrics.  ValueError unless exactly one of `name`
    and `adhoc` is given.
    """

    name: str | None = apart(default=None, min_size=3)
    adhoc: bytes | None = apart(default=None, repr=False)
    kind: ModuleKind = apart(default=ModuleKind.GENERIC, min_size=1)
    context: ModuleContext = apart(default=ModuleContext.NONE)
    accumulator: bytes = apart(default=b"", repr=False)
    topic: str = apart(default="")
    derived_stream: str = apart(default="")
    params: Mapping[str, str] = wire(mapping(STRING, STRING), default=MappingProxyType({}))
    lookback: Lookback | None = wire(option(nested(Lookback)), default=None, since=20)
    label: str | None = wire(option(STRING), default=None, since=25)

    def check(self) -> None:
        """ValueError unless exactly one of `name` and `adhoc` is given."""
        if (self.name is None) == (self.adhoc is None):
            raise ValueError("a SmartModule is given either by name or as ad-hoc bytes")

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if self.adhoc is not None:
            w.u8(1)
            w.byte_string(self.adhoc)
        else:
            w.u8(0)
            w.string(self.name or "")
        self._write_kind(w, version)
        super().write(w, version)

    def _write_kind(self, w: Writer, version: int) -> None:
        _KIND.write(w, self.kind, version)
        shape = self.kind
        if shape is ModuleKind.GENERIC:
            _CONTEXT.write(w, self.context, version)
            shape = _CONTEXT_SHAPES[self.context]
        if shape is ModuleKind.AGGREGATE:
            w.byte_string(self.accumulator)
        if shape in _JOINS:
            w.string(self.topic)
        if shape is ModuleKind.JOIN_STREAM:
            w.string(self.derived_stream)

    @classmethod
    def read(cls, r: Reader, version: int) -> Self:
        """Read one."""
        name, adhoc = _read_module(r)
        shape = kind = _KIND.read(r, version)
        context = ModuleContext.NONE
        if kind is ModuleKind.GENERIC:
            context = _CONTEXT.read(r, version)
            shape = _CONTEXT_SHAPES[context]
        accumulator = r.byte_string() if shape is ModuleKind.AGGREGATE else b""
        topic = r.string() if shape in _JOINS else ""
        derived_stream = r.string() if shape is ModuleKind.JOIN_STREAM else ""
        return (
            super()
            .read(r, version)
            .replace(
                name=name,
                adhoc=adhoc,
                kind=kind,
                context=context,
                accumulator=accumulator,
                topic=topic,
                derived_stream=derived_stream,
            )
        )


def _read_module(r: Reader) -> tuple[str | None, bytes | None]:
    tag = r.u8()
    if tag == 0:
        return r.string(), None
    if tag == 1:
        return None, r.byte_string()
    raise ProtocolError(f"unknown kind of SmartModule {tag}")
