# SPDX-License-Identifier: Apache-2.0
"""Keeps the metadata fresh: one subscription to the SC (Streaming Controller), made again when it breaks.

A connection can be dead without a sign: a firewall or a balancer forgot it.  So a subscription that brings nothing is
asked whether the SC is still there: after `_SILENCE`, and when an SPU (Stream Processing Unit) fails or does not lead a
partition that the metadata says it leads, or a topic is looked for in vain.  Without an answer, a second subscription
is made beside it, and takes its place once it has the metadata: a slow SC costs a connection, and no time without
metadata.

Driven by `connect()` in the caller's thread at first, then by the sender's step.  The cache that it fills is guarded
by the client's lock; the thread that runs the step uses the watch's own attributes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._core.metadata import Metadata, MetadataDiff
from fluvio_sync._net.connection import Connection
from fluvio_sync._runtime.subscription import Subscription
from fluvio_sync.errors import ConnectError, FluvioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync._net.peer import Peer
    from fluvio_sync._net.transport import Connector
    from fluvio_sync.protocol.watch import WatchUpdate

# Seconds between two attempts to reach an SC that is away: doubled from the first to the last.
_FIRST_PAUSE = 0.1
_LAST_PAUSE = 5.0
FRESH = 1.0
"""Seconds for which metadata counts as fresh after a frame of the SC."""
# Seconds without a frame after which the SC is asked whether it is there.  Balancers end connections that are idle for
# 30 s or more (HAProxy's examples 30 to 50 s, AWS 60 s); the question, 70 bytes, also keeps them from that.
_SILENCE = 15.0
# Seconds for the answer before a second subscription is made beside the first.
_PATIENCE = 0.5
# Seconds between two questions, at least; and until a metadata that the SPUs contradict is read anew although the SC
# answers: an SC usually tells of a new leader within 0.1 s.  Doubled up to the longest while that brings no change.
_INTERVAL = 1.0
_LONGEST_INTERVAL = 30.0
# Seconds between two subscriptions whose end is taken for no failure, at least: balancers end idle connections.
_STABLE = 1.0
# Objects that are put into the cache at once, under the client's lock: some milliseconds.
_OBJECTS = 256
_END: tuple[int, None] = (0, None)


@mypyc_attr(allow_interpreted_subclasses=True)  # tests plant faults
class MetadataWatch:
    """The watch on the SC.

    * `current`: None between two attempts; `successor`: the one that is made beside it.
    * `failing`: the last attempt to subscribe failed, or a subscription ended soon.
    * `heard_at`: when the SC's last frame came, in monotonic seconds.
    * `is_settled`: no subscription is being made.
    * `told_surplus`: the log says that the SC pushes too many objects.
    * `due`: when it has something to do without an event, in monotonic seconds.
    """

    def __init__(
        self, peer: Peer, metadata: Metadata, *, connector: Connector, timeout: float, notify: Callable[[], None]
    ) -> None:
        """`timeout`: seconds for a connection and its first updates; `notify`: called from the resolver's thread."""
        self.metadata = metadata
        self.current: Subscription | None = None
        self.successor: Subscription | None = None
        self.failing = False
        self.last_error: FluvioError | None = None
        self.heard_at = -math.inf
        self.is_settled = False
        self.told_surplus = False
        self.due = 0.0
        self.timeout = timeout
        self._peer = peer
        self._connector = connector
        self._notify = notify
        self._pause = _FIRST_PAUSE
        self._retry_at = 0.0
        self._resubscribed_at = -math.inf
        self._ask_at = math.inf
        self._asked_at = -math.inf  # the last time
        self._replace_at = math.inf  # unless the SC is heard before
        self._contradicted_since: float | None = None
        self._interval = _INTERVAL
        self._is_contradicted = False  # for so long that the metadata has to be read anew
        self._untaken: deque[WatchUpdate] = deque()  # updates that `take_over` has still to begin with
        self._taking: Iterator[tuple[int, MetadataDiff]] | None = None  # what is left of an update, in parts

    @property
    def established(self) -> bool:
        """Whether the subscription has brought all metadata."""
        return self.current is not None and self.current.established

    def connections(self) -> list[Connection]:
        """Return the connections that it has."""
        return [item.connection for item in (self.current, self.successor) if item is not None]

    # Subscribing.

    def start(self, now: float) -> Connection:
        """Begin to subscribe."""
        self.current = self._subscribe(now)
        self._arm()
        return self.current.connection

    def start_successor(self, now: float) -> Connection:
        """Begin to subscribe a second time, beside the first."""
        self.successor = self._subscribe(now)
        self._arm()
        return self.successor.connection

    def _subscribe(self, now: float) -> Subscription:
        return Subscription(Connection(self._peer, self._connector, timeout=self.timeout, now=now, notify=self._notify))

    def receive(self, now: float) -> list[WatchUpdate]:
        """Return the received updates; raises `FluvioError`."""
        current = self.current
        if current is None or self.metadata.is_partial:  # the SC waits, as it would for a slow reader
            return []
        if current.read(now):
            self._heard(now)
        self._arm()
        return current.take_updates()

    def take_over(self, updates: list[WatchUpdate]) -> MetadataDiff:
        """Put some milliseconds' worth of the updates into the cache, these behind those that are left of before.

        Returns the changes.  Called with the client's lock held.
        """
        self._untaken += updates
        diff = MetadataDiff()
        left = _OBJECTS
        while left > 0:
            if self._taking is None:
                if not self._untaken:
                    break
                self._taking = self._begin_to_take(self._untaken.popleft())
            count, part = next(self._taking, _END)
            if part is None:
                self._taking = None
            else:
                left -= count
                diff.add(part)
        self.metadata.is_partial = self._taking is not None or bool(self._untaken)
        if self.metadata.is_partial and self.current is not None:
            self.current.connection.more = self.current.connection.wants_changed = True  # its driver comes back at once
        if diff.topics or diff.partitions or diff.spus:
            self._contradicted_since = None
            self._interval = _INTERVAL
        if self.established:
            self._pause = _FIRST_PAUSE
        return diff

    def _begin_to_take(self, update: WatchUpdate) -> Iterator[tuple[int, MetadataDiff]]:
        if self.current is not None and not self.current.taken_over:
            self.metadata.begin()
            self.current.taken_over = True
        return self.metadata.apply_in_parts(update)

    def _take_no_more(self) -> None:
        self._untaken.clear()
        if self.metadata.is_partial:
            self.metadata.begin()  # what is left of an update is lost: the next subscription brings all
        self._taking = None
        self.metadata.is_partial = False

    # Doubts.

    def doubt(self, now: float) -> None:
        """Have the SC asked whether it is there, if it brings nothing meanwhile."""
        self._ask_at = min(self._ask_at, max(now, self._asked_at + _INTERVAL))
        self._arm()

    def contradict(self, now: float) -> None:
        """Doubt the metadata, because an SPU does not lead a partition that it says the SPU leads."""
        if self._contradicted_since is None:
            self._contradicted_since = now
        elif now >= self._contradicted_since + self._interval:
            self._is_contradicted = True
        self.doubt(now)

    def ask_if_due(self, now: float) -> None:
        """Ask the SC whether it is there, if it is time; raises `FluvioError`."""
        if now >= self._ask_at and self.current is not None and self.established:
            self._ask_at, self._asked_at, self._replace_at = math.inf, now, now + _PATIENCE
            self._arm()
            self.current.connection.ask_versions()

    def wants_successor(self, now: float) -> bool:
        """Whether the subscription is silent, or contradicted."""
        return self.established and self.successor is None and (self._is_contradicted or now >= self._replace_at)

    def promote(self, now: float) -> Connection | None:
        """Put the successor into its place if that has all metadata; return the connection to close."""
        if self.current is None or self.successor is None or not self.successor.established:
            return None
        replaced = self.current.connection
        self._take_no_more()
        self.current, self.successor = self.successor, None
        if self._is_contradicted:
            self._is_contradicted = False
            self._contradicted_since = None
            self._interval = min(2 * self._interval, _LONGEST_INTERVAL)
        self._heard(now)
        self._arm()
        return replaced

    def _heard(self, now: float) -> None:
        self.heard_at = now
        self._ask_at = now + _SILENCE
        self._replace_at = math.inf

    # Failures.

    def may_resubscribe(self, now: float) -> bool:
        """Whether the subscription's end is no sign of a failure."""
        return self.established and now >= self._resubscribed_at + _STABLE

    def resubscribe(self, now: float) -> None:
        """Close the connections and subscribe again at once; the cache counts as fresh until that fails."""
        self._resubscribed_at = now
        self._close(now)

    def give_up_successor(self, error: FluvioError, now: float) -> FluvioError | None:
        """Close the successor; return the error of the silent subscription beside it, None if that was heard."""
        assert self.successor is not None
        self.successor.connection.close()
        self.successor = None
        self._is_contradicted = False
        self._contradicted_since = None
        self._arm()
        if self._replace_at == math.inf:
            return None
        silent = f"the {self._peer} has not answered for {now - self.heard_at:.1f} s"
        failure = ConnectError(f"{silent}: {error}", address=str(self._peer.endpoint), hint=error.hint)
        failure.__cause__ = error
        return failure

    def lose(self, error: FluvioError, now: float) -> MetadataDiff:
        """Close the connections after a failure; `start` is due later.  Called with the client's lock held."""
        self._close(now + self._pause)
        self.failing = True
        self.last_error = error
        self._pause = min(self._pause * 2, _LAST_PAUSE)
        return self.metadata.lose()

    def _close(self, retry_at: float) -> None:
        for connection in self.connections():
            connection.close()
        self.current = self.successor = None
        self._take_no_more()
        self._retry_at = retry_at
        self._ask_at = self._replace_at = math.inf
        self._is_contradicted = False
        self._arm()

    def _arm(self) -> None:
        """Compute `due` and `is_settled`."""
        self.is_settled = self.established and self.successor is None
        if self.current is None:
            self.due = self._retry_at
        elif not self.current.established:
            self.due = self.current.connection.deadline
        elif self.successor is not None:
            self.due = self.successor.connection.deadline
        elif self._is_contradicted:
            self.due = -math.inf
        else:
            self.due = min(self._ask_at, self._replace_at)
