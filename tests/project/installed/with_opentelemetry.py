# SPDX-License-Identifier: Apache-2.0
"""The extra `opentelemetry` brings its API, with which a producer is traced; an SDK is the application's."""

from fluvio_sync.contrib.opentelemetry import observe, traced
from fluvio_sync.testing import FakeFluvio

fluvio = FakeFluvio()
observe(fluvio)
traced(fluvio.topic_producer("orders")).send("tea").result(timeout=5)
assert fluvio.values("orders") == [b"tea"]
