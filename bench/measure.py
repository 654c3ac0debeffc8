# SPDX-License-Identifier: Apache-2.0
"""What a record costs, beside the official wheel: `python bench/measure.py [ENDPOINT] [--rounds N] [--json FILE]`.

Without an endpoint it starts a development cluster, which is written in Python and may be the slower side.  Where the
official wheel can be imported, and where `make compiled` has compiled this package, they do the same in the same run,
turn by turn, each in a process of its own.  Every figure is the median of the rounds; a round has topics of its own.
`--write FILE` puts them into a page, `--plot FILE` draws the throughput against the record's size (needs the extra
`bench`), `--only NAME` runs some of the workloads.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import textwrap
import uuid
from contextlib import ExitStack
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

from fluvio_sync import Fluvio
from fluvio_sync.testing import LocalCluster

ROOT = Path(__file__).parents[1]
SOURCES = {"pure": ROOT, "compiled": ROOT / "build" / "compiled" / "package"}
"""Where this package is imported from, as it is and as `make compiled` leaves it."""
OFFICIAL = "official"
KAFKA = {"confluent-kafka": "confluent_kafka", "kafka-python": "kafka"}
"""The clients of Kafka, and the modules that they are imported as."""
COMPARED = ("send", "wait")
"""The methods of the workloads that they do, too; with one topic and one partition."""
BEGIN, END = "<!-- bench/measure.py --write -->", "<!-- end -->"
"""The comments of a page around the table."""
TOO_LONG = 120.0
"""Seconds after which a client that does not answer is ended."""


class Workload(NamedTuple):
    """What a client is to do: send so many `records` of `size` bytes, see `worker.Workloads`."""

    name: str
    method: str
    size: int
    records: int
    topics: int = 1
    partitions: int = 1


WORKLOADS = [
    Workload("send, 100 B", "send", 100, 100_000),
    Workload("send, 1 KB", "send", 1_000, 30_000),
    Workload("send, 10 KB", "send", 10_000, 4_000),
    Workload("futures kept, 100 B", "kept", 100, 100_000),
    Workload("send_all, 100 B", "send_all", 100, 100_000),
    Workload("send_all, 1 KB", "send_all", 1_000, 30_000),
    Workload("send and wait, 100 B", "wait", 100, 1_000),
    Workload("8 threads, 100 B", "threads", 100, 100_000),
    Workload("100 partitions, 100 B", "send", 100, 100_000, partitions=100),
    Workload("50 topics, 100 B", "send", 100, 100_000, topics=50),
]
LINEAR = [Workload("10,000 records", "send", 100, 10_000), Workload("1,000,000 records", "send", 100, 1_000_000)]
SIZES = [
    Workload(f"{size} B", "send", size, min(100_000, 60_000_000 // size)) for size in (10, 100, 1_000, 10_000, 100_000)
]
BARE = {
    "send and wait, 100 B": [Workload("round trip, 100 B", "wait", 100, 1_000)],
    "send, 10 KB": [
        Workload("16 KB requests", "limit", 16_000, 2_000),
        Workload("64 KB requests", "limit", 64_000, 600),
    ],
}
"""What the bare client does in turn with these workloads: what the cluster can take."""


class Worker:
    """A client in a process of its own, so that neither shares an interpreter lock with anything."""

    def __init__(self, name: str, endpoint: str) -> None:
        self.name = name
        script = str(Path(__file__).with_name("worker.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, name, endpoint],
            env=os.environ | {"PYTHONPATH": str(SOURCES.get(name, ROOT))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self, topics: list[str], workload: Workload) -> dict[str, float]:
        """Return what a workload took: `seconds`, `cpu`, for single records `p50` and `p99`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        guard = Timer(TOO_LONG, self._process.kill)
        guard.start()
        self._process.stdin.write(json.dumps({**workload._asdict(), "topics": topics}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        guard.cancel()
        if not answer:
            sys.exit(f"{self.name} ended, or did not answer within {TOO_LONG:.0f} s, at {workload}")
        return dict(json.loads(answer))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Bench:
    """A run: its cluster, its workers, and what they measured."""

    def __init__(self, stack: ExitStack, endpoint: str, rounds: int, *, keep: bool, kafka: str | None) -> None:
        """Start the workers.

        * `keep`: topics are deleted in the end only, because a busy one may not be deletable.
        * `kafka`: HOST:PORT of a Kafka broker.
        """
        self._endpoint = endpoint
        self._rounds = rounds
        self._keep = keep
        self._topics: list[str] = []
        names = [name for name, sources in SOURCES.items() if (sources / "fluvio_sync").is_dir()]
        names += [OFFICIAL] if importlib.util.find_spec("fluvio") else []
        self.workers = [Worker(name, endpoint) for name in names]
        others = [name for name, module in KAFKA.items() if kafka and importlib.util.find_spec(module)]
        self._others = [Worker(name, str(kafka)) for name in others]
        self._bare = Worker("bare", endpoint)
        stack.callback(self._delete)
        for worker in (*self.workers, *self._others, self._bare):
            stack.callback(worker.close)

    def compare(self, workload: Workload) -> dict[str, dict[str, float]]:
        """Return the medians of each client, by its name, and those of the bare client."""
        workers = list(self.workers)
        if workload.method in COMPARED and workload in WORKLOADS and workload.topics == workload.partitions == 1:
            workers += self._others
        turns = [(worker.name, worker, workload) for worker in workers]
        turns += [(f"bare: {one.name}", self._bare, one) for one in BARE.get(workload.name, [])]
        measured: dict[str, list[dict[str, float]]] = {name: [] for name, _, _ in turns}
        for number in range(self._rounds):
            # Turn by turn, and each goes first as often: a machine that slows down slows all.
            for name, worker, work in turns if number % 2 == 0 else turns[::-1]:
                measured[name].append(worker.measure(self._new(work), work))
        return {name: _medians(measured[name], work) for name, _, work in turns}

    def _new(self, workload: Workload) -> list[str]:
        # A client of its own each time: one that stays would be told of every write, and take its share of the machine.
        with Fluvio.connect(self._endpoint) as admin:
            if not self._keep:
                self._delete(admin)
            names = [f"bench-{uuid.uuid4().hex[:12]}" for _ in range(workload.topics)]
            for name in names:
                admin.create_topic(name, partitions=workload.partitions)
            self._topics += names
        return names

    def _delete(self, admin: Fluvio | None = None) -> None:
        with ExitStack() as stack:
            client = admin or stack.enter_context(Fluvio.connect(self._endpoint))
            while self._topics:
                client.delete_topic(self._topics.pop())


def _medians(rounds: list[dict[str, float]], workload: Workload) -> dict[str, float]:
    medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    medians["us_each"] = medians["seconds"] / workload.records * 1e6
    medians["cpu_us_each"] = medians["cpu"] / workload.records * 1e6
    medians["mb_s"] = workload.records * workload.size / medians["seconds"] / 1e6
    return medians


def _row(workload: Workload, figures: dict[str, dict[str, float]]) -> str:
    """Return a line of the table: us a record (of single ones the median), MB/s, us of CPU, and the ratios."""
    row = f"{workload.name:<24}"
    each = {name: one.get("p50", one["us_each"] / 1e6) * 1e6 for name, one in figures.items()}
    for name, one in figures.items():
        if name in KAFKA or name.startswith("bare: "):
            continue
        row += f"{each[name]:>10.2f}{one['mb_s']:>8.1f}{one['cpu_us_each']:>10.2f}"
    for name in SOURCES:
        if name in figures and OFFICIAL in figures:
            cpu = figures[name]["cpu"] / figures[OFFICIAL]["cpu"]
            row += f"{each[OFFICIAL] / each[name]:>10.2f}{cpu:>9.2f}"
    for name in KAFKA:
        if name in figures:
            percentile = f", p99 {figures[name]['p99'] * 1e6:.0f}" if "p99" in figures[name] else ""
            row += f"   {name}: {each[name]:.2f}{percentile}"
    for name in figures:
        if name.startswith("bare: "):
            row += f"\n{name:<24}{each[name]:>10.2f}{figures[name]['mb_s']:>8.1f}"
    return row


def _table(bench: Bench, workloads: list[Workload], results: dict[str, Any]) -> None:
    for workload in workloads:
        results[workload.name] = figures = bench.compare(workload)
        print(_row(workload, figures), flush=True)


def _write(results: dict[str, Any], file: Path) -> None:
    """Replace the table of a page, which stands between two comments."""
    lines = [
        "| workload | compiled, us | ratio | CPU | pure Python, us | ratio | CPU | wheel, us |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for workload in WORKLOADS + LINEAR:
        figures = results[workload.name]
        for suffix, percentile in (("", "p50"), (", 99th percentile", "p99")):
            if suffix and percentile not in figures[OFFICIAL]:
                continue
            each = {name: one.get(percentile, one["us_each"] / 1e6) * 1e6 for name, one in figures.items()}
            line = f"| {workload.name}{suffix} |"
            for name in ("compiled", "pure"):
                ratio, cpu = each[OFFICIAL] / each[name], figures[name]["cpu"] / figures[OFFICIAL]["cpu"]
                line += f" {_short(each[name])} | {ratio:.1f} | {cpu:.2f} |"
            lines.append(f"{line} {_short(each[OFFICIAL])} |")
    bare, small, large = (results[name][f"bare: {one.name}"] for name, workloads in BARE.items() for one in workloads)
    text = (
        f"A bare socket round trip of a frame of 100 B takes {_short(bare['p50'] * 1e6)} us in the same run. Frames of "
        f"16 KB that were encoded before, several under way, reach {small['mb_s']:.0f} MB/s there, those of 64 KB "
        f"{large['mb_s']:.0f} MB/s; `send()` of 10 KB reaches {results['send, 10 KB']['compiled']['mb_s']:.0f} MB/s."
    )
    lines += ["", *textwrap.wrap(text, 120)]
    others = [name for name in KAFKA if name in results[WORKLOADS[0].name]]
    page = file.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit(f"{file} has no place for the table: {BEGIN} and {END}")
    table = "\n".join([*lines, *_beside_kafka(results, others)])
    file.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


def _beside_kafka(results: dict[str, Any], others: list[str]) -> list[str]:
    """Return the lines of a table beside these clients of Kafka; none without any."""
    if not others:
        return []
    names = ["compiled", "pure", *others]
    lines = ["", f"| workload, us | compiled | pure Python | {' | '.join(others)} |", "|---" * (len(names) + 1) + "|"]
    for workload in WORKLOADS + LINEAR:
        figures = results[workload.name]
        if others[0] in figures:
            for suffix, percentile in (("", "p50"), (", 99th percentile", "p99")):
                if not suffix or percentile in figures[others[0]]:
                    each = [figures[name].get(percentile, figures[name]["us_each"] / 1e6) * 1e6 for name in names]
                    lines.append(f"| {workload.name}{suffix} | {' | '.join(map(_short, each))} |")
    return lines


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 20 else f"{value:.0f}"


def _plot(results: dict[str, Any], file: Path) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - of an extra

    figure, axes = plt.subplots(figsize=(7, 4))
    for name, marker in (("compiled", "D"), ("pure", "o"), (OFFICIAL, "s")):
        rates = [results[workload.name][name]["mb_s"] for workload in SIZES if name in results[workload.name]]
        if rates:
            axes.plot([workload.size for workload in SIZES], rates, marker=marker, label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="bytes of a record", ylabel="MB/s", title="send() in a loop, one thread"
    )
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None} if file.suffix == ".svg" else None)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("endpoint", nargs="?", help="HOST:PORT of a cluster's SC (default: a development cluster)")
    parser.add_argument("--rounds", type=int, default=5, help="of each workload (%(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to this file, too")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw throughput against size (.svg, .png)")
    parser.add_argument("--write", metavar="FILE", type=Path, help="put the table into a page, docs/performance.md")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="of a broker, to measure clients of Kafka beside")
    parser.add_argument("--only", metavar="NAME", help="workloads whose name begins with this")
    options = parser.parse_args()
    with ExitStack() as stack:
        endpoint = options.endpoint or stack.enter_context(LocalCluster(strict=False)).endpoint
        bench = Bench(stack, endpoint, options.rounds, keep=bool(options.endpoint), kafka=options.kafka)
        print(f"{endpoint}, {'a given' if options.endpoint else 'a development'} cluster; {options.rounds} rounds")
        names = [worker.name for worker in bench.workers]
        ours = [name for name in names if name != OFFICIAL]
        if OFFICIAL not in names:
            print("The official wheel is not installed: nothing to compare with.")
        print(" " * 24 + "".join(f"{name:>28}" for name in names) + "".join(f"{name + ' to it':>19}" for name in ours))
        columns = f"{'us each':>10}{'MB/s':>8}{'CPU us':>10}" * len(names)
        print(f"{'':<24}{columns}" + f"{'ratio':>10}{'CPU':>9}" * (len(ours) if OFFICIAL in names else 0))
        results: dict[str, Any] = {}
        chosen = [workload for workload in WORKLOADS + LINEAR if workload.name.startswith(options.only or "")]
        _table(bench, chosen, results)
        if options.write:
            _write(results, options.write)
        if options.plot:
            _table(bench, SIZES, results)
            _plot(results, options.plot)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
