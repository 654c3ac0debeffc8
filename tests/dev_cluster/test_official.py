# SPDX-License-Identifier: Apache-2.0
"""The official wheel as the client of the development cluster."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing import LocalCluster
from tests.dev_cluster.messages import batch, produce
from tests.support.asking import Asked

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        importlib.util.find_spec("fluvio") is None,
        reason="the official wheel `fluvio` is not installed",
    ),
]

SCRIPT = Path(__file__).parent / "official_client.py"
TIMEOUT = 30


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """In a process of its own: the wheel holds the interpreter's lock while it waits."""
    with LocalCluster(spus=2) as running:
        yield running
        assert running.violations() == []


def official(step: str, cluster: LocalCluster) -> Any:
    """Have the wheel do something; it is killed if it hangs."""
    command = [sys.executable, str(SCRIPT), step, cluster.endpoint]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_creates_lists_and_deletes_topics(cluster: LocalCluster) -> None:
    result = official("admin", cluster)
    assert result["before"] == ["by-default", "three"]
    assert result["filtered"] == ["three"]
    assert result["after"] == ["three"]
    exists, name, missing = result["errors"]
    assert "already exists" in exists
    assert "Invalid topic name" in name
    assert "not found" in missing
    assert cluster.leader("three", 2) == 5001


def test_it_produces_with_every_codec_and_semantic(cluster: LocalCluster) -> None:
    cluster.create_topic("orders", partitions=3, replication=2)
    cluster.create_topic("fire")
    places = official("produce", cluster)
    assert len(places) == 200
    stored: list[list[Any]] = [
        [partition, record.offset, record.key and record.key.decode(), record.value.decode()]
        for partition in range(3)
        for record in cluster.records("orders", partition)
    ]
    assert sorted(stored) == sorted(places)
    assert {key.split("-")[0] for _, _, key, _ in stored} == {
        "None_",
        "Gzip",
        "Snappy",
        "Lz4",
        "Zstd",
    }
    (record,) = cluster.records("fire")
    assert (record.key, record.value) == (b"fire", b"and forget")


@pytest.fixture
def lines(cluster: LocalCluster) -> LocalCluster:
    """The topic `lines` with 30 records in partition 1: six batches, with every codec."""
    cluster.create_topic("lines", partitions=2)
    endpoint = cluster.spu_endpoints[cluster.leader("lines", 1)]
    with Asked(endpoint, SPU_CLIENT_RANGES) as asked:
        for first in range(0, 30, 5):
            values = [b"%d" % number for number in range(first, first + 5)]
            records = batch(*values, codec=first // 5 % 5)
            asked.ask(SpuApi.PRODUCE, produce("lines", (1, records)))
    return cluster


EXPECTED = [[number, f"k{number % 5}", str(number)] for number in range(30)]


def test_it_consumes_from_the_beginning_from_an_offset_and_from_the_end(
    lines: LocalCluster,
) -> None:
    result = official("consume", lines)
    assert result["beginning"] == EXPECTED
    assert result["absolute"] == EXPECTED[17:]
    assert result["from-end"] == EXPECTED[28:]


def test_it_resumes_at_a_stored_offset(lines: LocalCluster) -> None:
    result = official("resume", lines)
    assert result["goes"] == [EXPECTED[:4], EXPECTED[4:9]]
    assert result["stored"] == [["reader", "lines", 1, 8]]
    assert result["left"] == 0
