# SPDX-License-Identifier: Apache-2.0
"""Where a record's time goes: `python bench/profile_send.py [ENDPOINT] [--size BYTES] [--records N]`.

Sends twice, with the profiler in the sending thread and then in the sender's, and prints each stage's share of both.
A profiler makes calls look dearer than they are: the shares are for finding the next thing to improve.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import uuid
from collections import defaultdict
from contextlib import ExitStack
from pathlib import PurePath

from fluvio_sync import Fluvio
from fluvio_sync._runtime.sender_thread import SenderThread
from fluvio_sync.testing import LocalCluster

STAGES = {
    "send()": ("producer.py", "producer_handle.py", "partitioner.py", "record.py"),
    "batching": ("accumulator.py", "partition.py", "clock.py", "wall_clock.py", "topic.py", "batch_item.py"),
    "encoding": ("batch.py", "produce.py", "primitives.py", "spu_requests.py", "compression.py"),
    "checksum": ("checksum.py", "_crc32c"),
    "socket": ("connection.py", "transport.py", "frames.py", "poller.py", "selectors.py", "socket", "select.epoll"),
    "deciding": (
        *("dispatcher.py", "sender.py", "sender_thread.py", "timers.py", "pipeline.py", "routing.py", "patience.py"),
        *("metadata.py", "metadata_watch.py", "subscription.py"),
    ),
    "completing": ("batch_futures.py", "handle_stats.py", "accounting.py", "futures.py", "callbacks.py"),
}


def stage_of(file: str, function: str) -> str:
    """Return the stage that a function belongs to."""
    where = PurePath(file).name
    for stage, parts in STAGES.items():
        if where in parts or (file == "~" and any(part in function for part in parts)):
            return stage
    return "other"


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Return the seconds of each stage; waiting for sockets does not count."""
    seconds: dict[str, float] = defaultdict(float)
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if "'poll'" not in function and "'acquire'" not in function:
            seconds[stage_of(file, function)] += own
    return seconds


def run(endpoint: str, size: int, records: int, profile: cProfile.Profile, *, of_sender: bool) -> None:
    """Send, with the profiler in one of the two threads."""
    original = SenderThread._run  # noqa: SLF001

    def profiled(thread: SenderThread) -> None:
        profile.runcall(original, thread)

    if of_sender:
        SenderThread._run = profiled  # type: ignore[method-assign, assignment]  # noqa: SLF001
    topic = f"profile-{uuid.uuid4().hex[:12]}"
    try:
        with Fluvio.connect(endpoint) as fluvio:
            fluvio.create_topic(topic)
            producer = fluvio.topic_producer(topic)
            value = bytes(size)
            producer.send(value).result()
            if not of_sender:
                profile.enable()
            for _ in range(records):
                producer.send(value)
            profile.disable()
            producer.close()
            fluvio.delete_topic(topic)
    finally:
        SenderThread._run = original  # type: ignore[method-assign]  # noqa: SLF001


def main() -> None:
    """Profile and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("endpoint", nargs="?", help="HOST:PORT of a cluster's SC (default: a development cluster)")
    parser.add_argument("--size", type=int, default=100, help="of a record, in bytes (%(default)s)")
    parser.add_argument("--records", type=int, default=100_000, help="how many (%(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        endpoint = options.endpoint or stack.enter_context(LocalCluster(strict=False)).endpoint
        columns = []
        for of_sender in (False, True):
            profile = cProfile.Profile()
            run(endpoint, options.size, options.records, profile, of_sender=of_sender)
            columns.append(shares(profile))
    whole = sum(sum(column.values()) for column in columns)
    print(f"{'':<12}{'send() thread':>15}{'sender thread':>15}   % of all time, {options.size} B a record")
    for stage in [*STAGES, "other"]:
        print(f"{stage:<12}" + "".join(f"{100 * column.get(stage, 0.0) / whole:>15.1f}" for column in columns))


if __name__ == "__main__":
    main()
