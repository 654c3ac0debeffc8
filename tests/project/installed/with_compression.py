# SPDX-License-Identifier: Apache-2.0
"""The extra `compression` brings the codecs that the standard library has not."""

from fluvio_sync import Fluvio
from fluvio_sync.testing import LocalCluster

with LocalCluster() as cluster, Fluvio.connect(cluster.endpoint) as fluvio:
    for codec in ("snappy", "lz4", "zstd"):
        fluvio.create_topic(codec, compression=codec)
        fluvio.topic_producer(codec).send("tea" * 1000).result(timeout=5)
        assert [record.value for record in cluster.records(codec)] == [b"tea" * 1000]
