# SPDX-License-Identifier: Apache-2.0
"""The counters of a whole client, and Prometheus's metrics, which are made of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fluvio_sync
from fluvio_sync import ConfigError, ConnectError, Fluvio
from fluvio_sync.client import unconnected
from fluvio_sync.contrib._observation import OF_CLIENTS, OF_TOPICS, Snapshot
from fluvio_sync.stats import Health
from fluvio_sync.testing import FakeFluvio, FakeProducer
from tests.support.client import attempts
from tests.support.waiting import wait_until

pytest.importorskip("prometheus_client", reason="prometheus_client is not installed")

from prometheus_client import CollectorRegistry, generate_latest

from fluvio_sync.contrib.prometheus import FluvioCollector

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

OPERATING = Path(__file__).parent.parent.parent / "docs" / "operating.md"


# Fluvio.stats() and Fluvio.running.


def test_stats_of_a_topic_sum_up_producers_of_different_settings(client: Fluvio, where: Where) -> None:
    topic = where.topic()
    plain, packed = client.topic_producer(topic), client.topic_producer(topic, compression="gzip")
    for producer, count in ((plain, 3), (packed, 2)):
        for _ in range(count):
            producer.send(b"12345").result(10)
    found, parts = client.stats()[topic], (plain.stats(), packed.stats())
    assert (found.records_acked, found.bytes_acked, found.batches_acked) == (5, 25, 5)
    latencies = [part.latency for part in parts if part.latency is not None]
    assert found.latency is not None
    assert found.latency[0] == pytest.approx((latencies[0][0] * 3 + latencies[1][0] * 2) / 5)
    assert found.latency[1] == max(longest for _, longest in latencies)
    assert found.reconnects == parts[0].reconnects
    assert found.checksum == parts[0].checksum


def test_a_client_is_running_from_its_first_use_until_it_is_closed(where: Where) -> None:
    fluvio = unconnected({"endpoint": where.endpoint, "tls": where.tls})
    states = [(fluvio.running, fluvio.stats()) for _ in range(2)]  # the second is not changed by the first
    fluvio.topics()
    states.append((fluvio.running, fluvio.stats()))
    fluvio.close(5)
    states.append((fluvio.running, fluvio.stats()))
    assert states == [(False, {}), (False, {}), (True, {}), (False, {})]


# Prometheus.


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (ln.rpartition(" ") for ln in lines if not ln.startswith("#"))}


def test_a_scrape_shows_what_a_client_did(own: LocalCluster) -> None:
    own.create_topic("orders")
    registry = CollectorRegistry()
    with Fluvio.connect(own.endpoint, client_id="shop") as fluvio:
        FluvioCollector(fluvio, registry=registry)
        producer = fluvio.topic_producer("orders", delivery_semantic=attempts(1))
        producer.send(b"12345").result(10)
        own.fail_next_produce(9000)
        assert producer.send(b"12").exception(10) is not None
        producer.flush(10)
        found = scraped(registry)
        labels = '{client="shop",topic="orders"}'
        assert found[f"fluvio_producer_records_acked_total{labels}"] == 1
        assert found[f"fluvio_producer_records_failed_total{labels}"] == 1
        assert found[f"fluvio_producer_bytes_acked_total{labels}"] == 5
        assert found[f"fluvio_producer_records_queued{labels}"] == 0
        stats = producer.stats()
        assert stats.latency is not None
        assert found[f"fluvio_producer_batch_latency_seconds_total{labels}"] == pytest.approx(stats.latency[0])
        assert found[f"fluvio_producer_batch_latency_max_seconds{labels}"] == stats.latency[1]
        assert found['fluvio_client_connected{client="shop"}'] == 1
        assert found['fluvio_client_partitions_without_leader{client="shop"}'] == 0
        assert found['fluvio_client_last_error_timestamp_seconds{client="shop"}'] > 1e9
        own.kill_spu(5001)
        own.kill_sc()
        wait_until(lambda: scraped(registry)['fluvio_client_connected{client="shop"}'] == 0, "it is disconnected")
    assert scraped(registry) == {}


def test_measures_of_a_client_as_a_whole() -> None:
    health = Health(
        connected=True,
        leaders={("a", 0): 5001, ("a", 1): None},
        records_queued=0,
        bytes_queued=0,
        records_in_flight=0,
        last_error=None,
        last_error_at=None,
        memory_used=700,
        memory_limit=1000,
    )
    topics = dict.fromkeys("ab", FakeProducer("a").stats()._replace(reconnects=3))  # which are those of the client
    assert {measure.name: measure.read(Snapshot(health, topics)) for measure in OF_CLIENTS} == {
        "connected": 1,
        "partitions_without_leader": 1,
        "reconnects": 3,
        "memory_used": 700,
        "memory_limit": 1000,
        "last_error_timestamp": None,
    }


def test_an_unused_client_is_not_connected_and_has_no_numbers() -> None:
    registry = CollectorRegistry(auto_describe=True)
    fluvio = unconnected({"endpoint": "127.0.0.1:1"})
    FluvioCollector(fluvio, registry=registry)
    assert scraped(registry) == {}
    assert not fluvio.running


def test_a_client_that_could_not_connect_is_told_of() -> None:
    registry = CollectorRegistry(auto_describe=True)
    fluvio = unconnected({"endpoint": "127.0.0.1:1", "client_id": "shop"})
    FluvioCollector(fluvio, registry=registry)
    with pytest.raises(ConnectError):
        fluvio.topics()
    numbers = scraped(registry)
    assert numbers['fluvio_client_connected{client="shop"}'] == 0
    assert numbers['fluvio_client_last_error_timestamp_seconds{client="shop"}'] > 1_700_000_000
    assert not fluvio.running
    fluvio._holder.forget()  # as in the child of a fork, which has tried nothing
    assert scraped(registry) == {}


def test_names_follow_prometheus_conventions() -> None:
    registry = CollectorRegistry()
    fluvio = FakeFluvio()
    fluvio.topic_producer("orders").send(b"x")
    FluvioCollector(fluvio, registry=registry)
    families = list(registry.collect())
    assert len({family.name for family in families}) == len(families) == len(OF_TOPICS) + len(OF_CLIENTS)
    for family in families:
        assert family.name.startswith(("fluvio_producer_", "fluvio_client_"))
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")


def test_clients_are_told_apart_by_their_ids() -> None:
    orders, logs, unnamed = (unconnected({"endpoint": "a:1", "client_id": name}) for name in ("orders", "logs", "logs"))
    FluvioCollector(orders, logs, registry=None)
    with pytest.raises(ConfigError, match="'logs'"):
        FluvioCollector(orders, logs, unnamed, registry=None)
    registry = CollectorRegistry()
    FluvioCollector(orders, registry=registry)
    with pytest.raises(ValueError, match="fluvio_producer"):
        FluvioCollector(logs, registry=registry)


def test_every_metric_is_in_the_documentation() -> None:
    text = OPERATING.read_text(encoding="utf-8")
    fluvio = FakeFluvio()
    fluvio.topic_producer("orders").send(b"x")
    names = {sample.name for family in FluvioCollector(fluvio, registry=None).collect() for sample in family.samples}
    assert {name for name in names if f"`{name}`" not in text} == set()


def logged_events() -> set[str]:
    """Return the events in the library's source: first arguments of its loggers' calls, and values of `event`."""
    package = Path(fluvio_sync.__file__).parent
    paths = [path for path in package.rglob("*.py") if "testing" not in path.relative_to(package).parts]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    calls = re.findall(r"\._?(?:debug|info|warning|error|report)\(\s*(?:\"\w+\", )?\"(\w+\.\w+)\"", text)
    chosen = re.findall(r"^ +event = .*$", text, re.MULTILINE)
    return {*calls, *re.findall(r"\"(\w+\.\w+)\"", "\n".join(chosen))}


def test_every_log_event_is_in_the_documentation() -> None:
    section = OPERATING.read_text(encoding="utf-8").partition("\n## Logs\n")[2].partition("\n## ")[0]
    described = {
        event for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for event in re.findall(r"`([\w.]+)`", row)
    }
    assert described == logged_events()
    assert {"records.failed", "delivery.failing", "at_most_once.dropping"} <= described
