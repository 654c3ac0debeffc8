# SPDX-License-Identifier: Apache-2.0
"""The sender: takes what the connections brought, tells the dispatcher, and carries its actions out.

`prepare` and `work` are one step.  What is decided is decided by the dispatcher, under the client's lock; reading,
writing, encoding, completing futures and logging happen outside it.  One thread at a time runs steps: whoever has the
turn, see `_sender_thread`.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync._core.actions import (
    Acknowledge,
    Ask,
    Connect,
    Decision,
    Disconnect,
    Drop,
    Fail,
    HandOver,
    Report,
    Write,
)
from fluvio_sync._core.failures import unusable
from fluvio_sync._core.pipeline import LinkState, Request, Settlement
from fluvio_sync._net.blocking import connect_timed_out
from fluvio_sync._net.connection import Connection, Stage
from fluvio_sync._runtime.spu_requests import ask_offsets, encode_produce, read_high_watermark
from fluvio_sync.errors import ConnectError, FluvioError, ProtocolError, UnsupportedVersionError
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._base.log import Logger
    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.dispatcher import Dispatcher
    from fluvio_sync._core.pipeline import Link
    from fluvio_sync._net.connection import Peer
    from fluvio_sync._net.poller import Poller
    from fluvio_sync._runtime.accumulator import Accumulator
    from fluvio_sync._runtime.metadata_watch import MetadataWatch
    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.protocol.watch import WatchUpdate

    # Something that happened, to be told to the dispatcher with the lock held.
    Happening = Callable[[float], None]

# Seconds of one wait; pollers refuse very long ones, and a policy may have a timeout of weeks.
LONGEST_WAIT = 3600.0


class Line:
    """A link's connection and what is expected on it."""

    __slots__ = ("connection", "expected", "generation", "link")

    def __init__(self, link: Link, generation: int, connection: Connection) -> None:
        self.link = link
        self.generation = generation
        self.connection = connection
        connection.owner = self
        self.expected: dict[int, Request | Settlement] = {}  # by correlation id


class Sender:
    """Owns the connections to the SPUs and whatever is on its way between them and the dispatcher."""

    def __init__(
        self,
        accumulator: Accumulator,
        dispatcher: Dispatcher,
        watch: MetadataWatch,
        poller: Poller,
        *,
        peer_of: Callable[[Link], Peer],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`peer_of`: whom a link connects to; raises `FluvioError` if the metadata has no address."""
        self.reconnects = 0
        self.last_error: tuple[str, int] | None = None  # text, and when in milliseconds since the epoch
        self.settled = 0  # counts batches
        self.torn = False  # a step is under way, or was left by an exception
        # Whether signals can raise exceptions in the thread that has the turn.  Then none is taken for a bug of this
        # library, and whoever waits for a future is told by another thread, which nothing interrupts.
        self.interruptible = False
        self.untold: deque[Decision] = deque()
        self._accumulator = accumulator
        self._dispatcher = dispatcher
        self._watch = watch
        self._poller = poller
        self._peer_of = peer_of
        self._clock = clock
        self._log = log
        self._lines: dict[Link, Line] = {}
        self._unready: dict[Connection, None] = {}  # these have timers, or more to read
        self._told: deque[Happening] = deque()  # by other threads
        self._happenings: list[Happening] = []
        self._finished: list[Decision] = []

    def tell(self, happening: Happening) -> None:
        """Have the step do something with the client's lock held; any thread."""
        self._told.append(happening)
        self._poller.wake()

    def abandon(self) -> None:
        """Close the sockets, of a sender that nobody runs (any more), or of the parent's in the child of a fork."""
        for connection in self._connections():
            connection.close()
        self._lines.clear()
        self._poller.close()

    def fail_rest(self) -> None:
        """Leave no future pending that nobody will resolve any more."""
        self._accumulator.refuse_more()
        if self.torn:
            self._recover()
        with self._accumulator.lock:
            self._dispatcher.abandon(self._accumulator.lanes(), self._clock.monotonic())
        self._decide_all()

    def write_no_more(self) -> None:
        """Give up what the sockets have not taken: its records failed, or were dropped."""
        for line in self._lines.values():
            line.connection.write_no_more()
            self._mind(line.connection)

    def is_owed(self) -> bool:
        """Whether answers are expected."""
        return any(line.expected and line.connection.stage is Stage.READY for line in self._lines.values())

    # The step.
    #
    # An exception may leave it anywhere: a bug, or Ctrl-C where a thread of the application runs it.  The next step
    # begins by making everything right again.  While it waits there is nothing to be made right.

    def _begin(self) -> bool:
        """Begin a step, or a part of one; returns whether the last one was left by an exception."""
        torn, self.torn = self.torn, True
        if torn:
            self._recover()
        return torn

    def prepare(self) -> float:
        """Return how long `work` may wait, in seconds."""
        if self._begin():
            self._decide_all()
        # What `send()` noted waits for `work`, which reads first: what the SC says may decide where it goes.
        wait = self._due() - self._clock.monotonic()
        self.torn = False
        return max(0.0, min(wait, LONGEST_WAIT))

    def work(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the connections, and do what there is to do."""
        ready = self._poller.wait(timeout)
        self._begin()
        self._take(ready)
        self._decide_all()
        self.torn = False

    def work_at_once(self) -> None:
        """Do what `send()` noted, and look at no connection."""
        self._begin()
        self._decide_all()
        self.torn = False

    def _recover(self) -> None:
        """Begin again with new connections: what the step had in hand may be half done.  May itself be interrupted."""
        error = ConnectError("the sender was interrupted, and began again with new connections")
        for connection in self._connections():
            connection.close()
        self._poller.reset()
        self._lines = {}
        self._unready = {}
        self._happenings = []
        self._finished = []
        self._log.warning("sender.restarted", error=str(error))
        accumulator = self._accumulator
        with accumulator.lock:
            now = self._clock.monotonic()
            self._watch.lose(error, now)
            self._dispatcher.recover(accumulator.lanes(), error, now)
            accumulator.recover(self._watch.metadata)

    def _decide_all(self) -> None:
        while self._decide():
            pass

    def _decide(self) -> bool:
        """Tell the dispatcher what happened and carry out what it wants; False if that was nothing."""
        accumulator, dispatcher = self._accumulator, self._dispatcher
        happenings, self._happenings = self._happenings, []
        with accumulator.lock:
            now = self._clock.monotonic()
            for happening in happenings:
                happening(now)
            while self._told:
                self._told[0](now)
                self._told.popleft()  # only now: interrupted, it is done again
            for lane in accumulator.take_noted():
                dispatcher.records(lane, now)
            dispatcher.tick(now)
            actions = dispatcher.take_actions(now)
        for action in actions:
            try:
                self._perform(action)
            except Exception:  # a bug must cost what it concerns, not what stands behind it
                if self.interruptible:
                    raise
                self._log.error("sender.crashed", exc_info=True)
                self._give_up(action)
        finished, self._finished = self._finished, []
        if finished:
            self._settle(finished)
        return bool(self._happenings or accumulator.noted)

    def _settle(self, finished: list[Decision]) -> None:
        with self._accumulator.lock:
            self._accumulator.settle(finished, self._clock.monotonic())
        self.settled += len(finished)
        self._log_losses(finished)

    def _take(self, ready: list[tuple[Connection, int]]) -> None:
        """Let the connections go on."""
        now = self._clock.monotonic()
        for connection, events in ready:
            self._drive(connection, events, now)
        for connection in list(self._unready):
            self._drive(connection, 0, now)
        watched = self._watch.connection
        if watched is None or watched.inbox or not self._watch.established:
            self._mind_watch(now)

    def _due(self) -> float:
        """When there is something to do though nothing arrives; from here on `send()` has to wake the poller."""
        accumulator = self._accumulator
        with accumulator.lock:
            accumulator.nap += 1
            at_once = accumulator.noted or self._told or self._happenings
            return -math.inf if at_once else self.next_timer()

    def next_timer(self) -> float:
        """When time alone makes something to do; the caller holds the lock."""
        timer = self._dispatcher.next_timer()
        due = math.inf if timer is None else timer
        for connection in list(self._unready):  # another thread may have the turn
            due = min(due, connection.next_timer())
        watched = self._watch.connection
        if watched is None:
            return min(due, self._watch.retry_at)
        return due if self._watch.established else min(due, watched.deadline)

    def _connections(self) -> list[Connection]:
        connections = [line.connection for line in self._lines.values()]
        if self._watch.connection is not None:
            connections.append(self._watch.connection)
        return connections

    def _mind(self, connection: Connection) -> None:
        """Note what a connection waits for now."""
        self._poller.update(connection)
        if connection.more or connection.stage in (Stage.RESOLVING, Stage.CONNECTING):
            self._unready[connection] = None
        else:
            self._unready.pop(connection, None)

    def _close(self, connection: Connection) -> None:
        self._unready.pop(connection, None)
        self._poller.forget(connection)
        connection.close()

    def _drive(self, connection: Connection, events: int, now: float) -> None:
        """Let a connection go on, and take what it brought."""
        if connection.stage is Stage.CLOSED:
            return  # earlier in this step
        line: Line | None = connection.owner
        error: FluvioError | None = None
        try:
            sock = connection.sock
            connection.tick(now)
            if events and connection.sock is sock:  # they are not those of another address
                connection.on_io(events, now)
        except FluvioError as failure:
            error = failure
        if line is None:
            if error is not None:
                self._lose_watch(error)
            else:
                self._mind(connection)
            return
        try:
            self._collect(line)
        except FluvioError as failure:
            error = failure
        if error is not None:
            self._lose(line, error)
        else:
            self._mind(connection)

    def _collect(self, line: Line) -> None:
        """Turn what a connection brought into happenings; raises `ProtocolError`."""
        connection, link, dispatcher = line.connection, line.link, self._dispatcher
        if connection.stage is Stage.READY and link.state is LinkState.CONNECTING:
            connection.version(SpuApi.PRODUCE)  # raises if there is none in common
            self._happenings.append(partial(dispatcher.connected, link, line.generation))
        self._collect_written(connection)
        while connection.inbox:
            correlation, reader = connection.inbox.popleft()
            expected = line.expected.pop(correlation, None)
            try:
                self._answered(expected, reader, connection)
            except ProtocolError as error:
                raise connection.garbled(error) from error

    def _collect_written(self, connection: Connection) -> None:
        """Note what of the requests was written; once more when the connection failed, maybe in the middle of them."""
        while connection.first_bytes:
            tag = connection.first_bytes.popleft()
            if isinstance(tag, Request):
                tag.wrote_any = True
        while connection.sent:
            tag = connection.sent.popleft()
            if isinstance(tag, Request) and not tag.acked:  # of others, all that counts is the answer
                self._happenings.append(partial(self._dispatcher.written, tag))

    def _answered(self, expected: Request | Settlement | None, reader: Reader, connection: Connection) -> None:
        if isinstance(expected, Request):
            response = ProduceResponse.read(reader, connection.version(SpuApi.PRODUCE))
            self._happenings.append(partial(self._dispatcher.replied, expected, response))
        elif expected is not None:
            mark = read_high_watermark(expected, reader, connection)
            self._happenings.append(partial(self._dispatcher.offsets_replied, expected, mark))

    def _lose(self, line: Line, error: FluvioError) -> None:
        """A connection failed: by itself, not on the dispatcher's word."""
        if self._lines.get(line.link) is line:
            del self._lines[line.link]
            self._collect_written(line.connection)
            self._close(line.connection)
            self._happenings.append(partial(self._dispatcher.disconnected, line.link, line.generation, error))

    # The SC.

    def _mind_watch(self, now: float) -> None:
        """Take the SC's pushes; connect again if it is time."""
        watch = self._watch
        if watch.connection is None:
            if now >= watch.retry_at:
                self._drive(watch.start(now), 0, now)
            return
        connection = watch.connection
        try:
            updates = watch.advance()
            self._poller.update(connection)
        except FluvioError as error:
            self._lose_watch(error)
            return
        if not watch.established and not updates and now >= connection.deadline:
            self._lose_watch(connect_timed_out(connection, watch.timeout, "pushing its metadata"))
        if watch.unreadable is not None:
            self._log.warning("metadata.unreadable", error=str(watch.unreadable))
            watch.unreadable = None
        if updates:
            self._happenings.append(partial(self._take_metadata, updates))

    def _take_metadata(self, updates: list[WatchUpdate], now: float) -> None:
        watch = self._watch
        news = watch.take_over(updates)
        if news:
            self._accumulator.metadata_changed(watch.metadata, news)
            self._dispatcher.metadata_changed(news, now)
        if watch.established and watch.last_error is not None:
            watch.last_error = None
            self._dispatcher.report("info", "metadata.restored")

    def _lose_watch(self, error: FluvioError) -> None:
        watch = self._watch
        first = watch.last_error is None
        if watch.connection is not None:
            self._close(watch.connection)
        with self._accumulator.lock:
            now = self._clock.monotonic()
            self._dispatcher.metadata_changed(watch.lose(error, now), now)
            self._accumulator.changed.notify_all()
        self._note_error(str(error))
        if first:
            self._log.warning("metadata.lost", error=str(error))

    # Actions.

    def _perform(self, action: Action) -> None:
        if isinstance(action, Write):
            self._write(action.request)
        elif isinstance(action, Acknowledge):
            action.batch.outcome.acknowledge(action.base_offset)
            self._tell(action)
        elif isinstance(action, Fail):
            action.batch.outcome.fail(action.failure)
            self._tell(action)
        elif isinstance(action, HandOver | Drop):
            self._finished.append(action)
        elif isinstance(action, Connect):
            self._connect(action.link, action.generation)
        elif isinstance(action, Disconnect):
            line = self._lines.pop(action.link, None)
            if line is not None:
                self._close(line.connection)
        elif isinstance(action, Ask):
            self._ask(action.settlement)
        else:
            self._report(action)

    def _tell(self, action: Decision) -> None:
        """Tell those who wait for a finished outcome."""
        outcome = action.batch.outcome
        if not outcome.has_audience:
            self._finished.append(action)
        elif self.interruptible:
            self.untold.append(action)
            self._poller.ring()
        else:
            outcome.publish()
            self._finished.append(action)

    def publish(self) -> None:
        """Tell those whom an interruptible thread left to others; by one that has not got the turn, maybe."""
        told = []
        while self.untold:
            action = self.untold.popleft()
            action.batch.outcome.publish()
            told.append(action)
        if told:
            self._settle(told)
            self._poller.wake()  # whoever drives may have waited for that

    def _give_up(self, action: Action) -> None:
        """Bring to an end what could not be carried out, so that nobody waits for it for ever."""
        error = _internal_error()
        if isinstance(action, Decision):
            action.batch.maybe_written = True
            # Without effect on an outcome that is told already.
            action.batch.outcome.fail(unusable(action.batch, error, self._clock.monotonic()))
            if action not in self._finished:
                self._tell(action)
        elif isinstance(action, Connect):
            self._happenings.append(partial(self._dispatcher.disconnected, action.link, action.generation, error))
        elif isinstance(action, Write | Ask):
            link = action.request.link if isinstance(action, Write) else action.settlement.link
            if link in self._lines:
                self._lose(self._lines[link], error)

    def _log_losses(self, finished: list[Decision]) -> None:
        """One line for the records of a partition that failed together."""
        lost: dict[tuple[str, int], list[Fail]] = {}
        for action in finished:
            if isinstance(action, Fail):
                lane = action.batch.lane
                lost.setdefault((lane.topic, lane.partition), []).append(action)
        for (topic, partition), fails in lost.items():
            records = sum(action.batch.builder.count for action in fails)
            error = str(fails[0].failure(0))
            self._log.error("records.failed", topic=topic, partition=partition, records=records, error=error)
            self._note_error(error)

    def _note_error(self, text: str) -> None:
        self.last_error = (text, self._clock.time_ms())

    def _report(self, report: Report) -> None:
        if "error" in report.fields:
            self._note_error(str(report.fields["error"]))
        getattr(self._log, report.level)(report.event, **report.fields)

    def _connect(self, link: Link, generation: int) -> None:
        now = self._clock.monotonic()
        try:
            peer = self._peer_of(link)
            link.peer = str(peer)
            connection = Connection(peer, timeout=self._dispatcher.connect_timeout, now=now, notify=self._poller.wake)
        except FluvioError as error:
            self._happenings.append(partial(self._dispatcher.disconnected, link, generation, error))
            return
        self._lines[link] = Line(link, generation, connection)
        if link.was_up:
            self.reconnects += 1
        self._drive(connection, 0, now)

    def _write(self, request: Request) -> None:
        line = self._lines.get(request.link)
        if line is None:
            return  # lost in the same step: the dispatcher is being told
        connection = line.connection
        correlation = connection.next_correlation()
        line.expected[correlation] = request
        buffers = encode_produce(request, connection, correlation)
        try:
            connection.send(buffers, request)
            self._collect(line)
        except FluvioError as error:
            self._lose(line, error)
        else:
            self._mind(connection)

    def _ask(self, settlement: Settlement) -> None:
        line = self._lines.get(settlement.link)
        if line is None:
            return
        try:
            correlation = ask_offsets(settlement, line.connection)
        except UnsupportedVersionError:
            self._happenings.append(partial(self._dispatcher.offsets_replied, settlement, None))
        except FluvioError as error:
            self._lose(line, error)
        else:
            line.expected[correlation] = settlement
            self._mind(line.connection)


def _internal_error() -> ConnectError:
    return ConnectError("an internal error of the sender, see the log")
