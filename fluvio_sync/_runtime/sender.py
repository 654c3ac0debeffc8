# SPDX-License-Identifier: Apache-2.0
"""The sender: reads the connections, gives events to the dispatcher, and carries its actions out.

`prepare` and `work` are one step.  The dispatcher decides, under the client's lock; reading, writing, encoding,
completing futures and logging happen outside it.  One thread at a time runs steps, with the step lock held: see
`sender_thread`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._core.actions import (
    AskOffsets,
    AskProgress,
    Connect,
    Disconnect,
    ReadLog,
    Report,
    Write,
)
from fluvio_sync._core.events import (
    Connected,
    Disconnected,
    MetadataChanged,
    OffsetsReplied,
    Progressed,
    Replied,
    Written,
)
from fluvio_sync._core.failures import unusable
from fluvio_sync._core.looking import FirstOffsets, Look
from fluvio_sync._core.partition import Acknowledged, Dropped, Failed, Sent
from fluvio_sync._core.pipeline import PipelineState, Request
from fluvio_sync._net.connection import Connection
from fluvio_sync._net.transport import Stage
from fluvio_sync._runtime.spu_requests import (
    ask_log,
    ask_offsets,
    encode_produce,
    read_log,
    read_offsets,
    read_response,
)
from fluvio_sync.errors import ConnectError, FluvioError, ProtocolError, UnsupportedVersionError
from fluvio_sync.protocol.produce import PRODUCE
from fluvio_sync.protocol.skimming import MAX_OBJECTS, MAX_SPUS
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._base.log import Logger
    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.dispatcher import Dispatcher
    from fluvio_sync._core.events import Event
    from fluvio_sync._core.partition import Batch, Outcome
    from fluvio_sync._core.pipeline import CommitWait, SpuPipeline
    from fluvio_sync._net.peer import Peer
    from fluvio_sync._net.poller import Polling
    from fluvio_sync._net.transport import Connector
    from fluvio_sync._runtime.accumulator import Accumulator
    from fluvio_sync._runtime.metadata_watch import MetadataWatch
    from fluvio_sync._runtime.subscription import Subscription
    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.protocol.watch import WatchUpdate

# Seconds of one wait; pollers reject very long ones, and a policy may have a timeout of weeks.
LONGEST_WAIT: Final = 3600.0
# Seconds between two steps that go on with what a server sent too much of.  CPython's interpreter lock is given to a
# waiting thread after 5 ms, and these begin anew whenever the lock is free for a moment, as in a poll that does not
# wait: without a pause, other threads would get it by chance alone.
_BREATH: Final = 0.001
# Bytes of unresolved records from which on it pays to look for batches that can be encoded ahead.
_MUCH: Final = 64 * 1024
# Bytes of batches that are encoded ahead for one SPU: nearly what a request takes unless a producer sets it higher.
_AHEAD: Final = 1024 * 1024
# Connections to SPUs, each with its socket and 64 KiB: a hostile SC may name SPUs without end.
_MOST_CONNECTIONS: Final = 512


@mypyc_attr(allow_interpreted_subclasses=True)  # tests plant faults
class Sender:
    """Owns the connections to the SPUs, and all data between them and the dispatcher.

    * `finished_batches`: counts them.
    * `calls`: of other threads, which the next step carries out.
    * `in_step`: a step is under way, or an exception has left it.
    * `interruptible`: a thread of the application has the step lock.  An exception there may be the application's: of a
      signal handler, or injected as a time limit.  So it is not taken for a bug of this library, and another thread
      completes the futures that have waiters.
    * `unnotified`: the outcomes of these futures.
    """

    def __init__(
        self,
        accumulator: Accumulator,
        dispatcher: Dispatcher,
        watch: MetadataWatch,
        poller: Polling,
        *,
        connector: Connector,
        peer_of: Callable[[int], Peer],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`peer_of`: returns the address of an SPU; raises `FluvioError` if the metadata has none."""
        self.reconnects = 0
        self.last_error: tuple[str, int] | None = None  # text, and when in milliseconds since the epoch
        self.finished_batches = 0
        self.in_step = False
        self.interruptible = False
        self.unnotified: deque[Outcome] = deque()
        self._accumulator = accumulator
        self._dispatcher = dispatcher
        self._watch = watch
        self._poller = poller
        self._connector = connector
        self._peer_of = peer_of
        self._clock = clock
        self._log = log
        self._connections: dict[SpuPipeline, Connection] = {}
        self._unready: dict[Connection, None] = {}  # they have timers, or more to read
        self.calls: deque[Callable[[float], None]] = deque()
        self._events: list[Event] = []
        self._updates: list[WatchUpdate] = []
        self._finished: list[Outcome] = []
        self._raised: list[Exception] = []  # what connections raised in this step, in a thread of the application

    def call_soon(self, call: Callable[[float], None]) -> None:
        """Have the step call a function with the time, and with the client's lock held; any thread."""
        self.calls.append(call)
        self._poller.wake()

    def abandon(self) -> None:
        """Close the sockets, when no thread runs steps any more, or in the child of a fork."""
        for connection in self._all_connections():
            connection.close()
        self._connections.clear()
        self._poller.close()

    def fail_rest(self) -> None:
        """Fail the unresolved records, which no thread would complete any more."""
        self._accumulator.refuse_more()
        if self.in_step:
            self._recover()
        with self._accumulator.lock:
            self._dispatcher.abandon(self._accumulator.queues(), self._clock.monotonic())
        self._decide_all()

    def stop_writing(self) -> None:
        """Discard the bytes that the sockets have not taken: their records failed, or were dropped."""
        for connection in self._connections.values():
            connection.stop_writing()
            self._reregister(connection)

    def expects_answers(self) -> bool:
        """Whether an SPU still has to answer."""
        return any(item.expected and item.stage is Stage.READY for item in self._connections.values())

    # The step.
    #
    # An exception may end it at any line: a bug, or Ctrl-C where a thread of the application runs it.  The next step
    # then begins with `_recover`.  While a step waits, there is nothing to recover from.

    def prepare(self) -> float:
        """Return until when `work` may wait, in monotonic seconds."""
        if self.in_step:
            self._recover()
            self._decide_all()
        self.in_step = True
        # Queues with new records wait for `work`, which reads first: the SC's updates may decide their leaders.
        accumulator = self._accumulator
        with accumulator.lock:
            # From here on `send()` has to wake the poller.
            accumulator.sleep_seq += 1
            at_once = accumulator.dirty or self.calls or self._events
            due = -math.inf if at_once else self.next_timer()
            if due == -math.inf and not at_once:
                due = min(self._clock.monotonic() + _BREATH, self._timers())
        self.in_step = False
        return due

    def work(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the connections, and do all that is due."""
        if timeout > 0 and self._accumulator.used > _MUCH:
            self.encode_ahead()
        ready = self._poller.wait(timeout)
        if self.in_step:
            self._recover()
        self.in_step = True
        now = self._clock.monotonic()
        for connection, events in ready:
            self._advance(connection, events, now)
        for connection in list(self._unready):
            self._advance(connection, 0, now)
        watch = self._watch
        current = watch.current
        if current is None or current.connection.inbox or current.skimming or now >= watch.due or not watch.is_settled:
            self._advance_watch(now)
        while self._decide():
            pass
        self.in_step = False
        if self._raised:
            raise self._raised.pop()

    def encode_ahead(self) -> None:
        """Encode what the next requests carry while the SPUs store the last ones: a partition has one under way."""
        batches: list[Batch] = []
        with self._accumulator.lock:
            for pipeline in self._connections:
                batches += pipeline.next_batches(_AHEAD)
        for batch in batches:
            try:
                batch.encode_ahead()
            except Exception:  # the request that carries it meets the same, and fails its records
                if self.interruptible:
                    raise
                return

    def work_at_once(self) -> None:
        """Send the new records, and look at no connection."""
        if self.in_step:
            self._recover()
        self.in_step = True
        while self._decide():
            pass
        self.in_step = False

    def next_timer(self) -> float:
        """Return when there is something to do without an event, in monotonic seconds.  Called with the lock held."""
        watch = self._watch
        if watch.metadata.is_partial:
            return -math.inf
        if not self._unready:
            return min(self._dispatcher.timers.next(), watch.due)
        for connection in list(self._unready):  # another thread may run the step
            if connection.more:
                return -math.inf
        return self._timers()

    def earliest_timer(self) -> float:
        """Return a time before which `next_timer` does not come; without the lock, while no thread runs a step."""
        watch = self._watch
        if self._unready or watch.metadata.is_partial:
            return -math.inf
        return min(self._dispatcher.timers.earliest(), watch.due)

    def _timers(self) -> float:
        """Return when a timer is due; the surplus of a server's bytes, which is read later, does not count."""
        due = min(self._dispatcher.timers.next(), self._watch.due)
        for connection in list(self._unready):  # as above
            if not connection.more:
                due = min(due, connection.next_timer())
        return due

    def _recover(self) -> None:
        """Begin again with new connections: the data in hand may be half processed.  May itself be interrupted."""
        error = ConnectError("the sender was interrupted, and began again with new connections")
        for connection in self._all_connections():
            connection.abort()  # as `_abort` does
        self._poller.reset()
        self._connections = {}
        self._unready = {}
        self._events = []
        self._updates = []
        self._finished = []
        self._raised = []
        self._log.warning("sender.interrupted", error=str(error))
        accumulator = self._accumulator
        with accumulator.lock:
            now = self._clock.monotonic()
            self._watch.lose(error, now)
            self._dispatcher.recover(accumulator.queues(), error, now)
            accumulator.recover(self._watch.metadata)

    def _decide_all(self) -> None:
        while self._decide():
            pass

    def _decide(self) -> bool:
        """Give the events to the dispatcher and carry its actions out; False if these made no new events."""
        accumulator, dispatcher = self._accumulator, self._dispatcher
        events, self._events = self._events, []
        with accumulator.lock:
            now = self._clock.monotonic()
            if self._updates or self._watch.metadata.is_partial:
                self._take_metadata(now)
            for event in events:
                dispatcher.handle(event, now)
            for call in [*self.calls]:  # see `OwnedLock` about loops
                call(now)
                self.calls.popleft()  # only now: an interrupted call is repeated
            for queue in accumulator.take_dirty():
                dispatcher.records_queued(queue, now)
            heap = dispatcher.timers.heap
            if heap and heap[0][0] <= now:
                dispatcher.tick(now)
            actions = dispatcher.take_actions(now)
        for action in actions:
            try:
                self._perform(action)
            except Exception:  # a bug must cost the records that it concerns, not those behind them
                if self.interruptible:
                    raise
                self._log.error("sender.internal_error", exc_info=True)
                self._give_up(action)
        if self._finished:
            finished, self._finished = self._finished, []
            self._account_for(finished)
        return bool(self._events or accumulator.dirty)

    def _perform(self, action: Action) -> None:
        if isinstance(action, (Acknowledged, Failed)):
            self._complete(action)
        elif isinstance(action, Write):
            self._write(action)
        elif isinstance(action, (Sent, Dropped)):
            self._finished.append(action)
        elif isinstance(action, (AskOffsets, ReadLog)):
            self._ask(action)
        elif isinstance(action, Report):
            self._report(action)
        elif isinstance(action, AskProgress):
            self._ask_progress(action)
        elif isinstance(action, Connect):
            self._connect(action)
        elif isinstance(action, Disconnect):
            self._disconnect(action)
        else:
            self._doubt_metadata()

    def _all_connections(self) -> list[Connection]:
        return [*self._connections.values(), *self._watch.connections()]

    # The connections.

    def _reregister(self, connection: Connection) -> None:
        """Poll for the events that a connection wants now; called when its `wants_changed` says so."""
        connection.wants_changed = False
        self._poller.update(connection)
        if connection.more or connection.stage is not Stage.READY:
            self._unready[connection] = None
        elif self._unready:
            self._unready.pop(connection, None)

    def _abort(self, connection: Connection) -> None:
        """Give a connection up.

        It is reset: bytes that the system still holds would reach the server behind their repetition on the next one.
        """
        self._unready.pop(connection, None)
        self._poller.forget(connection)
        connection.abort()

    def _advance(self, connection: Connection, events: int, now: float) -> None:
        """Let a connection go on, and take its answers."""
        if connection.stage is Stage.CLOSED:
            return  # earlier in this step
        error: FluvioError | None = None
        try:
            connection.advance(events, now)
        except Exception as failure:  # noqa: BLE001 - see `_failure_of`
            error = self._failure_of(failure)
        if connection.owner is None:
            if error is not None:
                self._lose_watch(connection, error)
            elif connection.wants_changed:
                self._reregister(connection)
            return
        try:
            self._collect(connection)
        except Exception as failure:  # noqa: BLE001 - see `_failure_of`
            error = self._failure_of(failure)
        if error is not None:
            self._lose(connection, error)
        elif connection.wants_changed:
            self._reregister(connection)

    def _failure_of(self, error: Exception) -> FluvioError:
        """Return why a connection fails: a bug that a peer's bytes bring to light costs that connection alone.

        In a thread of the application, `work` raises the error at its end: it may be of a signal handler.
        """
        if isinstance(error, FluvioError):
            return error
        if self.interruptible:
            self._raised = [error]
        else:
            self._log.error("sender.internal_error", exc_info=error)
        return _internal_error()

    def _collect(self, connection: Connection) -> None:
        """Turn a connection's progress into events; raises `ProtocolError`, `UnsupportedVersionError`."""
        pipeline: SpuPipeline = connection.owner
        if connection.stage is Stage.READY and pipeline.state is PipelineState.CONNECTING:
            connection.version(PRODUCE)  # raises if there is none in common
            self._events.append(Connected(pipeline, connection.generation))
        if connection.first_bytes or connection.sent:
            self._collect_written(connection)
        while connection.inbox:
            correlation, reader = connection.inbox.popleft()
            expected = connection.expected.pop(correlation, None)
            try:
                self._take_answer(expected, reader, connection)
            except ProtocolError as error:
                raise connection.protocol_error(error) from error

    def _collect_written(self, connection: Connection) -> None:
        """Note which requests were written; once more when the connection failed, maybe in the middle of them."""
        while connection.first_bytes:
            tag = connection.first_bytes.popleft()
            if isinstance(tag, Request):
                tag.wrote_any = True
        while connection.sent:
            tag = connection.sent.popleft()
            if isinstance(tag, Request) and not tag.acked:  # of others the answer alone counts
                self._events.append(Written(tag))

    def _take_answer(
        self, expected: Request | CommitWait | FirstOffsets | Look | None, reader: Reader, connection: Connection
    ) -> None:
        if isinstance(expected, Request):
            response = read_response(expected, reader, connection.version(PRODUCE))
            self._events.append(Replied(expected, response))
        elif isinstance(expected, Look) and expected.position is not None:
            self._events.append(read_log(expected, reader, connection))
        elif expected is not None:
            self._events.append(OffsetsReplied(expected, read_offsets(expected.queue, reader, connection)))

    def _lose(self, connection: Connection, error: FluvioError) -> None:
        """Report a connection that broke; the dispatcher did not close it."""
        pipeline: SpuPipeline = connection.owner
        if self._connections.get(pipeline) is connection:
            self._collect_written(connection)
            self._abort(connection)
            del self._connections[pipeline]  # only now: recovery closes those that are still here
            self._events.append(Disconnected(pipeline, connection.generation, error))
            self._watch.doubt(self._clock.monotonic())

    # The SC.

    def _advance_watch(self, now: float) -> None:
        """Take the SC's pushes, and make, ask or replace the subscription if it is time."""
        watch = self._watch
        current = watch.current
        if current is None:
            if now >= watch.due:
                self._advance(watch.start(now), 0, now)
            return
        try:
            self._updates += watch.receive(now)
            watch.ask_if_due(now)
            self._reregister(current.connection)
        except Exception as error:  # noqa: BLE001 - see `_failure_of`
            self._lose_watch(current.connection, self._failure_of(error))
            return
        if current.unreadable is not None:
            self._log.warning("metadata.unreadable", error=str(current.unreadable))
            current.unreadable = None
        if watch.successor is not None:
            self._advance_successor(watch.successor, now)
        elif watch.wants_successor(now):
            self._advance(watch.start_successor(now), 0, now)

    def _advance_successor(self, successor: Subscription, now: float) -> None:
        """Take the SC's first pushes to the successor, and put it into the subscription's place once it has all."""
        try:
            successor.read(now)
            self._reregister(successor.connection)
        except Exception as error:  # noqa: BLE001 - see `_failure_of`
            self._lose_watch(successor.connection, self._failure_of(error))
            return
        replaced = self._watch.promote(now)
        if replaced is not None:
            self._abort(replaced)
            self._updates = successor.take_updates()
            self._log.info("sc.replaced", reason="the connection did not answer, or its metadata was contradicted")

    def _take_metadata(self, now: float) -> None:
        """Put the SC's updates into the cache.  Called with the lock held."""
        watch = self._watch
        updates, self._updates = self._updates, []
        diff = watch.take_over(updates)
        if diff:
            self._accumulator.metadata_changed(watch.metadata, diff)
            self._dispatcher.handle(MetadataChanged(diff), now)
        if not watch.metadata.is_partial:
            self._accumulator.changed.notify_all()  # a topic's partitions are awaited
        if watch.metadata.surplus and watch.current is not None:
            self._tell_surplus(watch)
        if watch.established and not watch.metadata.is_partial and watch.failing:
            watch.failing, watch.last_error = False, None
            self._dispatcher.report("info", "sc.reconnected")

    def _tell_surplus(self, watch: MetadataWatch) -> None:
        watch.metadata.surplus = 0
        if not watch.told_surplus:
            watch.told_surplus = True
            most = f"{MAX_OBJECTS} topics, {MAX_OBJECTS} partitions and {MAX_SPUS} SPUs"
            error = f"the SC pushes more than this client takes, {most}; those beyond are not known here"
            self._dispatcher.report("warning", "metadata.too_large", error=error)

    def _lose_watch(self, connection: Connection, error: FluvioError) -> None:
        """Give up a connection to the SC that failed."""
        watch, now, silent = self._watch, self._clock.monotonic(), False
        self._abort(connection)
        if watch.successor is not None and watch.successor.connection is connection:
            failure = watch.give_up_successor(error, now)
            if failure is None:
                self._log.debug("sc.successor_failed", error=str(error))
                return
            error, silent = failure, True
        for other in watch.connections():
            self._abort(other)
        self._updates = []
        if not silent and watch.may_resubscribe(now):
            watch.resubscribe(now)
            self._log.debug("sc.resubscribing", error=str(error))
            return
        first = not watch.failing
        with self._accumulator.lock:
            self._dispatcher.handle(MetadataChanged(watch.lose(error, now)), now)
            self._accumulator.changed.notify_all()
        self._note_error(str(error))
        if first:
            self._log.warning("sc.disconnected", error=str(error))

    def _doubt_metadata(self) -> None:
        self._watch.contradict(self._clock.monotonic())

    # Outcomes.

    def _complete(self, outcome: Acknowledged | Failed) -> None:
        futures = outcome.batch.futures
        if isinstance(outcome, Acknowledged):
            futures.acknowledge(outcome.base_offset)
        else:
            futures.fail(outcome.failure)
        if futures.watched or futures.called:
            self._notify(outcome)
        else:
            self._finished.append(outcome)

    def _notify(self, outcome: Outcome) -> None:
        """Wake the threads that wait for a batch's futures, and have their callbacks run."""
        if self.interruptible:
            self.unnotified.append(outcome)
            self._poller.wake_background()
        else:
            outcome.batch.futures.notify()
            self._finished.append(outcome)

    def notify(self) -> None:
        """Notify for the outcomes that an interruptible thread left; the background thread calls it, without a lock."""
        notified = []
        while self.unnotified:
            outcome = self.unnotified.popleft()
            outcome.batch.futures.notify()
            notified.append(outcome)
        if notified:
            self._account_for(notified)
            self._poller.wake()  # a thread that leads may wait for one of them

    def _account_for(self, finished: list[Outcome]) -> None:
        with self._accumulator.lock:
            self._accumulator.finish(finished, self._clock.monotonic())
        self.finished_batches += len(finished)
        for outcome in finished:
            if type(outcome) is Failed:
                self._log_failures(finished)
                break

    def _log_failures(self, finished: list[Outcome]) -> None:
        """Log one line for the records of a partition that failed together."""
        by_partition: dict[tuple[str, int], list[Failed]] = {}
        for outcome in finished:
            if isinstance(outcome, Failed):
                queue = outcome.batch.queue
                by_partition.setdefault((queue.topic, queue.partition), []).append(outcome)
        for (topic, partition), outcomes in by_partition.items():
            records = sum(outcome.batch.builder.count for outcome in outcomes)
            error = str(outcomes[0].failure(0))
            self._log.error("records.failed", topic=topic, partition=partition, records=records, error=error)
            self._note_error(error)

    # Other actions.

    def _give_up(self, action: Action) -> None:
        """End an action that could not be carried out, so that no thread waits for it for ever."""
        error = _internal_error()
        if isinstance(action, Acknowledged | Sent | Failed | Dropped):
            batch = action.batch
            batch.maybe_written = True
            # Without effect on futures that are completed already.
            batch.futures.fail(unusable(batch, error, self._clock.monotonic()))
            if action not in self._finished:
                self._notify(action)
        elif isinstance(action, Connect):
            self._events.append(Disconnected(action.pipeline, action.generation, error))
        elif isinstance(action, Write | AskOffsets | ReadLog):
            pipeline = _asked(action).pipeline
            if pipeline in self._connections:
                self._lose(self._connections[pipeline], error)

    def _note_error(self, text: str) -> None:
        self.last_error = (text, self._clock.time_ms())

    def _report(self, report: Report) -> None:
        if "error" in report.fields:
            self._note_error(str(report.fields["error"]))
        getattr(self._log, report.level)(report.event, **report.fields)

    def _connect(self, action: Connect) -> None:
        pipeline, generation = action.pipeline, action.generation
        now = self._clock.monotonic()
        try:
            if len(self._connections) >= _MOST_CONNECTIONS:
                raise ConnectError(f"there are connections to {_MOST_CONNECTIONS} SPUs already, the most that are made")
            peer = self._peer_of(pipeline.spu)
            pipeline.name = str(peer)
            timeout = pipeline.connect_by - now  # the connection names the stage that takes too long
            connection = Connection(peer, self._connector, timeout=timeout, now=now, notify=self._poller.wake)
        except FluvioError as error:
            self._events.append(Disconnected(pipeline, generation, error))
            return
        connection.owner, connection.generation = pipeline, generation
        pipeline.why_late = connection.timed_out
        self._connections[pipeline] = connection
        if pipeline.was_up:
            self.reconnects += 1
        self._advance(connection, 0, now)

    def _disconnect(self, action: Disconnect) -> None:
        connection = self._connections.get(action.pipeline)
        if connection is not None:
            self._abort(connection)
            del self._connections[action.pipeline]
            self._watch.doubt(self._clock.monotonic())

    def _write(self, action: Write) -> None:
        request = action.request
        connection = self._connections.get(request.pipeline)
        if connection is None:
            return  # it broke in this step, and the dispatcher gets that event next
        correlation = connection.next_correlation()
        connection.expected[correlation] = request
        buffers = encode_produce(request, connection, correlation)
        try:
            request.end = connection.send(buffers, request)
            self._collect_written(connection)
        except FluvioError as error:
            self._lose(connection, error)
        else:
            if connection.wants_changed:
                self._reregister(connection)

    def _ask_progress(self, action: AskProgress) -> None:
        connection = self._connections.get(action.pipeline)
        if connection is not None:
            self._events.append(Progressed(action.pipeline, connection.generation, connection.arrived()))

    def _ask(self, action: AskOffsets | ReadLog) -> None:
        question = action.look if isinstance(action, ReadLog) else action.question
        connection = self._connections.get(question.pipeline)
        if connection is None:
            return
        try:
            if isinstance(action, ReadLog):
                correlation = ask_log(action.look, connection)
            else:
                if isinstance(question, Look):
                    connection.version(SpuApi.FETCH)  # raises if there is none in common
                correlation = ask_offsets(question.queue, connection)
        except UnsupportedVersionError:
            self._events.append(OffsetsReplied(question, None))
        except FluvioError as error:
            self._lose(connection, error)
        else:
            connection.expected[correlation] = question
            if connection.wants_changed:
                self._reregister(connection)


def _asked(action: Write | AskOffsets | ReadLog) -> Request | CommitWait | FirstOffsets | Look:
    if isinstance(action, Write):
        return action.request
    return action.question if isinstance(action, AskOffsets) else action.look


def _internal_error() -> ConnectError:
    return ConnectError("an internal error of the sender, see the log")
