# SPDX-License-Identifier: Apache-2.0
"""The official wheel confirms the reports of this client: records, places and choice of partition."""

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

from fluvio_sync import Compression, Fluvio
from fluvio_sync.testing import LocalCluster
from tests.support.certificates import KINDS, Certificates
from tests.support.cluster import place
from tests.support.profiles import write_profile

if TYPE_CHECKING:
    from tests.support.cluster import Where

pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        importlib.util.find_spec("fluvio") is None, reason="the official wheel `fluvio` is not installed"
    ),
]

SCRIPT = Path(__file__).parents[1] / "support" / "official_wheel.py"
TIMEOUT = 30


@pytest.fixture
def profile(where: Where, certificates: Certificates, tmp_path: Path) -> Path:
    """A profile file that names the cluster."""
    return write_profile(tmp_path, where.endpoint, where.tls, certificates.client)


def wheel(profile: Path, step: str, **arguments: Any) -> Any:
    """Have the wheel do something; it is killed if it hangs."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        # A real SPU cuts its responses at a number of bytes, and the wheel cannot read half a batch.
        env={**os.environ, "FLV_PROFILE_PATH": str(profile), "FLV_CLIENT_MAX_FETCH_BYTES": str(1 << 26)},
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
def test_the_wheel_reads_what_was_reported(
    where: Where, client: Fluvio, profile: Path, codec: str, isolation: str
) -> None:
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
    found = wheel(profile, "read", topic=topic, counts=counts)
    assert found == [[records[offset] for offset in sorted(records)] for records in expected]


SIZES = (1, 2, 100, 4_095, 16_384, 65_535, 65_536, 65_537, 131_072, 131_073, 300_000, 900_000)


@pytest.mark.parametrize("level", [None, 9])
@pytest.mark.parametrize("codec", [codec.value for codec in Compression])
def test_the_wheel_reads_records_of_every_size(
    where: Where, client: Fluvio, profile: Path, codec: str, level: int | None
) -> None:
    """Those at which frames, chunks and blocks of the codecs end are among them; compressible and random."""
    if level is not None and codec in ("none", "snappy"):
        pytest.skip("has no levels")
    topic = where.topic()
    producer = client.topic_producer(topic, compression=codec, compression_level=level)
    chance = random.Random(codec)
    values = [value for size in SIZES for value in (b"repetitive " * (size // 11 + 1), chance.randbytes(size))]
    values = [value[:size] for value, size in zip(values, [size for size in SIZES for _ in range(2)], strict=True)]
    alone = [producer.send(value).result(10) for value in values]  # a batch each
    together = producer.send_all(values)
    producer.flush(10)
    places = [*alone, *(future.result(0) for future in together)]
    assert [metadata.offset for metadata in places] == list(range(2 * len(values)))
    (found,) = wheel(profile, "read", topic=topic, counts=[len(places)])
    assert [bytes.fromhex(value) for _, _, value, _ in found] == [*values, *values]


@pytest.mark.parametrize("partitions", [1, 2, 3, 7, 16])
def test_the_wheel_chooses_the_same_partitions(where: Where, client: Fluvio, profile: Path, partitions: int) -> None:
    chance = random.Random(partitions)
    keys = [b"", b"\0", b"user-42", *(chance.randbytes(chance.randrange(1, 40)) for _ in range(150))]
    topic = where.topic(partitions=partitions)
    producer = client.topic_producer(topic)
    futures = [producer.send(b"by us", key=key) for key in keys]
    producer.flush(10)
    ours = [future.result(0).partition for future in futures]
    theirs = wheel(profile, "partitions", topic=topic, keys=[key.hex() for key in keys])
    assert ours == theirs
    assert len(set(ours)) == partitions


@pytest.mark.parametrize("kind", KINDS)
def test_one_profile_file_is_enough_for_both(certificates: Certificates, tmp_path: Path, kind: str) -> None:
    with LocalCluster(**certificates.of_cluster(kind)) as cluster:
        tls = certificates.of_client(kind)
        profile = write_profile(tmp_path, cluster.endpoint, tls, certificates.client)
        cluster.create_topic("t")
        with Fluvio.connect(profile_path=profile) as fluvio:
            reported = [fluvio.topic_producer("t").send(b"by us", key=b"k").result(5) for _ in range(3)]
        found = wheel(profile, "read", topic="t", counts=[3])
        assert found == [[[item.offset, b"k".hex(), b"by us".hex(), item.timestamp] for item in reported]]
        assert wheel(profile, "partitions", topic="t", keys=[b"k".hex()]) == [0]
        assert [record.value for record in cluster.records("t", tls=tls)] == [b"by us"] * 3 + [b"by the wheel"]
        assert cluster.violations() == []
