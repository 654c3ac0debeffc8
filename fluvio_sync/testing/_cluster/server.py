# SPDX-License-Identifier: Apache-2.0
"""The sockets of the development cluster: one thread, one selector, a listener for every node.

Owns the sockets and the clock; what is said on them is the business of `ClusterCore`.  `run()` is
the thread; `stop()` and `call()` may be called from any other (and `stop()` from a signal handler),
everything else only from within `run()`.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.frames import FrameReader
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SC, SpuAddress
from fluvio_sync.testing._cluster.partition_log import FileStorage
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession
from fluvio_sync.testing._cluster.tls import TlsSocket, server_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fluvio_sync.testing._cluster.core import Peer
    from fluvio_sync.testing._cluster.session import ServerSession

T = TypeVar("T")

MAX_FRAME = 64 * 1024 * 1024
"""The longest request, in bytes, that is accepted."""

MAX_UNSENT = 16 * 1024 * 1024
"""A connection with more bytes than this unsent, or unserved, is not read from."""

FIRST_SPU = 5001
"""The id of the first SPU; the others follow."""

_RECEIVE = 1024 * 1024
_BACKLOG = 1024
_HIGHEST_PORT = 65535
_BUFFERS_AT_ONCE = 64


class _Connection:
    """A socket, its session, and what is on the way between them.

    `arrived`: requests that the session has not been given yet; `out`: what the socket has not
    taken yet, `unsent` bytes; `events`: what the selector waits for.
    """

    __slots__ = ("arrived", "eof", "events", "frames", "out", "session", "sock", "unsent")

    def __init__(self, sock: socket.socket | TlsSocket, session: ServerSession) -> None:
        self.sock = sock
        self.session = session
        self.frames = FrameReader(MAX_FRAME)
        self.arrived: deque[bytes] = deque()
        self.out: deque[memoryview] = deque()
        self.unsent = 0
        self.eof = False
        self.events = 0

    def serve(self, now: float) -> None:
        """Give the session its requests and take its answers, as long as they are not too many."""
        self._take()
        while self.arrived and not self._is_full:
            self.session.receive(self.arrived.popleft(), now)
            self._take()
        if self.session.closed:
            self.arrived.clear()

    def _take(self) -> None:
        for frame in self.session.outgoing():
            self.out.append(memoryview(frame))
            self.unsent += len(frame)

    @property
    def _is_full(self) -> bool:
        return self.unsent + self.session.backlog > MAX_UNSENT

    def send(self) -> None:
        """Send what the socket takes; OSError if it is broken."""
        with contextlib.suppress(BlockingIOError):
            while self.out:
                buffers = [self.out[i] for i in range(min(len(self.out), _BUFFERS_AT_ONCE))]
                self._sent(self.sock.sendmsg(buffers))

    def _sent(self, count: int) -> None:
        self.unsent -= count
        while count:
            first = self.out.popleft()
            if count < len(first):
                self.out.appendleft(first[count:])
                return
            count -= len(first)

    @property
    def wanted(self) -> int:
        """The selector's events that it waits for now."""
        events = selectors.EVENT_WRITE if self.out else 0
        if not self.eof and not self.arrived and not self._is_full:
            events |= self.reads_on
        return events

    @property
    def reads_on(self) -> int:
        """The event at which there may be something to read: a TLS handshake writes, too."""
        return self.sock.reads_on if isinstance(self.sock, TlsSocket) else selectors.EVENT_READ

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be sent on it."""
        if self.out:
            return False
        if self.session.closed:
            return True
        pending = self.arrived or self.session.backlog or self.session.waiting
        return self.eof and not pending


class ClusterServer:
    """A cluster with sockets.

    `ports`: the SC's, then one for each SPU; 0 is any free one.  The SPUs' ids count from 5001.
    `data_dir`: where topics and records are kept; default: in memory.  `tls_cert`, `tls_key`,
    `tls_client_ca`: see `LocalCluster`.  `settings`: further arguments of `ClusterCore`.  OSError
    if a port or the folder cannot be had, ValueError if what is in the folder is damaged or TLS
    cannot be spoken with those files; the text tells which.
    """

    def __init__(
        self,
        *,
        ports: Sequence[int] = (0, 0),
        host: str = "127.0.0.1",
        data_dir: Path | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        tls_client_ca: str | None = None,
        **settings: Any,
    ) -> None:
        self._tls = server_context(tls_cert, tls_key, tls_client_ca)
        self._host = host
        self._sockets: dict[int, socket.socket] = {}
        self._listening: set[int] = set()
        self._connections: dict[Peer, _Connection] = {}
        self._buffer = bytearray(_RECEIVE)
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._on_wake)
        try:
            self.core = self._make_core(ports, data_dir, settings)
            for node in self._sockets:
                self._listen(node)
        except BaseException:
            self._close_sockets()
            raise

    def _make_core(self, ports: Sequence[int], data_dir: Path | None, settings: dict[str, Any]) -> ClusterCore:
        for index, port in enumerate(ports):
            self._bind(FIRST_SPU + index - 1 if index else SC, self._host, port)
        spus = [SpuAddress(spu, self._host, self._port(spu)) for spu in self._spus()]
        storage = FileStorage(data_dir) if data_dir is not None else None
        try:
            return ClusterCore(spus, storage, wall_clock=time.time, **settings)
        except BaseException:
            if storage is not None:
                storage.close()
            raise

    def _spus(self) -> list[int]:
        return sorted(node for node in self._sockets if node != SC)

    # --- addresses -------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The SC's `"host:port"`."""
        return self._address(SC)

    @property
    def spu_endpoints(self) -> dict[int, str]:
        """Every SPU's `"host:port"`, by its id."""
        return {spu: self._address(spu) for spu in self._spus()}

    def _address(self, node: int) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port(node)}"

    def _port(self, node: int) -> int:
        port = self._sockets[node].getsockname()[1]
        assert isinstance(port, int)
        return port

    def _bind(self, node: int, host: str, port: int) -> None:
        whose = "the SC" if node == SC else f"SPU {node}"
        if not 0 <= port <= _HIGHEST_PORT:
            raise ValueError(f"{whose} cannot have the port {port}: ports are 1 to {_HIGHEST_PORT}, or 0 for any")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"{host}:{port}: {error.strerror} (asked for by {whose})") from error
        sock.setblocking(False)
        self._sockets[node] = sock

    def _check_node(self, node: int) -> None:
        if node not in self._sockets:
            raise ValueError(f"there is no SPU {node}; there are {', '.join(map(str, self._spus()))}")

    def _listen(self, node: int) -> None:
        self._check_node(node)
        if node in self._listening:
            raise ValueError(f"node {node} is not down")
        sock = self._sockets[node]
        sock.listen(_BACKLOG)
        self._listening.add(node)
        self._selector.register(sock, selectors.EVENT_READ, lambda _events: self._accept(node, sock))

    def _close_sockets(self) -> None:
        for sock in (*self._sockets.values(), self._woken, self._waker):
            sock.close()
        self._selector.close()

    # --- its life --------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until `stop()`, then close everything."""
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._close()

    def stop(self) -> None:
        """End `run()` soon."""
        self._stopping = True
        self._wake()

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Have `function` called in the thread of `run()`, with the core's time up to date."""
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                future.set_exception(error)

        self._calls.append(call)
        self._wake()
        return future

    def add_reader(self, source: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the descriptor `source` can be read; before `run()`."""
        self._selector.register(source, selectors.EVENT_READ, lambda _events: callback())

    def remove_reader(self, source: int) -> None:
        """Undo `add_reader`."""
        self._selector.unregister(source)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"\0")

    def _on_wake(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._calls:
            self.core.now = max(self.core.now, time.monotonic())
            self._calls.popleft()()

    def _turn(self) -> None:
        due = self.core.wakeup_at
        timeout = None if due is None else max(0.0, due - time.monotonic())
        for key, events in self._selector.select(timeout):
            key.data(events)
        if due is not None and time.monotonic() >= due:
            self.core.on_time(time.monotonic())
        self._send_ready()

    def _close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._close_sockets()
        self.core.close()

    # --- nodes going down and coming back --------------------------------------------------------

    def kill_spu(self, spu: int) -> None:
        """Take an SPU down: nobody listens on its port, its connections are closed."""
        self._stop_listening(spu)
        self.core.kill_spu(spu)

    def restart_spu(self, spu: int) -> None:
        """Bring a killed SPU back on its port."""
        self._listen(spu)
        self.core.restart_spu(spu)

    def kill_sc(self) -> None:
        """Take the SC down; the SPUs go on."""
        self._stop_listening(SC)
        for connection in list(self._connections.values()):
            if connection.session.node == SC:
                self._drop(connection)

    def restart_sc(self) -> None:
        """Bring a killed SC back on its port."""
        self._listen(SC)

    def _stop_listening(self, node: int) -> None:
        """Close a node's listener, and keep its port from anybody else."""
        self._check_node(node)
        if node not in self._listening:
            raise ValueError(f"node {node} is down")
        port = self._port(node)
        self._listening.discard(node)
        self._selector.unregister(self._sockets[node])
        self._sockets.pop(node).close()
        self._bind(node, self._host, port)

    # --- connections -----------------------------------------------------------------------------

    def _accept(self, node: int, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = sock if self._tls is None else TlsSocket(sock, self._tls)
            session = ScSession(self.core) if node == SC else SpuSession(self.core, node)
            connection = self._connections[session] = _Connection(secured, session)
            self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        """Have the selector wait for what the connection waits for."""
        wanted = connection.wanted
        if wanted == connection.events:
            return
        if not connection.events:
            self._selector.register(connection.sock, wanted, lambda events: self._on_event(connection, events))
        elif wanted:
            key = self._selector.get_key(connection.sock)
            self._selector.modify(connection.sock, wanted, key.data)
        else:
            self._selector.unregister(connection.sock)
        connection.events = wanted

    def _on_event(self, connection: _Connection, events: int) -> None:
        if connection.session not in self._connections:
            return  # dropped earlier in this turn
        try:
            if events & connection.reads_on:
                self._receive(connection)
            self._send(connection)
        except OSError:
            self._drop(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            count = connection.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        if not count:
            connection.eof = True
            return
        try:
            frames = connection.frames.feed(memoryview(self._buffer)[:count])
        except ProtocolError as error:
            self.core.violations.append(f"node {connection.session.node}: {error}")
            connection.session.close()
            return
        connection.arrived.extend(frames)

    def _send_ready(self) -> None:
        ready = self.core.take_ready()
        while ready:
            for session in ready:
                connection = self._connections.get(session)
                if connection is None:
                    continue
                try:
                    self._send(connection)
                except OSError:
                    self._drop(connection)
            ready = self.core.take_ready()

    def _send(self, connection: _Connection) -> None:
        connection.serve(time.monotonic())
        connection.send()
        while connection.arrived and not connection.out:
            connection.serve(time.monotonic())
            connection.send()
        if connection.is_over:
            self._drop(connection)
        else:
            self._watch(connection)

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.session, None) is None:
            return
        if connection.events:
            self._selector.unregister(connection.sock)
        connection.sock.close()
        connection.session.disconnect()
