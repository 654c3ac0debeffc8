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

    from fluvio_sync._core.batch import Batch
    from fluvio_sync._core.partition import Lane
    from fluvio_sync._core.pipeline import Link, Request, Settlement
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
        self, lane: Lane, batches: list[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        if len(batches) < 2:
            super()._attempt_failed(lane, batches, error, now, floor)
            return
        lane.in_flight = []
        self._attend(lane, now)


class SwappedOrder(Dispatcher):
    """Retries in another order."""

    def _attempt_failed(
        self, lane: Lane, batches: list[Batch], error: FluvioError, now: float, floor: float = 0.0
    ) -> None:
        super()._attempt_failed(lane, batches, error, now, floor)
        lane.queue.rotate(1)


class ForgottenDeadline(Dispatcher):
    """Does not fail a queued batch when its time is over."""

    def _expire(self, lane: Lane, now: float) -> None:
        pass


class TwoInFlight(Dispatcher):
    """Sends a partition's next batches before the answer to the ones before."""

    def _start(self, lane: Lane, batches: list[Batch]) -> None:
        super()._start(lane, batches)
        if lane.queue and lane.link is not None:
            lane.state = LaneState.QUEUED
            lane.link.queue.append(lane)


class CommittedTooEarly(Dispatcher):
    """Takes any answer about the high watermark for a yes."""

    def offsets_replied(self, settlement: Settlement, high_watermark: int | None, now: float) -> None:
        super().offsets_replied(settlement, None if high_watermark is None else 1 << 60, now)


class WrongOffset(Dispatcher):
    """Numbers an entry of several batches from one further on."""

    def _acknowledge(self, lane: Lane, batches: list[Batch], base_offset: int) -> None:
        super()._acknowledge(lane, batches, base_offset + (len(batches) > 1))


class NeverInDoubt(Dispatcher):
    """Says of every lost request that it was not stored."""

    def _connection_lost(self, link: Link, error: FluvioError, now: float) -> None:
        for request in link.in_flight:
            request.wrote_any = False
        super()._connection_lost(link, error, now)


class SureOfTheUnwritten(Dispatcher):
    """Says of batches that still wait for the socket that they were not stored."""

    def _note_written(self, lane: Lane, *, goes_on: bool) -> None:
        super()._note_written(lane, goes_on=False)


class ResolvedTwice(Dispatcher):
    """Completes a batch again when its answer comes after its deadline."""

    def _acknowledge(self, lane: Lane, batches: list[Batch], base_offset: int) -> None:
        for batch in batches:
            batch.done = False
        super()._acknowledge(lane, batches, base_offset)


class SentAgain(Dispatcher):
    """Sends at-most-once batches a second time."""

    def written(self, request: Request, now: float) -> None:
        if request.acked or request.lost or all(batch.attempts > 1 for batch in request.batches):
            super().written(request, now)
            return
        request.written = True
        entries, request.entries = request.entries, []
        for lane, batches in entries:
            lane.in_flight = []
            lane.queue.extendleft(reversed(batches))
            self._attend(lane, now)


class ForgottenInRecovery(Dispatcher):
    """Begins again without the batches of requests."""

    def recover(self, lanes: Iterable[Lane], error: FluvioError, now: float) -> None:
        lanes = list(lanes)
        super().recover(lanes, error, now)
        for lane in lanes:
            lane.queue = deque(batch for batch in lane.queue if not batch.maybe_written)


class OutOfOrderAfterRecovery(Dispatcher):
    """Begins again with the batches of requests behind the rest."""

    def recover(self, lanes: Iterable[Lane], error: FluvioError, now: float) -> None:
        lanes = list(lanes)
        super().recover(lanes, error, now)
        for lane in lanes:
            lane.queue = deque(sorted(lane.queue, key=lambda batch: batch.maybe_written))


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
