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
from fluvio_sync.testing._link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.testing._faults import ProduceFault
    from fluvio_sync.testing._serving import Port

_RECEIVE = 256 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing drops unsent bytes and resets the connection


class Forwarder:
    """Connects each client of `port` to the server at `address`.

    `choose_fault`: called with the size of each produce request.
    `connections`: those that are neither cut nor over, and those whose server has yet to get a late request.
    `ends`: all sockets that are not closed yet.
    `held`: nothing is forwarded now.
    `to_server`, `to_client`: the network in each direction.
    `buffer`: takes in received bytes, which are copied before another socket is read.
    """

    def __init__(
        self, port: Port, address: tuple[str, int], choose_fault: Callable[[int], ProduceFault | None]
    ) -> None:
        self.port = port
        self.choose_fault = choose_fault
        self.connections: dict[Connection, None] = {}
        self.ends: dict[_End, None] = {}
        self.held = False
        self.to_server = Link()
        self.to_client = Link()
        self.buffer = memoryview(bytearray(_RECEIVE))
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


class _End(asyncio.BufferedProtocol):
    """One socket of a connection, and the bytes that wait to be written to it.

    `transport`: None before it is connected; `closed`: set when it is closed.
    `link`: the network in front of it.
    `eof`: nothing more is read from it.
    `ended`: no more will be written to it.
    """

    transport: asyncio.Transport | None = None

    def __init__(self, connection: Connection, link: Link, buffer: memoryview) -> None:
        self.closed = asyncio.Event()
        self.link = link
        self.eof = False
        self.ended = False
        self._connection = connection
        self._buffer = buffer
        self._readable = _RECEIVE
        self._waiting: deque[tuple[float, bytes]] = deque()  # pieces, each with the time at which it reaches the link
        self._passing: tuple[float, bytes] | None = None  # the slice on the link, and when it has passed
        self._size = 0
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connection.begin(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        return self._buffer[: self._readable]

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.receive(self, bytes(self._buffer[:nbytes]))

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

    def put(self, data: bytes, now: float) -> None:
        """Have bytes written after the delay, and not before those that were put before."""
        if data and not self.ended:
            due = now + self.link.delay
            self._waiting.append((max(due, self._waiting[-1][0]) if self._waiting else due, data))
            self._size += len(data)

    def is_empty(self) -> bool:
        """Whether no bytes wait."""
        return self._passing is None and not self._waiting

    def next_timer(self) -> float | None:
        """Return when `write` can go on, None if no bytes wait."""
        if self._passing is not None:
            return self._passing[0]
        return self._waiting[0][0] if self._waiting else None

    def write(self, now: float, *, last: bool) -> None:
        """Write the bytes that are due, and end if they are the last ones; `OSError` if the socket is broken."""
        assert self.transport is not None
        while not self._full and (slice_ := self._passed(now)) is not None:
            self._size -= len(slice_)
            self.transport.write(slice_)
        if last and self.is_empty():
            self.end()

    def _passed(self, now: float) -> bytes | None:
        """Take the next slice that has passed the link."""
        if self._passing is None and self._waiting and self._waiting[0][0] <= now:
            due, data = self._waiting.popleft()
            size = self.link.slice(len(data))
            if size < len(data):
                self._waiting.appendleft((due, data[size:]))
            self._passing = self.link.enter(size, due), data[:size]
        if self._passing is None or self._passing[0] > now:
            return None
        data, self._passing = self._passing[1], None
        return data

    def end(self) -> None:
        """Tell the peer that nothing more comes."""
        if not self.ended and self.transport is not None:
            self._drop()
            self.transport.write_eof()

    def _drop(self) -> None:
        """Forget the bytes that wait; no others will be written."""
        self.ended = True
        self._waiting.clear()
        self._passing = None
        self._size = 0

    def read_for(self, other: _End) -> None:
        """Read on unless too much waits for the other end already."""
        assert self.transport is not None
        room = other.link.room(other._size)
        if self.eof or not room:
            self.transport.pause_reading()
        else:
            self._readable = min(room, _RECEIVE)
            self.transport.resume_reading()

    def resize_buffer(self, size: int | None) -> None:
        """Set the size of the socket's receive buffer; None leaves it as it is."""
        if size is not None and self.transport is not None and not self.closed.is_set():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def abort(self, *, reset: bool) -> None:
        """Close the socket now; with `reset` the peer sees an error, otherwise EOF."""
        self._drop()
        if self.transport is not None and not self.closed.is_set():
            if reset:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class Connection:
    """A client's connection and the one to the server that belongs to it.

    `over`: nothing more is forwarded, and the sockets are closed as soon as possible.
    `forgotten`: nothing passes, not even the end of a side.
    `late`: the client's side is cut, and the server's waits for a last request.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self.client = _End(self, forwarder.to_client, forwarder.buffer)
        self.server = _End(self, forwarder.to_server, forwarder.buffer)
        self.over = False
        self.forgotten = False
        self.late = False
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
        self.resize_buffers()
        self.forward()

    def resize_buffers(self) -> None:
        """Have sockets take in no more than the links behind them can carry soon."""
        self.client.resize_buffer(self.server.link.receive_buffer)
        self.server.resize_buffer(self.client.link.receive_buffer)

    def receive(self, end: _End, data: bytes) -> None:
        """Take in the bytes that an end received, or its EOF, and forward them when they are due."""
        now = asyncio.get_running_loop().time()
        if end is self.client:
            self.server.put(self._faults.requests(data), now)
        else:
            self.client.put(self._faults.responses(data), now)
        cutting = self._faults.cutting
        if cutting is not None and cutting.kind == "after":
            self.cut(reset=cutting.reset)
        elif cutting is not None and cutting.kind != "late":
            self.client.eof = True
        self.forward()

    def end_closed(self, end: _End) -> None:
        """Note that an end is closed, by its peer or by this proxy."""
        del self._forwarder.ends[end]
        if self.late and end is self.client:
            return
        if not self.forgotten or (self.client.closed.is_set() and self.server.closed.is_set()):
            self.cut(reset=True)

    def remember(self) -> None:
        """Have everything pass again, first of all that which has waited."""
        if self.forgotten:
            self.forgotten = False
            if self.client.closed.is_set() or self.server.closed.is_set():
                self.cut(reset=True)
            else:
                self.forward()

    # --- forwarding ------------------------------------------------------------------------------

    def forward(self) -> None:
        """Write the bytes that are due, and come back for the others."""
        if self.over or self.client.transport is None or self.server.transport is None:
            return
        if not self._forwarder.held and not self.forgotten:
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
        cutting = self._faults.cutting
        if cutting is not None and not self.late and self.server.is_empty():
            if cutting.kind == "late":
                self._cut_client(cutting, now)
            else:
                self.cut(reset=cutting.reset)
                return
        if self.server.ended and self.client.ended and (self.server.eof or not self.late):
            self._finish()
            for end in (self.client, self.server):
                assert end.transport is not None
                end.transport.close()
        else:
            timers = (self.client.next_timer(), self.server.next_timer())
            self._come_back(min((when for when in timers if when is not None and when > now), default=None))

    def _cut_client(self, fault: ProduceFault, now: float) -> None:
        """End the client's side; the server gets the late request in time, and may answer until it ends its side."""
        self.late = True
        self.client.eof = True
        self.client.abort(reset=fault.reset)
        self.server.put(bytes(self._faults.late), now + fault.delay)
        self.server.write(now, last=True)  # without a delay it is due

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
