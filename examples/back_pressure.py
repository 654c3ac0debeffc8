# SPDX-License-Identifier: Apache-2.0
"""Back pressure: an application that makes records faster than the cluster takes them.

`python examples/back_pressure.py [ENDPOINT]`; without an endpoint it starts a development cluster.

`buffer_memory` bounds the unresolved records.  When it is full, send() waits (`on_full="block"`, the default), which
slows the application down; or it raises at once (`on_full="raise"`), so that a service can shed load instead.
"""

from __future__ import annotations

import sys
import time

from fluvio_sync import BufferFullError, Fluvio
from fluvio_sync.testing import LocalCluster

RECORD = bytes(10_000)
RECORDS = 3_000


def main(endpoint: str) -> None:
    """Send 30 MB through a buffer of 2 MiB, in both ways."""
    with Fluvio.connect(endpoint, buffer_memory=2_097_152) as fluvio:
        fluvio.create_topic("example-uploads", exist_ok=True)

        patient = fluvio.topic_producer("example-uploads", on_full="block", max_block=30.0)
        began = time.perf_counter()
        for _ in range(RECORDS):
            patient.send(RECORD)
        print(f"block: {patient.flush().acked} acknowledged, none refused, in {time.perf_counter() - began:.2f} s")

        shedding = fluvio.topic_producer("example-uploads", on_full="raise")
        refused = 0
        began = time.perf_counter()
        for _ in range(RECORDS):
            try:
                shedding.send(RECORD)
            except BufferFullError:
                refused += 1  # nothing was queued; a web service would answer 503
        print(
            f"raise: {shedding.flush().acked} acknowledged, {refused} refused, in {time.perf_counter() - began:.2f} s"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with LocalCluster() as cluster:
            main(cluster.endpoint)
