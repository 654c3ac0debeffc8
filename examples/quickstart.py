# SPDX-License-Identifier: Apache-2.0
"""Produces every line of Python's own standard library, and checks that each arrived once and in order.

Run `make quickstart`, or `python examples/quickstart.py [ENDPOINT]`: without an endpoint it starts a development
cluster.  A record is a line, as bytes; its key is the name of its file, so that the lines of a file stay together in
one partition.  If it finds mistakes, it lists them and ends with status 1.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from fluvio_sync import AtLeastOnce, Fluvio, FluvioError, RetryPolicy
from fluvio_sync.testing import LocalCluster, read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync import DeliveryFuture, RecordMetadata

PARTITIONS = 3
LIBRARY = Path(os.path.dirname(os.__file__))  # noqa: PTH120 - of a file name, which is a string


def source_files() -> dict[bytes, Path]:
    """Return the files by their names relative to the library, which are the keys of the records."""
    paths = sorted(path for path in LIBRARY.rglob("*.py") if "site-packages" not in path.parts)
    return {os.fsencode(path.relative_to(LIBRARY).as_posix()): path for path in paths}


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a file without their line feeds; empty lines are lines."""
    *lines, rest = path.read_bytes().split(b"\n")
    return [*lines, rest] if rest else lines


def produce(fluvio: Fluvio, topic: str, files: dict[bytes, Path]) -> tuple[int, list[RecordMetadata]]:
    """Send every line; return how many, and the metadata of the last line of some files."""
    producer = fluvio.topic_producer(topic, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=60.0)))
    samples: list[DeliveryFuture] = []
    sent = 0
    for number, (key, path) in enumerate(files.items()):
        # It waits while the client's buffer is full, so that memory stays bounded.
        futures = producer.send_all((key, line) for line in lines_of(path))
        sent += len(futures)
        if futures and number % max(1, len(files) // 4) == 0:
            samples.append(futures[-1])
        show_progress(f"{sent} records sent")
    result = producer.flush()
    show_progress("")
    if result.first_error is not None:
        raise result.first_error
    if result.acked != sent:
        sys.exit(f"{sent} records were sent, but {result.acked} acknowledged")
    return sent, [future.result() for future in samples]


def check(endpoint: str, topic: str, files: dict[bytes, Path], samples: list[RecordMetadata]) -> Iterator[str]:
    """Read all partitions back and yield a text for each mistake."""
    unseen = set(files)
    for partition in range(PARTITIONS):
        show_progress(f"reading partition {partition}")
        records = read_records(endpoint, topic, partition, timeout=60.0)
        by_key: dict[bytes | None, list[bytes]] = defaultdict(list)
        for record in records:
            by_key[record.key].append(record.value)
        for key, stored in by_key.items():
            if key is None or key not in files:
                yield f"partition {partition} has records with the key {key!r}, which nobody sent"
                continue
            expected = lines_of(files[key])
            if key not in unseen:
                yield f"{os.fsdecode(key)}: its lines are in two partitions"
            elif stored != expected:
                yield f"{os.fsdecode(key)}: {difference(expected, stored)}"
            unseen.discard(key)
        for sample in samples:
            if sample.partition == partition and not any(
                record.offset == sample.offset and record.value == lines_of(files[record.key or b""])[-1]
                for record in records
            ):
                yield f"{sample} is not where a last line is"
        print(f"Partition {partition}: {len(records)} records of {len(by_key)} files.")
    show_progress("")
    for key in sorted(key for key in unseen if lines_of(files[key])):
        yield f"{os.fsdecode(key)}: all of its lines are missing"


def difference(expected: list[bytes], stored: list[bytes]) -> str:
    """Return a text about the first difference of two lists of lines."""
    pairs = zip(expected, stored, strict=False)
    line = next((number for number, (ours, theirs) in enumerate(pairs, 1) if ours != theirs), None)
    if line is None:
        line = min(len(expected), len(stored)) + 1
    return f"{len(stored)} lines are stored instead of {len(expected)}; the first that differs is line {line}"


def show_progress(text: str) -> None:
    """Overwrite the last line, on a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{text}")
        sys.stdout.flush()


def run(endpoint: str) -> int:
    """Produce and check; return the exit status."""
    files = source_files()
    topic = f"quickstart-{os.getpid()}"
    with Fluvio.connect(endpoint) as fluvio:
        fluvio.create_topic(topic, partitions=PARTITIONS)
        try:
            print(f"Topic {topic} has {PARTITIONS} partitions. Sending all lines of {len(files)} files of {LIBRARY}.")
            began = time.perf_counter()
            sent, samples = produce(fluvio, topic, files)
            seconds = time.perf_counter() - began
            print(f"{sent} records acknowledged in {seconds:.1f} s: {sent / seconds:.0f} records/s. Some of them:")
            for sample in samples:
                print(f"  {sample}")
            began = time.perf_counter()
            problems = list(check(endpoint, topic, files, samples))
            seconds = time.perf_counter() - began
        finally:
            fluvio.delete_topic(topic)
    for problem in problems[:20]:
        print(f"WRONG: {problem}")
    if problems:
        print(f"{len(problems)} files have mistakes.")
        return 1
    print(f"Read back in {seconds:.1f} s: every record is there exactly once, and those of a file in order.")
    return 0


def main() -> int:
    """Run against the cluster of the command line, or a development cluster."""
    try:
        if len(sys.argv) > 1:
            return run(sys.argv[1])
        with LocalCluster() as cluster:
            print(f"A development cluster runs at {cluster.endpoint}.")
            return run(cluster.endpoint)
    except FluvioError as error:
        print(f"WRONG: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
