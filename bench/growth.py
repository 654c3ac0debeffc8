# SPDX-License-Identifier: Apache-2.0
"""Costs that may grow with something else than the records: `python bench/growth.py [ENDPOINT] [--only NAME]`.

Prints microseconds a record of 100 B, `send()` to `flush()`, at a usual and at a large number of each thing, and how
long the import takes.  A second figure that is much higher than the first is a cost that grows.  Without an endpoint it
starts a development cluster: a real SC may take minutes for a thousand topics or partitions.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from fluvio_sync import Fluvio, ServerError
from fluvio_sync.testing import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3
NOW = 1_700_000_000_000


def measure(
    endpoint: str,
    *,
    records: int,
    rounds: int = ROUNDS,
    partitions: int = 1,
    topics: int = 1,
    threads: int = 1,
    size: int = 100,
    step: int | None = None,
    **settings: Any,
) -> float:
    """Return microseconds a record, the median of the rounds.

    * `size`: bytes of a value.
    * `step`: the milliseconds from one record's timestamp to the next; None: the clock's time.
    * `settings`: of the client.
    """
    value, names = bytes(size), [f"growth-{uuid.uuid4().hex[:12]}" for _ in range(topics)]
    with Fluvio.connect(endpoint, metadata_timeout=60, **settings) as fluvio:
        for name in names:
            fluvio.create_topic(name, partitions=partitions)
        producers = [fluvio.topic_producer(name, linger=0.005) for name in names]
        for producer in producers:
            producer.send_all([value] * partitions)  # connects
            producer.flush()

        def send(number: int) -> None:
            for index, producer in enumerate(itertools.islice(itertools.cycle(producers), number)):
                producer.send(value, timestamp=None if step is None else NOW + step * index)

        def run() -> float:
            workers = [threading.Thread(target=send, args=(records // threads,)) for _ in range(threads)]
            began = time.perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            for producer in producers:
                producer.flush()
            return (time.perf_counter() - began) / records * 1e6

        each = statistics.median(run() for _ in range(rounds))
        for name in names:
            with suppress(ServerError):  # an SC takes longer than it waits to delete 1,000 partitions
                fluvio.delete_topic(name)
    return each


def import_time(_endpoint: str) -> float:
    """Return the microseconds that `import fluvio_sync` adds to the start of an interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def seconds(program: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, env=environment)
        return time.perf_counter() - began

    seconds("import fluvio_sync")  # which leaves the modules' bytecode behind
    return statistics.median(seconds("import fluvio_sync") - seconds("pass") for _ in range(9)) * 1e6


def cases() -> dict[str, Callable[[str], float]]:
    """Return the functions that measure, each by the name of its case; the caller gives them the endpoint."""

    def case(**how: Any) -> Callable[[str], float]:
        return lambda endpoint: measure(endpoint, **how)

    return {  # in the end those that an SC may not recover from
        "1 partition": case(records=200_000),
        "100 partitions": case(records=200_000, partitions=100),
        "100 topics": case(records=200_000, topics=100),
        "8 threads": case(records=200_000, threads=8),
        "64 threads": case(records=200_000, threads=64),
        "10 million records": case(records=10_000_000, rounds=1),
        "10 KB, buffer of 32 MiB": case(records=50_000, size=10_000),
        "10 KB, buffer of 1 GiB": case(records=50_000, size=10_000, buffer_memory=1 << 30),
        "timestamps ascending by 1 ms": case(records=200_000, step=1),
        "timestamps descending by 1 ms": case(records=200_000, step=-1),
        "import": import_time,
        "1,000 topics": case(records=200_000, topics=1_000, rounds=1),
        "1,000 partitions": case(records=200_000, partitions=1_000),
    }


def main() -> None:
    """Measure and print one line a case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("endpoint", nargs="?", help="HOST:PORT of a cluster's SC (default: a development cluster)")
    parser.add_argument("--only", metavar="NAME", default="", help="cases whose name begins with this")
    options = parser.parse_args()
    with ExitStack() as stack:
        endpoint = options.endpoint or stack.enter_context(LocalCluster(strict=False)).endpoint
        for name, run in cases().items():
            if name.startswith(options.only):
                print(f"{name:<32}{run(endpoint):>12.2f} us", flush=True)


if __name__ == "__main__":
    main()
