# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync._reading import partition_log
from fluvio_sync._reading.partition_log import PartitionLog
from fluvio_sync.errors import (
    ConnectError,
    PartitionNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing import BatchIdentity, LocalCluster, StoredRecord, read_records
from tests.dev_cluster.messages import batch, identified, produce
from tests.support.asking import Asked

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """A cluster with two replicas of a topic `t` of five batches, ten records each."""
    with LocalCluster(spus=2, in_process=True) as running:
        running.create_topic("t", replication=2)
        endpoint = running.spu_endpoints[5001]
        with Asked(endpoint, SPU_CLIENT_RANGES) as asked:
            for first in range(0, 50, 10):
                records = batch(*[b"%d" % n for n in range(first, first + 10)], codec=first % 4)
                asked.ask(SpuApi.PRODUCE, produce("t", (0, records)))
        yield running


VALUES = [b"%d" % n for n in range(50)]


def test_all_records_come_in_order(cluster: LocalCluster) -> None:
    records = read_records(cluster.endpoint, "t")
    assert [record.value for record in records] == VALUES
    assert [record.offset for record in records] == list(range(50))
    assert records[10] == StoredRecord(10, 1_700_000_000_000, b"k0", b"10")


SIZE = len(batch(*[b"%d" % n for n in range(10, 20)], codec=2))


@pytest.mark.parametrize("chunk", [57, 60, SIZE - 1, SIZE, SIZE + 1, SIZE + 56, SIZE + 58, 3 * SIZE])
def test_an_answer_may_end_anywhere_in_a_batch(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """A real SPU cuts at `max_bytes`, in the middle of a batch."""
    monkeypatch.setattr(partition_log, "_CHUNK", chunk)
    assert [record.value for record in cluster.records("t")] == VALUES


def test_an_answer_that_is_shorter_than_a_header(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_log, "_CHUNK", 56)
    with pytest.raises(ProtocolError, match="no batch at offset 0"):
        cluster.records("t")


def test_records_that_are_not_replicated_are_read_too(cluster: LocalCluster) -> None:
    cluster.kill_spu(5002)
    endpoint = cluster.spu_endpoints[5001]
    with Asked(endpoint, SPU_CLIENT_RANGES) as asked:
        asked.ask(SpuApi.PRODUCE, produce("t", (0, batch(b"50"))))
    assert [record.value for record in cluster.records("t")] == [*VALUES, b"50"]


def test_missing_topics_partitions_and_clusters_are_named(cluster: LocalCluster) -> None:
    with pytest.raises(TopicNotFoundError, match="'nope'"):
        cluster.records("nope")
    with pytest.raises(PartitionNotFoundError, match="no partition 3"):
        cluster.records("t", 3)
    endpoint = cluster.endpoint
    cluster.close()
    with pytest.raises(ConnectError, match=endpoint):
        read_records(endpoint, "t")


@pytest.mark.parametrize("node", [0, 5001])
def test_it_does_not_wait_longer_than_it_may(cluster: LocalCluster, node: int) -> None:
    cluster.hold_replies(node)
    start = time.monotonic()
    with pytest.raises(RequestTimeoutError):
        read_records(cluster.endpoint, "t", timeout=0.2)
    assert 0.2 <= time.monotonic() - start < 5


def test_records_tell_the_identity_of_their_batch(cluster: LocalCluster) -> None:
    cluster.create_topic("identified")
    sets = [
        batch(b"a"),
        identified(batch(b"b", b"c", codec=1), 2**62 - 1, 2**31 - 1, producer_epoch=-1),
        identified(batch(b"d"), 7, -1),
    ]
    with Asked(cluster.spu_endpoints[cluster.leader("identified")], SPU_CLIENT_RANGES) as asked:
        asked.ask(SpuApi.PRODUCE, produce("identified", (0, b"".join(sets))))
    records = read_records(cluster.endpoint, "identified", identity=True)
    found = BatchIdentity(producer_id=2**62 - 1, producer_epoch=-1, first_sequence=2**31 - 1)
    assert [(record.value, record.identity) for record in records] == [
        (b"a", None),
        (b"b", found),
        (b"c", found),
        (b"d", None),
    ]
    assert [record.identity for record in read_records(cluster.endpoint, "identified")] == [None] * 4
    assert cluster.violations() == []


@pytest.mark.parametrize(
    ("answer", "text"), [(b"", "ends at offset 0, and not at 50"), (batch(b"x"), "no batch behind offset 1")]
)
def test_a_partition_that_shrank_is_no_endless_loop(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch, answer: bytes, text: str
) -> None:
    monkeypatch.setattr(PartitionLog, "_fetch", lambda log, offset, size: answer)
    with pytest.raises(ProtocolError, match=text):
        cluster.records("t")
