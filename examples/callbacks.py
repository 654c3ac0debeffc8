# SPDX-License-Identifier: Apache-2.0
"""Callbacks of futures: a service goes on after send() and learns the outcome later.

`python examples/callbacks.py [ENDPOINT]`; without an endpoint it starts a development cluster.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync import Fluvio
from fluvio_sync.testing import LocalCluster

if TYPE_CHECKING:
    from concurrent.futures import Future

    from fluvio_sync import RecordMetadata


def main(endpoint: str) -> None:
    """Send a hundred events; their callbacks count the deliveries and name the failures."""
    delivered: Counter[int] = Counter()

    def on_done(event: str, future: Future[RecordMetadata]) -> None:
        # The client's callback thread runs all callbacks, so `delivered` needs no lock.  A callback has to be quick and
        # must not wait for another record: result() of a pending future, flush() and close() raise RuntimeError here.
        error = future.exception()
        if error is None:
            delivered[future.result().partition] += 1
        else:
            print(f"{event} was not delivered: {error}")

    with Fluvio.connect(endpoint) as fluvio:
        fluvio.create_topic("example-events", partitions=2, exist_ok=True)
        producer = fluvio.topic_producer("example-events")
        for number in range(100):
            event = f"event {number}"
            producer.send(event).add_done_callback(partial(on_done, event))
        producer.flush(timeout=30)  # returns after the callbacks
        for partition, count in sorted(delivered.items()):
            print(f"partition {partition}: {count} events")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with LocalCluster() as cluster:
            main(cluster.endpoint)
