# SPDX-License-Identifier: Apache-2.0
"""How many records a second one thread sends, at-least-once, and how long a single one takes.

`python bench/send.py [ENDPOINT] [--rounds N] [--json FILE]`.  Without an endpoint it starts a development cluster,
which is written in Python and may be the slower side; compare clients against a real one.  Where the official wheel
can be imported, it does the same in the same run, turn by turn.  Every figure is the median of the rounds; a round
has a topic of its own, with one partition.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import NamedTuple

from fluvio_sync import Fluvio
from fluvio_sync.testing import LocalCluster

TOO_LONG = 120.0
"""Seconds after which a client that does not answer is ended."""


class Workload(NamedTuple):
    """What a client is to do: send so many `records` of `size` bytes."""

    method: str
    size: int
    records: int


WORKLOADS = [
    Workload("send", 100, 50_000),
    Workload("send", 1_000, 20_000),
    Workload("send", 10_000, 2_000),
    Workload("send_all", 100, 50_000),
    Workload("send_all", 1_000, 20_000),
    Workload("send_all", 10_000, 2_000),
    Workload("send_then_wait", 100, 500),
    Workload("send_then_wait", 1_000, 500),
    Workload("send_then_wait", 10_000, 500),
]


class Worker:
    """A client in a process of its own, so that neither shares an interpreter lock with anything."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        script = str(Path(__file__).with_name("client_worker.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, name, endpoint], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def measure(self, topic: str, workload: Workload) -> float:
        """Return how many seconds a workload took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = Timer(TOO_LONG, self._process.kill)
        guard.start()
        self._process.stdin.write(json.dumps({"topic": topic, **workload._asdict()}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        guard.cancel()
        if not answer:
            sys.exit(f"{self.name} ended, or did not answer within {TOO_LONG:.0f} s, at {workload}")
        return float(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Topics:
    """The topics of a run.

    A development cluster holds them in memory, so that the last one goes when the next one comes.  A real SC may
    never answer who creates a topic just after another one was deleted that had much to do: there, all go at the end.
    """

    def __init__(self, admin: Fluvio, *, keep: bool) -> None:
        self._admin = admin
        self._keep = keep
        self._names: list[str] = []

    def new(self) -> str:
        """Create a topic with one partition and return its name."""
        if not self._keep:
            self.delete()
        name = f"bench-{uuid.uuid4().hex[:12]}"
        self._admin.create_topic(name)
        self._names.append(name)
        return name

    def delete(self) -> None:
        """Delete those that are there."""
        while self._names:
            self._admin.delete_topic(self._names.pop())


def measure(workers: list[Worker], workload: Workload, rounds: int, topics: Topics) -> dict[str, float]:
    """Return the records a second of each client, the median of the rounds."""
    seconds: dict[str, list[float]] = {worker.name: [] for worker in workers}
    for number in range(rounds):
        # Turn by turn, and each goes first as often: a machine that slows down slows both.
        for worker in workers if number % 2 == 0 else workers[::-1]:
            seconds[worker.name].append(worker.measure(topics.new(), workload))
    return {name: workload.records / statistics.median(times) for name, times in seconds.items()}


def show(workload: Workload, rates: dict[str, float]) -> None:
    """Print a row of the table."""
    row = f"{workload.method:<15}{workload.size:>8}"
    for rate in rates.values():
        row += f"{rate:>14.0f}{rate * workload.size / 1e6:>8.1f}{1e6 / rate:>9.1f}"
    if len(rates) > 1:
        row += f"{rates['fluvio_sync'] / rates['official']:>9.2f}"
    print(row, flush=True)


def main() -> None:
    """Measure all workloads and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("endpoint", nargs="?", help="HOST:PORT of a cluster's SC (default: a development cluster)")
    parser.add_argument("--rounds", type=int, default=5, help="of each workload (%(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    names = ["fluvio_sync", *(["official"] if importlib.util.find_spec("fluvio") else [])]
    with ExitStack() as stack:
        endpoint = options.endpoint or stack.enter_context(LocalCluster()).endpoint
        admin = stack.enter_context(Fluvio.connect(endpoint))
        topics = Topics(admin, keep=bool(options.endpoint))
        stack.callback(topics.delete)
        workers = [Worker(name, endpoint) for name in names]
        for worker in workers:
            stack.callback(worker.close)
        print(f"{endpoint}, {'a given' if options.endpoint else 'a development'} cluster; {options.rounds} rounds")
        if len(names) == 1:
            print("The official wheel is not installed: nothing to compare with.")
        print(" " * 23 + "".join(f"{name:>31}" for name in names))
        columns = f"{'records/s':>14}{'MB/s':>8}{'us each':>9}" * len(names)
        print(f"{'method':<15}{'bytes':>8}{columns}" + (f"{'ratio':>9}" if len(names) > 1 else ""))
        results = []
        for workload in WORKLOADS:
            rates = measure(workers, workload, options.rounds, topics)
            show(workload, rates)
            results.append({**workload._asdict(), "records_per_second": rates})
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
