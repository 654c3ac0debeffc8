# SPDX-License-Identifier: Apache-2.0
"""The promises under simulated faults: hundreds of seeds, and the proof that a broken promise is found.

`FLUVIO_SYNC_SEEDS` sets the number of seeds; `python -m tests.simulation.replay SEED` repeats one and tells its story.
"""

from __future__ import annotations

import math
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core import looks, second_look
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.events import OffsetsReplied, Written
from fluvio_sync._core.failures import delivery_timed_out
from fluvio_sync._core.looking import Look, Looking
from fluvio_sync._core.patience import Allowance, Progress
from fluvio_sync._core.pipeline import CommitWait
from fluvio_sync._net.connection import Connection
from fluvio_sync._runtime.metadata_watch import MetadataWatch
from fluvio_sync._runtime.sender import Sender
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.offsets import PartitionOffsets
from fluvio_sync.retry import RetryPolicy
from tests.simulation.network import SimulatedTransport
from tests.simulation.world import Broken, World
from tests.support.system import replaces_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluvio_sync._core.metadata import MetadataDiff
    from fluvio_sync._core.partition import Batch, Outcome, PartitionQueue
    from fluvio_sync._core.pipeline import Request, SpuPipeline
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.protocol.watch import WatchUpdate

SEEDS = int(os.environ.get("FLUVIO_SYNC_SEEDS", "2000"))
BLOCK = 100
QUICK = 500  # seeds that `make test` runs; the others are slow
BLOCKS = [pytest.param(first, marks=[] if first < QUICK else [pytest.mark.slow]) for first in range(0, SEEDS, BLOCK)]


@pytest.mark.parametrize("first", BLOCKS)
def test_the_promises_hold(first: int) -> None:
    for seed in range(first, min(first + BLOCK, SEEDS)):
        World(seed).run()


def test_a_seed_is_a_whole_story() -> None:
    one, two = World(12), World(12)
    one.run()
    two.run()
    assert one.trace == two.trace
    assert [sent.future.exception() is None for sent in one.sent] == [
        sent.future.exception() is None for sent in two.sent
    ]
    assert len(one.trace) > 3


def run_seeds(count: int, *, first: int = 0, **parts: Any) -> None:
    for seed in range(first, first + count):
        World(seed, **parts).run()


# Known faults, planted one at a time: in the dispatcher.


class LostRetry(Dispatcher):
    """Forgets the batches of a failed attempt if they were several."""

    def _attempt_failed(
        self, queue: PartitionQueue, batches: Sequence[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        if len(batches) < 2:
            super()._attempt_failed(queue, batches, error, now, floor)
        else:
            self._reschedule(queue, now)


class SwappedOrder(Dispatcher):
    """Retries in another order."""

    def _attempt_failed(
        self, queue: PartitionQueue, batches: Sequence[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        super()._attempt_failed(queue, batches, error, now, floor)
        queue.sealed.rotate(1)


class ForgottenDeadline(Dispatcher):
    """Does not fail waiting batches whose time is over."""

    def _time_out(self, batch: Batch, now: float) -> None:
        if batch.in_request:
            super()._time_out(batch, now)
        else:
            batch.queue.sealed.append(batch)


class TwoInFlight(Dispatcher):
    """Sends a partition's next batches before the answer to the ones before."""

    def _fill(self, pipeline: SpuPipeline, now: float) -> None:
        super()._fill(pipeline, now)
        for request in [*pipeline.in_flight]:
            for queue, _ in request.entries:
                if queue.sealed and not pipeline.has_queued(queue):
                    queue.state = pipeline.queued
                    pipeline.ready.append(queue)
        super()._fill(pipeline, now)


class CommittedTooEarly(Dispatcher):
    """Takes any answer about the high watermark for a yes."""

    def _offsets_replied(self, event: OffsetsReplied, now: float) -> None:
        offsets = event.offsets
        if offsets is not None and isinstance(event.question, CommitWait):
            offsets = offsets.replace(last_stable_offset=1 << 60)
        super()._offsets_replied(OffsetsReplied(event.question, offsets), now)


class WrongOffset(Dispatcher):
    """Numbers an entry of several batches from one further on."""

    def _acknowledge(self, queue: PartitionQueue, batches: list[Batch], offsets: list[int], now: float) -> None:
        super()._acknowledge(queue, batches, [offset + (len(batches) > 1) for offset in offsets], now)


class NeverInDoubt(Dispatcher):
    """Says of every lost request that it was not stored."""

    def _connection_lost(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        for request in pipeline.in_flight:
            request.wrote_any = False
        super()._connection_lost(pipeline, error, now)


class SureOfTheUnwritten(Dispatcher):
    """Says of batches that still wait for the socket that they were not stored."""

    def _fail(self, batch: Batch, failure: object) -> None:
        state = batch.queue.state
        request = getattr(state, "request", None)
        if request is not None and not request.wrote_any:
            batch.maybe_written = False
            if batch.in_request:
                failure = delivery_timed_out(batch, batch.last_error, batch.deadline)
        super()._fail(batch, failure)  # type: ignore[arg-type]


class ResolvedTwice(Dispatcher):
    """Completes a batch again when its answer comes after its deadline."""

    def _acknowledge(self, queue: PartitionQueue, batches: list[Batch], offsets: list[int], now: float) -> None:
        for batch in batches:
            batch.done = False
        super()._acknowledge(queue, batches, offsets, now)


class SentAgain(Dispatcher):
    """Sends at-most-once batches a second time."""

    def _written(self, event: Written, now: float) -> None:
        request = event.request
        if request.acked or request.lost or all(batch.attempts > 1 for batch in request.batches):
            super()._written(event, now)
            return
        request.written = True
        entries, request.entries = request.entries, []
        for queue, batches in entries:
            queue.put_back(batches)
            self._reschedule(queue, now)


# In looks.


class SentAgainWithoutALook(Dispatcher):
    """Sends batches in doubt again as they are, and does not look for them later."""

    def _enqueue(self, queue: PartitionQueue, pipeline: SpuPipeline, now: float) -> None:
        for batch in queue.in_doubt():
            batch.maybe_written = False
        super()._enqueue(queue, pipeline, now)


class NoSecondLook(Dispatcher):
    """Takes the first look for the whole truth."""

    def _acknowledge(self, queue: PartitionQueue, batches: list[Batch], offsets: list[int], now: float) -> None:
        for batch in batches:
            batch.sent_in_doubt = False
        super()._acknowledge(queue, batches, offsets, now)


class OldLeaderBelieved(Dispatcher):
    """Goes on with a look at a leader that was replaced."""

    def _route_changed(self, queue: PartitionQueue, now: float) -> None:
        if not isinstance(queue.state, Looking):
            super()._route_changed(queue, now)


class ForgottenBound(Look):
    """Looks from the end of the log on."""

    def begin(self, first: int, high_watermark: int, now: float) -> None:
        self.bound = high_watermark
        super().begin(first, high_watermark, now)


class AnyClient(Look):
    """Takes another client's batches for its own."""

    def take(self, headers: Sequence[BatchHeader], size: int, now: float) -> bool:
        own = self.queue.producer_id
        return super().take([header._replace(producer_id=own) for header in headers], size, now)


@pytest.mark.parametrize("planted", [ForgottenBound, AnyClient])
def test_a_planted_fault_in_a_look_is_found(planted: type[Look], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "Look", planted)
    monkeypatch.setattr(second_look, "Look", planted)
    with pytest.raises(Broken):
        run_seeds(500)


# In recovery.


class ForgottenInRecovery(Dispatcher):
    """Begins again without the batches that were in a request."""

    def recover(self, queues: Iterable[PartitionQueue], error: FluvioError, now: float) -> None:
        queues = list(queues)
        super().recover(queues, error, now)
        for queue in queues:
            queue.sealed = deque(batch for batch in queue.sealed if not batch.maybe_written)


class OutOfOrderAfterRecovery(Dispatcher):
    """Begins again with the batches that were in a request behind the rest."""

    def recover(self, queues: Iterable[PartitionQueue], error: FluvioError, now: float) -> None:
        queues = list(queues)
        super().recover(queues, error, now)
        for queue in queues:
            queue.sealed = deque(sorted(queue.sealed, key=lambda batch: batch.maybe_written))


class ForgottenOutcomes(Dispatcher):
    """Begins again without the outcomes that were decided and not carried out."""

    def recover(self, queues: Iterable[PartitionQueue], error: FluvioError, now: float) -> None:
        super().recover(queues, error, now)
        self._actions = []


class NoRecovery(Sender):
    """Goes on after an interrupted step as if it had ended."""

    def _recover(self) -> None:
        pass


class WatchKeptInRecovery(Sender):
    """Begins again with the closed connection to the SC."""

    def _recover(self) -> None:
        current = self._watch.current
        super()._recover()
        self._watch.current = current


# In the sender.


class BlindToFirstBytes(Sender):
    """Does not note which requests began to be written."""

    def _collect_written(self, connection: Connection) -> None:
        connection.first_bytes.clear()
        super()._collect_written(connection)


class LeakyAccounts(Sender):
    """Does not account for the last of several outcomes."""

    def _account_for(self, finished: list[Outcome]) -> None:
        super()._account_for(finished[:-1] if len(finished) > 1 else finished)


class Oversleeping(Sender):
    """Waits a little longer than its timers say."""

    def next_timer(self) -> float:
        return super().next_timer() + 0.05


class DeafToSends(Sender):
    """Forgets the last of several queues with new records."""

    def _decide(self) -> bool:
        dirty = self._accumulator.dirty
        if len(dirty) > 1:
            dirty.pop().dirty = False
        return super()._decide()


class AnswersMixedUp(Sender):
    """Takes the answer for one partition's offsets for that of another."""

    def _take_answer(self, expected: object, reader: object, connection: Connection) -> None:
        waits = [item for item in connection.expected.values() if isinstance(item, CommitWait)]
        if isinstance(expected, CommitWait):
            offsets = PartitionOffsets(ErrorCode.NONE, expected.queue.partition, 0, 1 << 60)
            self._events.append(OffsetsReplied(waits[0] if waits else expected, offsets))
        else:
            super()._take_answer(expected, reader, connection)  # type: ignore[arg-type]


# In the watch.


class ForgetfulWatch(MetadataWatch):
    """Takes over the first of several updates alone."""

    def take_over(self, updates: list[WatchUpdate]) -> MetadataDiff:
        first = self.current is None or not self.current.taken_over or not self.metadata.complete
        return super().take_over(updates if first else updates[:1] if len(updates) > 1 else [])


class WatchNeverMadeAgain(MetadataWatch):
    """Does not connect again."""

    def lose(self, error: FluvioError, now: float) -> MetadataDiff:
        diff = super().lose(error, now)
        self.due = 1e9
        return diff


class TrustedWatch(MetadataWatch):
    """Takes a subscription that brings nothing for one that has nothing to bring."""

    def ask_if_due(self, now: float) -> None:
        self._ask_at = math.inf
        self._arm()


# Addresses.


class LeftAtTheOldAddress(Dispatcher):
    """Goes to an SPU's new address when the connection to the old one breaks."""

    def _leave_spu(self, spu: int, now: float) -> None:
        if not self.metadata.spu_online(spu):
            super()._leave_spu(spu, now)


PLANTED = [
    {"dispatcher": LostRetry},
    {"dispatcher": SwappedOrder},
    {"dispatcher": ForgottenDeadline},
    {"dispatcher": TwoInFlight},
    {"dispatcher": CommittedTooEarly},
    {"dispatcher": WrongOffset},
    {"dispatcher": NeverInDoubt},
    {"dispatcher": SureOfTheUnwritten},
    {"dispatcher": ResolvedTwice},
    {"dispatcher": SentAgain},
    {"dispatcher": SentAgainWithoutALook},
    {"dispatcher": NoSecondLook},
    {"dispatcher": ForgottenInRecovery},
    {"dispatcher": OutOfOrderAfterRecovery},
    {"dispatcher": ForgottenOutcomes},
    {"sender": NoRecovery},
    {"sender": WatchKeptInRecovery},
    {"sender": BlindToFirstBytes},
    {"sender": LeakyAccounts},
    {"sender": Oversleeping},
    {"sender": DeafToSends},
    {"sender": AnswersMixedUp},
    {"watch": ForgetfulWatch},
    {"watch": WatchNeverMadeAgain},
    {"watch": TrustedWatch},
    {"dispatcher": LeftAtTheOldAddress},
]


@pytest.mark.parametrize("parts", PLANTED, ids=lambda parts: next(iter(parts.values())).__name__)
def test_a_planted_fault_is_found(parts: dict[str, Any]) -> None:
    with pytest.raises(Broken):
        run_seeds(500, **parts)


def test_belief_in_a_replaced_leader_is_found() -> None:
    with pytest.raises(Broken):
        run_seeds(100, first=600, dispatcher=OldLeaderBelieved)


@replaces_code
def test_a_frame_that_is_cut_short_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    note_sent = Connection._note_sent

    def skipping(connection: Connection, count: int) -> None:
        note_sent(connection, count)
        if connection._pending:
            connection._pending[0] = connection._pending[0][1:]

    monkeypatch.setattr(Connection, "_note_sent", skipping)
    with pytest.raises(Broken):
        run_seeds(500)


# Time and patience.


def test_a_delay_that_is_not_shortened_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryPolicy, "wait_for", lambda _policy, delay, left: delay if delay < left else None)
    with pytest.raises(Broken, match="before its deadline"):
        run_seeds(500)


def hold_bytes_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the bytes of connections that were given up arrive, late: a router holds them, not the client's system."""
    monkeypatch.setattr(SimulatedTransport, "abort", SimulatedTransport.close)


def test_on_slow_links_nothing_is_given_up_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_bytes_in_the_network(monkeypatch)
    run_seeds(500)


@replaces_code
def test_a_time_that_counts_from_queueing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_bytes_in_the_network(monkeypatch)
    see = Progress.see

    def see_all(progress: Progress, _arrived: int, in_flight: Sequence[Request], now: float) -> bool:
        return see(progress, in_flight[-1].end, in_flight, now)

    monkeypatch.setattr(Progress, "see", see_all)
    with pytest.raises(Broken, match="stored twice, and nothing went wrong"):
        run_seeds(500, first=500)


@replaces_code
def test_as_much_as_ever_after_a_late_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allowance, "reduce", lambda _allowance, _size: None)
    with pytest.raises(Broken, match="given up though the cluster came back"):
        run_seeds(500, first=600)
