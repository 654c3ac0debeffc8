# SPDX-License-Identifier: Apache-2.0
"""The official wheel sees what this client reported: the same records, places and choice of partition."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kit import place

from fluvio_sync import Compression

if TYPE_CHECKING:
    from kit import Where

    from fluvio_sync import Fluvio

pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        importlib.util.find_spec("fluvio") is None, reason="the official wheel `fluvio` is not installed"
    ),
]

SCRIPT = Path(__file__).parent / "official_wheel.py"
TIMEOUT = 30


def wheel(step: str, **arguments: Any) -> Any:
    """Have the wheel do something; it is killed if it hangs."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        input=json.dumps({"step": step, **arguments}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("isolation", ["read-uncommitted", "read-committed"])
@pytest.mark.parametrize("codec", [codec.value for codec in Compression])
def test_the_wheel_reads_what_was_reported(where: Where, client: Fluvio, codec: str, isolation: str) -> None:
    topic = where.topic(partitions=3)
    producer = client.topic_producer(topic, compression=codec, isolation=isolation, batch_size=2000)
    sent: list[tuple[bytes | None, bytes]] = [
        (None, b"null key"),
        (b"", b"empty key"),
        (b"k", b""),
        (b"\xff\x00", os.urandom(1000)),
        (b"large", b"repetitive " * 500),
        *((b"key-%d" % (number % 20), b"value-%d" % number) for number in range(100)),
    ]
    futures = [producer.send(value, key=key) for key, value in sent]
    stamped = producer.send(b"in the past", key=b"t", timestamp=1_600_000_000_123)
    producer.flush(10)
    expected: list[dict[int, list[Any]]] = [{}, {}, {}]
    for (key, value), future in zip([*sent, (b"t", b"in the past")], [*futures, stamped], strict=True):
        metadata = future.result(0)
        partition, offset = place(metadata)
        shown = (b"No key" if key is None else key).hex()  # as the wheel has it
        expected[partition][offset] = [offset, shown, value.hex(), metadata.timestamp]
    counts = [len(records) for records in expected]
    assert sum(counts) == len(sent) + 1
    found = wheel("read", endpoint=where.endpoint, topic=topic, counts=counts)
    assert found == [[records[offset] for offset in sorted(records)] for records in expected]


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 16])
def test_the_wheel_chooses_the_same_partitions(where: Where, client: Fluvio, partitions: int) -> None:
    chance = random.Random(partitions)
    keys = [b"", b"\0", b"user-42", *(chance.randbytes(chance.randrange(1, 40)) for _ in range(150))]
    topic = where.topic(partitions=partitions)
    producer = client.topic_producer(topic)
    futures = [producer.send(b"by us", key=key) for key in keys]
    producer.flush(10)
    ours = [future.result(0).partition for future in futures]
    theirs = wheel("partitions", endpoint=where.endpoint, topic=topic, keys=[key.hex() for key in keys])
    assert ours == theirs
    assert len(set(ours)) == partitions
