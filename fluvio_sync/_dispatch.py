# SPDX-License-Identifier: Apache-2.0
"""The delivery state machine: an event and the time in, actions out.

Pure: no socket, thread, clock, randomness or log.  Every rule about what is sent when, what is retried, and what is
given up stands in this file; the sender carries the actions out.  All calls are made with the client's lock held.
It is the longest file of the package for that reason: the rules meet in the same few states, and whoever doubts one of
them finds all the others that may come before it here.

Two kinds of things have states.  A **lane** is the ordered batches of one topic, partition and settings; its moves
are in `TRANSITIONS`, and `_move` makes no other.  A **link** is the connection to one SPU for one isolation level
(an SPU serves a connection strictly in order, so that a read-committed wait would hold up everything behind it).

Order is kept because a lane has at most one request under way, which always begins with its oldest batch.  Nothing
is lost because a batch stays in its lane until it is finished, and nothing hangs because every lane and link that
waits for something has an entry in the timers.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

from fluvio_sync._actions import Action, Ask, Connect, Disconnect, Report, Write
from fluvio_sync._failures import (
    Treatment,
    closed,
    commit_timed_out,
    delivery_timed_out,
    gone,
    refused,
    rejected,
    retries_exhausted,
    treatment_of,
    unusable,
)
from fluvio_sync._halving import halve
from fluvio_sync._lane import Acknowledge, Batch, Decision, Drop, Fail, HandOver, Lane, LaneState
from fluvio_sync._link import Link, LinkState, Request, Settlement
from fluvio_sync._metadata import Route
from fluvio_sync._timers import Timers
from fluvio_sync.delivery import Isolation
from fluvio_sync.errors import (
    ConnectError,
    ConnectTimeoutError,
    FluvioError,
    ProtocolError,
    RequestTimeoutError,
    ServerError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync._metadata import Metadata, News
    from fluvio_sync.protocol.produce import PartitionResult, ProduceResponse
    from fluvio_sync.stats import Tally

# Requests under way on one link.  They carry different partitions, so order does not suffer; with one alone, a busy
# producer of many partitions would wait a round trip for each.
MAX_IN_FLIGHT = 5
# Answers of at-most-once requests that may be missing before no more are written.
MAX_UNREAD = 1000
# Seconds between two questions whether a read-committed batch has been replicated.
SETTLE_INTERVAL = 0.1
# Seconds that records wait for their partition to come online before its leader is tried regardless.
OFFLINE_PATIENCE = 1.0
# Seconds that a leader which was replaced gets to answer what it was sent: usually it is there and its answer is near.
LEAVE_GRACE = 0.3
# An SPU whose disk is full, or whose partition refuses writes after a storage error, needs a person or a restart.
LONG_DELAY = 1.0


class Event(enum.Enum):
    """What can happen to a lane."""

    GATHER = "its only batch is open and lingers"
    ROUTE = "a batch is ready and the leader is known"
    NO_ROUTE = "a batch is ready and there is no leader"
    SEND = "its batches go into a request"
    SETTLE = "the leader stored them but did not see them replicated in time"
    BACK_OFF = "an attempt failed and may be repeated"
    EMPTY = "it has no unresolved batch"


_READY = {
    Event.GATHER: LaneState.LINGERING,
    Event.ROUTE: LaneState.QUEUED,
    Event.NO_ROUTE: LaneState.WAITING,
    Event.EMPTY: LaneState.IDLE,
}

TRANSITIONS: dict[LaneState, dict[Event, LaneState]] = {
    LaneState.IDLE: _READY,
    LaneState.LINGERING: _READY,
    LaneState.WAITING: _READY,
    LaneState.BACKING_OFF: _READY,
    LaneState.QUEUED: _READY | {Event.SEND: LaneState.IN_FLIGHT, Event.BACK_OFF: LaneState.BACKING_OFF},
    LaneState.IN_FLIGHT: _READY | {Event.BACK_OFF: LaneState.BACKING_OFF, Event.SETTLE: LaneState.SETTLING},
    LaneState.SETTLING: _READY | {Event.BACK_OFF: LaneState.BACKING_OFF},
}


class Dispatcher:
    """Decides about all lanes and links of a client."""

    def __init__(
        self,
        metadata: Metadata,
        *,
        connect_timeout: float,
        request_timeout: float,
        on_failing: Callable[[Lane, bool], None],
    ) -> None:
        """`on_failing`: told that a lane's last attempt failed, or succeeded again."""
        self.metadata = metadata
        self.connect_timeout = connect_timeout
        self.request_timeout = request_timeout
        self.links: dict[tuple[int, Isolation], Link] = {}
        self._lanes: dict[tuple[str, int], list[Lane]] = {}
        self._actions: list[Action] = []
        self._to_fill: dict[Link, None] = {}  # links that may take another request
        self._timers: Timers[Lane | Link] = Timers()
        self._on_failing = on_failing

    def take_actions(self, now: float) -> list[Action]:
        """Return what is to be done, in order, and forget it.

        Requests are composed here, after everything that happened was told: so lanes that became ready together share
        one.
        """
        while self._to_fill:
            self._fill(self._to_fill.popitem()[0], now)
        actions, self._actions = self._actions, []
        return actions

    # Events.

    def records(self, lane: Lane, now: float) -> None:
        """A lane got records, a full batch, or a flush."""
        if lane.state in (LaneState.IN_FLIGHT, LaneState.SETTLING, LaneState.BACKING_OFF, LaneState.QUEUED):
            self._arm_lane(lane, now)
        else:
            self._attend(lane, now)

    def metadata_changed(self, news: News, now: float) -> None:
        """The metadata changed: lanes that wait for that go on at once."""
        for spu in news.spus:
            if not self.metadata.spu_online(spu):
                self._leave(spu, now)
        for lanes in list(self._lanes.values()):
            for lane in lanes:
                if (
                    (news.turned and lane.state is LaneState.WAITING)
                    or lane.topic in news.topics
                    or (lane.topic, lane.partition) in news.partitions
                    or self._leader(lane) in news.spus
                ):
                    self._hear_news(lane, now)

    def connected(self, link: Link, generation: int, _now: float) -> None:
        """The link's connection is ready."""
        if generation != link.generation or link.state is not LinkState.CONNECTING:
            return
        if link.last_error is not None or not link.was_up:
            self.report("info", "connection.opened", spu=link.spu)
        link.state = LinkState.UP
        link.was_up = True
        link.last_error = None
        self._to_fill[link] = None

    def disconnected(self, link: Link, generation: int, error: FluvioError, now: float) -> None:
        """The link's connection could not be made, or broke."""
        if generation == link.generation and link.state is not LinkState.DOWN:
            self._lose(link, error, now)

    def _lose(self, link: Link, error: FluvioError, now: float) -> None:
        if link.state is LinkState.CONNECTING:
            self._connect_failed(link, error, now)
        else:
            self._connection_lost(link, error, now)

    def _connect_failed(self, link: Link, error: FluvioError, now: float) -> None:
        """A failed attempt of every batch that waited for the connection."""
        self._note_loss(link, error)
        link.state = LinkState.DOWN
        aboard = [lane for lane in _unique(link.queue) if self._is_queued(lane, link)]
        link.queue.clear()
        for lane in aboard:
            batches = self._take(lane, lane.max_request_size, now)
            if not batches:  # closed meanwhile
                self._attend(lane, now)
                continue
            for batch in batches:
                batch.attempts += 1
            if isinstance(error, UnsupportedVersionError):
                for batch in batches:
                    self._fail(batch, unusable(batch, error, now))
                self._began_to_fail(lane, error)
                self._attend(lane, now)
            else:
                self._attempt_failed(lane, batches, error, now)

    def _connection_lost(self, link: Link, error: FluvioError, now: float) -> None:
        """A failed attempt, with unknown outcome, of all that was in flight."""
        self._note_loss(link, error)
        link.state = LinkState.DOWN
        lost, link.in_flight = link.in_flight, deque()
        for request in lost:
            request.lost = True
            if request.wrote_any:
                for batch in request.batches:
                    batch.maybe_written = True
            for lane, batches in request.live_entries:
                self._attempt_failed(lane, batches, error, now)
        for lane in [*self._settling_on(link)]:
            settlement = lane.settlement
            assert settlement is not None
            self._unsettle(settlement, error, now)
        # Failing what was aboard may have queued what was behind it, which connects.
        if link.state is LinkState.DOWN and any(self._is_queued(lane, link) for lane in link.queue):
            self._connect(link, now)

    def written(self, request: Request, now: float) -> None:
        """All bytes of a request were handed to the socket."""
        request.written = True
        if not request.acked and not request.lost:
            entries, request.entries = request.entries, []
            for lane, batches in entries:
                lane.in_flight = []
                request.unread.append((lane, sum(batch.builder.count for batch in batches)))
                for batch in batches:
                    if not batch.done:
                        self._conclude(HandOver(batch))
                self._recovered(lane)
                self._attend(lane, now)
            self._to_fill[request.link] = None

    def replied(self, request: Request, response: ProduceResponse, now: float) -> None:
        """The answer to a request."""
        if request.lost:
            return
        link = request.link
        link.in_flight.remove(request)
        if link.in_flight:
            link.in_flight[0].in_line_at = now
        results = [(topic.name, result) for topic in response.topics for result in topic.partitions]
        if request.acked:
            expected = [(lane.topic, lane.partition) for lane, _ in request.entries]
            if [(name, result.partition) for name, result in results] != expected:
                got = [(name, result.partition) for name, result in results]
                self._garbled(request, f"answered for {got[:5]} where {expected[:5]} was asked", now)
                return
            if any(result.base_offset < 0 for _, result in results):
                self._garbled(request, "answered with a negative offset", now)
                return
            for (lane, batches), (_, result) in zip(request.entries, results, strict=True):
                if lane not in request.given_up:
                    self._entry_answered(lane, batches, link, result, now)
        else:
            for (lane, count), (_, result) in zip(request.unread, results, strict=False):
                self._unread_answer(lane, count, result)
        self._to_fill[link] = None
        self._arm_link(link, now)

    def offsets_replied(self, settlement: Settlement, high_watermark: int | None, now: float) -> None:
        """The answer to `Ask`; None: the server cannot tell."""
        lane = settlement.lane
        if lane.settlement is not settlement:
            return
        settlement.asked_at = None
        settlement.next_ask = now + SETTLE_INTERVAL
        end = settlement.base_offset + sum(batch.builder.count for batch in settlement.batches)
        if high_watermark is not None and high_watermark >= end:
            lane.settlement = None
            self._acknowledge(lane, settlement.batches, settlement.base_offset)
            self._recovered(lane)
            self._attend(lane, now)
        else:
            self._arm_lane(lane, now)

    def tick(self, now: float) -> None:
        """Time passed."""
        due = self._timers.due(now)
        # Links first: what stands in a request whose connection is given up now, and of which no byte went out, is
        # surely not stored.
        for item in due:
            if isinstance(item, Link):
                self._link_time(item, now)
        for item in due:
            if isinstance(item, Lane):
                self._lane_time(item, now)

    def next_timer(self) -> float | None:
        """When `tick` has something to do, at the earliest."""
        return self._timers.next()

    def abandon(self, lanes: Iterable[Lane], now: float, tally: Tally | None = None) -> None:
        """The client closes, or the producer handle whose `tally` this is: fail the batches that are left.

        A batch that another handle has records in stays: closing one handle does not close another.
        """
        for lane in lanes:
            lane.seal_open(now)
            for batch in lane.batches():
                if batch.belongs_only_to(tally):
                    self._note_written(lane, goes_on=tally is not None)
                    self._fail(batch, closed(batch, "client" if tally is None else "producer"))
            lane.queue = deque(batch for batch in lane.queue if not batch.done)

    def recover(self, lanes: Iterable[Lane], error: FluvioError, now: float) -> None:
        """Begin again: an exception left the caller, or this object itself, in the middle of anything.

        All connections are gone.  Every lane is rebuilt from its unresolved batches.  What was in a request is sent
        again at once: that the cluster failed is not known, so it spends no retry, unless the policy has none at all.
        What was decided is announced again.  May itself be interrupted and repeated.
        """
        self._actions = []
        self._to_fill = {}
        self._timers = Timers()
        self._lanes = {}
        for link in self.links.values():
            link.reset()
        for lane in lanes:
            lane.rebuild()
            self._actions += [batch.decision for batch in lane.unresolved if batch.decision is not None]
            lane.state = LaneState.IDLE  # not a move of the table: what the state said before may be half true
            if lane.in_flight and next(lane.delays(), None) is None:
                self._attempt_failed(lane, lane.in_flight, error, now)
            else:
                for batch in lane.in_flight:
                    batch.in_request = False
                    batch.last_error = error
                lane.in_flight = []
                lane.requeue()
                self._attend(lane, now)

    # Lanes.

    def _attend(self, lane: Lane, now: float) -> None:
        """Decide what a lane does next; it has no request under way and no delay to wait for."""
        lanes = self._lanes.get((lane.topic, lane.partition), ())
        if lane not in lanes:
            self._lanes[lane.topic, lane.partition] = [*lanes, lane]
        self._expire(lane, now)
        ready_at = lane.ready_at
        if ready_at is None:
            lane.singly = False
            self._move(lane, Event.EMPTY)
            return
        route = self._route(lane, now)
        if ready_at > now and not route.gone:
            self._move(lane, Event.GATHER)
            self._arm_lane(lane, now)
        elif route.gone:
            self._give_up(lane, route.reason, now)
            self._move(lane, Event.EMPTY)
        elif route.spu is None:
            self._move(lane, Event.NO_ROUTE)
            self._arm_lane(lane, now)
        else:
            self._move(lane, Event.ROUTE)
            self._queue(lane, self._link(route.spu, lane.channel.config.isolation), now)
            self._arm_lane(lane, now)

    def _route(self, lane: Lane, now: float) -> Route:
        """Find the lane's leader; one whose partition is said to be offline is tried after a while all the same."""
        route = self.metadata.route(lane.topic, lane.partition)
        if route.spu is not None:
            lane.unrouted_since = None
        elif lane.unrouted_since is None:
            lane.unrouted_since = now
        elif route.perhaps is not None and now >= lane.unrouted_since + OFFLINE_PATIENCE:
            return Route(route.perhaps)
        return route

    def _queue(self, lane: Lane, link: Link, now: float) -> None:
        lane.link = link
        link.queue.append(lane)
        if link.state is LinkState.DOWN:
            self._connect(link, now)
        elif link.state is LinkState.UP:
            self._to_fill[link] = None

    def _move(self, lane: Lane, event: Event) -> None:
        lane.state = TRANSITIONS[lane.state][event]

    def _hear_news(self, lane: Lane, now: float) -> None:
        route = self._route(lane, now)
        if lane.state is LaneState.SETTLING:
            settlement = lane.settlement
            assert settlement is not None
            leader = self._leader(lane)
            if leader != settlement.link.spu:  # one that is only said to be offline is asked until its connection ends
                why = route.reason or f"SPU {leader}"
                self._unsettle(settlement, ConnectError(f"the leader changed: {why}"), now)
        elif lane.state is LaneState.IN_FLIGHT:
            if lane.acked and self._leader_moved(lane) and lane.leave_at is None:
                lane.leave_at = now + LEAVE_GRACE
                self._arm_lane(lane, now)
        elif lane.state is LaneState.QUEUED:
            assert lane.link is not None
            if route.spu != lane.link.spu:
                self._attend(lane, now)
        else:
            # A change of leader, SPU status or address: what a delay waited for may have happened.
            self._attend(lane, now)

    def _lane_time(self, lane: Lane, now: float) -> None:
        if lane.state is LaneState.SETTLING:
            self._settle_time(lane, now)
        elif lane.state in (LaneState.IN_FLIGHT, LaneState.QUEUED) or (
            lane.state is LaneState.BACKING_OFF and now < lane.retry_at
        ):
            self._expire(lane, now)
            if lane.state is LaneState.IN_FLIGHT and lane.leave_at is not None and now >= lane.leave_at:
                self._leave_leader(lane, now)
            elif lane.state is not LaneState.IN_FLIGHT and lane.ready_at is None:
                self._move(lane, Event.EMPTY)
        else:
            self._attend(lane, now)
            return
        self._arm_lane(lane, now)

    def _leave_leader(self, lane: Lane, now: float) -> None:
        """The leader was replaced and does not answer: take the lane out of its request and go to the new one.

        The request stays for the others in it.
        """
        lane.leave_at = None
        link = lane.link
        if link is None or not self._leader_moved(lane):
            return
        for request in link.in_flight:
            for entry_lane, batches in request.live_entries:
                if entry_lane is lane:
                    self._note_written(lane, goes_on=True)
                    request.given_up.add(lane)
                    error = ConnectError(f"{link.peer} did not answer, and does not lead the partition any more")
                    self._attempt_failed(lane, batches, error, now)
                    return

    def _arm_lane(self, lane: Lane, now: float) -> None:
        """See to it that the lane is looked at when it has to be."""
        oldest = lane.first_left()
        if oldest is None:
            return  # in flight, all expired: the link's timer ends that
        when = max(oldest.deadline, now)
        if lane.state is LaneState.LINGERING:
            when = min(when, oldest.ready_at)
        elif lane.state is LaneState.BACKING_OFF:
            when = min(when, lane.retry_at)
        elif lane.state is LaneState.WAITING and lane.unrouted_since is not None:
            trial = lane.unrouted_since + OFFLINE_PATIENCE
            when = min(when, trial) if trial > now else when
        elif lane.state is LaneState.IN_FLIGHT and lane.leave_at is not None:
            when = min(when, lane.leave_at)
        elif lane.state is LaneState.SETTLING:
            settlement = lane.settlement
            assert settlement is not None
            when = min(when, self._settlement_due(settlement, now))
        self._timers.arm(lane, when)

    def _expire(self, lane: Lane, now: float) -> None:
        """Fail the batches whose deadline passed; those in flight stay in their request until its answer."""
        if lane.open is not None and lane.open.deadline <= now:
            lane.seal_open(now)
        while lane.queue and lane.queue[0].deadline <= now:
            self._time_out(lane.queue.popleft(), now)
        for batch in lane.in_flight:
            if batch.deadline <= now and not batch.done:
                self._note_written(lane, goes_on=True)
                self._time_out(batch, now)

    def _note_written(self, lane: Lane, *, goes_on: bool) -> None:
        """Before batches in flight fail: they may be stored if a byte of their request went out.

        `goes_on`: it will go out, if it has not yet, because the connection stays.
        """
        for request in lane.link.in_flight if lane.link is not None else ():
            if goes_on or request.wrote_any:
                for batch in request.batches:
                    if batch.lane is lane:
                        batch.maybe_written = True

    def _time_out(self, batch: Batch, now: float) -> None:
        lane = batch.lane
        why = batch.last_error
        if why is None and lane.state is LaneState.WAITING:
            why = ConnectError(self.metadata.route(lane.topic, lane.partition).reason)
        self._fail(batch, delivery_timed_out(batch, why, now))

    def _give_up(self, lane: Lane, reason: str, now: float) -> None:
        lane.seal_open(now)
        while lane.queue:
            batch = lane.queue.popleft()
            self._fail(batch, gone(batch, reason, now))

    # Links.

    def _link(self, spu: int, isolation: Isolation) -> Link:
        link = self.links.get((spu, isolation))
        if link is None:
            link = self.links[spu, isolation] = Link(spu, isolation)
        return link

    def _connect(self, link: Link, now: float) -> None:
        link.state = LinkState.CONNECTING
        link.generation += 1
        link.deadline = now + self.connect_timeout
        self._actions.append(Connect(link, link.generation))
        self._arm_link(link, now)

    def _fill(self, link: Link, now: float) -> None:
        """Write requests while the link takes them."""
        while link.queue and link.state is LinkState.UP and self._takes_more(link):
            request = self._compose(link, now)
            if request is None:
                break
            link.in_flight.append(request)
            self._actions.append(Write(request))
            self._arm_link(link, now)

    def _takes_more(self, link: Link) -> bool:
        if len(link.in_flight) >= MAX_UNREAD:
            return False
        return sum(1 for request in link.in_flight if request.acked or not request.written) < MAX_IN_FLIGHT

    def _compose(self, link: Link, now: float) -> Request | None:
        """Take as many ready batches as one request may hold."""
        entries: list[tuple[Lane, list[Batch]]] = []
        partitions: set[tuple[str, int]] = set()
        left_over: list[Lane] = []
        room = 0
        while link.queue:
            lane = link.queue.popleft()
            if not self._is_queued(lane, link) or lane in left_over:
                continue
            if not entries:
                room = lane.max_request_size
            if entries and (not _may_share(lane, entries[0][0]) or (lane.topic, lane.partition) in partitions):
                left_over.append(lane)
                continue
            batches = self._take(lane, room, now)
            if not batches:
                if lane.queue:
                    left_over.append(lane)
                    break  # the request is full
                self._attend(lane, now)  # what was ready has expired
                continue
            room -= sum(batch.builder.size for batch in batches)
            partitions.add((lane.topic, lane.partition))
            entries.append((lane, batches))
            self._start(lane, batches)
        link.queue.extendleft(reversed(left_over))
        if not entries:
            return None
        entries.sort(key=lambda entry: entry[0].topic)  # a topic's partitions stand together in a request
        return Request(link, entries, now)

    def _start(self, lane: Lane, batches: list[Batch]) -> None:
        self._move(lane, Event.SEND)
        lane.leave_at = None
        lane.in_flight = batches
        for batch in batches:
            batch.in_request = True
            if batch.attempts:
                lane.channel.counters.records_retried += batch.builder.count
            batch.attempts += 1

    def _take(self, lane: Lane, room: int, now: float) -> list[Batch]:
        """Remove and return the lane's ready batches, oldest first, that fit into `room` bytes."""
        taken = []
        while lane.queue or (lane.open is not None and lane.open.ready_at <= now):
            if not lane.queue:
                lane.seal_open(now)
            if lane.queue[0].builder.size > room:
                break
            batch = lane.queue.popleft()
            room -= batch.builder.size
            taken.append(batch)
            if lane.singly:
                break
        return taken

    def _is_queued(self, lane: Lane, link: Link) -> bool:
        return lane.state is LaneState.QUEUED and lane.link is link

    def _arm_link(self, link: Link, now: float) -> None:
        when: float | None = None
        if link.state is LinkState.CONNECTING:
            when = link.deadline
        elif link.in_flight:
            when = max(self._reply_deadline(link.in_flight[0]), now)
        if when is not None:
            self._timers.arm(link, when)

    def _reply_deadline(self, request: Request) -> float:
        """When the answer to the request that is first in line is late."""
        patience = self.request_timeout
        if request.acked and request.link.isolation is Isolation.READ_COMMITTED:
            # The SPU waits for one entry after the other, each for the whole time.
            patience += sum(lane.channel.config.server_timeout for lane, _ in request.entries)
        deadline = request.in_line_at + patience
        if len(request.link.in_flight) > 1:
            return deadline  # others stand behind it on this connection, and must not pay for its short deadline
        latest = max((batch.deadline for batch in request.batches), default=deadline)
        return min(deadline, latest)

    def _link_time(self, link: Link, now: float) -> None:
        error: FluvioError | None = None
        if link.state is LinkState.CONNECTING and now >= link.deadline:
            error = ConnectTimeoutError(
                f"{link.peer} did not complete the connection within {self.connect_timeout} s (connect_timeout)"
            )
        elif link.state is LinkState.UP and link.in_flight and now >= self._reply_deadline(link.in_flight[0]):
            waited = now - link.in_flight[0].in_line_at
            error = RequestTimeoutError(f"{link.peer} did not answer a produce request within {waited:.1f} s")
        if error is not None:
            self._drop_connection(link, error, now)
        self._arm_link(link, now)

    def _leave(self, spu: int, now: float) -> None:
        """The SC says that an SPU is offline: do not wait for answers from it."""
        for link in list(self.links.values()):
            if link.spu == spu and link.state is not LinkState.DOWN:
                self._drop_connection(link, ConnectError(f"the SC reported SPU {spu} offline"), now)

    def _drop_connection(self, link: Link, error: FluvioError, now: float) -> None:
        self._actions.append(Disconnect(link))
        self._lose(link, error, now)

    def _leader(self, lane: Lane) -> int | None:
        """Return the SPU that the metadata names, online or not."""
        item = self.metadata.partitions.get((lane.topic, lane.partition))
        return None if item is None else item.spec.leader

    def _note_loss(self, link: Link, error: FluvioError) -> None:
        first = link.last_error is None
        link.last_error = error
        if first and (link.in_flight or any(self._is_queued(lane, link) for lane in link.queue)):
            self.report("warning", "connection.lost", spu=link.spu, error=str(error))

    # Answers.

    def _entry_answered(
        self, lane: Lane, batches: list[Batch], link: Link, result: PartitionResult, now: float
    ) -> None:
        lane.in_flight = []
        code = result.error_code
        if not code.code:
            self._acknowledge(lane, batches, result.base_offset)
            self._recovered(lane)
            self._attend(lane, now)
            return
        treatment = treatment_of(code.code)
        error = refused(code, lane.topic, lane.partition, link.spu)
        if treatment is Treatment.SETTLE:
            self._begin_settlement(lane, batches, link, result.base_offset, error, now)
            return
        if treatment.may_be_stored:
            for batch in batches:
                batch.maybe_written = True
        if treatment is Treatment.HALVE:
            self._refuse_size(lane, batches, error, now)
        elif treatment is Treatment.REJECT:
            for batch in batches:
                self._fail(batch, rejected(batch, error, now))
            self._began_to_fail(lane, error)
            self._attend(lane, now)
        else:
            floor = LONG_DELAY if treatment is Treatment.WAIT_LONG else 0.0
            self._attempt_failed(lane, batches, error, now, floor)

    def _unread_answer(self, lane: Lane, count: int, result: PartitionResult) -> None:
        """At-most-once: nobody waits for this, but a refusal is counted, and reported once a streak."""
        code = result.error_code
        if not code.code:
            lane.refused = False
            return
        lane.channel.counters.records_rejected += count
        if not lane.refused:
            lane.refused = True
            where = {"topic": lane.topic, "partition": lane.partition}
            self.report("warning", "at_most_once.refused", **where, code=code.code, error=code.text)

    def _acknowledge(self, lane: Lane, batches: list[Batch], base_offset: int) -> None:
        lane.in_flight = []
        for batch in batches:
            if not batch.done:
                self._conclude(Acknowledge(batch, None if lane.channel.filtered else base_offset))
            base_offset += batch.builder.count

    def _garbled(self, request: Request, what: str, now: float) -> None:
        link = request.link
        link.in_flight.appendleft(request)
        self._drop_connection(link, ProtocolError(f"{link.peer} {what}"), now)

    def _attempt_failed(
        self, lane: Lane, batches: list[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        """Spend one retry of each of these batches; those that have one go back to the front of the lane's queue."""
        lane.in_flight = []
        self._began_to_fail(lane, error)
        moved = self._leader_moved(lane)  # which is what a delay would wait for
        delay: float | None = None
        survivors = []
        for batch in batches:
            if batch.done:
                continue
            batch.last_error = error
            batch.in_request = False
            if batch.deadline <= now:  # whatever else is spent
                self._fail(batch, delivery_timed_out(batch, error, now))
                continue
            wait = batch.next_delay()
            if wait is None:
                self._fail(batch, retries_exhausted(batch, error, now))
                continue
            wait = 0.0 if moved else max(wait, floor)
            if now + wait >= batch.deadline:
                self._fail(batch, delivery_timed_out(batch, error, now))
                continue
            survivors.append(batch)
            delay = wait if delay is None else delay
        lane.queue.extendleft(reversed(survivors))
        if delay:
            lane.retry_at = now + delay
            self._move(lane, Event.BACK_OFF)
            self._arm_lane(lane, now)
        else:
            self._attend(lane, now)

    def _leader_moved(self, lane: Lane) -> bool:
        """Whether the metadata names another leader than the one that the failed attempt went to."""
        route = self.metadata.route(lane.topic, lane.partition)
        return route.spu is not None and lane.link is not None and route.spu != lane.link.spu

    def _refuse_size(self, lane: Lane, batches: list[Batch], error: ServerError, now: float) -> None:
        """Code 10: send batches one by one, then those that are refused in halves; a lone record is refused for good.

        Which of an entry's batches was too large is not told.  None of this spends a retry: it ends by itself.
        """
        lane.singly = True
        pieces = [batch for batch in batches if not batch.done]
        for batch in pieces:
            batch.in_request = False
        if len(batches) == 1 and pieces:
            if batches[0].builder.count == 1:
                self._fail(batches[0], rejected(batches[0], error, now))
                pieces = []
            else:
                pieces = [*halve(batches[0])]
                lane.batch_size = min(lane.batch_size, max(piece.builder.size for piece in pieces))
        lane.queue.extendleft(reversed(pieces))
        self._attend(lane, now)

    def _fail(self, batch: Batch, failure: Callable[[int], FluvioError]) -> None:
        if not batch.done:
            self._conclude(Fail(batch, failure) if batch.lane.acked else Drop(batch, failure(0)))

    def _conclude(self, decision: Decision) -> None:
        batch = decision.batch
        batch.decision, batch.done = decision, True
        self._actions.append(decision)

    def _began_to_fail(self, lane: Lane, error: FluvioError) -> None:
        if not lane.failing:
            self._on_failing(lane, True)
            event = "delivery.failing" if lane.acked else "at_most_once.dropping"
            self.report("warning", event, topic=lane.topic, partition=lane.partition, error=str(error))

    def _recovered(self, lane: Lane) -> None:
        if lane.failing:
            self._on_failing(lane, False)
            self.report("info", "delivery.recovered", topic=lane.topic, partition=lane.partition)

    # Read-committed batches that are stored, and whose replication is not confirmed.

    def _begin_settlement(
        self, lane: Lane, batches: list[Batch], link: Link, base_offset: int, error: FluvioError, now: float
    ) -> None:
        lane.in_flight = batches
        lane.settlement = Settlement(lane, link, batches, base_offset, now)
        for batch in batches:
            batch.maybe_written = True
            batch.last_error = error
        self._move(lane, Event.SETTLE)
        self._arm_lane(lane, now)  # for now: it is asked for by `_settle_time`

    def _settle_time(self, lane: Lane, now: float) -> None:
        settlement = lane.settlement
        assert settlement is not None
        offset = settlement.base_offset
        for batch in settlement.batches:
            if batch.deadline <= now:
                self._fail(batch, commit_timed_out(batch, offset, now))
            offset += batch.builder.count
        if all(batch.done for batch in settlement.batches):
            lane.settlement = None
            lane.in_flight = []
            self._attend(lane, now)
        elif settlement.asked_at is None:
            if settlement.next_ask <= now:
                settlement.asked_at = now
                self._actions.append(Ask(settlement))
        elif self._settlement_due(settlement, now) <= now:
            peer, waited = settlement.link.peer, now - settlement.asked_at
            error = RequestTimeoutError(f"{peer} did not answer for the partition's offsets within {waited:.1f} s")
            self._drop_connection(settlement.link, error, now)

    def _settlement_due(self, settlement: Settlement, now: float) -> float:
        """When a settlement has to be asked for, or its answer is late."""
        if settlement.asked_at is None:
            return settlement.next_ask
        if settlement.link.in_flight:
            return now + SETTLE_INTERVAL  # it stands behind these, whose answers have their own time
        return settlement.asked_at + self.request_timeout

    def _unsettle(self, settlement: Settlement, error: FluvioError, now: float) -> None:
        """What the leader said does not hold any more: an ordinary failed attempt."""
        lane = settlement.lane
        lane.settlement = None
        self._attempt_failed(lane, settlement.batches, error, now)

    def _settling_on(self, link: Link) -> Iterable[Lane]:
        for lanes in self._lanes.values():
            for lane in lanes:
                if lane.settlement is not None and lane.settlement.link is link:
                    yield lane

    def report(self, level: str, event: str, **fields: object) -> None:
        """Have a change of state logged."""
        self._actions.append(Report(level, event, fields))


def _may_share(lane: Lane, first: Lane) -> bool:
    """Whether two lanes' batches may stand in one request: what the request says must hold for both."""
    one, other = lane.channel.config, first.channel.config
    return (
        lane.acked == first.acked
        and one.server_timeout == other.server_timeout
        and one.smartmodules == other.smartmodules
    )


def _unique(lanes: Iterable[Lane]) -> list[Lane]:
    return list(dict.fromkeys(lanes))
