# SPDX-License-Identifier: Apache-2.0
"""The delivery state machine: events and the time in, actions out.

Every rule about sending, retrying and failing stands in this file; the sender carries the actions out.  All calls are
made with the client's lock held.  The partition queues and pipelines know how to hold their batches and requests; this
class decides about them.  `TRANSITIONS` has the moves of a partition queue, and `_move` makes no other.

Nothing is lost because a batch stays in its queue until it has an outcome that was accounted for, and nothing hangs
because every queue and pipeline that waits has an entry in the timers.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Final

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._core import events, failures, reasons, retrying
from fluvio_sync._core.actions import (
    AskOffsets,
    AskProgress,
    Connect,
    Disconnect,
    DoubtMetadata,
    Report,
    Write,
)
from fluvio_sync._core.looking import FirstOffsets, Look, Looking
from fluvio_sync._core.looks import Looks, Means
from fluvio_sync._core.partition import IDLE, Acknowledged, BackingOff, Dropped, Failed, Idle, Lingering, Sent, Waiting
from fluvio_sync._core.pipeline import (
    COMMIT_POLL_INTERVAL,
    AwaitingCommit,
    CommitWait,
    InFlight,
    PipelineState,
    Queued,
    SpuPipeline,
    note_written,
)
from fluvio_sync._core.routing import Router
from fluvio_sync._core.second_look import SecondLook
from fluvio_sync._core.timers import Timers
from fluvio_sync._core.transitions import TRANSITIONS, Move
from fluvio_sync.delivery import Isolation
from fluvio_sync.errors import ConnectError, FluvioError, ProtocolError, ServerError, UnsupportedVersionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.metadata import Metadata
    from fluvio_sync._core.partition import Batch, Outcome, PartitionQueue, State
    from fluvio_sync._outcomes.handle_stats import HandleStats
    from fluvio_sync.protocol.offsets import PartitionOffsets
    from fluvio_sync.protocol.produce import PartitionResult

# Seconds that a replaced leader or address gets to answer its requests: usually it runs and its answer is near.
ABANDON_GRACE: Final = 0.3


@mypyc_attr(allow_interpreted_subclasses=True)  # tests plant faults
class Dispatcher:
    """Decides about all partition queues and pipelines of a client."""

    def __init__(
        self,
        metadata: Metadata,
        *,
        connect_timeout: float,
        on_failing: Callable[[PartitionQueue, bool], None],
        on_looked: Callable[[], None],
    ) -> None:
        """Make a dispatcher without queues; `timers` says when `tick` has something to do.

        * `on_failing`: called when a queue's last attempt failed (True), or succeeded again (False).
        * `on_looked`: called when no more batches have to be looked for a second time.
        """
        self.metadata = metadata
        self.connect_timeout = connect_timeout
        self.pipelines: dict[tuple[int, Isolation], SpuPipeline] = {}
        self._router = Router(metadata, self.report)
        self._queues: dict[PartitionQueue, None] = {}
        self._actions: list[Action] = []
        self._to_fill: dict[SpuPipeline, None] = {}  # they may accept another request
        self.timers: Timers[PartitionQueue | SpuPipeline | SecondLook] = Timers()
        self._looks = Looks(
            self._router,
            Means(
                act=self._act,
                report=self.report,
                move=self._move,
                arm=self._arm,
                pipeline_to=self._pipeline_to,
                connect=self._connect,
                make_ready=self._make_ready,
                go_on=self._reschedule,
                fail=self._unsent_failed,
                acknowledge=self._found,
                drop=self._drop_connection,
                looked=on_looked,
            ),
        )
        self.second_looks = self._looks.second
        self._on_failing = on_failing

    # The sender's calls.

    def handle(self, event: events.Event, now: float) -> None:
        """Take an event."""
        if isinstance(event, events.Replied):
            self._replied(event, now)
        elif isinstance(event, events.Written):
            self._written(event, now)
        elif isinstance(event, events.MetadataChanged):
            self._metadata_changed(event, now)
        elif isinstance(event, events.OffsetsReplied):
            self._offsets_replied(event, now)
        elif isinstance(event, events.LogRead):
            self._looks.log_read(event, now)
        elif isinstance(event, events.Progressed):
            self._progressed(event, now)
        elif isinstance(event, events.Connected):
            self._connected(event, now)
        else:
            self._disconnected(event, now)

    def records_queued(self, queue: PartitionQueue, now: float) -> None:
        """A queue got records, a full batch, or a flush."""
        if isinstance(queue.state, (Idle, Lingering, Waiting)):
            self._reschedule(queue, now)
        else:
            self._arm(queue, now)

    def tick(self, now: float) -> None:
        """A timer is due."""
        due = self.timers.due(now)
        # Pipelines first: batches of a request whose connection is closed now, and of which no byte was sent, are
        # certainly not stored.
        for item in due:
            if isinstance(item, SpuPipeline):
                error = item.overdue(now)
                if error is not None:
                    self._drop_connection(item, error, now)
                elif item.needs_look(now):
                    self._actions.append(AskProgress(item))
                self._arm(item, now)
        for item in due:
            if isinstance(item, SecondLook):
                self._looks.second_due(item, now)
            elif not isinstance(item, SpuPipeline):
                self._queue_due(item, now)

    def take_actions(self, now: float) -> list[Action]:
        """Return the actions, in order, and forget them.

        Requests are composed here, after all events were handled: so queues that became ready together share one.
        """
        while self._to_fill:
            self._fill(self._to_fill.popitem()[0], now)
        actions, self._actions = self._actions, []
        return actions

    def abandon(self, queues: Iterable[PartitionQueue], now: float, handle_stats: HandleStats | None = None) -> None:
        """Fail the batches that are left: the client closes, or the producer handle of these `handle_stats`.

        A batch that another handle has records in stays: closing one handle does not close another.
        """
        closing = "client" if handle_stats is None else "producer"
        for queue in queues:
            queue.seal_open(now)
            for batch in queue.batches():
                if batch.belongs_only_to(handle_stats):
                    note_written(queue, will_be_sent=handle_stats is not None)
                    self._fail(batch, failures.closed(batch, closing, reasons.reason(batch, self._router, now)))
            queue.sealed = deque(batch for batch in queue.sealed if not batch.done)

    def recover(self, queues: Iterable[PartitionQueue], error: FluvioError, now: float) -> None:
        """Begin again after an exception that left the sender, or this object itself, half changed.

        All connections are gone.  Every queue is rebuilt from its unresolved batches.  Batches that were in a request
        are sent again at once: no failure of the cluster is known, so that uses up no retry, unless the policy has none
        at all.  Outcomes that were decided are announced again.  May itself be interrupted and repeated.
        """
        self._actions = []
        self._to_fill = {}
        self.timers = Timers()
        self._queues = {}
        for pipeline in self.pipelines.values():
            pipeline.reset(now)
        self._looks.recover(now)
        for queue in queues:
            interrupted = queue.rebuild(now)
            self._actions += [batch.outcome for batch in queue.unresolved if batch.outcome is not None]
            if interrupted and next(queue.delays(), None) is None:
                self._attempt_failed(queue, interrupted, error, now)
            else:
                for batch in interrupted:
                    batch.last_error = error
                    batch.in_request = False
                queue.requeue()
                self._reschedule(queue, now)

    def forget(self, queues: Iterable[PartitionQueue]) -> None:
        """Forget empty queues, whose topic and settings no producer has any more."""
        for queue in queues:
            self._queues.pop(queue, None)
            queue.timer = None

    def _act(self, action: Action) -> None:
        self._actions.append(action)

    def report(self, level: str, event: str, **fields: object) -> None:
        """Have a change of state logged."""
        self._actions.append(Report(level, event, fields))

    # Metadata.

    def _metadata_changed(self, event: events.MetadataChanged, now: float) -> None:
        """Let queues that wait for such a change go on at once."""
        diff = event.diff
        self._router.metadata_changed(now)
        for spu in diff.spus:
            if spu in diff.moved or not self.metadata.spu_online(spu):
                self._leave_spu(spu, now)
        for queue in list(self._queues):
            if (
                (diff.watch_changed and isinstance(queue.state, Waiting))
                or queue.topic in diff.topics
                or (queue.topic, queue.partition) in diff.partitions
                or self._router.leader(queue) in diff.spus
            ):
                self._route_changed(queue, now)

    def _leave_spu(self, spu: int, now: float) -> None:
        """Await no answer of an SPU that the SC reports offline, and for a moment only those of an old address."""
        for pipeline in list(self.pipelines.values()):
            if pipeline.spu != spu or pipeline.state is PipelineState.DOWN:
                pass
            elif self.metadata.spu_online(spu):
                del self.pipelines[spu, pipeline.isolation]  # another one is made, to the new address
                for queue in pipeline.retire(now + ABANDON_GRACE):
                    self._reschedule(queue, now)
                self._arm(pipeline, now)
            else:
                self._drop_connection(pipeline, ConnectError(f"the SC reported SPU {spu} offline"), now)

    def _route_changed(self, queue: PartitionQueue, now: float) -> None:
        state, route = queue.state, self._router.route(queue, now)
        if route.gone:
            queue.forget_log()
            self.second_looks.forget(queue)
        self._looks.note_leader(queue, self._router.leader(queue), now)
        if isinstance(state, AwaitingCommit):
            leader = self._router.leader(queue)
            if leader != state.wait.pipeline.spu:  # one that is only said to be offline is asked until it disconnects
                new = route.reason or f"SPU {leader}"
                self._attempt_failed(queue, state.batches, ConnectError(f"the leader changed: {new}"), now)
        elif isinstance(state, InFlight):
            if queue.acked and self._router.has_moved(queue) and state.abandon_leader_at > now + ABANDON_GRACE:
                state.abandon_leader_at = now + ABANDON_GRACE
                self._arm(queue, now)
        elif isinstance(state, Looking):
            if route.gone or self._router.has_moved(queue):
                self._looks.end(state.look, now)
                self._reschedule(queue, now)
        elif not isinstance(state, Queued) or route.spu != state.pipeline.spu:
            # A delay may have waited for exactly this change of leader, SPU status or address.
            self._reschedule(queue, now)

    # Partition queues.

    def _reschedule(self, queue: PartitionQueue, now: float) -> None:
        """Decide the next state of a queue that has no request in flight and no delay to wait for."""
        self._queues[queue] = None
        oldest = queue.sealed[0] if queue.sealed else queue.open
        if oldest is not None and oldest.deadline <= now:
            for batch in queue.take_expired(now):
                self._time_out(batch, now)
            oldest = queue.sealed[0] if queue.sealed else queue.open
        if oldest is None:
            queue.one_batch_per_request = False
            self._move(queue, Move.EMPTY, IDLE)
            return
        route = self._router.route(queue, now)
        if route.gone:
            for batch in queue.take_all(now):
                self._fail(batch, failures.gone(batch, route.reason, now))
            self._move(queue, Move.EMPTY, IDLE)
            return
        if oldest.ready_at > now:
            self._move(queue, Move.GATHER, Lingering(oldest.ready_at))
        elif route.spu is None:
            self._move(queue, Move.NO_ROUTE, Waiting(self._router.leaderless_since(queue, now)))
        else:
            isolation = queue.topic_state.config.isolation
            pipeline = self.pipelines.get((route.spu, isolation)) or self._pipeline_to(route.spu, isolation)
            self._enqueue(queue, pipeline, now)
            if queue.timer is not None and queue.timer <= oldest.deadline:
                return  # the timer of an earlier batch comes first
        self._arm(queue, now)

    def _enqueue(self, queue: PartitionQueue, pipeline: SpuPipeline, now: float) -> None:
        self._move(queue, Move.ROUTE, pipeline.queued)
        if pipeline.state is PipelineState.UP:
            if pipeline.has_to_look(queue):
                self._looks.begin(queue, pipeline, now)
                return
            self._to_fill[pipeline] = None
        pipeline.ready.append(queue)
        if pipeline.state is PipelineState.DOWN:
            self._connect(pipeline, now)

    def _make_ready(self, queue: PartitionQueue, pipeline: SpuPipeline) -> None:
        pipeline.ready.append(queue)
        self._to_fill[pipeline] = None

    def _move(self, queue: PartitionQueue, move: Move, state: State) -> None:
        assert TRANSITIONS[type(queue.state)][move] is type(state)
        queue.state = state

    def _queue_due(self, queue: PartitionQueue, now: float) -> None:
        state = queue.state
        if isinstance(state, AwaitingCommit):
            self._check_commit(queue, state.wait, now)
        elif isinstance(state, InFlight):
            self._expire_in_flight(queue, state, now)
            if now >= state.abandon_leader_at:
                self._abandon_leader(queue, state, now)
        elif isinstance(state, Looking):
            error = state.look.overdue(now)
            if error is not None:
                self._drop_connection(state.look.pipeline, error, now)
                return
        elif not isinstance(state, Queued) and not (isinstance(state, BackingOff) and now < state.until):
            self._reschedule(queue, now)
            return
        for batch in queue.take_expired(now):
            self._time_out(batch, now)
        if queue.ready_at is None and isinstance(queue.state, Queued | BackingOff | Looking):
            if isinstance(queue.state, Looking):
                self._looks.end(queue.state.look, now)
            self._move(queue, Move.EMPTY, IDLE)
        self._arm(queue, now)

    def _expire_in_flight(self, queue: PartitionQueue, state: InFlight, now: float) -> None:
        """Fail the batches whose deadline has passed; they stay in their request until its answer."""
        for batch in state.batches:
            if batch.deadline <= now and not batch.done:
                note_written(queue, will_be_sent=True)
                self._time_out(batch, now)

    def _abandon_leader(self, queue: PartitionQueue, state: InFlight, now: float) -> None:
        """Take a queue out of its request and go to the new leader: the replaced one does not answer.

        The request stays for the other queues in it.
        """
        state.abandon_leader_at = float("inf")
        if self._router.has_moved(queue):
            note_written(queue, will_be_sent=True)
            state.request.abandon(queue, state.batches)
            name = state.request.pipeline.name
            error = ConnectError(f"{name} did not answer, and does not lead the partition any more")
            self._attempt_failed(queue, state.batches, error, now)

    def _arm(self, item: PartitionQueue | SpuPipeline | SecondLook, now: float) -> None:
        """Set the item's timer."""
        when = item.next_timer(now)
        if when is not None:
            self.timers.arm(item, when)

    # Pipelines.

    def _pipeline_to(self, spu: int, isolation: Isolation) -> SpuPipeline:
        pipeline = self.pipelines.get((spu, isolation))
        if pipeline is None:
            pipeline = SpuPipeline(spu, isolation, connect_timeout=self.connect_timeout)
            self.pipelines[spu, isolation] = pipeline
        return pipeline

    def _connect(self, pipeline: SpuPipeline, now: float) -> None:
        pipeline.begin_to_connect(now)
        self._actions.append(Connect(pipeline, pipeline.generation))
        self._arm(pipeline, now)

    def _connected(self, event: events.Connected, now: float) -> None:
        pipeline, generation = event.pipeline, event.generation
        if generation != pipeline.generation or pipeline.state is not PipelineState.CONNECTING:
            return
        if pipeline.last_error is not None or not pipeline.was_up:
            self.report("info", "spu.connected", spu=pipeline.spu)
        pipeline.state = PipelineState.UP
        pipeline.was_up = True
        pipeline.last_error = None
        for queue in pipeline.take_queues():
            self._looks.begin(queue, pipeline, now)

    def _fill(self, pipeline: SpuPipeline, now: float) -> None:
        """Write requests while the pipeline accepts them."""
        while pipeline.ready and pipeline.accepts_request():
            request, emptied = pipeline.next_request(now)
            for queue in emptied:
                self._reschedule(queue, now)
            if request is None:
                break
            for queue, batches in request.entries:
                self._move(queue, Move.SEND, InFlight(request, batches))
            request.start()
            pipeline.progress.follow(request, now, first=not pipeline.in_flight)
            pipeline.in_flight.append(request)
            self._actions.append(Write(request))
            if pipeline.timer is None or pipeline.progress.look_at < pipeline.timer:
                self._arm(pipeline, now)

    def _disconnected(self, event: events.Disconnected, now: float) -> None:
        pipeline, generation, error = event.pipeline, event.generation, event.error
        if generation == pipeline.generation and pipeline.state is not PipelineState.DOWN:
            self._connection_ended(pipeline, error, now)

    def _connection_ended(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        if pipeline.state is PipelineState.CONNECTING:
            self._connect_failed(pipeline, error, now)
        else:
            self._connection_lost(pipeline, error, now)

    def _connect_failed(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        """Count a failed attempt of every batch that waited for the connection."""
        self._note_disconnect(pipeline, error)
        pipeline.state = PipelineState.DOWN
        for queue in pipeline.take_queues():
            self._unsent_failed(queue, error, now)

    def _unsent_failed(self, queue: PartitionQueue, error: FluvioError, now: float) -> None:
        """Count a failed attempt of the batches that would have been sent next."""
        batches = queue.take(queue.max_request_size, now)
        if not batches:  # closed meanwhile
            self._reschedule(queue, now)
            return
        for batch in batches:
            batch.attempts += 1
        if isinstance(error, UnsupportedVersionError):
            for batch in batches:
                self._fail(batch, failures.unusable(batch, error, now))
            self._began_to_fail(queue, error)
            self._reschedule(queue, now)
        else:
            self._attempt_failed(queue, batches, error, now)

    def _connection_lost(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        """Count a failed attempt, with ambiguous outcome, of all that was in flight."""
        self._note_disconnect(pipeline, error)
        pipeline.state = PipelineState.DOWN
        requests, pipeline.in_flight = pipeline.in_flight, deque()
        for request in requests:
            request.lose(now)
            for queue, batches in request.live_entries:
                self._attempt_failed(queue, batches, error, now)
        self._looks.connection_lost(pipeline, error, now)
        for queue in list(self._queues):
            if isinstance(queue.state, AwaitingCommit) and queue.state.wait.pipeline is pipeline:
                self._attempt_failed(queue, queue.state.batches, error, now)
        # A failed attempt may have queued the batches behind it, which connects.
        if pipeline.state is PipelineState.DOWN and pipeline.queues():
            self._connect(pipeline, now)

    def _drop_connection(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        self._actions.append(Disconnect(pipeline))
        self._connection_ended(pipeline, error, now)

    def _note_disconnect(self, pipeline: SpuPipeline, error: FluvioError) -> None:
        first = pipeline.last_error is None
        pipeline.last_error = error
        if first and (pipeline.in_flight or pipeline.queues()):
            self.report("warning", "spu.disconnected", spu=pipeline.spu, error=str(error))

    # Requests.

    def _written(self, event: events.Written, now: float) -> None:
        request = event.request
        request.written = True
        if request.acked or request.lost:
            return
        for queue, batches in request.take_written():
            for batch in batches:
                if not batch.done:
                    self._conclude(Sent(batch))
            self._recovered(queue)
            self._reschedule(queue, now)
        self._to_fill[request.pipeline] = None

    def _progressed(self, event: events.Progressed, now: float) -> None:
        pipeline, generation, arrived = event.pipeline, event.generation, event.arrived
        if generation == pipeline.generation and pipeline.state is PipelineState.UP:
            error = pipeline.see(arrived, now)
            if error is not None:
                self._drop_connection(pipeline, error, now)
            self._arm(pipeline, now)

    def _replied(self, event: events.Replied, now: float) -> None:
        request = event.request
        if request.lost:
            return
        pipeline = request.pipeline
        results = [(topic.name, result) for topic in event.response.topics for result in topic.partitions]
        if request.acked:
            flaw = request.flaw_of(results)
            if flaw:
                self._drop_connection(pipeline, ProtocolError(f"{pipeline.name} {flaw}"), now)
                return
            pipeline.answered(request, now)
            for (queue, batches), (_, result) in zip(request.entries, results):  # noqa: B905 - as `flaw_of` checked
                if queue not in request.abandoned:
                    self._entry_answered(queue, batches, pipeline, result, now)
                elif not result.error_code.code and not queue.topic_state.may_drop_records:
                    self._looks.note_shorter(queue, pipeline.spu, result.base_offset)
        else:
            pipeline.answered(request, now)
            for (queue, count), (_, result) in zip(request.unread, results, strict=False):
                self._unread_answer(queue, count, result)
        self._to_fill[pipeline] = None
        if pipeline.in_flight:
            self._arm(pipeline, now)

    def _entry_answered(
        self, queue: PartitionQueue, batches: list[Batch], pipeline: SpuPipeline, result: PartitionResult, now: float
    ) -> None:
        code = result.error_code
        if not code.code:
            if result.base_offset < queue.acked_end or (queue.sealed and queue.sealed[0].maybe_written):
                self._log_ended(queue, pipeline, result.base_offset)
            offsets = [result.base_offset] if len(batches) == 1 else _offsets(batches, result.base_offset)
            self._acknowledge(queue, batches, offsets, now)
            self._recovered(queue)
            self._reschedule(queue, now)
            return
        treatment = failures.treatment_of(code.code)
        if treatment is failures.Treatment.REFRESH:
            self._actions.append(DoubtMetadata())
        error = failures.server_error(code, queue.topic, queue.partition, pipeline.spu)
        if treatment is failures.Treatment.AWAIT_COMMIT:
            wait = CommitWait(queue, pipeline, batches, _offsets(batches, result.base_offset), now)
            self._await_commit(wait, error, now)
            return
        if treatment.may_be_stored:
            for batch in batches:
                batch.maybe_written = True
        if treatment is failures.Treatment.HALVE:
            self._too_large(queue, batches, error, now)
        elif treatment is failures.Treatment.REJECT:
            for batch in batches:
                self._fail(batch, failures.rejected(batch, error, now))
            self._began_to_fail(queue, error)
            self._reschedule(queue, now)
        else:
            floor = failures.LONG_DELAY if treatment is failures.Treatment.WAIT_LONG else 0.0
            self._attempt_failed(queue, batches, error, now, floor)

    def _unread_answer(self, queue: PartitionQueue, count: int, result: PartitionResult) -> None:
        """At-most-once: a rejection is counted, and reported once until the server accepts again."""
        code = result.error_code
        if not code.code:
            queue.rejected = False
            return
        if failures.treatment_of(code.code) is failures.Treatment.REFRESH:
            self._actions.append(DoubtMetadata())
        queue.topic_state.counters.records_rejected += count
        if not queue.rejected:
            queue.rejected = True
            where = {"topic": queue.topic, "partition": queue.partition}
            self.report("warning", "at_most_once.rejected", **where, code=code.code, error=code.text)

    def _acknowledge(self, queue: PartitionQueue, batches: list[Batch], offsets: list[int], now: float) -> None:
        knows_offsets = not queue.topic_state.may_drop_records
        for batch, offset in zip(batches, offsets):  # noqa: B905 - `strict` takes compiled code much longer
            if batch.sent_in_doubt and queue.verifies:
                self.second_looks.add(batch, offset, now)
            if not batch.done:
                self._conclude(Acknowledged(batch, offset if knows_offsets else None))
        queue.bound = offsets[-1] + batches[-1].builder.count
        # Where a request was carried out late, batches that are found stand before ones that were acknowledged earlier.
        queue.acked_end = max(queue.acked_end, queue.bound)

    def _log_ended(self, queue: PartitionQueue, pipeline: SpuPipeline, end: int) -> None:
        """The leader's log ended there before it stored a request."""
        if not queue.topic_state.may_drop_records:
            if end < queue.acked_end:
                self._tell_overwritten(queue, end)
            self._looks.note_shorter(queue, pipeline.spu, end)

    def _tell_overwritten(self, queue: PartitionQueue, offset: int) -> None:
        """Tell that the leader's log ended before records that were acknowledged: it was elected without them."""
        first, last = offset, queue.acked_end - 1
        queue.topic_state.counters.records_overwritten += last + 1 - first
        where = {"topic": queue.topic, "partition": queue.partition}
        error = (
            f"the leader of partition {queue.partition} of topic {queue.topic!r} was elected without the offsets "
            f"{first} to {last}, which had been acknowledged, and gives them out again"
        )
        self.report("error", "delivery.overwritten", **where, first=first, last=last, error=error)
        queue.acked_end = offset

    def _attempt_failed(
        self, queue: PartitionQueue, batches: Sequence[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        """Use up one retry of each of these batches; those that have one return to the front of the queue."""
        self._began_to_fail(queue, error)
        queue.looked, queue.failed_at = False, now
        moved = self._router.has_moved(queue)  # a delay would wait for just that
        delay: float | None = None
        survivors = []
        for batch in batches:
            if batch.done:
                continue
            wait = retrying.wait_after(batch, error, now, floor, moved=moved)
            if callable(wait):
                self._fail(batch, wait)
                continue
            survivors.append(batch)
            delay = wait if delay is None else delay
        queue.put_back(survivors)
        if delay:
            self._move(queue, Move.BACK_OFF, BackingOff(now + delay, error))
            self._arm(queue, now)
        else:
            self._reschedule(queue, now)

    def _too_large(self, queue: PartitionQueue, batches: list[Batch], error: ServerError, now: float) -> None:
        """Code 10: send batches one by one, then those that are rejected in halves; a lone record is rejected for good.

        The answer does not say which of an entry's batches was too large.  None of this uses up a retry: it ends by
        itself.
        """
        if len(batches) == 1 and batches[0].builder.count == 1:
            self._fail(batches[0], failures.rejected(batches[0], error, now))
        queue.put_back_smaller(batches)
        self._reschedule(queue, now)

    # Outcomes.

    def _time_out(self, batch: Batch, now: float) -> None:
        self._fail(batch, failures.delivery_timed_out(batch, reasons.reason(batch, self._router, now), now))

    def _fail(self, batch: Batch, failure: Callable[[int], FluvioError]) -> None:
        if not batch.done:
            self._conclude(Failed(batch, failure) if batch.queue.acked else Dropped(batch, failure(0)))

    def _conclude(self, outcome: Outcome) -> None:
        batch = outcome.batch
        batch.outcome, batch.done = outcome, True
        self._actions.append(outcome)

    def _began_to_fail(self, queue: PartitionQueue, error: FluvioError) -> None:
        if not queue.failing:
            self._on_failing(queue, True)
            queue.verified_told = False
            event = "delivery.failing" if queue.acked else "at_most_once.dropping"
            self.report("warning", event, topic=queue.topic, partition=queue.partition, error=str(error))

    def _recovered(self, queue: PartitionQueue) -> None:
        if queue.failing:
            self._on_failing(queue, False)
            self.report("info", "delivery.recovered", topic=queue.topic, partition=queue.partition)

    # Read-committed batches that are stored, and whose replication is not confirmed.

    def _await_commit(self, wait: CommitWait, error: FluvioError, now: float) -> None:
        for batch in wait.batches:
            batch.maybe_written = True
            batch.last_error = error
        if self._router.leader(wait.queue) != wait.pipeline.spu:  # it was replaced before it answered
            self._attempt_failed(wait.queue, wait.batches, error, now)
            return
        self._move(wait.queue, Move.AWAIT_COMMIT, AwaitingCommit(wait))
        self._arm(wait.queue, now)  # for now: `_check_commit` asks

    def _check_commit(self, queue: PartitionQueue, wait: CommitWait, now: float) -> None:
        for batch, offset in zip(wait.batches, wait.offsets, strict=True):
            if batch.deadline <= now:
                self._fail(batch, failures.commit_timed_out(batch, offset, now))
        if all(batch.done for batch in wait.batches):
            self._reschedule(queue, now)
        elif wait.asked_at is None:
            if wait.next_ask <= now:
                wait.asked_at = now
                self._actions.append(AskOffsets(wait))
        else:
            error = wait.overdue(now)
            if error is not None:
                self._drop_connection(wait.pipeline, error, now)

    def _offsets_replied(self, event: events.OffsetsReplied, now: float) -> None:
        question, offsets = event.question, event.offsets
        if isinstance(question, Look):
            self._looks.offsets_replied(question, offsets, now)
        elif isinstance(question, FirstOffsets):
            if offsets is not None and not offsets.error_code.code:
                question.queue.note_end(question.pipeline.spu, offsets.last_stable_offset)
        else:
            self._commit_answered(question, offsets, now)

    def _found(self, pipeline: SpuPipeline, batches: list[Batch], offsets: list[int], now: float) -> None:
        """A look found batches in the log."""
        queue = batches[0].queue
        if pipeline.isolation is Isolation.READ_COMMITTED:
            error = batches[0].last_error
            assert error is not None
            self._await_commit(CommitWait(queue, pipeline, batches, offsets, now), error, now)
        else:
            self._acknowledge(queue, batches, offsets, now)
            self._recovered(queue)
            self._reschedule(queue, now)

    def _commit_answered(self, wait: CommitWait, offsets: PartitionOffsets | None, now: float) -> None:
        queue = wait.queue
        if not isinstance(queue.state, AwaitingCommit) or queue.state.wait is not wait:
            return
        wait.asked_at = None
        wait.next_ask = now + COMMIT_POLL_INTERVAL
        if offsets is not None and not offsets.error_code.code and offsets.last_stable_offset >= wait.end_offset:
            self._acknowledge(queue, wait.batches, wait.offsets, now)
            self._recovered(queue)
            self._reschedule(queue, now)
        else:
            self._arm(queue, now)


def _offsets(batches: list[Batch], base_offset: int) -> list[int]:
    """Return the offsets of batches that were stored one after the other."""
    ends = itertools.accumulate((batch.builder.count for batch in batches[:-1]), initial=base_offset)
    return list(ends)
