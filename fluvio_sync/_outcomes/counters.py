# SPDX-License-Identifier: Apache-2.0
"""The totals of a topic: plain integers, read as an immutable `ProducerStats`."""

from __future__ import annotations

from dataclasses import dataclass, fields

from fluvio_sync.stats import ProducerStats

_SUMMED = ("records_", "bytes_", "batches_")  # counters of a topic; reconnections are the client's


@dataclass(slots=True, eq=False, repr=False)
class Counters:
    """Totals of a `TopicState` since the client was made; changed with the client's lock held."""

    batches_acked: int = 0
    batches_failed: int = 0
    bytes_acked: int = 0
    bytes_failed: int = 0
    latency_max: float = 0.0
    latency_sum: float = 0.0
    records_acked: int = 0
    records_dropped: int = 0
    records_duplicated: int = 0
    records_failed: int = 0
    records_overwritten: int = 0
    records_rejected: int = 0
    records_retried: int = 0
    records_unacknowledged: int = 0
    records_unverified: int = 0
    records_verified: int = 0

    def add(self, other: Counters) -> None:
        """Add the totals of another."""
        for name in _NAMES:
            if name != "latency_max":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency_max = max(self.latency_max, other.latency_max)

    def latency(self) -> tuple[float, float] | None:
        """Return mean and maximum latency in seconds, None before the first acknowledgement."""
        if not self.batches_acked:
            return None
        return self.latency_sum / self.batches_acked, self.latency_max


_NAMES = [field.name for field in fields(Counters)]


def sum_of(parts: list[ProducerStats]) -> ProducerStats:
    """Return the sum of the counters of a topic's producers, whose settings differ."""
    fields = [name for name in ProducerStats._fields if name.startswith(_SUMMED)]
    totals = {name: sum(getattr(part, name) for part in parts) for name in fields}
    latencies = [(*part.latency, part.batches_acked) for part in parts if part.latency is not None]
    latency = None
    if latencies:
        total = sum(mean * batches for mean, _, batches in latencies)
        latency = total / totals["batches_acked"], max(longest for _, longest, _ in latencies)
    return parts[0]._replace(**totals, latency=latency)
