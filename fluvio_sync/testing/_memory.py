# SPDX-License-Identifier: Apache-2.0
"""Connections in memory: a client and the pure cluster core in one thread, without a socket.

The client's real connections, frames, handshake, watch, sender and dispatcher run on these transports.  `MemoryNetwork`
carries bytes at once; a simulation delays, cuts and loses them instead.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from fluvio_sync._net.transport import READ, WRITE, Stage
from fluvio_sync._runtime.log_thread import LogThread
from fluvio_sync.protocol.frames import FrameReader
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from fluvio_sync._base.log import Event
    from fluvio_sync._net.connection import Connection
    from fluvio_sync._net.peer import Peer
    from fluvio_sync._net.transport import Polls
    from fluvio_sync.testing._cluster.core import ClusterCore, ServerSession


class LogInPlace(LogThread):
    """Emits events in the thread in which they happen, so that a test finds them at once."""

    def put(self, event: Event) -> None:
        """Emit an event."""
        event.emit()


class MemoryTransport:
    """The client's end of a connection in memory.

    * `session`: the cluster's end, once it is connected.
    * `refusal`: the reason why it cannot be connected; "" if it can.
    * `full`: the client's socket takes no bytes.
    * `error`: raised once the received bytes are read.
    * `ended`: the stream ends once the received bytes are read.
    * `forgotten`: bytes arrive no more, and neither side is told; see `MemoryNetwork.forget`.
    """

    buffers_input = True
    _numbers = itertools.count(1)

    def __init__(self, network: MemoryNetwork, peer: Peer) -> None:
        self.stage = Stage.CONNECTING
        self.peer = peer
        self.session: ServerSession | None = None
        self.refusal = ""
        self.full = False
        self.ended = False
        self.forgotten = False
        self.error: OSError | None = None
        self.frames = FrameReader()
        self._network = network
        self._received = bytearray()
        self._number = next(self._numbers)

    def fileno(self) -> int:
        """Return a number that no other transport has."""
        return self._number

    def polls(self, events: int) -> Polls:
        """Return itself; WRITE while it is being connected."""
        return ((self, WRITE if self.stage is Stage.CONNECTING else events),)

    def progress(self, now: float) -> str:  # noqa: ARG002 - as the other transports
        """Return nothing: there is one address."""
        return ""

    def advance(self, events: int, now: float) -> None:  # noqa: ARG002 - as the other transports
        """Take the network's answer to the attempt to connect."""
        if self.refusal:
            raise self.peer.unreachable(self.refusal)
        if self.session is not None and self.stage is Stage.CONNECTING:
            self.stage = Stage.VERSIONS

    def next_timer(self) -> float:
        """Return never: the network decides."""
        return math.inf

    def wait_resolved(self, timeout: float) -> None:
        """Return at once: there is no name to look up."""

    def send(self, pending: deque[memoryview]) -> int:
        """Give all bytes to the network, none while it is full."""
        if self.error is not None:
            raise self.error
        if self.full:
            return 0
        data = b"".join(pending)
        self._network.carry(self, data)
        return len(data)

    def unacknowledged(self) -> int:
        """Return none: the network carries all bytes at once."""
        return 0

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive the bytes that have arrived."""
        if self._received:
            size = min(len(buffer), len(self._received))
            buffer[:size] = self._received[:size]
            del self._received[:size]
            return size
        if self.error is not None:
            raise self.error
        return 0 if self.ended else None

    def acknowledge_at_once(self) -> None:
        """Do nothing: no sender waits for acknowledgements."""

    def end_sending(self) -> None:
        """Do nothing: the session has no end of input."""

    def close(self) -> None:
        """Disconnect from the session."""
        if self.stage is not Stage.CLOSED:
            self.stage = Stage.CLOSED
            self._network.closed(self)

    def abort(self) -> None:
        """Disconnect from the session: all bytes have gone out."""
        self.close()

    def feed(self, data: bytes) -> None:
        """Bring bytes of the session to the client."""
        if not self.forgotten:
            self._received += data

    def ready(self) -> int:
        """Return the events that a poll would show."""
        if self.stage is Stage.CONNECTING:
            return WRITE if self.refusal or self.session is not None else 0
        readable = self._received or self.ended or self.error is not None
        return (READ if readable else 0) | (0 if self.full else WRITE)


class MemoryPoller:
    """Polls transports in memory; never waits."""

    can_be_borrowed = False

    def __init__(self) -> None:
        self._connections: dict[Connection, None] = {}

    def update(self, connection: Connection) -> None:
        """Poll a connection."""
        self._connections[connection] = None

    def forget(self, connection: Connection) -> None:
        """Stop polling a connection."""
        self._connections.pop(connection, None)

    def wait(self, _timeout: float) -> list[tuple[Connection, int]]:
        """Return the connections that can go on, in the order in which they were made."""
        ready = []
        for connection in self._connections:
            transport = connection.transport
            assert isinstance(transport, MemoryTransport)
            for _, wanted in connection.polls():
                events = transport.ready() & wanted
                if events:
                    ready.append((connection, events))
        return ready

    def wake(self) -> None:
        """Do nothing: the caller runs the next step."""

    def wake_background(self) -> None:
        """Do nothing: there is no background thread."""

    def reset(self) -> None:
        """Forget all connections."""
        self._connections = {}

    close = reset


class MemoryNetwork:
    """Carries bytes between the client and sessions of a cluster core, at once."""

    def __init__(self, core: ClusterCore, now: Callable[[], float]) -> None:
        """`now`: returns the time in monotonic seconds."""
        self.core = core
        self.now = now
        self._ports = {spu.address.port: number for number, spu in core.spus.items()}
        self._transports: dict[ServerSession, MemoryTransport] = {}

    def connect(self, peer: Peer, **_times: object) -> MemoryTransport:
        """Return a transport to the node at the peer's port: an SPU's, otherwise the SC's.  A `Connector`."""
        transport = MemoryTransport(self, peer)
        self.reach(transport)
        return transport

    def reach(self, transport: MemoryTransport) -> None:
        """Connect a transport to its node."""
        node = self.node_of(transport)
        if node and node not in self.core.online:
            transport.refusal = "Connection refused"
            return
        transport.session = SpuSession(self.core, node) if node else ScSession(self.core)
        self._transports[transport.session] = transport

    def node_of(self, transport: MemoryTransport) -> int:
        """Return the id of the SPU that a transport leads to, 0 for the SC."""
        return self._ports.get(transport.peer.endpoint.port, 0)

    def carry(self, transport: MemoryTransport, data: bytes) -> None:
        """Bring a client's bytes to its session, and the answers of all sessions back."""
        for payload in transport.frames.feed(memoryview(data)):
            self.deliver(transport, payload)
        self.collect()

    def deliver(self, transport: MemoryTransport, payload: bytes) -> None:
        """Bring a frame to a session."""
        if transport.session is not None and not transport.forgotten:
            transport.session.receive(payload, self.now())

    def collect(self) -> None:
        """Bring the sessions' frames to their clients."""
        for session in self.core.take_ready():
            transport = self._transports.get(session)
            if transport is None:
                continue
            for frame in session.outgoing():
                self.answer(transport, frame)
            if session.closed:
                self.end(transport)

    def answer(self, transport: MemoryTransport, frame: bytes) -> None:
        """Bring a session's frame to its client."""
        transport.feed(frame)

    def end(self, transport: MemoryTransport) -> None:
        """End the stream to the client, since the session has closed the connection."""
        transport.ended = True

    def forget(self, transport: MemoryTransport) -> None:
        """Lose all bytes from here on, as a firewall that has forgotten a connection does."""
        transport.forgotten = True

    def closed(self, transport: MemoryTransport) -> None:
        """Disconnect the session of a transport that the client has closed."""
        if transport.session is not None:
            self._transports.pop(transport.session, None)
            transport.session.disconnect()
