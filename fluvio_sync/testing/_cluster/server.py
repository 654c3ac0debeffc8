# SPDX-License-Identifier: Apache-2.0
"""The sockets of the development cluster: an asyncio loop, with a listener for every node.

Owns the sockets and the clock; the bytes that go over them are the business of `ClusterCore`.  The constructor binds
the ports, in any thread; everything else runs in the event loop of `serve()`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.frames import FrameReader
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SC, SpuAddress
from fluvio_sync.testing._cluster.own_files import exposure
from fluvio_sync.testing._cluster.partition_log import FileStorage
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession
from fluvio_sync.testing._cluster.tls import server_context
from fluvio_sync.testing._serving import Port

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from fluvio_sync.testing._cluster.core import ServerSession

MAX_FRAME = 64 * 1024 * 1024
"""The longest request, in bytes, that is accepted."""

MAX_UNSENT = 16 * 1024 * 1024
"""A connection with more bytes than this unsent, or unserved, is not read from."""

FIRST_SPU = 5001
"""The id of the first SPU; the others follow."""

_RECEIVE = 1024 * 1024
_HIGHEST_PORT = 65535


class _Connection(asyncio.BufferedProtocol):
    """A client's connection and its session.

    `_arrived`: requests that the session has not been given yet.  The session exists from the end of the TLS
    handshake on.
    """

    session: ServerSession
    _transport: asyncio.Transport

    def __init__(self, server: ClusterServer, node: int) -> None:
        self.node = node
        self._server = server
        self._frames = FrameReader(MAX_FRAME)
        self._arrived: deque[bytes] = deque()
        self._eof = False
        self.closed = asyncio.Event()

    # --- called by asyncio -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(MAX_UNSENT)
        core = self._server.core
        reached = _plain(transport.get_extra_info("sockname")[0])
        self.session = ScSession(core, reached) if self.node == SC else SpuSession(core, self.node)
        self._server.connections[self.session] = self
        if not self._server.listens(self.node):  # any more: the handshake took until now
            transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        with self._server.changing():
            try:
                self._arrived += self._frames.feed(self._server.buffer[:nbytes])
            except ProtocolError as error:
                self._server.core.violations.append(f"node {self.node}: {error}")
                self.session.close()
            self.serve()

    def eof_received(self) -> bool:
        self._eof = True
        with self._server.changing():
            self.serve()
        return not self._transport.get_extra_info("sslcontext")  # asyncio's TLS knows no half-closed connection

    def resume_writing(self) -> None:
        with self._server.changing():
            self.serve()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        del self._server.connections[self.session]
        self.session.disconnect()
        self.closed.set()

    # --- called by the server --------------------------------------------------------------------

    def serve(self) -> None:
        """Give the session its requests and send its answers, as long as they are not too many."""
        if self._transport.is_closing():
            return
        while answers := self._answers():
            # Not `writelines`: that of early 3.12 and 3.13 does not tell when its bytes are sent (CPython's gh-127655).
            self._transport.write(b"".join(answers))
        if self._is_over:
            self.session.disconnect()
            self._transport.close()
        elif self._eof:
            pass  # asyncio has ended reading
        elif self._arrived or self._is_full():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _answers(self) -> list[bytes]:
        answers = self.session.outgoing()
        size = sum(map(len, answers))
        while self._arrived and not self.session.closed and not self._is_full(size):
            self.session.receive(self._arrived.popleft(), self._server.core.now)
            new = self.session.outgoing()
            size += sum(map(len, new))
            answers += new
        return answers

    def _is_full(self, more: int = 0) -> bool:
        return self._transport.get_write_buffer_size() + self.session.backlog + more > MAX_UNSENT

    @property
    def _is_over(self) -> bool:
        """Whether nothing more will be sent on it."""
        pending = self._arrived or self.session.backlog or self.session.is_blocked
        return self.session.closed or (self._eof and not pending)

    def abort(self) -> None:
        """Close it now, and drop the unsent bytes."""
        self._transport.abort()


class ClusterServer:
    """A cluster with sockets.

    `ports`: the SC's, then one for each SPU; 0 is any free one.  The SPUs' ids count from 5001.
    `data_dir`: where topics and records are kept; default: in memory.
    `tls_cert`, `tls_key`, `tls_client_ca`: see `LocalCluster`.
    `settings`: further arguments of `ClusterCore`.

    OSError if a port or the folder cannot be had, ValueError if the folder holds damaged files or TLS cannot be
    spoken with those files; the text tells which.

    `connections`: those that are open, by their sessions.  `buffer`: where all of them receive; its bytes are taken
    before the next one receives.

    `warnings`: what whoever starts it should know: who else can reach it, and its files.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int] = (0, 0),
        host: str = "127.0.0.1",
        data_dir: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_client_ca: str | None = None,
        **settings: Any,
    ) -> None:
        self._tls = server_context(tls_cert, tls_key, tls_client_ca)
        self._host = host
        self.warnings: list[str] = []
        self._ports: dict[int, Port] = {}
        self.connections: dict[ServerSession, _Connection] = {}
        self.buffer = memoryview(bytearray(_RECEIVE))
        self._stopped = asyncio.Event()
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        try:
            self.core = self._make_core(ports, Path(data_dir) if data_dir is not None else None, settings)
        except BaseException:
            for port in self._ports.values():
                port.abandon()
            raise

        if not tls_client_ca and not self._address.is_loopback:
            self.warnings.append(
                f"it listens at {self._ports[SC].address} and authenticates nobody: whoever reaches that address can "
                "read, write and delete all records (--tls-client-ca demands certificates of clients)"
            )

    def _make_core(self, ports: Sequence[int], data_dir: Path | None, settings: dict[str, Any]) -> ClusterCore:
        for index, port in enumerate(ports):
            self._bind(FIRST_SPU + index - 1 if index else SC, port)
        host = "" if self._address.is_unspecified else self._host
        spus = [SpuAddress(spu, host, self._ports[spu].number) for spu in self._spus()]
        storage = FileStorage(data_dir) if data_dir is not None else None
        if data_dir is not None and (warning := exposure(data_dir)) is not None:
            self.warnings.append(warning)
        try:
            return ClusterCore(spus, storage, wall_clock=time.time, **settings)
        except BaseException:
            if storage is not None:
                storage.close()
            raise

    def _spus(self) -> list[int]:
        return sorted(node for node in self._ports if node != SC)

    # --- addresses -------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The SC's `"host:port"`, on this machine if it listens at all addresses."""
        return self._endpoint(SC)

    @property
    def spu_endpoints(self) -> dict[int, str]:
        """Every SPU's `"host:port"`, by its id; see `endpoint`."""
        return {spu: self._endpoint(spu) for spu in self._spus()}

    @property
    def _address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(self._ports[SC].address)

    def _endpoint(self, node: int) -> str:
        host = self._host
        if self._address.is_unspecified:
            host = "127.0.0.1" if self._address.version == 4 else "::1"
        return f"[{host}]:{self._ports[node].number}" if ":" in host else f"{host}:{self._ports[node].number}"

    def _bind(self, node: int, port: int) -> None:
        name = "the SC" if node == SC else f"SPU {node}"
        if not 0 <= port <= _HIGHEST_PORT:
            raise ValueError(f"{name} cannot have the port {port}: ports are 1 to {_HIGHEST_PORT}, or 0 for any")
        try:
            self._ports[node] = Port(self._host, port)
        except OSError as error:
            raise OSError(error.errno, f"{self._host}:{port}: {error.strerror} (asked for by {name})") from error

    # --- its life --------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Serve until `stop()`, then close everything."""
        try:
            for node in self._ports:
                self._open(node)
            await self._stopped.wait()
        finally:
            await self._close()

    def stop(self) -> None:
        """End `serve()` soon."""
        self._stopped.set()

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for port in self._ports.values():
            await port.close()
        connections = list(self.connections.values())
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.closed.wait()
        self.core.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Bring the core's time up to date; afterwards send and schedule the consequences of the change."""
        self.core.now = max(self.core.now, time.monotonic())
        try:
            yield
        finally:
            self._publish()

    def _publish(self) -> None:
        """Send the answers that became ready, and have the core woken when it is due."""
        while ready := self.core.take_ready():
            for session in ready:
                if session in self.connections:
                    self.connections[session].serve()
        due = self.core.wakeup_at
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due is None else asyncio.get_running_loop().call_at(due, self._on_due)

    def _on_due(self) -> None:
        self._due = self._timer = None
        with self.changing():
            self.core.on_time(self.core.now)

    # --- nodes going down and coming back --------------------------------------------------------

    def kill_spu(self, spu: int) -> None:
        """Take an SPU down: its port refuses connections, and those that it has are closed."""
        self._refuse(spu)
        self.core.kill_spu(spu)

    def restart_spu(self, spu: int) -> None:
        """Bring a killed SPU back on its port."""
        self._open(spu)
        self.core.restart_spu(spu)

    def kill_sc(self) -> None:
        """Take the SC down; the SPUs go on."""
        self._refuse(SC)
        for connection in self.connections.values():
            if connection.node == SC:
                connection.abort()

    def restart_sc(self) -> None:
        """Bring a killed SC back on its port."""
        self._open(SC)

    def listens(self, node: int) -> bool:
        """Whether a node is up."""
        return self._ports[node].is_open

    def _open(self, node: int) -> None:
        if self._port(node).is_open:
            raise ValueError(f"node {node} is not down")

        async def begin(sock: socket.socket) -> None:
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(lambda: _Connection(self, node), sock, ssl=self._tls)

        self._port(node).open(begin)

    def _refuse(self, node: int) -> None:
        if not self._port(node).is_open:
            raise ValueError(f"node {node} is down")
        self._port(node).refuse()

    def _port(self, node: int) -> Port:
        if node not in self._ports:
            raise ValueError(f"there is no SPU {node}; there are {', '.join(map(str, self._spus()))}")
        return self._ports[node]


def _plain(address: str) -> str:
    """Return an IPv4 address that IPv6 sockets show as theirs, and others as they are."""
    mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    return address if mapped is None else str(mapped)
