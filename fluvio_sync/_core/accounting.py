# SPDX-License-Identifier: Apache-2.0
"""What became of a batch, entered into the counters of its channel and of the handles that its records came from.

Called with the client's lock held, and again for the same batch if that was interrupted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync._core.actions import Acknowledge, Drop, HandOver

if TYPE_CHECKING:
    from fluvio_sync._core.actions import Decision
    from fluvio_sync.stats import Run


def enter(decision: Decision, now: float) -> None:
    """Enter the outcome of a batch into its channel's counters and its owners' tallies: once, if done again.

    Each statement that changes a count has no call in it, so that no signal comes between its parts.
    """
    batch = decision.batch
    counters = batch.lane.channel.counters
    count = batch.builder.count
    if batch.counted:
        pass
    elif isinstance(decision, Acknowledge):
        latency = now - batch.ready_at
        slowest = max(counters.latency_max, latency)
        counters.records_acked, counters.bytes_acked, counters.batches_acked, counters.latency_sum, batch.counted = (
            counters.records_acked + count,
            counters.bytes_acked + batch.builder.payload,
            counters.batches_acked + 1,
            counters.latency_sum + latency,
            True,
        )
        counters.latency_max = slowest
    elif isinstance(decision, HandOver):
        counters.records_unacknowledged, batch.counted = counters.records_unacknowledged + count, True
    elif isinstance(decision, Drop):
        counters.records_dropped, batch.counted = counters.records_dropped + count, True
    else:
        counters.records_failed, counters.bytes_failed, counters.batches_failed, batch.counted = (
            counters.records_failed + count,
            counters.bytes_failed + batch.builder.payload,
            counters.batches_failed + 1,
            True,
        )
    _tally(decision, batch.outcome.runs, count)


def _tally(decision: Decision, runs: list[Run], count: int) -> None:
    ends = [run.start for run in runs[1:]] + [count]
    for run, end in zip(runs, ends, strict=False):  # no run at all if send() was interrupted at its first record
        records = end - run.start
        if isinstance(decision, Acknowledge):
            run.tally.add_acked(run, records)
        elif isinstance(decision, HandOver):
            run.tally.add_unacknowledged(run, records)
        elif isinstance(decision, Drop):
            run.tally.add_dropped(run, records)
        else:
            run.failure = partial(decision.failure, run.start)
            run.tally.add_failed(run, records)
