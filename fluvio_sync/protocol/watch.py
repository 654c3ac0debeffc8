# SPDX-License-Identifier: Apache-2.0
"""Watch and List: the SC tells of its objects, again whenever they change, or once.

Pure.  A label tells of which kind the objects of an answer are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._base.text import shown
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.envelope import Enveloped
from fluvio_sync.protocol.layout import BOOL, I64, STRING, Layout, vec
from fluvio_sync.protocol.message import nested, wire
from fluvio_sync.protocol.metadata import PartitionObject, SpuObject, TopicObject
from fluvio_sync.protocol.primitives import Reader

if TYPE_CHECKING:
    from typing_extensions import Self

    from fluvio_sync.protocol.envelope import TypeBuffer
    from fluvio_sync.protocol.metadata import MetadataObject
    from fluvio_sync.protocol.primitives import Writer


class Change(NamedTuple):
    """One object that was made or changed, or deleted: then only its name means something."""

    delete: bool
    content: MetadataObject


# --- objects by their label ----------------------------------------------------------------------


def _unknown(label: str) -> Layout[Any]:
    """Return the layout of objects of which none can be read."""

    def refuse(_: Reader, __: int) -> Any:
        raise ProtocolError(f"objects of the kind {shown(label)} are not known here")

    return Layout(refuse, lambda w, item, version: item.write(w, version), 1)


def change_of(content: Layout[Any]) -> Layout[Change]:
    """Return the layout of a change of an object."""

    def read(r: Reader, version: int) -> Change:
        kind = r.u8()
        if kind > 1:
            raise ProtocolError(f"unknown kind of change {kind}")
        return Change(kind == 1, content.read(r, version))

    def write(w: Writer, change: Change, version: int) -> None:
        w.boolean(change.delete)
        content.write(w, change.content, version)

    return Layout(read, write, 1 + content.min_size)


_OBJECT: dict[str, Layout[Any]] = {kind.LABEL: nested(kind) for kind in (TopicObject, PartitionObject, SpuObject)}
_ANY = _unknown("")


def objects_of(label: str) -> Layout[Any]:
    """Return the layout of objects of a kind."""
    return _OBJECT.get(label) or _unknown(label)


# --- Watch ---------------------------------------------------------------------------------------


class WatchRequest(Enveloped):
    """Asks for one kind of object: all now, then each change, until the connection ends.

    `summary` only means something for SmartModules; the SC ignores `epoch`.
    """

    epoch: int = wire(I64, default=0)
    summary: bool = wire(BOOL, default=False)


class WatchUpdate(Enveloped):
    """One push of a Watch.

    A non-empty `all` replaces everything known of this kind; otherwise `changes` apply in their order.  Both may be
    empty.  `epoch` counts for the server only.  Objects of a kind that is not known here cannot be read.
    """

    epoch: int = wire(I64)
    changes: tuple[Change, ...] = wire(vec(change_of(_ANY)), default=())
    all: tuple[MetadataObject, ...] = wire(vec(_ANY), default=())

    @classmethod
    def opened(cls, envelope: TypeBuffer, version: int) -> Self:
        """Return the content of an envelope, decoded by its label."""
        inner, content = Reader(envelope.inner), objects_of(envelope.label)
        epoch, changes = inner.i64(), vec(change_of(content)).read(inner, version)
        return cls(envelope.label, epoch, changes, vec(content).read(inner, version))


# --- List ----------------------------------------------------------------------------------------


class ListRequest(Enveloped):
    """Asks for the objects of one kind, once.

    `name_filters`: topics whose name contains one of them (none: all); partitions ignore it.  `system`: the system's
    topics instead of the users'.
    """

    name_filters: tuple[str, ...] = wire(vec(STRING), default=())
    summary: bool = wire(BOOL, default=False)
    system: bool = wire(BOOL, default=False, since=13)


class ListResponse(Enveloped):
    """The objects.  Those of a kind that is not known here cannot be read."""

    items: tuple[MetadataObject, ...] = wire(vec(_ANY), default=())

    @classmethod
    def opened(cls, envelope: TypeBuffer, version: int) -> Self:
        """Return the content of an envelope, decoded by its label."""
        items = vec(objects_of(envelope.label)).read(Reader(envelope.inner), version)
        return cls(envelope.label, items)
