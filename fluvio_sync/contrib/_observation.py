# SPDX-License-Identifier: Apache-2.0
"""The numbers that a client shows to metrics, and the answer that it gives to a health probe.

`OF_TOPICS` and `OF_CLIENTS` are tables of names, units, meanings and readers, from which each kind of metrics is made.
Snapshots are read at the time of a scrape or a probe; a record costs nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from fluvio_sync.client import condition, try_again
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync.client import Fluvio
    from fluvio_sync.stats import Health, ProducerStats

T = TypeVar("T")


class Snapshot(NamedTuple):
    """The health of a client at a moment, and its counters by topic."""

    health: Health
    topics: dict[str, ProducerStats]


@dataclass(frozen=True)
class Measure(Generic[T]):
    """A number that can be read off a `T`.

    * `unit`: of UCUM, as OpenTelemetry's semantic conventions ask for.
    * `total`: whether it is a counter, which only grows while the client lives.
    * `read`: returns the number, or None while there is none.
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
    _counted("records_verified", "{record}", "Records in doubt that were looked for in the log"),
    _counted("records_unverified", "{record}", "Records in doubt that could not be looked for in the log"),
    _counted("records_duplicated", "{record}", "Records that were found in the log a second time"),
    _counted("records_overwritten", "{record}", "Offsets of acknowledged records that a new leader gave out again"),
    _counted("bytes_queued", "By", "Keys and values of records that wait in this process", total=False),
    _counted("bytes_in_flight", "By", "Keys and values of records that are with a server", total=False),
    _counted("bytes_acked", "By", "Keys and values of acknowledged records"),
    _counted("bytes_failed", "By", "Keys and values of failed records"),
    _counted("batches_acked", "{batch}", "Batches that were acknowledged"),
    _counted("batches_failed", "{batch}", "Batches that failed"),
    Measure("batch_latency", "s", "Times of batches from ready to acknowledged, summed up", True, _latency_sum),
    Measure(
        "batch_latency_max",
        "s",
        "The longest time of a batch from ready to acknowledged so far",
        False,
        lambda stats: None if stats.latency is None else stats.latency[1],
    ),
)
"""Measures of a client's producers, by topic."""

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
        "memory_used",
        "By",
        "Memory that unresolved records hold, 128 bytes each on top of key and value",
        False,
        lambda of: of.health.memory_used,
    ),
    Measure("memory_limit", "By", "The bound of memory_used: buffer_memory", False, lambda of: of.health.memory_limit),
    Measure(
        "last_error_timestamp",
        "s",
        "When the latest failure was, since the epoch",
        False,
        lambda of: None if of.health.last_error_at is None else of.health.last_error_at / 1000,
    ),
)
"""Measures of a client as a whole."""


def snapshot(client: Fluvio) -> Snapshot | None:
    """Return the state of a client, without I/O; None if it has not tried to connect in this process."""
    health = condition(client)
    return None if health is None else Snapshot(health, client.stats())


def distinct(clients: Iterable[Fluvio]) -> tuple[Fluvio, ...]:
    """Return these clients; `ConfigError` if two have the same `client_id`, by which metrics tell them apart."""
    found: dict[str, Fluvio] = {}
    for client in clients:
        if found.setdefault(client.client_id, client) is not client:
            raise ConfigError(f"two clients have the client_id {client.client_id!r}: give one of them another")
    return tuple(found.values())


# Health.

OK, UNAVAILABLE = 200, 503


def health_answer(health: Health | None) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status for a probe, and a dictionary that JSON can hold.

    `health`: None if the client has not tried to connect in this process.  That is 200 and `"unused"`: otherwise a
    probe would keep away the first request, which makes it connect.  Else 200 and `"connected"`, or 503 and
    `"disconnected"` if it could not connect, or while the SC's metadata does not arrive.  A partition without a leader
    is shown and no reason for 503: another instance of the application would not find one either.
    """
    if health is None:
        return OK, {"status": "unused"}
    leaders = [
        {"topic": topic, "partition": partition, "leader": leader}
        for (topic, partition), leader in sorted(health.leaders.items())
    ]
    return OK if health.connected else UNAVAILABLE, {
        "status": "connected" if health.connected else "disconnected",
        "leaders": leaders,
        "records_queued": health.records_queued,
        "bytes_queued": health.bytes_queued,
        "records_in_flight": health.records_in_flight,
        "memory_used": health.memory_used,
        "memory_limit": health.memory_limit,
        "last_error": health.last_error,
        "last_error_at": health.last_error_at,
        "disconnected_since": health.disconnected_since,
    }


def health_of(client: Fluvio) -> tuple[int, dict[str, Any]]:
    """Return the answer to a probe for a client, without I/O.

    A client that could not connect tries again in the background: the answer keeps away the requests that would make it
    connect.
    """
    health = condition(client)
    if health is not None and not client.running:
        try_again(client)
    return health_answer(health)
