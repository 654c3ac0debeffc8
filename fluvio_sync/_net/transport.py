# SPDX-License-Identifier: Apache-2.0
"""Transports: a stream of bytes to one server, which connects, sends, receives and closes without blocking.

`SocketTransport` is TCP with or without TLS; a test puts another one in its place.  A transport is driven by one thread
at a time; a failure to connect is a `ConnectError`, a failure afterwards an `OSError`.
"""

from __future__ import annotations

import contextlib
import enum
import math
import selectors
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, Protocol

from fluvio_sync._base.text import shown
from fluvio_sync._base.threads import uninterrupted
from fluvio_sync._net.dialling import Dialling, is_of_application
from fluvio_sync._net.liveness import set_options, unacknowledged
from fluvio_sync._net.resolver import Resolution
from fluvio_sync._net.tls import check_name, explain
from fluvio_sync._net.tls_files import TlsFiles

if TYPE_CHECKING:
    import ssl
    from collections import deque
    from collections.abc import Callable

    from fluvio_sync._net.peer import Peer
    from fluvio_sync.errors import ConnectError

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

_HAS_SENDMSG: Final = hasattr(socket.socket, "sendmsg")  # not on Windows
_MAX_BUFFERS: Final = 512  # of one sendmsg; Linux takes 1024
_CHUNK: Final = 256 * 1024
# A linger of 0 s; Windows has shorter integers in it.
_RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Pollable(Protocol):
    """A thing that a selector polls, told apart from others by its identity."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


Polls = tuple[tuple[Pollable, int], ...]
"""Things to poll, each with READ, WRITE or both."""


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


class Transport(Protocol):
    """The stream that a `Connection` speaks over.

    * `stage`: RESOLVING, CONNECTING or HANDSHAKE while it is being made, VERSIONS while the stream is open, CLOSED.
    * `buffers_input`: it holds received bytes that no poll shows, so that only an empty read shows that none is left.
    """

    stage: Stage
    buffers_input: bool

    def polls(self, events: int) -> Polls:
        """Return the sockets to poll, several while it tries several addresses; `events`: of an open stream."""
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

    def progress(self, now: float) -> str:
        """Say how far it is, where that tells more than the stage; "" otherwise."""
        ...

    def send(self, pending: deque[memoryview]) -> int:
        """Send the first of these buffers; return the number of bytes taken, 0 if none can be now.

        The buffers may be joined, but none is removed.
        """
        ...

    def unacknowledged(self) -> int:
        """Return how many of the bytes taken the peer's system has not acknowledged; 0 where it is not known."""
        ...

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive into a buffer; return the number of bytes, 0 at the end of the stream, None if there are none now."""
        ...

    def acknowledge_at_once(self) -> None:
        """Have the system acknowledge received bytes now: a server may wait for that before it sends more (Nagle)."""
        ...

    def end_sending(self) -> None:
        """End the stream to the server; its answers can still be received."""
        ...

    def close(self) -> None:
        """Close at once, without the TLS goodbye; bytes that were taken still go out.  Safe to repeat."""
        ...

    def abort(self) -> None:
        """Close at once; bytes that were taken and have not gone out are discarded.  Safe to repeat."""
        ...


class Connector(Protocol):
    """Begins to connect; `deadline`: monotonic seconds; `notify`: called from the resolver's thread."""

    def __call__(self, peer: Peer, *, deadline: float, now: float, notify: Callable[[], None]) -> Transport:
        """Return a transport that is being made."""
        ...


class SocketTransport:
    """TCP, with TLS if the peer has a context for it.  Owns the socket."""

    def __init__(self, peer: Peer, *, deadline: float, now: float, notify: Callable[[], None]) -> None:
        self.stage = Stage.RESOLVING
        self.buffers_input = peer.tls is not None
        self._peer = peer
        self._began = now
        self._deadline = deadline
        self._sock: socket.socket | None = None
        self._tls_wants = READ
        self._would_block: tuple[type[OSError], ...] = (BlockingIOError, InterruptedError)
        if peer.tls is not None:
            import ssl  # noqa: PLC0415 - the maker of the context has imported it

            self._would_block += (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._dialling: Dialling | None = None
        self._resolution = Resolution(peer.endpoint, notify)

    @property
    def sock(self) -> socket.socket | None:
        """The socket, with TLS around it or without; None before it is connected."""
        return self._sock

    def polls(self, events: int) -> Polls:
        """Return the sockets to poll, several while it tries several addresses; `events`: of an open stream."""
        if self._sock is not None:
            return ((self._sock, events if self.stage is Stage.VERSIONS else self._tls_wants),)
        return () if self._dialling is None else tuple((sock, WRITE) for sock in self._dialling.sockets())

    def wait_resolved(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the name look-up."""
        self._resolution.done.wait(timeout)

    def next_timer(self) -> float:
        """Return when the next address is tried."""
        return math.inf if self._dialling is None else self._dialling.next_timer()

    def progress(self, now: float) -> str:
        """Say which look-up, or which addresses, it waits for."""
        if self.stage is Stage.RESOLVING:
            host = shown(self._peer.endpoint.host, 255)
            return f"looking up {host} has taken {now - self._began:.1f} s: the resolver does not answer"
        return "" if self._dialling is None else self._dialling.progress(now)

    def advance(self, events: int, now: float) -> None:
        """Go on connecting as far as possible."""
        if self.stage is Stage.RESOLVING and self._resolution.done.is_set():
            if self._resolution.error is not None:
                raise self._unreachable(f"its name cannot be resolved: {self._resolution.error}")
            self._dialling = Dialling(
                self._peer.endpoint,
                self._resolution.addresses,
                deadline=self._deadline,
                prepare=lambda sock: set_options(sock, self._peer.patience),
            )
            self.stage = Stage.CONNECTING
        if self.stage is Stage.CONNECTING:
            self._dial(now)
        elif self.stage is Stage.HANDSHAKE and events:
            self._handshake()

    def close(self) -> None:
        """Close the socket, without the TLS goodbye; safe to repeat."""
        self.stage = Stage.CLOSED
        if self._dialling is not None:
            self._dialling.close()
        if self._sock is not None:
            self._sock.close()

    def abort(self) -> None:
        """Reset the connection: the system discards the bytes that it has not sent."""
        if self._sock is not None and self.stage is not Stage.CLOSED:
            with contextlib.suppress(OSError):  # it is broken already
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def acknowledge_at_once(self) -> None:
        """Have the system acknowledge received bytes now, where it can be told to (Linux)."""
        if self._sock is not None and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):  # kernels in sandboxes know few options
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

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
            if self._peer.tls is not None or not _HAS_SENDMSG:
                return _send_joined(sock, pending)
            if len(pending) == 1:
                return sock.send(pending[0])
            return sock.sendmsg([buffer for _, buffer in zip(range(_MAX_BUFFERS), pending, strict=False)])
        except self._would_block:
            return 0

    def unacknowledged(self) -> int:
        """Return how many of the bytes taken the peer's system has not acknowledged."""
        return 0 if self._sock is None else unacknowledged(self._sock)

    def receive_into(self, buffer: memoryview) -> int | None:
        """Receive the bytes that are there."""
        assert self._sock is not None
        try:
            return self._sock.recv_into(buffer)
        except self._would_block:
            return None

    # Connecting.

    def _dial(self, now: float) -> None:
        dialling = self._dialling
        assert dialling is not None
        self._sock = dialling.advance(now)
        if self._sock is None:
            if dialling.has_failed():
                raise self._unreachable(dialling.failures(now))
            return
        self._dialling = None
        if self._peer.tls is None:
            self.stage = Stage.VERSIONS
        else:
            self.stage = Stage.HANDSHAKE
            self._handshake()

    def _secured(self) -> ssl.SSLSocket:
        """Return the socket with TLS around it, which takes over its descriptor."""
        import ssl  # noqa: PLC0415 - as above

        sock, tls = self._sock, self._peer.tls
        if not isinstance(sock, ssl.SSLSocket):
            assert sock is not None
            assert tls is not None
            plain = sock
            name = self._peer.server_name
            context = tls.context() if isinstance(tls, TlsFiles) else tls
            self._sock = None  # an exception in between must not leave two owners of the one descriptor
            sock = self._sock = uninterrupted(
                lambda: context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
            )
        return sock

    def _handshake(self) -> None:
        import ssl  # noqa: PLC0415 - as above

        name = self._peer.server_name
        try:
            if name is not None:
                check_name(name)
        except ValueError as error:  # UnicodeError is one
            why = f"no TLS name can be made of {shown(name, 255)}, which its certificate has to carry: {error}"
            raise self._peer.unreachable(why, "rename the SPU, or set another domain") from error
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


def _send_joined(sock: socket.socket, pending: deque[memoryview]) -> int:
    if len(pending) > 1 and len(pending[0]) < _CHUNK:
        # After a write that would block, TLS wants the same bytes again: joined buffers stay joined.
        joined = memoryview(b"".join(pending))
        pending.clear()
        pending.append(joined)
    return sock.send(pending[0][:_CHUNK])
