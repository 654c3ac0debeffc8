# SPDX-License-Identifier: Apache-2.0
"""One non-blocking connection to an SC or SPU: names, TCP, TLS, versions, then requests and replies.

Owns the socket.  Driven from outside by whoever polls it, one thread at a time: `events()` says what to poll for,
`on_io()` goes as far as it can, `tick()` is for time.  A connection that fails raises a `FluvioError` out of these
calls; its driver then calls `close()`.
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
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._base.threads import uninterrupted
from fluvio_sync._net.resolver import Resolution
from fluvio_sync._net.tls import CLIENT_CERTIFICATE, alert_of, describe
from fluvio_sync.errors import ConnectError, FluvioError, ProtocolError, UnsupportedVersionError
from fluvio_sync.protocol.frames import FrameReader, RequestHeader, encode_request, split_response
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    ApiVersionsRequest,
    ApiVersionsResponse,
    negotiate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fluvio_sync._settings.endpoint import Endpoint
    from fluvio_sync.protocol.primitives import Buffer, Reader

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE

_RECEIVE = 64 * 1024
_RECEIVES = 16  # of one turn: a peer that sends without pause must not hold up the others
_SMALL = 4096  # bytes of a frame
_TLS_ALERT = b"\x15\x03"  # what a TLS server says to plain text, if anything; as a frame it would be 352 MB long
_MAX_BUFFERS = 512  # of one sendmsg; Linux takes 1024
_TLS_CHUNK = 256 * 1024
# An SC closes the connection of a client whose version is not semantic; this crate version speaks the same protocol.
_CLIENT_VERSION = "0.50.2"


class Stage(enum.Enum):
    """How far a connection is."""

    RESOLVING = "looking its name up"
    CONNECTING = "connecting"
    HANDSHAKE = "the TLS handshake (it may not speak TLS)"
    VERSIONS = "answering for its API versions"
    READY = "ready"
    CLOSED = "closed"


class Peer(NamedTuple):
    """Whom to connect to and how.

    `name`: for messages, `"SC"` or `"SPU 5001"`; `origin`: where the address came from, and `remedy`: what
    to do where it does not work, for messages;
    `server_name`: what the certificate is checked for; `authority`: by what it is checked, for messages, and empty
    if it is not.
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
        return f"the server's certificate must {name}satisfy {self.authority}"


class Outgoing:
    """A frame on its way out; `tag` is the caller's."""

    __slots__ = ("end", "start", "tag")

    def __init__(self, tag: object, start: int, end: int) -> None:
        self.tag = tag
        self.start = start
        self.end = end


class Connection:
    """See the module's description."""

    def __init__(self, peer: Peer, *, timeout: float, now: float, notify: Callable[[], None]) -> None:
        """Begin to connect; `timeout`: seconds for all of it; `notify`: called from the resolver's thread."""
        self.peer = peer
        self.stage = Stage.RESOLVING
        self.versions: ApiVersionsResponse | None = None
        self._agreed: dict[Any, int] = {}
        self.inbox: deque[tuple[int, Reader]] = deque()
        self.first_bytes: deque[object] = deque()  # tags of frames of which a byte was written
        self.sent: deque[object] = deque()  # tags of frames that were written whole
        self.deadline = now + timeout
        self.owner: Any = None  # whatever its driver keeps with it
        self.more = False  # there may be more to read without the socket becoming readable again
        self._sock: socket.socket | None = None
        self._reader = FrameReader()
        # Used again and again: a new buffer for every answer took longer than the answer.
        self._received = memoryview(bytearray(_RECEIVE))
        self._correlation = 0
        self._pending: deque[memoryview] = deque()
        self._unstarted: deque[Outgoing] = deque()
        self._unfinished: deque[Outgoing] = deque()
        self._queued_bytes = 0
        self._sent_bytes = 0
        self._tls_wants = READ
        self._addresses: deque[tuple[Any, ...]] = deque()
        self._address_deadline = self.deadline
        self._failures: list[str] = []
        self._resolution = Resolution(peer.endpoint, notify)

    # Driving.

    @property
    def sock(self) -> socket.socket | None:
        """The socket, with TLS around it or without; None before the first address is tried."""
        return self._sock

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 without one."""
        return -1 if self._sock is None else self._sock.fileno()

    def events(self) -> int:
        """Return what to poll for: READ, WRITE, both, or 0."""
        if self._sock is None:
            return 0
        if self.stage is Stage.CONNECTING:
            return WRITE
        if self.stage is Stage.HANDSHAKE:
            return self._tls_wants
        return READ | WRITE if self._pending else READ

    def wait_resolved(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the name look-up."""
        self._resolution.done.wait(timeout)

    def on_io(self, events: int, now: float) -> None:
        """Go on as far as possible without blocking."""
        if self.stage is Stage.CONNECTING and events & WRITE:
            self._finish_connect(now)
        elif self.stage is Stage.HANDSHAKE:
            self._handshake()
        elif self.stage in (Stage.VERSIONS, Stage.READY):
            if events & READ:
                self._receive()
            if events & WRITE and self._pending:
                self._flush()

    def tick(self, now: float) -> None:
        """Take the name look-up's result; give an address up that does not answer while there are others."""
        if self.more:
            self._receive()
        if self.stage is Stage.RESOLVING and self._resolution.done.is_set():
            if self._resolution.error is not None:
                raise self._unreachable(f"its name cannot be resolved: {self._resolution.error}")
            self._addresses = deque(self._resolution.addresses)
            self._try_next(now)
        elif self.stage is Stage.CONNECTING and self._addresses and now >= self._address_deadline:
            self._failures.append("no answer")
            self._try_next(now)

    def next_timer(self) -> float:
        """When `tick` has something to do."""
        if self.more:
            return -math.inf
        return self._address_deadline if self.stage is Stage.CONNECTING and self._addresses else math.inf

    def close(self) -> None:
        """Close the socket, without the TLS goodbye; safe to repeat."""
        self.stage = Stage.CLOSED
        if self._sock is not None:
            self._sock.close()

    def write_no_more(self) -> None:
        """Give up what is not written yet; replies can still be read, until the server closes the connection."""
        if self._sock is not None and self._pending:
            self._pending.clear()
            with contextlib.suppress(OSError):
                # TLS has no half-close that servers understand; TCP's is what ends their reading.
                socket.socket.shutdown(self._sock, socket.SHUT_WR)

    # Requests.

    def version(self, api: Any) -> int:
        """Return the version in force of a request; raises `UnsupportedVersionError`."""
        agreed = self._agreed.get(api)
        if agreed is None:
            agreed = self._agreed[api] = self._agree(api)
        return agreed

    def _agree(self, api: Any) -> int:
        assert self.versions is not None
        ours = self.peer.ranges[api.value]
        try:
            return negotiate(api.name, api.value, ours, self.versions)
        except UnsupportedVersionError as error:
            raise UnsupportedVersionError(
                f"{self.peer}: {error}", api=api.name, ours=ours, theirs=error.theirs, platform=error.platform
            ) from None

    def garbled(self, error: ProtocolError) -> ProtocolError:
        """Return an error from decoding what the peer sent that says who sent it."""
        return ProtocolError(f"{self.peer} does not speak Fluvio's protocol: {error}")

    def next_correlation(self) -> int:
        """Return the correlation id for the next request."""
        self._correlation = self._correlation % 0x7FFFFFFF + 1
        return self._correlation

    def request(self, api: Any, message: Any) -> int:
        """Send a request in its negotiated version and return its correlation id."""
        version = self.version(api)
        writer = Writer()
        message.write(writer, version)
        return self._send_request(api.value, version, writer.getvalue())

    def send(self, buffers: Sequence[Buffer], tag: object) -> None:
        """Queue a frame's bytes and write what the socket takes."""
        size = sum(map(len, buffers))
        if size < _SMALL:
            buffers = (b"".join(buffers),)  # cheaper to copy than to keep a list of
        self._pending += map(memoryview, buffers)
        frame = Outgoing(tag, self._queued_bytes, self._queued_bytes + size)
        self._queued_bytes += size
        self._unstarted.append(frame)
        self._unfinished.append(frame)
        self._flush()

    def _send_request(self, api_key: int, version: int, body: bytes) -> int:
        correlation = self.next_correlation()
        header = RequestHeader(api_key, version, correlation, self.peer.client_id)
        self.send([encode_request(header, body)], None)
        return correlation

    # The stages.

    def _try_next(self, now: float) -> None:
        # Closed only when another is under way, which has another descriptor then: pollers tell them apart by it.
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
        self._address_deadline = now + (self.deadline - now) / (len(self._addresses) + 1)
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
            return
        if self.peer.tls is None:
            self._ask_versions()
            return
        self.stage = Stage.HANDSHAKE
        self._handshake()

    def _secured(self) -> ssl.SSLSocket:
        """Return the socket with TLS around it, which takes over its descriptor."""
        sock, tls = self._sock, self.peer.tls
        if not isinstance(sock, ssl.SSLSocket):
            assert sock is not None
            assert tls is not None
            plain = sock
            self._sock = None  # what comes in between must not have two close the one descriptor
            sock = self._sock = uninterrupted(
                lambda: tls.wrap_socket(plain, server_hostname=self.peer.server_name, do_handshake_on_connect=False)
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
            raise self._tls_error(error) from error
        else:
            self._ask_versions()

    def _ask_versions(self) -> None:
        self.stage = Stage.VERSIONS
        system = os.uname() if hasattr(os, "uname") else None
        writer = Writer()
        ApiVersionsRequest(
            client_version=_CLIENT_VERSION,
            client_os=system.sysname.lower() if system else os.name,
            client_arch=system.machine if system else "",
        ).write(writer, API_VERSIONS_VERSION)
        self._send_request(API_VERSIONS, API_VERSIONS_VERSION, writer.getvalue())

    def _take_versions(self) -> None:
        correlation, reader = self.inbox.popleft()
        if correlation != self._correlation:
            raise ProtocolError(f"it answered request {correlation}, which was not sent")
        response = ApiVersionsResponse.read(reader, API_VERSIONS_VERSION)
        if response.error_code.code:
            raise self._connect_error(f"it refused the API versions request: {response.error_code.text}")
        self.versions = response
        self.stage = Stage.READY

    # Bytes.

    def _flush(self) -> None:
        assert self._sock is not None
        while self._pending:
            try:
                count = self._write_some(self._sock)
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError as error:
                if is_of_application(error):
                    raise
                raise self._lost(self._last_word(error)) from error
            self._note_sent(count)

    def _write_some(self, sock: socket.socket) -> int:
        if isinstance(sock, ssl.SSLSocket):
            first = self._pending[0]
            if len(first) >= _TLS_CHUNK or len(self._pending) == 1:
                return sock.send(first[:_TLS_CHUNK])
            # Once TLS refused a write it wants the same bytes again: what is joined here stays joined.
            joined = memoryview(b"".join(self._pending))
            self._pending.clear()
            self._pending.append(joined)
            return sock.send(joined[:_TLS_CHUNK])
        if len(self._pending) == 1:
            return sock.send(self._pending[0])
        return sock.sendmsg(_take(self._pending, _MAX_BUFFERS))

    def _note_sent(self, count: int) -> None:
        self._sent_bytes += count
        pending = self._pending
        while count and pending:
            first = pending[0]
            if count < len(first):
                pending[0] = first[count:]
                break
            count -= len(first)
            pending.popleft()
        while self._unstarted and self._unstarted[0].start < self._sent_bytes:
            self.first_bytes.append(self._unstarted.popleft().tag)
        while self._unfinished and self._unfinished[0].end <= self._sent_bytes:
            self.sent.append(self._unfinished.popleft().tag)

    def _receive(self) -> None:
        assert self._sock is not None
        self.more = False
        for _ in range(_RECEIVES):
            try:
                size = self._sock.recv_into(self._received)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                if is_of_application(error):
                    raise
                raise self._lost(error) from error
            if not size:
                raise self._lost(None)
            self._digest(self._received[:size])
            if size < _RECEIVE and not isinstance(self._sock, ssl.SSLSocket):
                return
        self.more = True  # what TLS has decrypted already shows in no poll

    def _digest(self, data: memoryview) -> None:
        if self.stage is Stage.VERSIONS and data[:2] == _TLS_ALERT:
            raise self._connect_error("it answers in TLS; say which with tls=..., or with the profile")
        try:
            for payload in self._reader.feed(data):
                self.inbox.append(split_response(payload))
            if self.stage is Stage.VERSIONS and self.inbox:
                self._take_versions()
        except ProtocolError as error:
            raise self.garbled(error) from error

    # Errors.

    def _connect_error(self, why: str) -> ConnectError:
        return ConnectError(f"cannot connect to the {self.peer}: {why}", address=str(self.peer.endpoint))

    def _unreachable(self, why: str) -> ConnectError:
        return self._connect_error(f"{why}; {self.peer.remedy}" if self.peer.remedy else why)

    def _tls_error(self, error: OSError) -> ConnectError:
        return self._connect_error(f"{describe(error)}; {self.peer.check}")

    def _lost(self, error: OSError | None) -> FluvioError:
        if self.stage is Stage.READY:
            what = "it closed the connection" if error is None else str(error) or type(error).__name__
            return ConnectError(f"the connection to the {self.peer} was lost: {what}", address=str(self.peer.endpoint))
        if isinstance(error, ssl.SSLError):
            return self._tls_error(error)
        reason = "" if error is None else f" ({error.strerror or error})"
        hint = (
            "want TLS (tls=...)"
            if self.peer.tls is None
            else f"demand a certificate of the client {CLIENT_CERTIFICATE}"
        )
        return self._connect_error(
            f"it closed the connection without an answer{reason}; it may {hint}, or be no SC or SPU of Fluvio's"
        )

    def _last_word(self, error: OSError) -> OSError:
        """Return why a write failed: since TLS 1.3 a server refuses the client's certificate after the handshake."""
        if self.stage is Stage.VERSIONS and isinstance(self._sock, ssl.SSLSocket):
            try:
                self._sock.recv_into(self._received)
            except OSError as answer:
                if alert_of(answer):
                    return answer
        return error


def is_of_application(error: OSError) -> bool:
    """Whether a signal handler raised it, such as a `TimeoutError`: what the system raises has a number."""
    return error.errno is None and not isinstance(error, ssl.SSLError)


def _take(pending: Iterable[memoryview], count: int) -> list[memoryview]:
    return [buffer for _, buffer in zip(range(count), pending, strict=False)]


def _set_options(sock: socket.socket) -> None:
    # Small requests must not wait for the acknowledgement of the one before (Nagle).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Servers never close an idle connection, but what is between may forget it.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _is_connected_to_itself(sock: socket.socket) -> bool:
    """A connect to a free port of this machine's ephemeral range can meet its own source port."""
    try:
        return bool(sock.getsockname() == sock.getpeername())
    except OSError:
        return False
