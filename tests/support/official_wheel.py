# SPDX-License-Identifier: Apache-2.0
"""Steps of the official wheel for the client's tests, in a process of its own.

The wheel's calls hold the interpreter's lock, ignore Ctrl-C and have no timeouts, so the test kills this process if
it hangs.  The cluster is that of the profile file that FLV_PROFILE_PATH names.  One JSON object comes on standard
input, and one goes to standard output; bytes are in hexadecimal.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import fluvio

if TYPE_CHECKING:
    from collections.abc import Callable


def read(topic: str, counts: list[int]) -> Any:
    """Read so many records of each partition; returns [offset, key, value, timestamp] of each."""
    client = fluvio.Fluvio.connect()
    found = []
    for partition, count in enumerate(counts):
        stream = client.partition_consumer(topic, partition).stream(fluvio.Offset.beginning())
        records = [next(stream) for _ in range(count)]
        found.append(
            [
                [
                    record.offset(),
                    bytes(record.key()).hex(),
                    bytes(record.value()).hex(),
                    record.timestamp(),
                ]
                for record in records
            ]
        )
    return found


def partitions(topic: str, keys: list[str]) -> Any:
    """Send a record with each key; returns the partition of each."""
    producer = fluvio.Fluvio.connect().topic_producer(topic)
    outputs = [producer.send(bytes.fromhex(key), b"by the wheel") for key in keys]
    producer.flush()
    return [output.wait().partition_id() for output in outputs]


STEPS: dict[str, Callable[..., Any]] = {"read": read, "partitions": partitions}

if __name__ == "__main__":
    order = json.load(sys.stdin)
    json.dump(STEPS[order.pop("step")](**order), sys.stdout)
