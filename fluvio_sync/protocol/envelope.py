# SPDX-License-Identifier: Apache-2.0
"""The envelope of messages to an SC (Streaming Controller): a label for the kind of object, a length, the message.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fluvio_sync.protocol.layout import BYTES, STRING
from fluvio_sync.protocol.message import Message, apart, wire
from fluvio_sync.protocol.primitives import Reader, Writer

if TYPE_CHECKING:
    from typing_extensions import Self


class TypeBuffer(Message):
    """The envelope: the kind of object, and the message as bytes.  Versions below 12 have another."""

    label: str = wire(STRING)
    inner: bytes = wire(BYTES, repr=False)

    MIN_VERSION: ClassVar[int] = 12


class Enveloped(Message):
    """A message in an envelope; `label` is outside, its other fields are inside."""

    label: str = apart()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # An envelope may be empty: it can hold an undecoded object of another kind.
        cls.min_size = TypeBuffer.min_size

    def write(self, w: Writer, version: int) -> None:
        """Append it with its envelope; ValueError for a version below 12."""
        self.sealed(version).write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> Self:
        """Read one; ProtocolError for a version below 12."""
        return cls.opened(TypeBuffer.read(r, version), version)

    def sealed(self, version: int) -> TypeBuffer:
        """Return its envelope."""
        inner = Writer()
        super().write(inner, version)
        return TypeBuffer(self.label, inner.getvalue())

    @classmethod
    def opened(cls, envelope: TypeBuffer, version: int) -> Self:
        """Return the content of an envelope."""
        return super().read(Reader(envelope.inner), version).replace(label=envelope.label)
