# SPDX-License-Identifier: Apache-2.0
"""At-most-once delivery, for measurements that are worthless when they are late: each is sent once, without waiting.

`python examples/at_most_once.py [ENDPOINT]`; without an endpoint it starts a development cluster.
"""

from __future__ import annotations

import random
import sys

from fluvio_sync import AtMostOnce, Fluvio
from fluvio_sync.testing import LocalCluster


def main(endpoint: str) -> None:
    """Send ten thousand temperatures and print their counters."""
    with Fluvio.connect(endpoint) as fluvio:
        fluvio.create_topic("example-temperatures", exist_ok=True)
        producer = fluvio.topic_producer("example-temperatures", delivery_semantic=AtMostOnce(), linger=0.005)

        for _ in range(10_000):
            future = producer.send(f"{random.gauss(21, 2):.2f}", key="kitchen")
        print(future.result())  # done at once: without an acknowledgement and an offset

        # Failures are counted; they raise nothing.
        result = producer.flush(timeout=10)
        stats = producer.stats()
        print(f"{result.unacknowledged} handed to the socket, {stats.records_dropped} dropped")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with LocalCluster() as cluster:
            main(cluster.endpoint)
