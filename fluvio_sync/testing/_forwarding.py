# SPDX-License-Identifier: Apache-2.0
"""The connections of a `FaultProxy`: pairs of sockets, whose bytes are forwarded, late, in part or not at all.

Everything runs in the proxy's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

from fluvio_sync.testing._faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.testing._faults import ProduceFault
    from fluvio_sync.testing._serving import Port

# Bytes that may wait for one end; beyond that the other is not read from.
_MAX_WAITING = 16 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops unsent bytes and resets the connection


class Forwarder:
    """Connects each client of `port` to the server at `address`.

    `choose_fault`: called with the size of each produce request.
    `connections`: those that are neither cut nor over; `ends`: all sockets that are not closed yet.
    `held`: nothing is forwarded now; `delay`: seconds by which bytes that arrive now are forwarded later.
    """

    def __init__(
        self, port: Port, address: tuple[str, int], choose_fault: Callable[[int], ProduceFault | None]
    ) -> None:
        self.port = port
        self.choose_fault = choose_fault
        self.connections: dict[Connection, None] = {}
        self.ends: dict[_End, None] = {}
        self.held = False
        self.delay = 0.0
        self._address = address
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Forward until `stop()`, then close everything."""
        self.port.open(self.begin)
        await self._stopped.wait()
        await self.port.close()
        for connection in list(self.connections):
            connection.cut(reset=False)
        ends = list(self.ends)
        for end in ends:
            end.abort(reset=False)
        for end in ends:
            await end.closed.wait()

    def stop(self) -> None:
        """End `serve()` soon."""
        self._stopped.set()

    async def begin(self, client: socket.socket) -> None:
        """Connect a client to the server."""
        loop = asyncio.get_running_loop()
        connection = Connection(self)
        self.connections[connection] = None
        await loop.connect_accepted_socket(lambda: connection.client, client)
        try:
            await loop.create_connection(lambda: connection.server, *self._address)
        except OSError:
            connection.cut(reset=True)


class _End(asyncio.Protocol):
    """One socket of a connection, and the bytes that wait to be written to it.

    `transport`: None before it is connected; `closed`: set when it is closed.
    `eof`: nothing more is read from it.
    `waiting`: pieces, each with the time from which on it may be written; `ended`: no more will be written.
    """

    transport: asyncio.Transport | None = None

    def __init__(self, connection: Connection) -> None:
        self.closed = asyncio.Event()
        self.eof = False
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.ended = False
        self._connection = connection
        self._size = 0
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connection.begin(self)

    def data_received(self, data: bytes) -> None:
        self._connection.receive(self, data)

    def eof_received(self) -> bool:
        self.eof = True
        self._connection.receive(self, b"")
        return True

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._connection.forward()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.closed.set()
        self._connection.end_closed(self)

    def put(self, data: bytes, due: float) -> None:
        """Have bytes written at `due`, but not before those that were put before."""
        if data and not self.ended:
            self.waiting.append((max(due, self.waiting[-1][0]) if self.waiting else due, data))
            self._size += len(data)

    def write(self, now: float, *, last: bool) -> None:
        """Write the bytes that are due, and end if they are the last ones; `OSError` if the socket is broken."""
        assert self.transport is not None
        while self.waiting and self.waiting[0][0] <= now and not self._full:
            _, data = self.waiting.popleft()
            self._size -= len(data)
            self.transport.write(data)
        if last and not self.waiting:
            self.end()

    def end(self) -> None:
        """Tell the peer that nothing more comes."""
        if not self.ended and self.transport is not None:
            self.ended = True
            self.waiting.clear()
            self._size = 0
            self.transport.write_eof()

    def read_for(self, other: _End) -> None:
        """Read on unless too much waits for the other end already."""
        assert self.transport is not None
        if self.eof or other._size >= _MAX_WAITING:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def abort(self, *, reset: bool) -> None:
        """Close the socket now; with `reset` the peer sees an error, otherwise EOF."""
        if self.transport is not None:
            if reset:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class Connection:
    """A client's connection and the one to the server that belongs to it.

    `over`: nothing more is forwarded, and the sockets are closed as soon as possible.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self.client = _End(self)
        self.server = _End(self)
        self.over = False
        self._forwarder = forwarder
        self._faults = Faults(forwarder.choose_fault)
        self._timer: asyncio.TimerHandle | None = None

    # --- called by its ends ----------------------------------------------------------------------

    def begin(self, end: _End) -> None:
        """Take an end that is connected now."""
        self._forwarder.ends[end] = None
        if self.over:
            end.abort(reset=end is self.client)
        elif end is self.client and end.transport is not None:
            end.transport.pause_reading()  # until there is a server
        self.forward()

    def receive(self, end: _End, data: bytes) -> None:
        """Take in the bytes that an end received, or its EOF, and forward them when they are due."""
        due = asyncio.get_running_loop().time() + self._forwarder.delay
        if end is self.client:
            self.server.put(self._faults.requests(data), due)
        else:
            self.client.put(self._faults.responses(data), due)
        cutting = self._faults.cutting
        if cutting is not None and cutting.kind == "after":
            self.cut(reset=cutting.reset)
        elif cutting is not None:
            self.client.eof = True
        self.forward()

    def end_closed(self, end: _End) -> None:
        """Note that an end is closed, by its peer or by this proxy."""
        del self._forwarder.ends[end]
        self.cut(reset=True)

    # --- forwarding ------------------------------------------------------------------------------

    def forward(self) -> None:
        """Write the bytes that are due, and come back for the others."""
        if self.over or self.client.transport is None or self.server.transport is None:
            return
        if not self._forwarder.held:
            try:
                self._write(asyncio.get_running_loop().time())
            except OSError:
                self.cut(reset=True)
        if not self.over:
            self.client.read_for(self.server)
            self.server.read_for(self.client)

    def _write(self, now: float) -> None:
        self.server.write(now, last=self.client.eof)
        self.client.write(now, last=self.server.eof)
        if self._faults.cutting is not None and not self.server.waiting:
            self.cut(reset=self._faults.cutting.reset)
        elif self.server.ended and self.client.ended:
            self._finish()
            for end in (self.client, self.server):
                assert end.transport is not None
                end.transport.close()
        else:
            waiting = [end.waiting[0][0] for end in (self.client, self.server) if end.waiting]
            self._come_back(min((when for when in waiting if when > now), default=None))

    def _come_back(self, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else asyncio.get_running_loop().call_at(when, self.forward)

    def _finish(self) -> None:
        self.over = True
        self._come_back(None)
        del self._forwarder.connections[self]

    def cut(self, *, reset: bool) -> None:
        """End both sides now; the server's in good order, so that it reads the forwarded bytes."""
        if not self.over:
            self._finish()
            self.client.abort(reset=reset)
            if self.server.transport is not None:
                self.server.transport.close()

    def half_close(self) -> None:
        """Tell the client that the server says nothing more."""
        with contextlib.suppress(OSError):
            self.client.end()
