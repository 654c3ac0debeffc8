# SPDX-License-Identifier: Apache-2.0
"""Long answers of an SC in parts: other work goes on in between, and of each object a part alone is kept.

Pure.  A whole push would be read in one go by `WatchUpdate.read`: that of 100,000 partitions takes seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.layout import Layout
from fluvio_sync.protocol.metadata import PartitionObject, SpuObject, TopicObject
from fluvio_sync.protocol.primitives import Reader
from fluvio_sync.protocol.watch import Change, WatchUpdate, change_of, objects_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fluvio_sync.protocol.metadata import MetadataObject

T = TypeVar("T")
V = TypeVar("V")

MAX_OBJECTS = 1 << 17
"""The most objects of one kind that are taken of an SC; Fluvio's own tests end at some thousands."""
MAX_OBJECT_ELEMENTS = 2048
"""The most elements of vectors and maps in one object, a topic's replicas aside: they take up to 40 ms."""
MAX_NAME = {TopicObject.LABEL: 128, PartitionObject.LABEL: 128, SpuObject.LABEL: 253}
"""The longest names of objects, in bytes; Fluvio's topics have at most 63, Kubernetes' objects at most 253."""
MAX_SPUS = 4096
"""The most SPUs that are taken of an SC."""
_PART = 4096  # bytes: some 40 objects, which take a millisecond


def skim_update(
    r: Reader, version: int, keep: Callable[[MetadataObject], MetadataObject]
) -> Generator[int, None, WatchUpdate]:
    """Read a push of a Watch in parts.

    * `keep`: returns the part of an object that the caller keeps.

    Yields the number of bytes of each part but the last, and returns the push.  Raises `ProtocolError`.
    """
    label = r.string()
    content = _skimmed(label, keep)
    inner = Reader(r.raw(r.u32()))
    epoch = inner.i64()
    changes: list[Change] = yield from _in_parts(inner, version, change_of(content))
    objects = yield from _in_parts(inner, version, content)
    return WatchUpdate(label, epoch, tuple(changes), tuple(objects))


def skim_list(r: Reader, version: int, keep: Callable[[MetadataObject], V]) -> Generator[int, None, list[V]]:
    """Read the answer to a List in parts, as `skim_update` reads a push; it returns the parts that `keep` returned."""
    label = r.string()
    return (yield from _in_parts(Reader(r.raw(r.u32())), version, _skimmed(label, keep)))


def _skimmed(label: str, keep: Callable[[MetadataObject], V]) -> Layout[V]:
    layout = objects_of(label)
    limit = MAX_NAME.get(label, 0)
    read_object = TopicObject.skim if label == TopicObject.LABEL else layout.read

    def read(r: Reader, version: int) -> V:
        item = read_object(r, version)
        if len(item.name.encode()) > limit:
            raise ProtocolError(f"an object has a name of {len(item.name)} characters; the limit is {limit} bytes")
        return keep(item)

    return Layout(read, _not_written, layout.min_size)


def _not_written(*_: object) -> None:
    raise AssertionError("what is kept of an object is not written")


def _in_parts(r: Reader, version: int, layout: Layout[T]) -> Generator[int, None, list[T]]:
    r.elements = MAX_OBJECTS
    found: list[T] = []
    began = r.position
    for _ in range(r.count(layout.min_size)):
        r.elements = MAX_OBJECT_ELEMENTS
        found.append(layout.read(r, version))
        if r.position - began >= _PART:
            yield r.position - began
            began = r.position
    return found
