# SPDX-License-Identifier: Apache-2.0
"""How long records wait while an SC (Streaming Controller) pushes the metadata of a large cluster.

    python -m bench.pushes [SECONDS]

The SC pushes all of 100,000 partitions, or of 100,000 topics, every three seconds, for 10 s by default; both servers
run in processes of their own.  The line before has the same client without pushes.
"""

from __future__ import annotations

import statistics
import sys
import time

from fluvio_sync import Fluvio, TopicProducer
from tests.client.test_hostile_sc import attacking
from tests.support.memory import resident

PUSHES = ("has_partitions", "has_topics")
PAUSE = 0.002


def waits(producer: TopicProducer, seconds: float) -> list[float]:
    """Send and wait for records, one after another; return the milliseconds of each."""
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        producer.send(b"x", partition=0).result(30)
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(PAUSE)
    return found


def line(name: str, found: list[float], memory: int) -> str:
    """Return the figures of one run."""
    p50, p99 = statistics.median(found), sorted(found)[len(found) * 99 // 100]
    return f"{name:16} p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  longest {max(found):6.2f} ms  {memory / 1e6:+5.0f} MB"


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    for attack in PUSHES:
        with attacking(attack) as (endpoint, process), Fluvio.connect(endpoint) as fluvio:
            producer = fluvio.topic_producer("t")
            print(line("no pushes", waits(producer, seconds / 2), 0))
            before = resident()
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            print(line(attack, waits(producer, seconds), resident() - before))


if __name__ == "__main__":
    main()
