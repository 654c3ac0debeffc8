# SPDX-License-Identifier: Apache-2.0
"""`FaultProxy`: a TCP proxy on loopback that breaks connections to order.

Owns the sockets on both sides of it.  One daemon thread with one selector serves them; what the public methods order
is done in that thread, and has happened when they return.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import threading
import time
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.protocol.frames import MAX_FRAME
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    # A callback of the selector, told which events came.
    OnEvents = Callable[[int], None]

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_RECEIVE = 256 * 1024
# Bytes that may be on the way in one direction of a connection; beyond that it is not read from.
_MAX_HELD = 16 * 1024 * 1024
_ORDER_TIMEOUT = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing throws away what is unsent and resets the connection
# From so many bytes on, the length included, a frame is known: by API key and correlation id, by correlation id.
_REQUEST_HEAD = struct.Struct(">iHhi")
_RESPONSE_HEAD = struct.Struct(">ii")


@dataclass(frozen=True, slots=True)
class ProduceFault:
    """What is to happen to one produce request.

    `kind`: `"before"`: the connection is cut before a byte of it is forwarded; `"during"`: after `sent` bytes of it
    (default: half of it); `"after"`: once the server has answered, so that the request is carried out and its reply
    is lost; `"lost reply"`: the reply never comes, and the connection stays.

    `reset`: a cut resets the client's connection; False: it ends in good order (EOF).
    """

    kind: Literal["before", "during", "after", "lost reply"]
    sent: int | None = None
    reset: bool = True


class FaultProxy:
    """Passes bytes on between its clients and the server at `target` (`"host:port"`), and breaks when told to.

    It serves from the moment it is made until `close()` or the end of its `with` block.  `port`: where it listens on
    127.0.0.1; default: any free one.  To have a client reach an SPU through it, give its `endpoint` to
    `Fluvio.connect(..., spu_address_override={5001: proxy.endpoint})`; for the SC it takes the place of the endpoint.

    `on_produce`: called in the proxy's thread for each produce request with its size in bytes; may return a
    `ProduceFault` for it.  Without TLS only: produce requests are not seen through it, everything else works.

    `faults` counts what it did, by kind: those of `ProduceFault`, and `"now"` for connections cut by `cut()`.
    `requests` counts produce requests.  Every method may be called from any thread.  A fork shares the sockets: make
    proxies after it.
    """

    def __init__(
        self, target: str, *, port: int = 0, on_produce: Callable[[int], ProduceFault | None] | None = None
    ) -> None:
        """Listen; `ConfigError` for a malformed target, `OSError` for a port that is taken."""
        self.target: str = str(parse_endpoint(target))
        self.faults: Counter[str] = Counter()
        self.requests: int = 0
        self._address = tuple(parse_endpoint(target))
        self._on_produce = on_produce
        self._planned: deque[ProduceFault] = deque()
        self._held = False
        self._delay = 0.0
        self._connections: dict[_Connection, None] = {}
        self._orders: deque[Callable[[], None]] = deque()
        self._running = True
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._port: int = self._listener.getsockname()[1]
        self._placeholder: socket.socket | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_in, _READ, self._on_wake)
        self._listen(self._listener)
        self._thread = threading.Thread(target=self._run, name=f"fault-proxy-{self._port}", daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Where it listens, `"127.0.0.1:port"`; stays the same also while connections are refused."""
        return f"127.0.0.1:{self._port}"

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._connections)

    # --- faults ----------------------------------------------------------------------------------

    def cut(
        self,
        when: Literal["now", "before", "during", "after"] = "now",
        *,
        count: int = 1,
        sent: int | None = None,
        reset: bool = True,
    ) -> None:
        """Cut connections: all of them now, or those of the next `count` produce requests; see `ProduceFault`.

        New connections are accepted again at once, unless `refuse()` was called.
        """
        if when == "now":
            self._order(lambda: self._cut_all(reset=reset))
        else:
            fault = ProduceFault(when, sent, reset)
            self._order(lambda: self._planned.extend([fault] * count))

    def lose_replies(self, count: int = 1) -> None:
        """Have the replies to the next `count` produce requests never arrive, on connections that stay."""
        fault = ProduceFault("lost reply")
        self._order(lambda: self._planned.extend([fault] * count))

    def refuse(self, *, on: bool = True) -> None:
        """Refuse new connections (nobody listens on the port), or accept them again; those that exist go on."""
        self._order(self._stop_listening if on else self._listen_again)

    def hold(self, *, on: bool = True) -> None:
        """Stall: accept connections and bytes, and forward nothing; with `on=False` all that was held goes on."""
        self._order(lambda: self._set("_held", on))

    def delay(self, seconds: float) -> None:
        """Let what arrives from now on be forwarded so many seconds later, each way; 0: at once."""
        self._order(lambda: self._set("_delay", seconds))

    def half_close(self) -> None:
        """End the servers' side of all connections: clients read EOF, and what they send is still forwarded."""
        self._order(self._half_close_all)

    # --- its life --------------------------------------------------------------------------------

    def close(self) -> None:
        """End all connections and stop listening.  May be repeated."""
        if self._running:
            self._order(self._stop)
            self._thread.join(_ORDER_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- in its thread ---------------------------------------------------------------------------

    def _order(self, work: Callable[[], None]) -> None:
        """Have `work` done in the proxy's thread and wait for it."""
        if threading.current_thread() is self._thread:
            work()
            return
        if not self._running:
            raise RuntimeError("the proxy is closed")
        done: Future[None] = Future()

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                done.set_exception(error)
            else:
                done.set_result(None)

        self._orders.append(run)
        self._wake_out.send(b"\0")
        done.result(_ORDER_TIMEOUT)

    def _run(self) -> None:
        while self._running:
            for key, events in self._selector.select(self._pause()):
                key.data(events)
            self._go_on()

    def _pause(self) -> float | None:
        """How long nothing will be due."""
        due = min((connection.due for connection in self._connections), default=None) if not self._held else None
        return None if due is None or due == _NEVER else max(0.0, due - time.monotonic())

    def _go_on(self) -> None:
        """Forward what is due, and have the selector wait for the right things."""
        now = time.monotonic()
        for connection in list(self._connections):
            if not self._held:
                connection.forward(now)
            if connection.closed:
                self._forget(connection)
            else:
                self._watch(connection, now)

    def _watch(self, connection: _Connection, now: float) -> None:
        for sock, events in connection.wanted(now, held=self._held).items():
            known = connection.watched.get(sock, 0)
            if events == known:
                continue
            data: OnEvents = lambda came, sock=sock: connection.on_events(sock, came)  # type: ignore[misc] # noqa: E731
            if not known:
                self._selector.register(sock, events, data)
            elif events:
                self._selector.modify(sock, events, data)
            else:
                self._selector.unregister(sock)
            connection.watched[sock] = events

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection]
        for sock, events in connection.watched.items():
            if events:
                self._selector.unregister(sock)
        connection.client.close()
        connection.server.close()

    def _on_wake(self, _events: int) -> None:
        self._wake_in.recv(4096)
        while self._orders:
            self._orders.popleft()()

    def _set(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def _stop(self) -> None:
        self._running = False
        for connection in list(self._connections):
            connection.cut(reset=False)
            self._forget(connection)
        for sock in (self._listener, self._placeholder, self._wake_in, self._wake_out):
            if sock is not None:
                sock.close()
        self._selector.close()

    # --- connections -----------------------------------------------------------------------------

    def _listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._selector.register(listener, _READ, lambda _events: self._accept(listener))

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            self._placeholder = self._bound()  # keeps the port from anybody else

    def _listen_again(self) -> None:
        if self._placeholder is not None:
            self._listener, self._placeholder = self._placeholder, None
            self._listener.listen(1024)
            self._listen(self._listener)

    def _bound(self) -> socket.socket:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", self._port))
        return sock

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._connections[_Connection(self, client, self._address)] = None

    def _cut_all(self, *, reset: bool) -> None:
        for connection in list(self._connections):
            self.faults["now"] += 1
            connection.cut(reset=reset)
            self._forget(connection)

    def _half_close_all(self) -> None:
        for connection in self._connections:
            connection.half_close()

    def due(self) -> float:
        """When bytes that arrive now are to be forwarded; for its connections."""
        return time.monotonic() + self._delay

    def choose_fault(self, size: int) -> ProduceFault | None:
        """Return what happens to a produce request of `size` bytes; for its connections."""
        self.requests += 1
        fault = self._planned.popleft() if self._planned else None
        if self._on_produce is not None and fault is None:
            fault = self._on_produce(size)
        if fault is not None:
            self.faults[fault.kind] += 1
        return fault


_NEVER = float("inf")


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
        """Return what was held back of a head that will not be completed."""
        rest, self._held = self._held, b""
        return rest


class _Way:
    """One direction of a connection: what was read from `source` and is to be written to `sink`.

    `out`: what is on the way, each piece with the time from which on it may be written, `size` bytes; `eof`: nothing
    more will come; `ended`: `sink` was told so.
    """

    def __init__(self, source: socket.socket, sink: socket.socket, head: struct.Struct) -> None:
        self.source = source
        self.sink = sink
        self.frames = _Frames(head)
        self.out: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.eof = False
        self.ended = False

    def put(self, data: bytes, due: float) -> None:
        if data and not self.ended:
            self.out.append((max(due, self.out[-1][0]) if self.out else due, data))
            self.size += len(data)

    def write(self, now: float) -> None:
        """Write what is due; `OSError` if the sink is broken."""
        while self.out and self.out[0][0] <= now:
            due, data = self.out[0]
            try:
                count = self.sink.send(data)
            except BlockingIOError:
                return
            self.size -= count
            if count == len(data):
                self.out.popleft()
            else:
                self.out[0] = due, data[count:]
        if self.eof and not self.out:
            self.end()

    def end(self) -> None:
        """Tell the sink that nothing more comes."""
        if not self.ended:
            self.ended = True
            self.out.clear()
            self.size = 0
            self.sink.shutdown(socket.SHUT_WR)


class _Connection:
    """A client's connection and the one to the server that belongs to it.

    `closed`: it is over, and its sockets may be closed; `watched`: the events that the selector waits for now.
    """

    def __init__(self, proxy: FaultProxy, client: socket.socket, address: tuple[object, ...]) -> None:
        self.client = client
        self.server = socket.socket(socket.AF_INET6 if ":" in str(address[0]) else socket.AF_INET)
        self.closed = False
        self.watched: dict[socket.socket, int] = {}
        self._proxy = proxy
        self._requests = _Way(client, self.server, _REQUEST_HEAD)
        self._responses = _Way(self.server, client, _RESPONSE_HEAD)
        self._faults: dict[int, ProduceFault] = {}  # by the correlation id of the reply that is to be lost
        self._left: int | None = None  # bytes that may still be forwarded of a request, until the connection is cut
        self._reset = True
        self._dropping = False  # the response that is being read is lost
        for sock in (client, self.server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self.server.connect_ex(address)
        self._connecting = code == errno.EINPROGRESS
        if code and not self._connecting:
            self.cut(reset=True)

    # --- what the selector needs -----------------------------------------------------------------

    @property
    def due(self) -> float:
        """When there is something to forward that cannot be forwarded before."""
        now = time.monotonic()
        times = [way.out[0][0] for way in (self._requests, self._responses) if way.out]
        return min((due for due in times if due > now), default=_NEVER)

    def wanted(self, now: float, *, held: bool) -> dict[socket.socket, int]:
        """Return the events to wait for."""
        if self._connecting:
            return {self.client: 0, self.server: _WRITE}
        events = {self.client: 0, self.server: 0}
        for way in (self._requests, self._responses):
            if not way.eof and way.size < _MAX_HELD:
                events[way.source] |= _READ
            if way.out and way.out[0][0] <= now and not held:
                events[way.sink] |= _WRITE
        return events

    def on_events(self, sock: socket.socket, events: int) -> None:
        """Take in what arrived; what can be written is written in `forward`."""
        if self.closed:
            return
        way = self._requests if sock is self.client else self._responses
        try:
            if self._connecting:
                self._finish_connecting()
            elif events & _READ:
                self._read(way)
        except BlockingIOError:
            pass
        except OSError:
            self.cut(reset=True)

    def forward(self, now: float) -> None:
        """Write what is due."""
        if self.closed or self._connecting:
            return
        try:
            self._requests.write(now)
            self._responses.write(now)
        except OSError:
            self.cut(reset=True)
            return
        if self._left == 0 and not self._requests.out:
            self.cut(reset=self._reset)
        elif self._requests.ended and self._responses.ended:
            self.closed = True

    def cut(self, *, reset: bool) -> None:
        """End both sides now; the server's in good order, so that it reads what was forwarded."""
        self.closed = True
        if reset:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for sock in (self.server,) if reset else (self.server, self.client):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def half_close(self) -> None:
        """Tell the client that the server says nothing more."""
        with contextlib.suppress(OSError):
            self._responses.end()

    def _finish_connecting(self) -> None:
        code = self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "the target cannot be reached")
        self._connecting = False

    # --- what is forwarded -----------------------------------------------------------------------

    def _read(self, way: _Way) -> None:
        data = way.source.recv(_RECEIVE)
        due = self._proxy.due()
        if not data:
            way.eof = True
            way.put(way.frames.rest(), due)
        for piece, head in way.frames.feed(data):
            if way is self._requests:
                way.put(self._take_request(piece, head), due)
                if self.closed or self._left == 0:
                    way.eof = True  # it is cut once that is written
                    return
            else:
                way.put(self._take_response(piece, head), due)
                if self.closed:
                    return

    def _take_request(self, piece: bytes, head: tuple[int, ...] | None) -> bytes:
        """Return what is forwarded of a piece of a request."""
        if head is not None and head[1] == SpuApi.PRODUCE:
            size = 4 + head[0]
            fault = self._proxy.choose_fault(size)
            if fault is not None and fault.kind in ("before", "during"):
                half = size // 2 if fault.sent is None else min(fault.sent, size)
                self._left = 0 if fault.kind == "before" else half
                self._reset = fault.reset
            elif fault is not None:
                self._faults[head[3]] = fault
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece

    def _take_response(self, piece: bytes, head: tuple[int, ...] | None) -> bytes:
        """Return what is forwarded of a piece of a response."""
        if head is not None:
            fault = self._faults.pop(head[1], None)
            self._dropping = fault is not None
            if fault is not None and fault.kind == "after":
                self.cut(reset=fault.reset)
        return b"" if self._dropping else piece
