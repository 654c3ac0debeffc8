# SPDX-License-Identifier: Apache-2.0
"""Batches: the records of one batch, what happened to them so far, and halving.

Guarded by the client's lock, but for a batch's `encoded` bytes, which the thread that runs the sender's step writes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from fluvio_sync.futures import BatchOutcome
from fluvio_sync.protocol.batch import BatchBuilder, decode_record_set
from fluvio_sync.protocol.compression import compressor
from fluvio_sync.stats import Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fluvio_sync._core.actions import Decision
    from fluvio_sync._core.partition import Lane
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.stats import Tally

# What a record counts beside its key and value: its future and its share of the batch's lists (measured by
# `bench/memory.py`).
RECORD_CHARGE = 128


class Batch:
    """The records of one batch and what happened to them so far.

    `opened`, `ready_at`, `deadline`: monotonic seconds; `done`: it is decided what becomes of it; `decision`: what
    that is, until it is carried out and settled (kept longer, the two would hold each other in memory).
    """

    __slots__ = (
        "attempts",
        "builder",
        "counted",
        "deadline",
        "decision",
        "delays",
        "done",
        "encoded",
        "flushes",
        "halves",
        "in_request",
        "lane",
        "last_error",
        "maybe_written",
        "opened",
        "outcome",
        "ready_at",
        "retries",
        "tally",
    )

    def __init__(self, lane: Lane, builder: BatchBuilder, outcome: BatchOutcome, opened: float) -> None:
        self.lane = lane
        self.builder = builder
        self.outcome = outcome
        self.opened = opened
        self.ready_at = opened + lane.linger
        self.deadline = self.ready_at + lane.timeout
        self.tally: Tally | None = None  # of the handle that sent its last record
        self.attempts = 0
        self.retries = 0  # delays that the policy was asked for
        self.delays: Iterator[float] | None = None  # those that are left
        self.last_error: FluvioError | None = None
        self.maybe_written = False  # a byte of it went out, and no refusal proved that it was not stored
        self.in_request = False  # of an attempt that has not been answered or lost
        self.done = False
        self.decision: Decision | None = None
        self.counted = False  # in its channel's counters
        self.halves: tuple[Batch, Batch] | None = None  # that take its place
        self.encoded: list[bytes] | None = None
        self.flushes: list[FlushBarrier] = []

    def seal(self, now: float) -> None:
        """Close it for records; its deadline runs from now at the latest."""
        if now < self.ready_at:
            self.ready_at = now
            self.deadline = now + self.lane.timeout

    @property
    def charge(self) -> int:
        """The bytes that it is accounted for in `buffer_memory`."""
        return self.builder.payload + self.builder.count * RECORD_CHARGE

    def begin_run(self, tally: Tally) -> None:
        """The next record comes from this handle."""
        self.outcome.runs.append(Run(self.builder.count, tally))
        self.tally = tally

    def straighten(self) -> None:
        """Undo a record that did not get in: refused, or interrupted on its way."""
        self.builder.straighten()
        runs = self.outcome.runs = [run for run in self.outcome.runs if run.start < self.builder.count]
        self.tally = runs[-1].tally if runs else None

    def encode(self) -> list[bytes]:
        """Return it as buffers; it is encoded once, however often it is sent."""
        if self.encoded is None:
            channel = self.lane.channel
            codec = channel.compression.codec
            compress = compressor(codec, channel.config.compression_level) if codec else None
            self.encoded = self.builder.build(codec, compress)
            self.builder.release()
        return self.encoded

    def records(self) -> list[tuple[bytes | None, bytes, int]]:
        """Return key, value and timestamp of every record."""
        if self.encoded is None:
            return self.builder.records()
        (batch,) = decode_record_set(b"".join(self.encoded))
        return [(record.key, record.value, record.timestamp) for record in batch.records]

    def next_delay(self) -> float | None:
        """Return the delay before the next attempt in seconds, None if the policy is spent."""
        if self.delays is None:
            self.delays = itertools.islice(self.lane.delays(), self.retries, None)
        delay = next(self.delays, None)
        self.retries += 1
        return delay

    def belongs_to(self, tally: Tally | None) -> bool:
        """Whether the handle with this tally has records in it; None: any handle."""
        return tally is None or any(run.tally is tally for run in self.outcome.runs)

    def belongs_only_to(self, tally: Tally | None) -> bool:
        """Whether no other handle than the one with this tally has records in it; None: any handle."""
        return tally is None or all(run.tally is tally for run in self.outcome.runs)


class FlushBarrier:
    """The batches that somebody waits for.  A set, so that taking one out twice does no harm."""

    __slots__ = ("batches",)

    def __init__(self) -> None:
        self.batches: set[Batch] = set()

    @property
    def records(self) -> int:
        """How many records that is; with the client's lock held."""
        return sum(batch.builder.count for batch in self.batches)

    def add(self, batches: Iterable[Batch]) -> None:
        """Wait for these too, which are not settled yet."""
        for batch in batches:
            batch.flushes.append(self)
            self.batches.add(batch)


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
