# SPDX-License-Identifier: Apache-2.0
"""A script that needs the offsets of its records: it sends all, then waits for their futures.

`python examples/blocking_script.py [ENDPOINT]`; without an endpoint it starts a development cluster.
"""

from __future__ import annotations

import sys

from fluvio_sync import DeliveryError, Fluvio
from fluvio_sync.testing import LocalCluster


def main(endpoint: str) -> None:
    """Send a thousand orders and print the first and last offset of each partition."""
    with Fluvio.connect(endpoint) as fluvio:
        fluvio.create_topic("example-orders", partitions=3, exist_ok=True)
        producer = fluvio.topic_producer("example-orders")

        # Waiting after every send() costs one round trip per record.  Waiting after all of them lets the records of a
        # partition share requests.
        futures = [producer.send(f"order {number}", key=f"customer {number % 50}") for number in range(1000)]

        places: dict[int, list[int]] = {}
        for number, future in enumerate(futures):
            try:
                metadata = future.result(timeout=30)
            except DeliveryError as error:
                # This record failed, perhaps with others of its batch; the loop goes on with the rest.
                print(f"order {number} failed (may_be_stored={error.may_be_stored}): {error}")
                continue
            if metadata.offset is not None:
                places.setdefault(metadata.partition, []).append(metadata.offset)
        for partition, offsets in sorted(places.items()):
            print(f"partition {partition}: {len(offsets)} orders from offset {offsets[0]} to {offsets[-1]}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with LocalCluster() as cluster:
            main(cluster.endpoint)
