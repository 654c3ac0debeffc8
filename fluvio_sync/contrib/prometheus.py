# SPDX-License-Identifier: Apache-2.0
"""Prometheus: a collector over the counters and the health of clients.

    FluvioCollector(fluvio)

Numbers are read at scrape time; a record costs nothing more.  Needs the extra `prometheus`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "fluvio_sync.contrib.prometheus needs prometheus_client: pip install 'fluvio-sync[prometheus]'"
    ) from error

from fluvio_sync.contrib._observation import OF_CLIENTS, OF_TOPICS, distinct, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from prometheus_client import CollectorRegistry

    from fluvio_sync.client import Fluvio
    from fluvio_sync.contrib._observation import Measure, Snapshot

    Family = CounterMetricFamily | GaugeMetricFamily


class FluvioCollector(Collector):
    """Collects the numbers of clients, `fluvio_producer_*` by topic and `fluvio_client_*`, labelled by `client`.

    * `client`, `clients`: the clients; each needs a `client_id` of its own, which is the label.
    * `registry`: where the collector registers itself (default: Prometheus's own); None: nowhere.

    A client that has not tried to connect in this process (before its first use, in the child of a fork) and a closed
    one are left out; collecting never connects.

    Raises `ConfigError` for two clients with one `client_id`, and Prometheus's `ValueError` if the registry has a
    collector of clients already: pass all clients to one collector.
    """

    def __init__(self, client: Fluvio, *clients: Fluvio, registry: CollectorRegistry | None = REGISTRY) -> None:
        self._clients = distinct((client, *clients))
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterator[Family]:
        """Yield the metrics without numbers; called when the collector is registered."""
        yield from _families([])

    def collect(self) -> Iterator[Family]:
        """Yield the numbers of this moment."""
        found = [(client.client_id, snapshot(client)) for client in self._clients]
        yield from _families([(name, of) for name, of in found if of is not None])


def _families(snapshots: list[tuple[str, Snapshot]]) -> Iterator[Family]:
    for measure in OF_TOPICS:
        family = _family("fluvio_producer", measure, ["client", "topic"])
        for client, of in snapshots:
            for topic, stats in of.topics.items():
                _add(family, [client, topic], measure.read(stats))
        yield family
    for whole in OF_CLIENTS:
        family = _family("fluvio_client", whole, ["client"])
        for client, of in snapshots:
            _add(family, [client], whole.read(of))
        yield family


def _family(prefix: str, measure: Measure[Any], labels: list[str]) -> Family:
    name = f"{prefix}_{measure.name}" + ("_seconds" if measure.unit == "s" else "")
    kind = CounterMetricFamily if measure.total else GaugeMetricFamily
    return kind(name, f"{measure.meaning}.", labels=labels)


def _add(family: Family, labels: list[str], value: float | None) -> None:
    if value is not None:
        family.add_metric(labels, float(value))
