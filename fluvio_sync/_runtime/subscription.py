# SPDX-License-Identifier: Apache-2.0
"""A connection to the SC (Streaming Controller) with its three Watch streams; `MetadataWatch` decides about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core.metadata import LABELS
from fluvio_sync._net.transport import Stage
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.versions import ScApi
from fluvio_sync.protocol.watch import WatchRequest, WatchUpdate

if TYPE_CHECKING:
    from fluvio_sync._net.connection import Connection


class Subscription:
    """See the module's description.

    * `established`: every stream has pushed its first update.
    * `unreadable`: the error of an update that was skipped.
    * `taken_over`: the metadata cache has taken over an update of it.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.established = False
        self.unreadable: ProtocolError | None = None
        self.taken_over = False
        self._received: set[str] = set()  # labels of streams that have pushed
        self._streams: dict[int, str] = {}
        self._version = 0
        self._updates: list[WatchUpdate] = []

    def read(self, now: float) -> bool:
        """Ask for the streams once the connection is ready, and read the SC's frames; return whether there were any.

        Raises `FluvioError`, also when it is late.
        """
        connection = self.connection
        if connection.stage is Stage.READY and not self._streams:
            self._version = connection.version(ScApi.WATCH)
            for label in LABELS:
                self._streams[connection.request(ScApi.WATCH, WatchRequest(label))] = label
        heard = bool(connection.inbox)
        if heard:
            # Linux delays acknowledgements by 40 ms on a connection that asks and answers, as this one does now and
            # then, and a server without TCP_NODELAY sends its next push after that.
            connection.transport.acknowledge_at_once()
        while connection.inbox:
            correlation, reader = connection.inbox.popleft()
            if correlation not in self._streams:
                continue  # the answer to a question whether the SC is there
            try:
                update = WatchUpdate.read(reader, self._version)
            except ProtocolError as error:
                # A newer SC may push objects that this version cannot read; the stream itself is intact.
                self.unreadable = connection.protocol_error(error)
                if not self.established:
                    raise self.unreadable from error
            else:
                self._updates.append(update)
                self._received.add(update.label)
        self.established = self._received.issuperset(LABELS)
        if not self.established and not heard and now >= connection.deadline:
            raise connection.timed_out(now, "the request for its metadata")
        return heard

    def take_updates(self) -> list[WatchUpdate]:
        """Return the received updates and forget them."""
        updates, self._updates = self._updates, []
        return updates
