# SPDX-License-Identifier: Apache-2.0
"""What a record costs at the least: `python bench/floor.py [ENDPOINT]`.

First the parts of `send()` that no implementation in Python can do without, each by itself, beside `send()` as it is
while nothing else runs.  Then a lone record that is waited for, beside a bare socket round trip of the same frame, with
the number of calls that it takes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from worker import Bare

from fluvio_sync import Fluvio
from fluvio_sync._base.clock import SystemClock
from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.testing import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Callable

VALUE = bytes(100)
ROUNDS = 5
RECORDS = 8_000  # of 100 B: they fit into one batch


class Checks:
    """The outside of `send()`: its parameters and what it has to look at, nothing else."""

    process: object = None
    closed = False

    def send(self, value: Any, *, key: Any = None, partition: int | None = None, timestamp: int | None = None) -> None:
        """Take a record and forget it."""
        if self.process is not None or self.closed:
            return
        if type(value) is not bytes or key is not None or partition is not None or timestamp is not None:
            return


class Outcome:
    """The least that a future can be: which batch, and which record of it."""

    __slots__ = ("batch", "index")

    def __init__(self, batch: object, index: int) -> None:
        self.batch = batch
        self.index = index


def each(call: Callable[[], object]) -> float:
    """Return the nanoseconds of one call, without the loop's own; the best of several rounds."""
    best = []
    for function in (call, int):
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter_ns()
            for _ in range(RECORDS):
                function()
            times.append((time.perf_counter_ns() - began) / RECORDS)
        best.append(min(times))
    return best[0] - best[1]


def parts() -> dict[str, float]:
    """Return the nanoseconds of each part of `send()`."""
    checks, lock = Checks(), threading.RLock()

    def locked() -> None:
        if lock.acquire(blocking=False):
            lock.release()

    def account() -> None:
        builder.append(None, VALUE, builder.first_timestamp)

    def nothing() -> None:
        pass

    call = each(nothing)
    builder = BatchBuilder(SystemClock.time_ms())
    return {
        "the call and its checks": each(lambda: checks.send(VALUE)) - call,
        "a lock, taken and given back": each(locked) - call,
        "the time": each(SystemClock.time_ms),
        "its size, and three columns": each(account) - call,
        "its future": each(lambda: Outcome(builder, 0)) - call,
    }


def send_alone(fluvio: Fluvio, topic: str) -> float:
    """Return the nanoseconds of `send()` while the sender has nothing to do."""
    times = []
    for _ in range(ROUNDS):
        producer = fluvio.topic_producer(topic, linger=60.0, batch_size=1 << 20)
        producer.send(VALUE)
        began = time.perf_counter_ns()
        for _ in range(RECORDS):
            producer.send(VALUE)
        times.append((time.perf_counter_ns() - began) / RECORDS)
        producer.flush()
    return min(times)


def lone_record(fluvio: Fluvio, topic: str) -> float:
    """Return the median of `send().result()`, in microseconds."""
    producer = fluvio.topic_producer(topic, linger=0)
    times = []
    for _ in range(2000):
        began = time.perf_counter()
        producer.send(VALUE).result()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def calls_of_lone_record(fluvio: Fluvio, topic: str) -> Counter[str]:
    """Return how many functions are called for it, those in Python (`call`) and those in C (`c_call`)."""
    producer = fluvio.topic_producer(topic, linger=0)
    most_usual: Counter[tuple[int, int]] = Counter()
    for _ in range(200):
        count: Counter[str] = Counter()

        def note(_frame: object, event: str, _argument: object, count: Counter[str] = count) -> None:
            count[event] += 1

        sys.setprofile(note)
        producer.send(VALUE).result()
        sys.setprofile(None)
        most_usual[count["call"], count["c_call"]] += 1
    (of_python, of_c), _ = most_usual.most_common(1)[0]
    return Counter(call=of_python, c_call=of_c)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("endpoint", nargs="?", help="HOST:PORT of a cluster's SC (default: a development cluster)")
    options = parser.parse_args()
    with ExitStack() as stack:
        endpoint = options.endpoint or stack.enter_context(LocalCluster(strict=False)).endpoint
        fluvio = stack.enter_context(Fluvio.connect(endpoint))
        topic = f"floor-{uuid.uuid4().hex[:12]}"
        fluvio.create_topic(topic)
        stack.callback(fluvio.delete_topic, topic)
        least = parts()
        print(f"{'send() of 100 B':<44}{'us':>8}")
        for name, nanoseconds in least.items():
            print(f"  {name:<42}{nanoseconds / 1000:>8.2f}")
        print(f"  {'together':<42}{sum(least.values()) / 1000:>8.2f}")
        print(f"  {'as it is':<42}{send_alone(fluvio, topic) / 1000:>8.2f}")
        bare = Bare(endpoint).run(topic, "wait", VALUE, 2000)["p50"] * 1e6
        lone, calls = lone_record(fluvio, topic), calls_of_lone_record(fluvio, topic)
        print("send().result() of 100 B, linger 0")
        print(f"  {'bare round trip, median':<42}{bare:>8.0f}")
        print(f"  {'as it is, median':<42}{lone:>8.0f}")
        print(f"  in {calls['call']} calls of functions in Python and {calls['c_call']} in C, one of them the wait")


if __name__ == "__main__":
    main()
