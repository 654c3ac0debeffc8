# SPDX-License-Identifier: Apache-2.0
"""Halving a batch that the server found too large.  Pure; the caller holds the client's lock."""

from __future__ import annotations

from fluvio_sync._lane import Batch
from fluvio_sync.futures import BatchOutcome
from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.stats import Run


def halve(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch of several records into two that take its place in its lane, its futures, deadline and flushes."""
    records = batch.records()
    middle = len(records) // 2
    left, right = _piece(batch, records[:middle]), _piece(batch, records[middle:])
    for run in batch.outcome.runs:
        if run.start < middle:
            left.outcome.runs.append(run)
        if run.start <= middle:
            right.outcome.runs[:] = [Run(0, run.tally)]
        else:
            right.outcome.runs.append(Run(run.start - middle, run.tally))
    batch.halves = left, right
    batch.lane.replace_by_halves(batch)
    return left, right


def _piece(batch: Batch, records: list[tuple[bytes | None, bytes, int]]) -> Batch:
    # Not the first record's: an application's timestamps, and those of a clock that was set back, come in any order.
    first = min(timestamp for _, _, timestamp in records)
    builder = BatchBuilder(first)
    for key, value, timestamp in records:
        builder.append(key, value, timestamp)
    old = batch.outcome
    outcome = BatchOutcome(old.topic, old.partition, first, builder.timestamps, old.callbacks)
    piece = Batch(batch.lane, builder, outcome, batch.opened)
    piece.ready_at, piece.deadline = batch.ready_at, batch.deadline
    piece.attempts = batch.attempts
    piece.retries = batch.retries
    piece.maybe_written, piece.last_error = batch.maybe_written, batch.last_error
    piece.flushes = list(batch.flushes)
    return piece
