# SPDX-License-Identifier: Apache-2.0
"""Strategies for messages: each is drawn by its class's own `read`, from a reader that has no bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from hypothesis import reject
from hypothesis import strategies as st

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol import admin, metadata, watch
from fluvio_sync.protocol.envelope import Enveloped
from fluvio_sync.protocol.error_code import Code
from fluvio_sync.protocol.primitives import Reader

if TYPE_CHECKING:
    import struct

I64 = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(max_size=12)
DATA = st.binary(max_size=20)
_CODES = st.sampled_from([int(code) for code in Code])
U32 = st.integers(0, 2**32 - 1)
_FLAGS = st.booleans()

_DRAWN = {
    "boolean": _FLAGS,
    "u8": st.integers(0, 1) | st.integers(0, 7),  # nearly always a tag, and most unions are small
    "i16": _CODES,
    "u16": st.integers(0, 2**16 - 1),
    "i32": st.integers(-(2**31), 2**31 - 1),
    "u32": U32,
    "i64": I64,
    "u64": st.integers(0, 2**64 - 1),
    "string": TEXTS,
    "byte_string": DATA,
    "varbytes": DATA,
    "raw": DATA,
    "count": st.integers(0, 2),
    "map_count": st.integers(0, 2),
}


class Inventor(Reader):
    """A reader that draws every value that it is asked for."""

    def __init__(self, draw: Any) -> None:
        super().__init__(b"")
        self.draw = draw

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        fields = {"h": _CODES, "i": st.integers(0, 2**31 - 1), "I": U32, "q": I64}
        return tuple([self.draw(fields[field]) for field in layout.format[1:]])


for _name, _strategy in _DRAWN.items():
    setattr(Inventor, _name, lambda self, *_, drawn=_strategy: self.draw(drawn))

_OBJECTS: dict[str, Any] = {
    kind.LABEL: kind for kind in (metadata.TopicObject, metadata.PartitionObject, metadata.SpuObject)
}
_LABELS = st.sampled_from(list(_OBJECTS))


@st.composite
def invented(draw: Any, kind: Any, version: int) -> Any:
    """Draw a message of this class, with all the fields that it has in this version."""
    if kind in (watch.ListResponse, watch.WatchUpdate):
        return draw(_of_objects(kind, version))
    read = super(Enveloped, kind).read if issubclass(kind, Enveloped) else kind.read
    for _ in range(10):
        with contextlib.suppress(ProtocolError):  # raised for a tag that means nothing
            message = read(Inventor(draw), version)
            break
    else:
        reject()
    if issubclass(kind, admin.TopicRequest):
        return kind("", label="SmartModule", inner=draw(DATA)) if draw(_FLAGS) else message
    return message.replace(label=draw(_LABELS)) if issubclass(kind, Enveloped) else message


@st.composite
def _of_objects(draw: Any, kind: Any, version: int) -> Any:
    label = draw(_LABELS)
    content = invented(_OBJECTS[label], version)
    objects = draw(st.lists(content, max_size=2).map(tuple))
    if kind is watch.ListResponse:
        return kind(label, objects)
    changes = st.lists(st.builds(watch.Change, _FLAGS, content), max_size=2).map(tuple)
    return kind(label, draw(I64), draw(changes), objects)
