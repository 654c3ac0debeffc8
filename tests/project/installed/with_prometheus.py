# SPDX-License-Identifier: Apache-2.0
"""The extra `prometheus` brings its client, and a collector for it."""

from prometheus_client import CollectorRegistry

from fluvio_sync.contrib.prometheus import FluvioCollector
from fluvio_sync.testing import FakeFluvio

fluvio = FakeFluvio()
registry = CollectorRegistry()
FluvioCollector(fluvio, registry=registry)
fluvio.topic_producer("orders").send("tea").result(timeout=5)
labels = {"client": fluvio.client_id, "topic": "orders"}
assert registry.get_sample_value("fluvio_producer_records_acked_total", labels) == 1
