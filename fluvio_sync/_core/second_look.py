# SPDX-License-Identifier: Apache-2.0
"""Second looks: whether acknowledged batches that were sent again are stored more than once.

Pure; guarded by the client's lock.  The look before a batch is sent again can miss a request of a connection that is
gone, which may be carried out afterwards.  So the batch is looked for once more, a while after its acknowledgement; an
identity that stands in the log twice is counted and logged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._core.looking import Look, lowest
from fluvio_sync._core.partition import SETTLING, lowered, settled_at
from fluvio_sync._core.pipeline import PipelineState

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.partition import Batch, EarlierBatch, Ending, PartitionQueue
    from fluvio_sync._core.pipeline import SpuPipeline
    from fluvio_sync._core.routing import Router
    from fluvio_sync.delivery import Isolation
    from fluvio_sync.errors import FluvioError

_MOST_FAILURES = 30  # looks that fail one after the other, before the batches are not looked for any more


class _Suspect(NamedTuple):
    """An acknowledged batch that may be stored twice.

    * `at`: when it was acknowledged, in monotonic seconds.
    * `sent_to`: the SPUs that requests with it went to.
    * `left_in`: the ends of those requests that no answer was awaited of.
    """

    identities: list[EarlierBatch]
    bound: int | None
    offset: int
    records: int
    at: float
    sent_to: tuple[int, ...]
    left_in: tuple[Ending, ...]

    @property
    def settled_at(self) -> float:
        """When nothing of it can be under way any more; infinite if that is not known."""
        return settled_at(self.at, self.left_in)

    def lowered(self, spu: int, end: int) -> _Suspect:
        """Return it with the bound that it has now that an SPU's log ended there."""
        return self._replace(bound=lowered(self.bound, self.sent_to, spu, end))


class Duplicate(NamedTuple):
    """Records that are stored more than once; `offset`: at which they were acknowledged, `others`: the other ones."""

    records: int
    offset: int
    others: list[int]


class SecondLook:
    """The look for acknowledged batches of a queue that may be stored twice.

    * `due_at`: when to look, in monotonic seconds; not while `look` is under way.
    """

    __slots__ = ("_covered", "_suspects", "due_at", "failures", "look", "queue", "timer")

    def __init__(self, queue: PartitionQueue) -> None:
        self.queue = queue
        self.look: Look | None = None
        self.due_at = math.inf
        self.failures = 0
        self.timer: float | None = None
        self._suspects: list[_Suspect] = []
        self._covered: list[_Suspect] = []  # by the look that is under way

    def add(self, batch: Batch, offset: int, now: float) -> None:
        """Look for another batch as well, once nothing of it can be under way any more."""
        self.due_at = min(self.due_at, now + SETTLING)
        records, sent_to, left_in = batch.builder.count, batch.sent_to, batch.left_in
        self._suspects.append(_Suspect(batch.identities(), batch.bound, offset, records, now, sent_to, left_in))

    def next_timer(self, now: float) -> float:
        """Return when the dispatcher has to look at it."""
        return self.due_at if self.look is None else self.look.due(now)

    @property
    def records(self) -> int:
        """The number of records that are looked for, or will be."""
        return sum(item.records for item in [*self._covered, *self._suspects])

    def note_shorter(self, spu: int, end: int) -> None:
        """Look from there on, or everywhere: an SPU's log ended there."""
        self._suspects = [item.lowered(spu, end) for item in self._suspects]
        self._covered = [item.lowered(spu, end) for item in self._covered]

    def note_leader(self, leader: int | None, now: float) -> None:
        """Look everywhere for what this leader may have been sent before its log lost its end, and stored since."""
        self._suspects = [
            item._replace(bound=None) if leader in item.sent_to and item.settled_at > now else item
            for item in self._suspects
        ]

    def put_off(self, now: float) -> None:
        """Look when the next batches are settled; ask again later if that is not known of any."""
        settled = min((item.settled_at for item in self._suspects), default=math.inf)
        self.due_at = settled if settled < math.inf else now + SETTLING

    def start(self, pipeline: SpuPipeline, now: float) -> Look:
        """Return a look for the batches that are settled."""
        due = [item for item in self._suspects if item.settled_at <= now]
        self._covered, self._suspects = due, [item for item in self._suspects if item.settled_at > now]
        end = max(item.offset + item.records for item in due)
        sought = [identity for item in due for identity in item.identities]
        sent_to = {spu for item in due for spu in item.sent_to}
        bound = lowest(item.bound for item in due)
        self.look = Look(self.queue, pipeline, sought, bound, now, sent_to=sent_to, end=end)
        return self.look

    def fail(self, now: float) -> bool:
        """Look again later, as the last look failed; return whether to do so."""
        self.end_look()
        self.failures += 1
        self.due_at = now + SETTLING
        return self.failures < _MOST_FAILURES

    def end_look(self) -> None:
        """End a look that found nothing out."""
        self.look = None
        self._suspects, self._covered = [*self._covered, *self._suspects], []

    def finish(self, look: Look, now: float) -> list[Duplicate]:
        """End a look and return the batches that it found more than once; `records` counts those left to look for."""
        covered, self._covered = self._covered, []
        self.look, self.failures = None, 0
        self.put_off(now)
        found = []
        for item in covered:
            others = sorted(set(look.offsets(item.identities)) - {item.offset})
            if others:
                found.append(Duplicate(item.records, item.offset, others))
        return found


class SecondLooks:
    """The second looks of a client, those that wait and those that are under way; true while there is one.

    * `pipeline_to`, `connect`: return the pipeline to an SPU, and have its connection made.
    * `begin`, `arm`: begin a look, and set a timer.
    * `on_looked`: called when none is left.
    """

    def __init__(
        self,
        router: Router,
        *,
        pipeline_to: Callable[[int, Isolation], SpuPipeline],
        connect: Callable[[SpuPipeline, float], None],
        begin: Callable[[Look, float], None],
        arm: Callable[[SecondLook, float], None],
        report: Callable[..., None],
        on_looked: Callable[[], None],
    ) -> None:
        self._router = router
        self._pipeline_to = pipeline_to
        self._connect = connect
        self._begin = begin
        self._arm = arm
        self._report = report
        self._on_looked = on_looked
        self._waiting: dict[PartitionQueue, SecondLook] = {}
        self._under_way: dict[Look, SecondLook] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __contains__(self, look: Look) -> bool:
        return look in self._under_way

    def add(self, batch: Batch, offset: int, now: float) -> None:
        """Look for an acknowledged batch that was sent again while it may have been stored."""
        second = self._waiting.setdefault(batch.queue, SecondLook(batch.queue))
        second.add(batch, offset, now)
        self._arm(second, now)

    def note_leader(self, queue: PartitionQueue, leader: int | None, now: float) -> None:
        """Note that the partition has another leader, which may have led it before."""
        if queue in self._waiting:
            self._waiting[queue].note_leader(leader, now)

    def note_shorter(self, queue: PartitionQueue, spu: int, end: int) -> None:
        """Note that an SPU's log ended there."""
        if queue in self._waiting:
            self._waiting[queue].note_shorter(spu, end)

    def due(self, second: SecondLook, now: float) -> FluvioError | None:
        """Begin a look that is due; return the error of one that is late."""
        if second.look is not None:
            error = second.look.overdue(now)
            if error is not None:
                return error
        elif second.due_at <= now:
            second.put_off(now)
            if second.due_at <= now:
                self._look(second, now)
        if second.queue in self._waiting:
            self._arm(second, now)
        return None

    def _look(self, second: SecondLook, now: float) -> None:
        queue = second.queue
        route = self._router.route(queue, now)
        if route.gone:
            self.forget(queue)
            return
        if route.spu is not None:
            pipeline = self._pipeline_to(route.spu, queue.topic_state.config.isolation)
            if pipeline.state is PipelineState.UP and not pipeline.cannot_look:
                look = second.start(pipeline, now)
                self._under_way[look] = second
                self._begin(look, now)
                return
            if pipeline.state is PipelineState.DOWN:
                self._connect(pipeline, now)
        if not second.fail(now):
            self._give_up(second)

    def failed(self, look: Look, now: float) -> None:
        """Look again later, unless that failed too often."""
        second = self._under_way.pop(look)
        if second.fail(now):
            self._arm(second, now)
        else:
            self._give_up(second)

    def ended(self, look: Look, now: float) -> None:
        """Count and report what a look found."""
        second = self._under_way.pop(look)
        queue = second.queue
        if not look.complete:
            self._give_up(second)
            return
        for records, offset, others in second.finish(look, now):
            queue.topic_state.counters.records_duplicated += records * len(others)
            where = {"topic": queue.topic, "partition": queue.partition}
            self._report("warning", "delivery.duplicated", **where, offset=offset, again=others[0], records=records)
        if second.records:
            self._arm(second, now)
        else:
            self.forget(queue)

    def give_up(self) -> None:
        """Look for no batch any more: the client is closed."""
        for second in [*self._waiting.values()]:
            self._give_up(second)

    def _give_up(self, second: SecondLook) -> None:
        second.queue.topic_state.counters.records_unverified += second.records
        self.forget(second.queue)

    def forget(self, queue: PartitionQueue) -> None:
        """Look for no batch of this queue any more."""
        if self._waiting.pop(queue, None) is not None and not self._waiting:
            self._on_looked()

    def recover(self, now: float) -> None:
        """Begin again: all connections are gone."""
        self._under_way = {}
        for second in self._waiting.values():
            second.end_look()
            second.timer = None
            self._arm(second, now)
