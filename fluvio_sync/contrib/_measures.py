# SPDX-License-Identifier: Apache-2.0
"""What is measured: a table of names, units, meanings and how each number is read, for every kind of metrics.

Reads snapshots only, when somebody asks for numbers: sending a record costs nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from fluvio_sync.errors import ClosedError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync.client import Fluvio
    from fluvio_sync.stats import Health, ProducerStats

T = TypeVar("T")


class Snapshot(NamedTuple):
    """How a client is at a moment: as a whole, and by topic."""

    health: Health
    topics: dict[str, ProducerStats]


@dataclass(frozen=True)
class Measure(Generic[T]):
    """A number that can be read off a `T`.

    `unit`: as UCUM has it; `total`: it only grows, while the client lives; `read`: returns None where there is none.
    """

    name: str
    unit: str
    meaning: str
    total: bool
    read: Callable[[T], float | None]


def _counted(name: str, unit: str, meaning: str, *, total: bool = True) -> Measure[ProducerStats]:
    return Measure(name, unit, meaning, total, attrgetter(name))


def _latency_sum(stats: ProducerStats) -> float:
    return 0.0 if stats.latency is None else stats.latency[0] * stats.batches_acked


OF_TOPICS: tuple[Measure[ProducerStats], ...] = (
    _counted("records_queued", "{record}", "Records that wait in this process", total=False),
    _counted("records_in_flight", "{record}", "Records that are with a server", total=False),
    _counted("records_acked", "{record}", "Records that were acknowledged"),
    _counted("records_failed", "{record}", "Records whose future raised an error"),
    _counted("records_unacknowledged", "{record}", "Records that at-most-once handed to a connection"),
    _counted("records_retried", "{record}", "Records that were sent again"),
    _counted("records_dropped", "{record}", "Records that at-most-once lost before they were written"),
    _counted("records_rejected", "{record}", "Records that a server rejected after at-most-once had sent them"),
    _counted("bytes_queued", "By", "Keys and values of records that wait in this process", total=False),
    _counted("bytes_in_flight", "By", "Keys and values of records that are with a server", total=False),
    _counted("bytes_acked", "By", "Keys and values of acknowledged records"),
    _counted("bytes_failed", "By", "Keys and values of failed records"),
    _counted("batches_acked", "{batch}", "Batches that were acknowledged"),
    _counted("batches_failed", "{batch}", "Batches that failed"),
    Measure("batch_latency", "s", "From a batch being ready to its acknowledgement, summed up", True, _latency_sum),
    Measure(
        "batch_latency_max",
        "s",
        "The longest time from a batch being ready to its acknowledgement so far",
        False,
        lambda stats: None if stats.latency is None else stats.latency[1],
    ),
)
"""Of a client's producers, by topic."""

OF_CLIENTS: tuple[Measure[Snapshot], ...] = (
    Measure(
        "connected",
        "1",
        "1 while the cluster's metadata arrives, else 0",
        False,
        lambda of: int(of.health.connected),
    ),
    Measure(
        "partitions_without_leader",
        "{partition}",
        "Partitions that records were sent to and that no SPU leads",
        False,
        lambda of: sum(leader is None for leader in of.health.leaders.values()),
    ),
    Measure(
        "reconnects",
        "{connection}",
        "Connections to SPUs that were made again",
        True,
        lambda of: max((stats.reconnects for stats in of.topics.values()), default=0),
    ),
    Measure(
        "last_error_timestamp",
        "s",
        "When the latest failure was, since the epoch",
        False,
        lambda of: None if of.health.last_error_at is None else of.health.last_error_at / 1000,
    ),
)
"""Of clients."""


def snapshot(client: Fluvio) -> Snapshot | None:
    """Return how a client is, without I/O; None if it is not at work in this process."""
    try:
        return Snapshot(client.health(), client.stats()) if client.running else None
    except ClosedError:  # just now
        return None


def distinct(clients: Iterable[Fluvio]) -> tuple[Fluvio, ...]:
    """Return these clients; `ConfigError` if two have the same `client_id`, by which metrics tell them apart."""
    found: dict[str, Fluvio] = {}
    for client in clients:
        if found.setdefault(client.client_id, client) is not client:
            raise ConfigError(f"two clients have the client_id {client.client_id!r}: give one of them another")
    return tuple(found.values())
