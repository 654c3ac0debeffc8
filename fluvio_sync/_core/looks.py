# SPDX-License-Identifier: Apache-2.0
"""The looks of a client: which queue has to look into the log before its batches are sent, and what follows.

Pure; guarded by the client's lock.  `Looks` decides for the dispatcher, and acts by the functions in `Means`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._core import failures
from fluvio_sync._core.actions import AskOffsets, DoubtMetadata, ReadLog
from fluvio_sync._core.looking import FirstOffsets, Look, Looking, lowest
from fluvio_sync._core.pipeline import MAX_LOOKS, PipelineState
from fluvio_sync._core.second_look import SecondLook, SecondLooks
from fluvio_sync._core.transitions import Move
from fluvio_sync.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.events import LogRead
    from fluvio_sync._core.partition import Batch, PartitionQueue, State
    from fluvio_sync._core.pipeline import SpuPipeline
    from fluvio_sync._core.routing import Router
    from fluvio_sync.delivery import Isolation
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.protocol.error_code import ErrorCode
    from fluvio_sync.protocol.offsets import PartitionOffsets


class Means(NamedTuple):
    """What looks need of the dispatcher.

    * `act`, `report`: have an action carried out, and a change of state logged.
    * `move`, `arm`: change a queue's state, and set its timer.
    * `pipeline_to`, `connect`: return the pipeline to an SPU, and have its connection made.
    * `make_ready`: have a queue's batches sent as they are.
    * `go_on`: decide a queue's next state.
    * `fail`: count a failed attempt of the batches that would have been sent next.
    * `acknowledge`: take batches for stored that were found at these offsets.
    * `drop`: give a connection up.
    * `looked`: tell that no more batches have to be looked for a second time.
    """

    act: Callable[[Action], None]
    report: Callable[..., None]
    move: Callable[[PartitionQueue, Move, State], None]
    arm: Callable[[PartitionQueue | SecondLook, float], None]
    pipeline_to: Callable[[int, Isolation], SpuPipeline]
    connect: Callable[[SpuPipeline, float], None]
    make_ready: Callable[[PartitionQueue, SpuPipeline], None]
    go_on: Callable[[PartitionQueue, float], None]
    fail: Callable[[PartitionQueue, FluvioError, float], None]
    acknowledge: Callable[[SpuPipeline, list[Batch], list[int], float], None]
    drop: Callable[[SpuPipeline, FluvioError, float], None]
    looked: Callable[[], None]


class Looks:
    """See the module's description.  `second`: the looks after an acknowledgement."""

    def __init__(self, router: Router, means: Means) -> None:
        self._means = means
        self._under_way: dict[Look, None] = {}
        self.second = SecondLooks(
            router,
            pipeline_to=means.pipeline_to,
            connect=means.connect,
            begin=self._ask_first,
            arm=means.arm,
            report=means.report,
            on_looked=means.looked,
        )

    # Beginning.

    def begin(self, queue: PartitionQueue, pipeline: SpuPipeline, now: float) -> None:
        """Look, or have the queue's batches sent at once: it need not look, it cannot, or has nothing to look for."""
        doubted = queue.in_doubt()
        if not pipeline.has_to_look(queue):
            pass
        elif not queue.verifies or pipeline.cannot_look:
            _count_unverified(doubted)
        elif doubted and pipeline.looks >= MAX_LOOKS:
            pipeline.unlooked.append(queue)
            return
        elif doubted or queue.bound is not None:
            self._look_for(queue, doubted, pipeline, now)
            return
        else:
            self._means.act(AskOffsets(FirstOffsets(queue, pipeline)))
        queue.pass_doubt(pipeline.session, pipeline.spu)
        self._means.make_ready(queue, pipeline)

    def _look_for(self, queue: PartitionQueue, doubted: list[Batch], pipeline: SpuPipeline, now: float) -> None:
        sought = [identity for batch in doubted for identity in batch.identities()]
        bounds = [batch.bound if batch.looked_to is None else batch.looked_to for batch in doubted]
        sent_to = {spu for batch in doubted for spu in batch.sent_to}
        look = Look(queue, pipeline, sought, lowest(bounds), now, sent_to=sent_to)
        self._means.move(queue, Move.LOOK, Looking(look))
        self._ask_first(look, now)
        self._means.arm(queue, now)

    def _ask_first(self, look: Look, now: float) -> None:
        self._under_way[look] = None
        look.pipeline.looks += look.sought
        self._ask(look, AskOffsets(look), now)

    def _ask(self, look: Look, action: AskOffsets | ReadLog, now: float) -> None:
        look.asked_at = now
        self._means.act(action)

    # Answers.

    def offsets_replied(self, look: Look, offsets: PartitionOffsets | None, now: float) -> None:
        """Take the answer how far the partition goes; None: the SPU has not the requests that a look takes."""
        if look not in self._under_way:
            return
        if offsets is None:
            self._make_impossible(look, now)
        elif offsets.error_code.code:
            self._refused(look, offsets.error_code, now)
        else:
            look.begin(offsets.start_offset, offsets.last_stable_offset, now)
            if look not in self.second:
                look.queue.note_end(look.pipeline.spu, offsets.last_stable_offset)
            if look.sought:
                self._ask(look, ReadLog(look), now)
            else:
                look.complete = True
                self._ended(look, now)

    def log_read(self, event: LogRead, now: float) -> None:
        """Take a part of the log."""
        look, headers, size, error = event.look, event.headers, event.size, event.error
        if look not in self._under_way:
            return
        if error.code:
            self._refused(look, error, now)
            return
        try:
            is_over = look.take(headers, size, now)
        except ProtocolError as flaw:
            self._means.drop(look.pipeline, ProtocolError(f"{look.pipeline.name}: {flaw}"), now)
            return
        if is_over:
            self._ended(look, now)
        else:
            self._ask(look, ReadLog(look), now)

    def _refused(self, look: Look, code: ErrorCode, now: float) -> None:
        queue = look.queue
        treatment = failures.treatment_of(code.code)
        if treatment is failures.Treatment.REJECT:
            self._make_impossible(look, now)
            return
        if treatment is failures.Treatment.REFRESH:
            self._means.act(DoubtMetadata())
        self._failed(look, failures.server_error(code, queue.topic, queue.partition, look.pipeline.spu), now)

    def _make_impossible(self, look: Look, now: float) -> None:
        """Look no more on this connection: the SPU has not the requests, or does not allow them."""
        look.pipeline.cannot_look = True
        self.end(look, now)
        if look in self.second:
            self.second.failed(look, now)
        else:
            self._means.go_on(look.queue, now)

    def note_leader(self, queue: PartitionQueue, leader: int | None, now: float) -> None:
        """Note who leads the partition."""
        if leader != queue.leader:
            queue.note_leader(leader, now)
            self.second.note_leader(queue, leader, now)

    def note_shorter(self, queue: PartitionQueue, spu: int, end: int) -> None:
        """Note that an SPU's log ended there; looks for batches that were sent before begin there, or before."""
        queue.note_shorter(spu, end)
        self.second.note_shorter(queue, spu, end)
        for look in self._under_way:
            if look.queue is queue:
                look.lower_bound(spu, end)

    # Failing and ending.

    def connection_lost(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        """Fail the looks on a connection that broke."""
        for look in [look for look in self._under_way if look.pipeline is pipeline]:
            self._failed(look, error, now)

    def second_due(self, second: SecondLook, now: float) -> None:
        """Begin a second look that is due, or end one that is late."""
        late = self.second.due(second, now)
        if late is not None and second.look is not None:
            self._failed(second.look, late, now)

    def recover(self, now: float) -> None:
        """Begin again: all connections are gone."""
        self._under_way = {}
        self.second.recover(now)

    def _failed(self, look: Look, error: FluvioError, now: float) -> None:
        self.end(look, now)
        if look in self.second:
            self.second.failed(look, now)
        else:
            self._means.fail(look.queue, error, now)

    def end(self, look: Look, now: float) -> None:
        """Expect no answer to a look any more, and let queues look that waited for that."""
        pipeline = look.pipeline
        if look in self._under_way:
            del self._under_way[look]
            pipeline.looks -= look.sought
            while pipeline.unlooked and pipeline.looks < MAX_LOOKS and pipeline.state is PipelineState.UP:
                queue = pipeline.unlooked.popleft()
                if pipeline.has_queued(queue):
                    self.begin(queue, pipeline, now)

    def _ended(self, look: Look, now: float) -> None:
        self.end(look, now)
        if look in self.second:
            self.second.ended(look, now)
            return
        queue = look.queue
        found, offsets = queue.take_found(look.offsets)
        self._note_absent(queue, look, found)
        if found:
            self._means.acknowledge(look.pipeline, found, offsets, now)
        else:
            self._means.go_on(queue, now)

    def _note_absent(self, queue: PartitionQueue, look: Look, found: list[Batch]) -> None:
        """Have the batches that a look did not find sent again."""
        absent = queue.in_doubt()
        queue.pass_doubt(look.pipeline.session, look.pipeline.spu)
        verified = [*found, *absent] if look.complete else found
        queue.topic_state.counters.records_verified += _records(verified)
        if not look.complete:
            _count_unverified(absent)
            return
        for batch in absent:
            look.note_absent(batch)
        if verified and not queue.verified_told:
            queue.verified_told = True
            where = {"topic": queue.topic, "partition": queue.partition}
            self._means.report("info", "delivery.verified", **where, stored=_records(found), missing=_records(absent))


def _records(batches: list[Batch]) -> int:
    return sum(batch.builder.count for batch in batches)


def _count_unverified(batches: list[Batch]) -> None:
    """Count the records of batches that are sent again without a look, once each."""
    for batch in batches:
        if not batch.unverified:
            batch.unverified = True
            batch.queue.topic_state.counters.records_unverified += batch.builder.count
