# SPDX-License-Identifier: Apache-2.0
"""One connection to a node of the development cluster, as bytes in and bytes out.

Pure.  Runs in the one thread that drives the cluster.

A connection is strictly serial, like a real server's: a request is taken up only when the one
before it has been answered.  Only the pushes of a Watch or a StreamFetch come in between.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.frames import RequestHeader, encode_response, split_request
from fluvio_sync.protocol.primitives import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluvio_sync.protocol.watch import Change
    from fluvio_sync.testing._cluster.core import ClusterCore


class Message(Protocol):
    """Anything that can be written to the wire."""

    def write(self, w: Writer, version: int) -> None:
        """Append it."""


class ServerSession:
    """The common part of the two kinds of connection: the queue of requests and the frames to be sent.

    `closed`: the connection is to be closed once `outgoing()` is sent.
    `backlog`: bytes of requests that wait for the one before them.
    `node`: the SPU's id, 0 for the SC.
    """

    def __init__(self, core: ClusterCore, node: int) -> None:
        self.closed = False
        self.backlog = 0
        self.node = node
        self._core = core
        self._queue: deque[bytes] = deque()
        self._out: list[bytes] = []
        self._handlers = self._handler_table()
        core.add(self)

    def _handler_table(self) -> Mapping[int, Callable[[RequestHeader, Reader], None]]:
        raise NotImplementedError

    # --- called by its driver --------------------------------------------------------------------------

    def receive(self, payload: bytes, now: float) -> None:
        """Take one request frame, without its length.  `now`: monotonic seconds."""
        if self.closed:
            return
        self._core.now = max(now, self._core.now)
        self._queue.append(payload)
        self.backlog += len(payload)
        self.serve_queue()

    def outgoing(self) -> list[bytes]:
        """Return the frames to be sent, in order; they are forgotten here."""
        if not self._out or self.node in self._core.faults.held:
            return []
        frames, self._out = self._out, []
        return frames

    @property
    def wakeup_at(self) -> float | None:
        """When `on_time` has to be called, in monotonic seconds, if nothing happens before."""
        return None

    def on_time(self, now: float) -> None:
        """Carry out the waits that end by `now`."""
        self._core.now = max(now, self._core.now)

    def disconnect(self) -> None:
        """Forget the session: its connection is gone."""
        self.closed = True
        self._queue.clear()
        self._out.clear()
        self._core.forget(self)

    # --- inside the cluster ----------------------------------------------------------------------

    def push_changes(self, label: str, epoch: int, changes: Sequence[Change]) -> None:
        """Tell the watchers of this kind of object; only the SC's sessions have any."""

    @property
    def waiting(self) -> bool:
        """Whether a reply is not ready to be sent yet."""
        return bool(self._out) and self.node in self._core.faults.held

    def serve_queue(self) -> None:
        """Take up requests until one has to wait."""
        while self._queue and not self.closed and not self.waiting:
            payload = self._queue.popleft()
            self.backlog -= len(payload)
            try:
                self._handle(payload)
            except ProtocolError as error:
                self._core.violations.append(f"node {self.node}: {error}")
                self.close()

    def _handle(self, payload: bytes) -> None:
        header, reader = split_request(payload)
        handler = self._handlers.get(header.api_key)
        if handler is None:
            raise ProtocolError(f"unknown request {header.api_key}")
        handler(header, reader)

    def close(self) -> None:
        """End the connection once the outgoing frames are sent."""
        self.closed = True
        self._queue.clear()
        self._core.mark_ready(self)

    def push(self, correlation_id: int, version: int, message: Message) -> None:
        """Send a response, or one of several to the same request."""
        writer = Writer()
        message.write(writer, version)
        self._out.append(encode_response(correlation_id, writer.getvalue()))
        self._core.mark_ready(self)
