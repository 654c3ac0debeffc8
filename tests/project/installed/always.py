# SPDX-License-Identifier: Apache-2.0
"""The part of the package that works with and without extras."""

from pathlib import Path

import fluvio_sync
from fluvio_sync import Fluvio
from fluvio_sync.testing import FakeFluvio, LocalCluster

assert "site-packages" in Path(fluvio_sync.__file__).parts

fake = FakeFluvio()
assert fake.topic_producer("orders").send("tea", key="customer 1").result(timeout=5).offset == 0
assert fake.values("orders") == [b"tea"]

with LocalCluster() as cluster, Fluvio.connect(cluster.endpoint) as fluvio:
    fluvio.create_topic("orders")
    assert fluvio.topic_producer("orders", compression="gzip").send("tea").result(timeout=5).offset == 0
    assert [record.value for record in cluster.records("orders")] == [b"tea"]
    assert cluster.violations() == []
