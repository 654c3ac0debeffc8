# SPDX-License-Identifier: Apache-2.0
"""The promises under simulated faults: hundreds of seeds, and the proof that a broken promise is found.

`FLUVIO_SYNC_SEEDS` sets the number of seeds; `python -m tests.simulation.replay SEED` repeats one and tells its story.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

import pytest

from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.partition import LaneState
from tests.simulation.world import Broken, World

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluvio_sync._core.partition import Batch, PartitionQueue
    from fluvio_sync._core.pipeline import CommitWait, Request, SpuPipeline
    from fluvio_sync.errors import FluvioError

SEEDS = int(os.environ.get("FLUVIO_SYNC_SEEDS", "2000"))
BLOCK = 100
QUICK = 500  # seeds that `make test` runs; the others are slow
BLOCKS = [pytest.param(first, marks=[] if first < QUICK else [pytest.mark.slow]) for first in range(0, SEEDS, BLOCK)]


@pytest.mark.parametrize("first", BLOCKS)
def test_the_promises_hold(first: int) -> None:
    for seed in range(first, min(first + BLOCK, SEEDS)):
        World(seed).run()


def test_a_seed_is_a_whole_story() -> None:
    one, two = World(11), World(11)
    one.run()
    two.run()
    assert one.trace == two.trace
    assert [sent.future.exception() is None for sent in one.sent] == [
        sent.future.exception() is None for sent in two.sent
    ]
    assert len(one.trace) > 3


def run_seeds(count: int, dispatcher: type[Dispatcher]) -> None:
    for seed in range(count):
        World(seed, dispatcher=dispatcher).run()


# Known faults, planted one at a time.


class LostRetry(Dispatcher):
    """Forgets the batches of a failed attempt if they were several."""

    def _attempt_failed(
        self, queue: PartitionQueue, batches: list[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        if len(batches) < 2:
            super()._attempt_failed(queue, batches, error, now, floor)
            return
        queue.in_flight = []
        self._attend(queue, now)


class SwappedOrder(Dispatcher):
    """Retries in another order."""

    def _attempt_failed(
        self, queue: PartitionQueue, batches: list[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        super()._attempt_failed(queue, batches, error, now, floor)
        queue.sealed.rotate(1)


class ForgottenDeadline(Dispatcher):
    """Does not fail a queued batch when its time is over."""

    def _expire(self, queue: PartitionQueue, now: float) -> None:
        pass


class TwoInFlight(Dispatcher):
    """Sends a partition's next batches before the answer to the ones before."""

    def _start(self, queue: PartitionQueue, batches: list[Batch]) -> None:
        super()._start(queue, batches)
        if queue.sealed and queue.pipeline is not None:
            queue.state = LaneState.QUEUED
            queue.pipeline.ready.append(queue)


class CommittedTooEarly(Dispatcher):
    """Takes any answer about the high watermark for a yes."""

    def offsets_replied(self, commit_wait: CommitWait, high_watermark: int | None, now: float) -> None:
        super().offsets_replied(commit_wait, None if high_watermark is None else 1 << 60, now)


class WrongOffset(Dispatcher):
    """Numbers an entry of several batches from one further on."""

    def _acknowledge(self, queue: PartitionQueue, batches: list[Batch], base_offset: int) -> None:
        super()._acknowledge(queue, batches, base_offset + (len(batches) > 1))


class NeverInDoubt(Dispatcher):
    """Says of every lost request that it was not stored."""

    def _connection_lost(self, pipeline: SpuPipeline, error: FluvioError, now: float) -> None:
        for request in pipeline.in_flight:
            request.wrote_any = False
        super()._connection_lost(pipeline, error, now)


class SureOfTheUnwritten(Dispatcher):
    """Says of batches that still wait for the socket that they were not stored."""

    def _note_written(self, queue: PartitionQueue, *, goes_on: bool) -> None:
        super()._note_written(queue, goes_on=False)


class ResolvedTwice(Dispatcher):
    """Completes a batch again when its answer comes after its deadline."""

    def _acknowledge(self, queue: PartitionQueue, batches: list[Batch], base_offset: int) -> None:
        for batch in batches:
            batch.done = False
        super()._acknowledge(queue, batches, base_offset)


class SentAgain(Dispatcher):
    """Sends at-most-once batches a second time."""

    def written(self, request: Request, now: float) -> None:
        if request.acked or request.lost or all(batch.attempts > 1 for batch in request.batches):
            super().written(request, now)
            return
        request.written = True
        entries, request.entries = request.entries, []
        for queue, batches in entries:
            queue.in_flight = []
            queue.sealed.extendleft(reversed(batches))
            self._attend(queue, now)


class ForgottenInRecovery(Dispatcher):
    """Begins again without the batches of requests."""

    def recover(self, queues: Iterable[PartitionQueue], error: FluvioError, now: float) -> None:
        queues = list(queues)
        super().recover(queues, error, now)
        for queue in queues:
            queue.sealed = deque(batch for batch in queue.sealed if not batch.maybe_written)


class OutOfOrderAfterRecovery(Dispatcher):
    """Begins again with the batches of requests behind the rest."""

    def recover(self, queues: Iterable[PartitionQueue], error: FluvioError, now: float) -> None:
        queues = list(queues)
        super().recover(queues, error, now)
        for queue in queues:
            queue.sealed = deque(sorted(queue.sealed, key=lambda batch: batch.maybe_written))


@pytest.mark.parametrize(
    "fault",
    [
        LostRetry,
        SwappedOrder,
        ForgottenDeadline,
        TwoInFlight,
        CommittedTooEarly,
        WrongOffset,
        NeverInDoubt,
        SureOfTheUnwritten,
        ResolvedTwice,
        SentAgain,
        ForgottenInRecovery,
        OutOfOrderAfterRecovery,
    ],
)
def test_a_planted_fault_is_found(fault: type[Dispatcher]) -> None:
    with pytest.raises(Broken):
        run_seeds(500, fault)
