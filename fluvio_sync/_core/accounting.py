# SPDX-License-Identifier: Apache-2.0
"""Accounting: outcomes of batches in the counters of their topic and of the handles that sent the records.

Called with the client's lock held, and again for the same batch if that was interrupted.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync._core.partition import Acknowledged, Dropped, Sent

if TYPE_CHECKING:
    from fluvio_sync._core.partition import Outcome
    from fluvio_sync._outcomes.handle_stats import OwnerSpan


def record_outcome(outcome: Outcome, now: float) -> None:
    """Count the outcome of a batch for its topic and for the handles that sent its records; once, if called again.

    Each statement that changes a count has no call in it, so that no signal comes between its parts.
    """
    batch = outcome.batch
    counters = batch.queue.topic_state.counters
    count = batch.builder.count
    if batch.counted:
        pass
    elif isinstance(outcome, Acknowledged):
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
    elif isinstance(outcome, Sent):
        counters.records_unacknowledged, batch.counted = counters.records_unacknowledged + count, True
    elif isinstance(outcome, Dropped):
        counters.records_dropped, batch.counted = counters.records_dropped + count, True
    else:
        counters.records_failed, counters.bytes_failed, counters.batches_failed, batch.counted = (
            counters.records_failed + count,
            counters.bytes_failed + batch.builder.payload,
            counters.batches_failed + 1,
            True,
        )
    _record_owners(outcome, batch.futures.spans, count)


def _record_owners(outcome: Outcome, spans: list[OwnerSpan], count: int) -> None:
    if len(spans) == 1 and isinstance(outcome, Acknowledged):  # the usual case
        spans[0].handle_stats.add_acked(spans[0], count)
        return
    ends = [span.start for span in spans[1:]] + [count]
    for span, end in zip(spans, ends, strict=False):  # without a span if send() was interrupted at its first record
        records = end - span.start
        if isinstance(outcome, Acknowledged):
            span.handle_stats.add_acked(span, records)
        elif isinstance(outcome, Sent):
            span.handle_stats.add_unacknowledged(span, records)
        elif isinstance(outcome, Dropped):
            span.handle_stats.add_dropped(span, records)
        else:
            span.failure = partial(outcome.failure, span.start)
            span.handle_stats.add_failed(span, records)
