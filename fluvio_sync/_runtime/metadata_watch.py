# SPDX-License-Identifier: Apache-2.0
"""Keeps the metadata fresh: one connection to the SC with three Watch streams, made again when it breaks.

Driven by `connect()` in the caller's thread at first, then by the sender's step.  The cache that it fills is guarded
by the client's lock; the thread that runs the step uses the watch's own attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core.metadata import LABELS, Metadata, MetadataDiff
from fluvio_sync._net.connection import Connection
from fluvio_sync._net.transport import Stage
from fluvio_sync.errors import FluvioError, ProtocolError
from fluvio_sync.protocol.versions import ScApi
from fluvio_sync.protocol.watch import WatchRequest, WatchUpdate

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._net.transport import Connector, Peer

# Seconds between two attempts to reach an SC that is away: doubled from the first to the last.
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 5.0


class MetadataWatch:
    """The watch on the SC.  `connection` is None between two attempts."""

    def __init__(
        self, peer: Peer, metadata: Metadata, *, connector: Connector, timeout: float, notify: Callable[[], None]
    ) -> None:
        """`timeout`: seconds for a connection and its first updates; `notify`: called from the resolver's thread."""
        self.metadata = metadata
        self.connection: Connection | None = None
        self.last_error: FluvioError | None = None
        self.unreadable: ProtocolError | None = None  # of an update that was skipped
        self.retry_at = 0.0
        self.established = False  # every stream has pushed its first update
        self.received: set[str] = set()  # labels that this connection pushed
        self._peer = peer
        self._connector = connector
        self.timeout = timeout
        self._notify = notify
        self._pause = _FIRST_PAUSE
        self._streams: dict[int, str] = {}
        self._version = 0

    def start(self, now: float) -> Connection:
        """Begin to connect."""
        self.received, self.established = set(), False
        self._streams = {}
        self.connection = Connection(self._peer, self._connector, timeout=self.timeout, now=now, notify=self._notify)
        return self.connection

    def advance(self) -> list[WatchUpdate]:
        """Ask for the streams once the connection is ready, and return the received updates; raises `FluvioError`."""
        connection = self.connection
        if connection is None or connection.stage is not Stage.READY:
            return []
        if not self._streams:
            self._version = connection.version(ScApi.WATCH)
            for label in LABELS:
                self._streams[connection.request(ScApi.WATCH, WatchRequest(label))] = label
        updates = []
        while connection.inbox:
            correlation, reader = connection.inbox.popleft()
            if correlation in self._streams:
                try:
                    updates.append(WatchUpdate.read(reader, self._version))
                except ProtocolError as error:
                    # A newer SC may push objects that this version cannot read; the stream itself is intact.
                    self.unreadable = connection.protocol_error(error)
                    if not self.established:
                        raise self.unreadable from error
        return updates

    def take_over(self, updates: list[WatchUpdate]) -> MetadataDiff:
        """Put updates into the cache.  Called with the client's lock held."""
        diff = MetadataDiff()
        for update in updates:
            if not self.received:
                self.metadata.begin()
            self.received.add(update.label)
            self.established = self.received.issuperset(LABELS)
            diff.add(self.metadata.apply(update))
        if self.established:
            self._pause = _FIRST_PAUSE
        return diff

    def lose(self, error: FluvioError, now: float) -> MetadataDiff:
        """Close a failed connection; `start` is due at `retry_at`.  Called with the client's lock held."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self.last_error = error
        self.received, self.established = set(), False
        self.retry_at = now + self._pause
        self._pause = min(self._pause * 2, _LAST_PAUSE)
        return self.metadata.lose()
