# SPDX-License-Identifier: Apache-2.0
"""One connection to an SC or SPU: frames, API versions, correlation ids, and the answers that are expected.

A connection speaks over a `Transport`, which it owns.  One thread at a time drives it: `events()` returns the events to
poll for, `advance()` goes on as far as it can.  A connection that fails raises a `FluvioError`; its driver then calls
`close()`.
"""

from __future__ import annotations

import errno
import math
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from fluvio_sync._net.dialling import is_of_application
from fluvio_sync._net.tls import CLIENT_CERTIFICATE, NO_CERTIFICATE, NO_TLS, alert_of, explain, is_tls_error
from fluvio_sync._net.transport import READ, WRITE, Stage
from fluvio_sync._settings.endpoint import DEFAULT_PORT, Endpoint
from fluvio_sync.errors import ConnectError, ConnectTimeoutError, FluvioError, ProtocolError, UnsupportedVersionError
from fluvio_sync.protocol.frames import (
    MAX_VERSIONS,
    FrameReader,
    RequestHeader,
    encode_request,
    split_response,
)
from fluvio_sync.protocol.primitives import Writer, size_of
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    ApiVersionsRequest,
    ApiVersionsResponse,
    SpuApi,
    negotiate,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluvio_sync._net.peer import Peer
    from fluvio_sync._net.transport import Connector, Polls
    from fluvio_sync.protocol.primitives import Buffer, Reader

_RECEIVE: Final = 64 * 1024
_RECEIVES: Final = 16  # of one call: a peer that sends without pause must not delay the others
# Frames in the inbox, or bytes of several, from which on nothing is received until the driver has taken them.
_FULL: Final = 256
_FULL_BYTES: Final = 1 << 20
_SMALL: Final = 4096  # bytes; the buffers of a smaller frame are joined
_TLS_ALERT: Final[bytes] = b"\x15\x03"  # a TLS server's answer to plain text; as a frame it would be 352 MB long
# An SC closes the connection of a client whose version is not semantic; this crate version speaks the same protocol.
_CLIENT_VERSION: Final = "0.50.2"
_LARGEST_CORRELATION: Final = 0x7FFFFFFF
_WANTS_TLS: Final = "set tls, or --tls and its options, if the cluster wants TLS; else check the port"
_SILENT: Final = "a server accepts connections there and does not answer: check the port and the server's log"
_FORGOTTEN: Final = "it is away, or a firewall or load balancer in between has forgotten the connection"
_RESOLVER: Final = "look at this machine's DNS servers, or use an address instead of a name"
_NO_FLUVIO: Final = "this is no Fluvio SC or SPU, or one that speaks TLS: check the port and the TLS settings"


class Outgoing:
    """A frame that is being sent: its place in the stream, and the caller's `tag`."""

    __slots__ = ("end", "start", "tag")

    def __init__(self, tag: object, start: int, end: int) -> None:
        self.tag = tag
        self.start = start
        self.end = end


class Connection:
    """See the module's description.

    * `inbox`: answers, with their correlation ids.
    * `expected`: the driver's objects by correlation id, until their answers come.
    * `first_bytes`, `sent`: the tags of frames of which a byte, or all bytes, were sent.
    * `owner`, `generation`: the driver's.
    * `more`: there may be bytes to read that no poll shows.
    * `wants_changed`: `polls` or `more` may differ from those that the driver saw when it set this to False.
    """

    def __init__(
        self, peer: Peer, connector: Connector, *, timeout: float, now: float, notify: Callable[[], None]
    ) -> None:
        """Begin to connect; `timeout`: seconds for all of it; `notify`: called from the resolver's thread."""
        self.peer = peer
        self.timeout = timeout
        self._began = now
        self.deadline = now + timeout
        self.transport = connector(peer, deadline=self.deadline, now=now, notify=notify)
        self.stage = self.transport.stage
        self.versions: ApiVersionsResponse | None = None
        self.inbox: deque[tuple[int, Reader]] = deque()
        self.expected: dict[int, Any] = {}
        self.first_bytes: deque[object] = deque()
        self.sent: deque[object] = deque()
        self.owner: Any = None
        self.generation = 0
        self.more = False
        self.wants_changed = True
        self._heard_at = now
        self._has_long = False  # a frame came that fills the inbox alone
        self._agreed: dict[Any, int] = {}
        self._reader = FrameReader(MAX_VERSIONS)
        # One buffer for all answers: making a new one took longer than reading the answer.
        self._received = memoryview(bytearray(_RECEIVE))
        self._correlation = 0
        self._pending: deque[memoryview] = deque()
        self._unstarted: deque[Outgoing] = deque()
        self._unfinished: deque[Outgoing] = deque()
        self._queued_bytes = 0
        self._sent_bytes = 0

    # Driving.

    def polls(self) -> Polls:
        """Return the sockets to poll, each with its events: READ, WRITE or both."""
        reading = 0 if (len(self.inbox) > 1 or self._has_long) and self._is_full() else READ
        wanted = reading | (WRITE if self._pending else 0)
        return self.transport.polls(wanted) if wanted or self.stage is not Stage.READY else ()

    def advance(self, events: int, now: float) -> None:
        """Go on as far as possible without blocking; `events`: those that were polled, 0 if time passed.

        Raises `ConnectTimeoutError` if it is not ready at its deadline.
        """
        if self.stage is Stage.READY or self.stage is Stage.VERSIONS:
            if (events & READ or self.more) and not ((len(self.inbox) > 1 or self._has_long) and self._is_full()):
                self._receive(now)
            if events & WRITE and self._pending:
                self._flush()
                self.wants_changed = True
        else:
            self._go_on_connecting(events, now)
        if self.stage is not Stage.READY and now >= self.deadline:
            raise self.timed_out(now)

    def _go_on_connecting(self, events: int, now: float) -> None:
        self.wants_changed = True
        try:
            self.transport.advance(events, now)
        finally:
            self.stage = self.transport.stage  # the doctor and timeouts name the stage that failed
        if self.stage is Stage.VERSIONS:
            self.ask_versions()

    def next_timer(self) -> float:
        """Return when `advance` has something to do without an event."""
        if self.more:
            return -math.inf
        return math.inf if self.stage is Stage.READY else min(self.deadline, self.transport.next_timer())

    def close(self) -> None:
        """Close at once; safe to repeat."""
        self.stage = Stage.CLOSED
        self.transport.close()

    def abort(self) -> None:
        """Close at once, and discard what the server has not been sent yet; safe to repeat."""
        self.stage = Stage.CLOSED
        self.transport.abort()

    def accept_answers(self, size: int) -> None:
        """Accept answers of so many bytes: an SPU repeats the record that a SmartModule failed on."""
        self._reader.max_frame = max(self._reader.max_frame, size)

    def stop_writing(self) -> None:
        """Discard the unwritten bytes, if there are any; answers can still be read, until the server disconnects."""
        if self._pending:
            self._pending.clear()
            self.transport.end_sending()

    # Requests.

    def version(self, api: Any) -> int:
        """Return the version of an API that both sides speak; raises `UnsupportedVersionError`."""
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

    def protocol_error(self, error: ProtocolError) -> ProtocolError:
        """Return an error of decoding that names the peer."""
        return ProtocolError(f"{self.peer} does not speak Fluvio's protocol: {error}", hint=_NO_FLUVIO)

    def next_correlation(self) -> int:
        """Return the correlation id for the next request."""
        self._correlation = self._correlation % _LARGEST_CORRELATION + 1
        return self._correlation

    def request(self, api: Any, message: Any) -> int:
        """Send a request in its negotiated version and return its correlation id."""
        version = self.version(api)
        writer = Writer()
        message.write(writer, version)
        return self._send_request(api.value, version, writer.getvalue())

    def arrived(self) -> int:
        """Return the place in the stream up to which the peer has it, as far as the system knows."""
        return self._sent_bytes - self.transport.unacknowledged()

    def send(self, buffers: Sequence[Buffer], tag: object) -> int:
        """Queue a frame's bytes, write as many as the transport takes, and return their end in the stream."""
        size = size_of(buffers)
        if size < _SMALL:
            buffers = (b"".join(buffers),)  # cheaper to copy than to keep a list of
        self._pending += map(memoryview, buffers)
        frame = Outgoing(tag, self._queued_bytes, self._queued_bytes + size)
        self._queued_bytes += size
        self._unstarted.append(frame)
        self._unfinished.append(frame)
        self._flush()
        if self._pending:
            self.wants_changed = True
        return frame.end

    def _send_request(self, api_key: int, version: int, body: bytes) -> int:
        correlation = self.next_correlation()
        header = RequestHeader(api_key, version, correlation, self.peer.client_id)
        self.send([encode_request(header, body)], None)
        return correlation

    # API versions.

    def ask_versions(self) -> None:
        """Ask for the API versions: a server answers that at any time, so it also tells whether the server is there."""
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
            raise self.peer.unreachable(f"it rejected the API-versions request: {response.error_code.text}")
        self._check_kind(response)
        self.versions = response
        self._reader.max_frame = self.peer.max_frame
        self.stage = Stage.READY
        self.wants_changed = True  # it has no timer any more

    def _check_kind(self, response: ApiVersionsResponse) -> None:
        """Raise `ConnectError` for an SPU where the SC was expected, or the SC where an SPU was."""
        wants_spu = SpuApi.PRODUCE in self.peer.ranges
        if not wants_spu and response.is_of_spu():
            usual = Endpoint(self.peer.endpoint.host, DEFAULT_PORT)
            hint = "give the address of the SC" + ("" if usual == self.peer.endpoint else f", which usually is {usual}")
            raise self.peer.unreachable(f"this is an SPU (Stream Processing Unit) and not the SC; {hint}", hint)
        if wants_spu and response.is_of_sc():
            hint = "give the public address of the SPU (fluvio cluster spu list shows it)"
            raise self.peer.unreachable(f"this is an SC (Streaming Controller) and not an SPU; {hint}", hint)

    # Bytes.

    def _flush(self) -> None:
        while self._pending:
            try:
                count = self.transport.send(self._pending)
            except OSError as error:
                if is_of_application(error):
                    raise
                raise self._lost(self._last_word(error)) from error
            if not count:
                return
            self._note_sent(count)

    def _note_sent(self, count: int) -> None:
        self._sent_bytes += count
        pending = self._pending
        if self._sent_bytes == self._queued_bytes:  # the usual case
            pending.clear()
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

    def _receive(self, now: float) -> None:
        if self.more:
            self.wants_changed = True
            self.more = self._has_more_frames()
            if self.more:
                return
        for _ in range(_RECEIVES):
            try:
                size = self.transport.receive_into(self._received)
            except OSError as error:
                if is_of_application(error):
                    raise
                raise self._lost(error, now) from error
            if size is None:
                return
            if not size:
                raise self._lost(None)
            self._heard_at = now
            self._digest(self._received[:size])
            if self._reader.has_more or ((len(self.inbox) > 1 or self._has_long) and self._is_full()):
                break
            if size < _RECEIVE and not self.transport.buffers_input:
                return
        self.more = self.wants_changed = True

    def _has_more_frames(self) -> bool:
        """Take the next frames of bytes that were received before, and return whether to receive none yet."""
        if self._reader.has_more:
            self._digest(self._received[:0])
        return self._reader.has_more or self._is_full()

    def _is_full(self) -> bool:
        """Whether the inbox holds enough; one frame, however long, is taken whole."""
        inbox = self.inbox
        if not inbox:
            self._has_long = False
        return len(inbox) >= _FULL or sum([reader.remaining for _, reader in inbox]) >= _FULL_BYTES

    def _digest(self, data: memoryview) -> None:
        if self.stage is Stage.VERSIONS and data[:2] == _TLS_ALERT:
            raise self.peer.unreachable("it answers in TLS; say which with tls=..., or with the profile", _WANTS_TLS)
        try:
            for payload in self._reader.feed(data, _FULL):
                self.inbox.append(split_response(payload))
                if len(payload) >= _FULL_BYTES:
                    self._has_long = True
            if self.stage is Stage.VERSIONS and self.inbox:
                self._take_versions()
        except ProtocolError as error:
            raise self.protocol_error(error) from error

    # Errors.

    def timed_out(self, now: float, then: str = "") -> ConnectTimeoutError:
        """Return the error of a connection that is not made by now, or whose first request, `then`, has no answer."""
        is_over = now >= self.deadline
        limit = f"{round(self.timeout, 3)} s (connect_timeout)" if is_over else f"{now - self._began:.1f} s"
        address = str(self.peer.endpoint)
        failure = f"cannot connect to the {self.peer}"
        if self.stage is Stage.RESOLVING:
            reason = self.transport.progress(now) + (" (connect_timeout)" if is_over else "")
            return ConnectTimeoutError(f"{failure}: {reason}", address=address, hint=_RESOLVER)
        if self.stage is Stage.CONNECTING:
            tried = self.transport.progress(now)
            reason = f"still {self.stage.value} after {limit}" + (f": {tried}" if tried else "")
            return ConnectTimeoutError(f"{failure}: {reason}", address=address)
        missing = self.stage.value if self.stage is not Stage.READY else then
        return ConnectTimeoutError(
            f"{failure}: connected, but got no answer to {missing} within {limit}",
            address=address,
            hint=NO_TLS if self.stage is Stage.HANDSHAKE else _SILENT,
        )

    def _lost(self, error: OSError | None, now: float | None = None) -> FluvioError:
        if self.stage is Stage.READY:
            cause = "it closed the connection" if error is None else str(error) or type(error).__name__
            if error is not None and error.errno == errno.ETIMEDOUT:  # by the options that `liveness` sets
                silent = f"at least {self.peer.patience:g}" if now is None else f"{now - self._heard_at:.1f}"
                cause = f"it has acknowledged nothing for {silent} s; {_FORGOTTEN}"
            return ConnectError(f"the connection to the {self.peer} broke: {cause}", address=str(self.peer.endpoint))
        if error is not None and is_tls_error(error):
            explained, hint = explain(error)
            return self.peer.unreachable(f"{explained}; {self.peer.check}", hint)
        reason = "" if error is None else f" ({error.strerror or error})"
        if self.peer.tls is None:
            need, hint = "want TLS (tls=...)", _WANTS_TLS
        else:
            need, hint = f"demand a certificate of the client {CLIENT_CERTIFICATE}", NO_CERTIFICATE
        return self.peer.unreachable(
            f"it closed the connection without an answer{reason}; it may {need}, or be no SC or SPU of Fluvio's", hint
        )

    def _last_word(self, error: OSError) -> OSError:
        """Return why a write failed: with TLS 1.3, servers reject the client's certificate after the handshake."""
        if self.stage is Stage.VERSIONS and self.peer.tls is not None:
            try:
                self.transport.receive_into(self._received)
            except OSError as answer:
                if alert_of(answer):
                    return answer
        return error
