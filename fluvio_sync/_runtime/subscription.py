# SPDX-License-Identifier: Apache-2.0
"""A connection to the SC (Streaming Controller) with its three Watch streams; `MetadataWatch` decides about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core.metadata import LABELS, kept
from fluvio_sync._net.transport import Stage
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.skimming import skim_update
from fluvio_sync.protocol.versions import ScApi
from fluvio_sync.protocol.watch import WatchRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from fluvio_sync._net.connection import Connection
    from fluvio_sync.protocol.watch import WatchUpdate

# Bytes of frames that are read in one call, and the part of them that a frame takes at least: a millisecond or two.
_PART = 4096
_LEAST = 64


class Subscription:
    """See the module's description.

    * `established`: every stream has pushed its first update.
    * `unreadable`: the error of an update that was skipped.
    * `taken_over`: the metadata cache has taken over an update of it.
    * `skimming`: the long update that is being read.

    Long updates are read in parts, one a call of `read`, so that the sender does other work in between.
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
        self.skimming: Generator[int, None, WatchUpdate] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether frames wait to be read."""
        return self.skimming is not None or bool(self.connection.inbox)

    def read(self, now: float) -> bool:
        """Ask for the streams once the connection is ready, and read some of the SC's frames.

        Returns whether there were any.  Raises `FluvioError`, also when it is late.
        """
        connection = self.connection
        if connection.stage is Stage.READY and not self._streams:
            self._version = connection.version(ScApi.WATCH)
            for label in LABELS:
                self._streams[connection.request(ScApi.WATCH, WatchRequest(label))] = label
        heard = self.is_busy
        if heard:
            # Linux delays acknowledgements by 40 ms on a connection that asks and answers, as this one does now and
            # then, and a server without TCP_NODELAY sends its next push after that.
            connection.transport.acknowledge_at_once()
        left = _PART
        while left > 0 and self.is_busy:
            left -= self._read_part()
        self.established = self._received.issuperset(LABELS)
        if not self.established and now >= connection.deadline:
            raise connection.timed_out(now, "the request for its metadata")
        if self.is_busy:
            connection.more = connection.wants_changed = True  # its driver comes back at once
        return heard

    def _read_part(self) -> int:
        """Read a frame, or a part of a long one; return how many bytes of the call's share it took."""
        if self.skimming is None:
            correlation, reader = self.connection.inbox.popleft()
            if correlation not in self._streams:
                return _LEAST  # the answer to a question whether the SC is there
            self.skimming = skim_update(reader, self._version, kept)
        try:
            return next(self.skimming)
        except StopIteration as end:
            update: WatchUpdate = end.value
            self._updates.append(update)
            self._received.add(update.label)
        except ProtocolError as error:
            # A newer SC may push objects that this version cannot read; the stream itself is intact.
            self.unreadable = self.connection.protocol_error(error)
            if not self.established:
                raise self.unreadable from error
        self.skimming = None
        return _LEAST

    def take_updates(self) -> list[WatchUpdate]:
        """Return the received updates and forget them."""
        updates, self._updates = self._updates, []
        return updates
