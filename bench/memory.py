# SPDX-License-Identifier: Apache-2.0
"""What a record in flight takes beside its own bytes: `python bench/memory.py [--records N]`.

The records cannot be delivered, because the development cluster's only SPU is dead; their futures are kept.
"""

from __future__ import annotations

import argparse
import tracemalloc

from fluvio_sync import Fluvio
from fluvio_sync.testing import LocalCluster


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=100_000, help="how many (%(default)s)")
    count = parser.parse_args().records
    for size in (10, 100, 1000):
        with LocalCluster() as cluster:
            fluvio = Fluvio.connect(cluster.endpoint, buffer_memory=1 << 30)
            cluster.create_topic("t")
            producer = fluvio.topic_producer("t")
            producer.send(b"x").result()
            cluster.kill_spu(5001)
            values = [bytes(size) for _ in range(count)]
            tracemalloc.start()
            futures = [producer.send(value) for value in values]
            taken = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            print(f"{size:>6} B a record: {taken / len(futures):.0f} B beside it")
            fluvio.close(timeout=0)


if __name__ == "__main__":
    main()
