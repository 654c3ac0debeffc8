# SPDX-License-Identifier: Apache-2.0
"""The sender: polls the connections, tells the dispatcher what happened, and carries its actions out.

`Sender.step` is the whole of it, run by a daemon thread.  What is decided is decided by the dispatcher, under the
client's lock; reading, writing, encoding, completing futures and logging happen outside it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync._actions import (
    Acknowledge,
    Ask,
    Connect,
    Disconnect,
    Drop,
    Fail,
    Finished,
    HandOver,
    Report,
    Write,
)
from fluvio_sync._blocking import connect_timed_out
from fluvio_sync._connection import READ, Connection, Stage
from fluvio_sync._failures import unusable
from fluvio_sync._link import LinkState, Request, Settlement
from fluvio_sync._spu_requests import ask_offsets, encode_produce, read_high_watermark
from fluvio_sync.errors import ConnectError, FluvioError, UnsupportedVersionError
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._accumulator import Accumulator
    from fluvio_sync._actions import Action
    from fluvio_sync._clock import Clock
    from fluvio_sync._connection import Peer
    from fluvio_sync._dispatch import Dispatcher
    from fluvio_sync._link import Link
    from fluvio_sync._log import Logger
    from fluvio_sync._watch import MetadataWatch
    from fluvio_sync.protocol.metadata import WatchUpdate

    # Something that happened, to be told to the dispatcher with the lock held.
    Happening = Callable[[float], None]

# Seconds that closing waits for replies to what was written: a close with unread replies resets the connection, and
# the reset may overtake what the server has not read yet.
_LINGER = 2.0
# Seconds that stopping waits for the thread; reading last replies is the longest that it does.
_LAST_STEP = _LINGER + 3.0
# Seconds of one poll; pollers refuse very long ones, and a policy may have a timeout of weeks.
_LONGEST_POLL = 3600.0
# A failure of the sender itself is a bug; after this many in a row it gives up instead of spinning.
_MAX_CRASHES = 10


class Line:
    """A link's connection and what is expected on it."""

    __slots__ = ("connection", "expected", "generation", "link")

    def __init__(self, link: Link, generation: int, connection: Connection) -> None:
        self.link = link
        self.generation = generation
        self.connection = connection
        self.expected: dict[int, Request | Settlement] = {}  # by correlation id


class Sender:
    """Owns the connections to the SPUs, the selector and the thread."""

    def __init__(
        self,
        accumulator: Accumulator,
        dispatcher: Dispatcher,
        watch: MetadataWatch,
        *,
        peer_of: Callable[[Link], Peer],
        clock: Clock,
        log: Logger,
        name: str,
    ) -> None:
        """`peer_of`: whom a link connects to; raises `FluvioError` if the metadata has no address."""
        self.reconnects = 0
        self.last_error: tuple[str, int] | None = None  # text, and when in milliseconds since the epoch
        self._accumulator = accumulator
        self._dispatcher = dispatcher
        self._watch = watch
        self._peer_of = peer_of
        self._clock = clock
        self._log = log
        self._lines: dict[Link, Line] = {}
        self._torn = False  # a step is under way, or was left by an exception
        self._told: deque[Happening] = deque()  # by other threads
        self._happenings: list[Happening] = []
        self._finished: list[Finished] = []
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._watch_sockets()
        self._stopping = False
        self._retiring = False
        self._crashes = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # Life.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have the step look at what changed; any thread."""
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake anyway; closed: nobody is there
            self._wake_out.send(b"\0")

    def tell(self, happening: Happening) -> None:
        """Have the step do something with the client's lock held; any thread."""
        self._told.append(happening)
        self.wake()

    def ask_to_stop(self) -> None:
        """Have the thread end: what is unresolved fails, replies to what was written are read, sockets are closed."""
        self._stopping = True
        self.wake()

    def stop(self) -> None:
        """Have the thread end and wait for it."""
        self.ask_to_stop()
        self._thread.join(_LAST_STEP)

    def retire(self) -> None:
        """Have the thread end by itself once nothing is unresolved; lock-free, for finalizers."""
        self._retiring = True
        self.wake()

    def has_ended(self) -> bool:
        """Whether the thread ran and came to its end."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def abandon(self) -> None:
        """Close the sockets of a sender whose thread does not run here: never started, or the parent's of a fork."""
        for connection in self._connections():
            connection.close()
        self._lines.clear()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _watch_sockets(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_in, READ)
        self._registered: dict[int, tuple[int, Connection]] = {}

    def _run(self) -> None:
        while not self._stopping and not (self._retiring and self._accumulator.is_empty()):
            try:
                self.step()
                self._crashes = 0
            except Exception:  # noqa: BLE001 - a bug must cost its requests, not all that is ever sent
                self._log.error("sender.crashed", exc_info=True)
                self._crashes += 1
                self._stopping = self._stopping or self._crashes >= _MAX_CRASHES
        try:
            self._fail_rest()
            self._read_last_replies()
        finally:
            self.abandon()
            self._accumulator.callbacks.stop()

    def _fail_rest(self) -> None:
        """Leave no future pending that nobody will resolve any more."""
        self._accumulator.refuse_more()
        if self._torn:
            self._recover()
        with self._accumulator.lock:
            self._dispatcher.abandon(self._accumulator.lanes(), self._clock.monotonic())
        self._decide_all()

    # The step.

    def step(self) -> None:
        """Wait for something to do, and do it.

        An exception may leave it anywhere: a bug, or Ctrl-C where a thread of the application runs it.  The next step
        begins by making everything right again.  While it waits there is nothing to be made right.
        """
        if self._torn:
            self._recover()
            self._torn = True
            self._decide_all()
        self._torn = True
        timeout = self._prepare()
        self._torn = False
        ready = self._selector.select(timeout)
        self._torn = True
        self._take(ready)
        self._decide_all()
        self._torn = False

    def _recover(self) -> None:
        """Begin again with new connections: what the step had in hand may be half done.  May itself be interrupted."""
        error = ConnectError("the sender was interrupted, and began again with new connections")
        for connection in self._connections():
            connection.close()
        self._selector.close()
        self._watch_sockets()
        self._lines = {}
        self._happenings = []
        self._finished = []
        self._log.warning("sender.restarted", error=str(error))
        accumulator = self._accumulator
        with accumulator.lock:
            now = self._clock.monotonic()
            self._watch.lose(error, now)
            self._dispatcher.recover(accumulator.lanes(), error, now)
            accumulator.recover(self._watch.metadata)
        self._torn = False

    def _decide_all(self) -> None:
        while self._decide():
            pass

    def _decide(self) -> bool:
        """Tell the dispatcher what happened and carry out what it wants; False if that was nothing."""
        accumulator, dispatcher = self._accumulator, self._dispatcher
        happenings, self._happenings = self._happenings, []
        finished, self._finished = self._finished, []
        with accumulator.lock:
            now = self._clock.monotonic()
            if finished:
                accumulator.settle(finished, now)
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
            except Exception:  # noqa: BLE001 - a bug must cost what it concerns, not what stands behind it
                self._log.error("sender.crashed", exc_info=True)
                self._give_up(action)
        self._log_losses(finished)
        return bool(actions or self._happenings)

    def _prepare(self) -> float:
        """Have the selector ready and return how long it may wait, in seconds."""
        now = self._clock.monotonic()
        self._register()
        due = self._due()
        return _LONGEST_POLL if due is None else max(0.0, min(_LONGEST_POLL, due - now))

    def _take(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        """Let the connections go on."""
        now = self._clock.monotonic()
        for key, events in ready:
            if key.fileobj is self._wake_in:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            else:
                self._drive(key.data, events, now)
        for connection in self._connections():
            if connection.more or connection.stage in (Stage.RESOLVING, Stage.CONNECTING):
                self._drive(connection, 0, now)
        self._mind_watch(now)

    def _due(self) -> float | None:
        """When there is something to do though nothing arrives; from here on `send()` has to wake the poll."""
        accumulator = self._accumulator
        with accumulator.lock:
            accumulator.nap += 1
            at_once = accumulator.noted or self._told or self._happenings
            times = [self._clock.monotonic() if at_once else self._dispatcher.next_timer()]
        times += [connection.next_timer() for connection in self._connections()]
        watched = self._watch.connection
        if watched is None:
            times.append(self._watch.retry_at)
        elif not self._watch.established:
            times.append(watched.deadline)
        return min((time for time in times if time is not None), default=None)

    def _connections(self) -> list[Connection]:
        connections = [line.connection for line in self._lines.values()]
        if self._watch.connection is not None:
            connections.append(self._watch.connection)
        return connections

    def _register(self) -> None:
        """Bring the selector up to date; sockets that are gone first, since their numbers are used again."""
        wanted = {
            connection.fileno(): (connection.events(), connection)
            for connection in self._connections()
            if connection.fileno() >= 0
        }
        for descriptor, known in list(self._registered.items()):
            if wanted.get(descriptor, (0, None))[1] is not known[1]:
                self._selector.unregister(descriptor)
                del self._registered[descriptor]
        for descriptor, (events, connection) in wanted.items():
            if descriptor not in self._registered:
                self._selector.register(descriptor, events, connection)
            elif self._registered[descriptor][0] != events:
                self._selector.modify(descriptor, events, connection)
            self._registered[descriptor] = (events, connection)

    def _drive(self, connection: Connection, events: int, now: float) -> None:
        """Let a connection go on, and take what it brought."""
        line = next((line for line in self._lines.values() if line.connection is connection), None)
        if line is None and connection is not self._watch.connection:
            return  # closed earlier in this step
        error: FluvioError | None = None
        try:
            connection.tick(now)
            if events:
                connection.on_io(events, now)
        except FluvioError as failure:
            error = failure
        if line is None:
            if error is not None:
                self._lose_watch(error)
            return
        try:
            self._collect(line)
        except FluvioError as failure:
            error = failure
        if error is not None:
            self._lose(line, error)

    def _collect(self, line: Line) -> None:
        """Turn what a connection brought into happenings; raises `ProtocolError`."""
        connection, link, dispatcher = line.connection, line.link, self._dispatcher
        if connection.stage is Stage.READY and link.state is LinkState.CONNECTING:
            connection.version(SpuApi.PRODUCE)  # raises if there is none in common
            self._happenings.append(partial(dispatcher.connected, link, line.generation))
        while connection.first_bytes:
            tag = connection.first_bytes.popleft()
            if isinstance(tag, Request):
                tag.wrote_any = True
        while connection.sent:
            tag = connection.sent.popleft()
            if isinstance(tag, Request):
                self._happenings.append(partial(dispatcher.written, tag))
        while connection.inbox:
            correlation, reader = connection.inbox.popleft()
            expected = line.expected.pop(correlation, None)
            with connection.reading():
                if isinstance(expected, Request):
                    response = ProduceResponse.read(reader, connection.version(SpuApi.PRODUCE))
                    self._happenings.append(partial(dispatcher.replied, expected, response))
                elif expected is not None:
                    mark = read_high_watermark(expected, reader, connection)
                    self._happenings.append(partial(dispatcher.offsets_replied, expected, mark))

    def _lose(self, line: Line, error: FluvioError) -> None:
        """A connection failed: by itself, not on the dispatcher's word."""
        if self._lines.get(line.link) is line:
            del self._lines[line.link]
            line.connection.close()
            self._happenings.append(partial(self._dispatcher.disconnected, line.link, line.generation, error))

    # The SC.

    def _mind_watch(self, now: float) -> None:
        """Take the SC's pushes; connect again if it is time."""
        watch = self._watch
        if watch.connection is None:
            if now >= watch.retry_at:
                self._drive(watch.start(now), 0, now)
            return
        try:
            updates = watch.advance()
        except FluvioError as error:
            self._lose_watch(error)
            return
        if not watch.established and now >= watch.connection.deadline:
            self._lose_watch(connect_timed_out(watch.connection, watch.timeout, "pushing its metadata"))
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
        with self._accumulator.lock:
            watch.lose(error, self._clock.monotonic())
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
            self._finished.append(action)
        elif isinstance(action, Fail):
            action.batch.outcome.fail(action.failure)
            self._finished.append(action)
        elif isinstance(action, HandOver | Drop):
            self._finished.append(action)
        elif isinstance(action, Connect):
            self._connect(action.link, action.generation)
        elif isinstance(action, Disconnect):
            line = self._lines.pop(action.link, None)
            if line is not None:
                line.connection.close()
        elif isinstance(action, Ask):
            self._ask(action.settlement)
        else:
            self._report(action)

    def _give_up(self, action: Action) -> None:
        """Bring to an end what could not be carried out, so that nobody waits for it for ever."""
        error = _internal_error()
        if isinstance(action, Finished):
            action.batch.maybe_written = True
            # Without effect on an outcome that is told already.
            action.batch.outcome.fail(unusable(action.batch, error, self._clock.monotonic()))
            if action not in self._finished:
                self._finished.append(action)
        elif isinstance(action, Connect):
            self._happenings.append(partial(self._dispatcher.disconnected, action.link, action.generation, error))
        elif isinstance(action, Write | Ask):
            link = action.request.link if isinstance(action, Write) else action.settlement.link
            if link in self._lines:
                self._lose(self._lines[link], error)

    def _log_losses(self, finished: list[Finished]) -> None:
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
            connection = Connection(peer, timeout=self._dispatcher.connect_timeout, now=now, notify=self.wake)
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

    # The end.

    def _read_last_replies(self) -> None:
        """Half-close the connections that owe replies, and read until the servers close them."""
        end = self._clock.monotonic() + _LINGER
        open_lines = [line for line in self._lines.values() if line.expected and line.connection.stage is Stage.READY]
        for line in open_lines:
            line.connection.half_close()
        with selectors.DefaultSelector() as selector:
            for line in open_lines:
                selector.register(line.connection.fileno(), READ, line)
            while selector.get_map() and (remaining := end - self._clock.monotonic()) > 0:
                for key, events in selector.select(remaining):
                    try:
                        key.data.connection.on_io(events, self._clock.monotonic())
                    except FluvioError:  # its end, which is what is waited for
                        selector.unregister(key.fd)


def _internal_error() -> ConnectError:
    return ConnectError("an internal error of the sender, see the log")
