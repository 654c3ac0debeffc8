# SPDX-License-Identifier: Apache-2.0
"""Transports: a stream of bytes to one server, which connects, sends, receives and closes without blocking.

`SocketTransport` is TCP with or without TLS; a test puts another one in its place.  A transport is driven by one thread
at a time; a failure to connect is a `ConnectError`, a failure afterwards an `OSError`.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import math
import os
import selectors
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fluvio_sync._base.threads import uninterrupted
from fluvio_sync._net.resolver import Resolution
from fluvio_sync._net.tls import explain
from fluvio_sync.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluvio_sync._settings.endpoint import Endpoint

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

_MAX_BUFFERS = 512  # of one sendmsg; Linux takes 1024
_TLS_CHUNK = 256 * 1024


class Stage(enum.Enum):
    """The stages of a connection; the value completes "still ..." or, once it is connected, "got no answer to ..."."""

    RESOLVING = "looking its name up"
    CONNECTING = "connecting"
    HANDSHAKE = "the TLS handshake (it may not speak TLS)"
    VERSIONS = "the API-versions request"
    READY = "ready"
    CLOSED = "closed"

    # Enum's own is written in Python, and the stage is looked at several times a record.
    __hash__ = object.__hash__


class Peer(NamedTuple):
    """The server to connect to, and how.

    * `name`: for messages, `"SC"` or `"SPU 5001"`.
    * `ranges`: the versions of each API that this client speaks, lowest and highest.
    * `server_name`: the name that its certificate has to carry.
    * `authority`: for messages, the authority that its certificate is checked by, empty if it is not checked.
    * `origin`: for messages, where the address came from.
    * `remedy`: for messages, advice for an address that does not work.
    """

    name: str
    endpoint: Endpoint
    ranges: Mapping[int, tuple[int, int]]
    client_id: str
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    authority: str = ""
    origin: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.name} at {self.endpoint}" + (f" ({self.origin})" if self.origin else "")

    @property
    def check(self) -> str:
        """How its certificate is checked, for messages."""
        if not self.authority:
            return "the server's certificate is not checked"
        name = f"be for {self.server_name!r} and " if self.tls is not None and self.tls.check_hostname else ""
        return f"the server's certificate must {name}be signed by {self.authority}"

    def unreachable(self, why: str, hint: str = "") -> ConnectError:
        """Return the error of a server that cannot be connected to."""
        return ConnectError(f"cannot connect to the {self}: {why}", address=str(self.endpoint), hint=hint)


class Transport(Protocol):
    """The stream that a `Connection` speaks over.

    * `stage`: RESOLVING, CONNECTING or HANDSHAKE while it is being made, VERSIONS while the stream is open, CLOSED.
    * `buffers_input`: it holds received bytes that no poll shows, so that only an empty read shows that none is left.
    """

    stage: Stage
    buffers_input: bool

    def fileno(self) -> int:
        """Return the descriptor to poll, -1 if there is none yet."""
        ...

    def wants(self) -> int:
        """Return the events to poll for while it is being made: READ, WRITE or 0."""
        ...

    def advance(self, events: int, now: float) -> None:
        """Go on connecting as far as possible; `events`: those that were polled.  Raises `ConnectError`."""
        ...

    def next_timer(self) -> float:
        """Return when `advance` has something to do without an event, in monotonic seconds."""
        ...

    def wait_resolved(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the name look-up."""
        ...

    def send(self, pending: deque[memoryview]) -> int:
        """Send the first of these buffers; return the number of bytes taken, 0 if none can be now.

        The buffers may be joined, but none is removed.
        """
        ...

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive into a buffer; return the number of bytes, 0 at the end of the stream, None if there are none now."""
        ...

    def end_sending(self) -> None:
        """End the stream to the server; its answers can still be received."""
        ...

    def close(self) -> None:
        """Close at once, without the TLS goodbye; safe to repeat."""
        ...


class Connector(Protocol):
    """Begins to connect; `deadline`: monotonic seconds; `notify`: called from the resolver's thread."""

    def __call__(self, peer: Peer, *, deadline: float, now: float, notify: Callable[[], None]) -> Transport:
        """Return a transport that is being made."""
        ...


class SocketTransport:
    """TCP, with TLS if the peer has a context for it.  Owns the socket."""

    def __init__(self, peer: Peer, *, deadline: float, now: float, notify: Callable[[], None]) -> None:
        del now  # the first address is tried by `advance`
        self.stage = Stage.RESOLVING
        self.buffers_input = peer.tls is not None
        self._peer = peer
        self._deadline = deadline
        self._sock: socket.socket | None = None
        self._tls_wants = READ
        self._addresses: deque[tuple[Any, ...]] = deque()
        self._address_deadline = deadline
        self._failures: list[str] = []
        self._resolution = Resolution(peer.endpoint, notify)

    @property
    def sock(self) -> socket.socket | None:
        """The socket, with TLS around it or without; None before the first address is tried."""
        return self._sock

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 without one."""
        return -1 if self._sock is None else self._sock.fileno()

    def wants(self) -> int:
        """Return the events to poll for while it is being made."""
        if self._sock is None:
            return 0
        return WRITE if self.stage is Stage.CONNECTING else self._tls_wants

    def wait_resolved(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the name look-up."""
        self._resolution.done.wait(timeout)

    def next_timer(self) -> float:
        """Return when an address that does not answer is abandoned for the next."""
        return self._address_deadline if self.stage is Stage.CONNECTING and self._addresses else math.inf

    def advance(self, events: int, now: float) -> None:
        """Go on connecting as far as possible."""
        if self.stage is Stage.RESOLVING and self._resolution.done.is_set():
            if self._resolution.error is not None:
                raise self._unreachable(f"its name cannot be resolved: {self._resolution.error}")
            self._addresses = deque(self._resolution.addresses)
            self._try_next(now)
        elif self.stage is Stage.CONNECTING and self._addresses and now >= self._address_deadline:
            self._failures.append("no answer")
            self._try_next(now)
        elif self.stage is Stage.CONNECTING and events & WRITE:
            self._finish_connect(now)
        elif self.stage is Stage.HANDSHAKE and events:
            self._handshake()

    def close(self) -> None:
        """Close the socket, without the TLS goodbye; safe to repeat."""
        self.stage = Stage.CLOSED
        if self._sock is not None:
            self._sock.close()

    def end_sending(self) -> None:
        """Half-close the connection."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                # TLS has no half-close that servers understand; TCP's ends their reading.
                socket.socket.shutdown(self._sock, socket.SHUT_WR)

    # Bytes.

    def send(self, pending: deque[memoryview]) -> int:
        """Send as much as the socket takes at once."""
        sock = self._sock
        assert sock is not None
        try:
            if isinstance(sock, ssl.SSLSocket):
                return self._send_tls(sock, pending)
            if len(pending) == 1:
                return sock.send(pending[0])
            return sock.sendmsg([buffer for _, buffer in zip(range(_MAX_BUFFERS), pending, strict=False)])
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0

    @staticmethod
    def _send_tls(sock: ssl.SSLSocket, pending: deque[memoryview]) -> int:
        if len(pending) > 1 and len(pending[0]) < _TLS_CHUNK:
            # After a write that would block, TLS wants the same bytes again: joined buffers stay joined.
            joined = memoryview(b"".join(pending))
            pending.clear()
            pending.append(joined)
        return sock.send(pending[0][:_TLS_CHUNK])

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive the bytes that are there."""
        assert self._sock is not None
        try:
            return self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    # Connecting.

    def _try_next(self, now: float) -> None:
        # The old socket is closed after the next is made, so that the two have different descriptors: pollers tell
        # connections apart by them.
        polled = self._sock
        try:
            while self._addresses:
                if self._begin_to_connect(now):
                    return
                if self._sock is not None and self._sock is not polled:
                    self._sock.close()
        finally:
            if polled is not None and polled is not self._sock:
                polled.close()
        raise self._unreachable("; ".join(dict.fromkeys(self._failures)) or "its name has no address")

    def _begin_to_connect(self, now: float) -> bool:
        """Begin with the next address, on a new socket; False if that fails at once."""
        family, kind, protocol, _, address = self._addresses.popleft()
        self._address_deadline = now + (self._deadline - now) / (len(self._addresses) + 1)
        try:
            self._sock = socket.socket(family, kind, protocol)
            self._sock.setblocking(False)
            _set_options(self._sock)
            code = self._sock.connect_ex(address)
        except OSError as error:
            if is_of_application(error):
                raise
            self._failures.append(str(error))
            return False
        self.stage = Stage.CONNECTING
        if code in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            return True
        self._failures.append(os.strerror(code))
        return False

    def _finish_connect(self, now: float) -> None:
        assert self._sock is not None
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and _is_connected_to_itself(self._sock):
            code = errno.ECONNREFUSED
        if code:
            self._failures.append(os.strerror(code))
            self._try_next(now)
        elif self._peer.tls is None:
            self.stage = Stage.VERSIONS
        else:
            self.stage = Stage.HANDSHAKE
            self._handshake()

    def _secured(self) -> ssl.SSLSocket:
        """Return the socket with TLS around it, which takes over its descriptor."""
        sock, tls = self._sock, self._peer.tls
        if not isinstance(sock, ssl.SSLSocket):
            assert sock is not None
            assert tls is not None
            plain = sock
            self._sock = None  # an exception in between must not leave two owners of the one descriptor
            sock = self._sock = uninterrupted(
                lambda: tls.wrap_socket(plain, server_hostname=self._peer.server_name, do_handshake_on_connect=False)
            )
        return sock

    def _handshake(self) -> None:
        try:
            self._secured().do_handshake()
        except ssl.SSLWantReadError:
            self._tls_wants = READ
        except ssl.SSLWantWriteError:
            self._tls_wants = WRITE
        except OSError as error:
            if is_of_application(error):
                raise
            reason, hint = explain(error)
            raise self._peer.unreachable(f"{reason}; {self._peer.check}", hint) from error
        else:
            self.stage = Stage.VERSIONS

    def _unreachable(self, why: str) -> ConnectError:
        return self._peer.unreachable(f"{why}; {self._peer.remedy}" if self._peer.remedy else why)


def is_of_application(error: OSError) -> bool:
    """Whether a signal handler raised it, such as a `TimeoutError`: an error of the system has a number."""
    return error.errno is None and not isinstance(error, ssl.SSLError)


def _set_options(sock: socket.socket) -> None:
    # Small requests must not wait for the acknowledgement of the one before (Nagle).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Servers never close an idle connection, but a firewall in between may forget it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _is_connected_to_itself(sock: socket.socket) -> bool:
    """Whether a connect to a free port of this machine's ephemeral range has met its own source port."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False
