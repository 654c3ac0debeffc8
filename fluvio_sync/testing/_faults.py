# SPDX-License-Identifier: Apache-2.0
"""The faults of a `FaultProxy`: which bytes of a connection are forwarded, and when it is cut.

Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fluvio_sync.protocol.frames import MAX_FRAME
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The first fields of a frame, its length included: API key and correlation id of a request, the latter of a response.
_REQUEST_HEAD = struct.Struct(">iHhi")
_RESPONSE_HEAD = struct.Struct(">ii")


@dataclass(frozen=True, slots=True)
class ProduceFault:
    """A fault that happens to one produce request.

    * `kind`: when the connection is cut.  `"before"`: before a byte of the request is forwarded; `"during"`: after
      `sent` bytes of it; `"after"`: once the server has answered, so that the request is carried out and its reply is
      lost; `"late"`: once the whole request is here, which is forwarded `delay` seconds later, and its reply is lost;
      `"lost reply"`: not at all, but the reply never comes.
    * `sent`: bytes of the request that are forwarded, for `"during"`; default: half of them.
    * `reset`: a cut resets the client's connection; False: it ends in good order (EOF).
    * `delay`: seconds from the cut until the request is forwarded, for `"late"`.
    """

    kind: Literal["before", "during", "after", "late", "lost reply"]
    sent: int | None = None
    reset: bool = True
    delay: float = 0.3


class Faults:
    """The faults of one connection.

    `choose`: called with the size of each produce request; returns its fault, if any.
    `cutting`: the fault by which the connection is to be cut; `"after"`: at once; others: when everything that
    `requests()` returned is forwarded.
    `late`: the request that is to be forwarded after the cut, for `"late"`.
    """

    def __init__(self, choose: Callable[[int], ProduceFault | None]) -> None:
        self.cutting: ProduceFault | None = None
        self.late = bytearray()
        self._choose = choose
        self._requests = _Frames(_REQUEST_HEAD)
        self._responses = _Frames(_RESPONSE_HEAD)
        self._left: int | None = None  # bytes that may still be taken of a request, until the connection is cut
        self._planned: ProduceFault | None = None
        self._awaited: dict[int, ProduceFault] = {}  # by the correlation id of the reply that is to be lost
        self._dropping = False  # the response that is being read is lost

    def requests(self, data: bytes) -> bytes:
        """Return the bytes that are forwarded of requests; no data: the client has ended."""
        return b"".join(self._requested(data)) if data else self._requests.rest()

    def responses(self, data: bytes) -> bytes:
        """Return the bytes that are forwarded of responses; no data: the server has ended."""
        return b"".join(self._answered(data)) if data else self._responses.rest()

    def _requested(self, data: bytes) -> Iterator[bytes]:
        for piece, head in self._requests.feed(data):
            if head is not None and head[1] == SpuApi.PRODUCE and self._planned is None:
                self._plan(4 + head[0], head[3])
            if self._planned is None or self._left is None:
                yield piece
                continue
            taken = piece[: self._left]
            if self._planned.kind == "late":
                self.late += taken
            else:
                yield taken
            self._left -= len(taken)
            if not self._left:
                self.cutting = self._planned
                return

    def _plan(self, size: int, correlation: int) -> None:
        fault = self._choose(size)
        if fault is None:
            return
        if fault.kind in ("after", "lost reply"):
            self._awaited[correlation] = fault
            return
        half = size // 2 if fault.sent is None else min(fault.sent, size)
        self._planned = fault
        self._left = {"before": 0, "during": half, "late": size}[fault.kind]

    def _answered(self, data: bytes) -> Iterator[bytes]:
        for piece, head in self._responses.feed(data):
            if head is not None:
                fault = self._awaited.pop(head[1], None)
                self._dropping = fault is not None
                if fault is not None and fault.kind == "after":
                    self.cutting = fault
                    return
            if not self._dropping:
                yield piece


class _Frames:
    """Tells where in a stream of bytes the frames begin, without waiting for their ends.

    A stream that is not of frames is passed on as it comes: `opaque`.
    """

    def __init__(self, head: struct.Struct) -> None:
        self._head = head
        self._held = b""
        self._left = 0
        self.opaque = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, tuple[int, ...] | None]]:
        """Yield pieces of the stream, each of one frame only; with the head, if the frame begins there."""
        data, self._held = self._held + data, b""
        while data:
            head = None
            if not self._left and not self.opaque:
                if self._looks_wrong(data):
                    self.opaque = True
                elif len(data) < self._head.size:
                    self._held = data
                    return
                else:
                    head = self._head.unpack_from(data)
                    self._left = 4 + head[0]
            size = len(data) if self.opaque else min(self._left, len(data))
            self._left -= size
            piece, data = data[:size], data[size:]
            yield piece, head

    def _looks_wrong(self, data: bytes) -> bool:
        return len(data) >= 4 and not self._head.size - 4 <= int.from_bytes(data[:4], "big", signed=True) <= MAX_FRAME

    def rest(self) -> bytes:
        """Return the bytes of a head that will not be completed."""
        rest, self._held = self._held, b""
        return rest
