# SPDX-License-Identifier: Apache-2.0
"""The bytes of a `FaultProxy`: an asyncio loop that forwards them, late, in part or not at all.

Everything runs in the loop of `Forwarder.serve()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

from fluvio_sync.protocol.frames import MAX_FRAME
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync.testing._port import Port
    from fluvio_sync.testing.proxy import ProduceFault

# Bytes that may wait in one direction of a connection; beyond that it is not read from.
_MAX_HELD = 16 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops unsent bytes and resets the connection
# The first fields of a frame, its length included: API key and correlation id of a request, the latter of a response.
_REQUEST_HEAD = struct.Struct(">iHhi")
_RESPONSE_HEAD = struct.Struct(">ii")


class Forwarder:
    """Accepts clients at `port` and connects each to the server at `address`.

    `choose_fault`: called with the size of each produce request.
    `connections`: those that are neither cut nor over.
    `held`: nothing is forwarded now; see `hold`.
    `delay`: seconds by which bytes that arrive now are forwarded later.
    """

    def __init__(
        self,
        port: Port,
        address: tuple[str, int],
        choose_fault: Callable[[int], ProduceFault | None],
    ) -> None:
        self.connections: dict[_Connection, None] = {}
        self.open_ends: dict[_End, None] = {}
        self.held = False
        self.delay = 0.0
        self.choose_fault = choose_fault
        self._address = address
        self._port = port
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Forward until `stop()`, then close everything."""
        self.accept_again()
        await self._stopped.wait()
        await self._port.close()
        self.cut(reset=False)
        ends = list(self.open_ends)
        for end in ends:
            end.abort()
        for end in ends:
            await end.lost.wait()

    def stop(self) -> None:
        """End `serve()` soon."""
        self._stopped.set()

    # --- new connections -------------------------------------------------------------------------

    def refuse(self) -> None:
        """Refuse new connections."""
        if self._port.is_open:
            self._port.refuse()

    def accept_again(self) -> None:
        """Undo `refuse()`."""
        if not self._port.is_open:
            self._port.open(self._begin)

    async def _begin(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        connection = _Connection(self)
        self.connections[connection] = None
        await loop.connect_accepted_socket(lambda: connection.client, client)
        try:
            await loop.create_connection(lambda: connection.server, *self._address)
        except OSError:
            connection.cut(reset=True)

    # --- all connections -------------------------------------------------------------------------

    def cut(self, *, reset: bool) -> int:
        """Cut all connections and return how many there were."""
        connections = list(self.connections)
        for connection in connections:
            connection.cut(reset=reset)
        return len(connections)

    def hold(self, *, on: bool) -> None:
        """Forward nothing from now on, or everything that waits."""
        self.held = on
        for connection in list(self.connections):
            connection.forward()

    def half_close(self) -> None:
        """Tell all clients that the server says nothing more."""
        for connection in list(self.connections):
            connection.half_close()


class _End(asyncio.Protocol):
    """One socket of a connection; `full`: it takes no more bytes for now; `lost`: it is closed."""

    transport: asyncio.Transport | None = None

    def __init__(self, connection: _Connection) -> None:
        self.full = False
        self.lost = asyncio.Event()
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connection.begin(self)

    def data_received(self, data: bytes) -> None:
        self._connection.receive(self, data)

    def eof_received(self) -> bool:
        self._connection.receive(self, b"")
        return True

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._connection.forward()

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set()
        self._connection.end_lost(self)

    def abort(self, *, reset: bool = False) -> None:
        if self.transport is not None:
            if reset:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


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


class _Way:
    """One direction of a connection, from `source` to `sink`.

    `out`: pieces that wait, each with the time from which on it may be written; `size`: their bytes.
    `eof`: nothing more is read; `ended`: the sink was told so.
    """

    def __init__(self, source: _End, sink: _End, head: struct.Struct) -> None:
        self.source = source
        self.frames = _Frames(head)
        self.out: deque[tuple[float, bytes]] = deque()
        self.eof = False
        self.ended = False
        self._sink = sink
        self._size = 0

    def put(self, data: bytes, due: float) -> None:
        """Have bytes written at `due`, but not before those that were put before."""
        if data and not self.ended:
            self.out.append((max(due, self.out[-1][0]) if self.out else due, data))
            self._size += len(data)

    def write(self, now: float) -> None:
        """Write what is due; `OSError` if the sink is broken."""
        assert self._sink.transport is not None
        while self.out and self.out[0][0] <= now and not self._sink.full:
            _, data = self.out.popleft()
            self._size -= len(data)
            self._sink.transport.write(data)
        if self.eof and not self.out:
            self.end()

    def end(self) -> None:
        """Tell the sink that nothing more comes."""
        if not self.ended:
            assert self._sink.transport is not None
            self.ended = True
            self.out.clear()
            self._size = 0
            self._sink.transport.write_eof()

    def pace(self) -> None:
        """Read from the source unless too much waits or nothing more is to come."""
        assert self.source.transport is not None
        if self.eof or self._size >= _MAX_HELD:
            self.source.transport.pause_reading()
        else:
            self.source.transport.resume_reading()


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.client = _End(self)
        self.server = _End(self)
        self._forwarder = forwarder
        self._closed = False
        self._requests = _Way(self.client, self.server, _REQUEST_HEAD)
        self._responses = _Way(self.server, self.client, _RESPONSE_HEAD)
        self._faults: dict[int, ProduceFault] = {}  # by the correlation id of the reply that is to be lost
        self._left: int | None = None  # bytes that may still be forwarded of a request, until the connection is cut
        self._reset = True
        self._dropping = False  # the response that is being read is lost
        self._timer: asyncio.TimerHandle | None = None

    # --- called by its ends ----------------------------------------------------------------------

    def begin(self, end: _End) -> None:
        """Take an end that is connected now."""
        self._forwarder.open_ends[end] = None
        if self._closed:
            end.abort(reset=end is self.client)
        self.forward()

    def receive(self, end: _End, data: bytes) -> None:
        """Take bytes in that an end received, or its EOF, and forward them when they are due."""
        if self._closed:
            return
        way = self._requests if end is self.client else self._responses
        due = asyncio.get_running_loop().time() + self._forwarder.delay
        pieces = way.frames.feed(data) if data else iter([(way.frames.rest(), None)])
        way.eof = way.eof or not data
        way.put(b"".join(self._requested(pieces) if way is self._requests else self._answered(pieces)), due)
        if not self._closed:
            way.pace()
            self.forward()

    def end_lost(self, end: _End) -> None:
        """Note that an end is closed, by its peer or by this proxy."""
        del self._forwarder.open_ends[end]
        self.cut(reset=True)

    # --- forwarding ------------------------------------------------------------------------------

    def forward(self) -> None:
        """Write the bytes that are due, and come back for the others."""
        if self._closed or self._forwarder.held or self.client.transport is None or self.server.transport is None:
            return
        now = asyncio.get_running_loop().time()
        ways = (self._requests, self._responses)
        try:
            for way in ways:
                way.write(now)
                way.pace()
        except OSError:
            self.cut(reset=True)
            return
        if self._left == 0 and not self._requests.out:
            self.cut(reset=self._reset)
        elif self._requests.ended and self._responses.ended:
            self._close()
            self.client.transport.close()
            self.server.transport.close()
        else:
            self._come_back(min((way.out[0][0] for way in ways if way.out and way.out[0][0] > now), default=None))

    def _come_back(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else asyncio.get_running_loop().call_at(when, self.forward)

    def _close(self) -> None:
        self._closed = True
        self._come_back(None)
        del self._forwarder.connections[self]

    def cut(self, *, reset: bool) -> None:
        """End both sides now; the server's in good order, so that it reads the forwarded bytes."""
        if not self._closed:
            self._close()
            self.client.abort(reset=reset)
            if self.server.transport is not None:
                self.server.transport.close()

    def half_close(self) -> None:
        """Tell the client that the server says nothing more."""
        if self.client.transport is not None:
            with contextlib.suppress(OSError):
                self._responses.end()

    # --- faults ----------------------------------------------------------------------------------

    def _requested(self, pieces: Iterator[tuple[bytes, tuple[int, ...] | None]]) -> Iterator[bytes]:
        """Yield the bytes that are forwarded of requests."""
        for piece, head in pieces:
            if head is not None and head[1] == SpuApi.PRODUCE:
                self._plan(4 + head[0], head[3])
            if self._left is None:
                yield piece
                continue
            yield piece[: self._left]
            self._left -= min(self._left, len(piece))
            if not self._left:
                self._requests.eof = True  # it is cut once that is written
                return

    def _plan(self, size: int, correlation: int) -> None:
        """Have the fault that is due happen to a produce request of `size` bytes."""
        fault = self._forwarder.choose_fault(size)
        if fault is None:
            return
        if fault.kind in ("before", "during"):
            half = size // 2 if fault.sent is None else min(fault.sent, size)
            self._left = 0 if fault.kind == "before" else half
            self._reset = fault.reset
        else:
            self._faults[correlation] = fault

    def _answered(self, pieces: Iterator[tuple[bytes, tuple[int, ...] | None]]) -> Iterator[bytes]:
        """Yield the bytes that are forwarded of responses."""
        for piece, head in pieces:
            if head is not None:
                fault = self._faults.pop(head[1], None)
                self._dropping = fault is not None
                if fault is not None and fault.kind == "after":
                    self.cut(reset=fault.reset)
                    return
            if not self._dropping:
                yield piece
