# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.errors import (
    ConnectError,
    PartitionNotFoundError,
    ProtocolError,
    RequestTimeoutError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing import BatchIdentity, LocalCluster, StoredRecord, read_records, reader
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


def test_they_may_come_in_many_responses(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MAX_BYTES", 1)
    assert [record.value for record in cluster.records("t")] == VALUES


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


def test_a_batch_cut_short_is_left_for_the_next_response() -> None:
    """A real SPU cuts at `max_bytes`, in the middle of a batch."""
    first = batch(b"a", b"b")
    second = b"\0\0\0\0\0\0\0\2" + batch(b"c")[8:]
    for length in range(len(first), len(first) + len(second)):
        records: list[StoredRecord] = []
        assert reader._decode((first + second)[:length], 0, records) == 2
        assert [record.value for record in records] == [b"a", b"b"]
    records = []
    assert reader._decode(first + second, 1, records) == 3
    assert [(record.offset, record.value) for record in records] == [(1, b"b"), (2, b"c")]


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


def test_a_partition_that_shrank_is_no_endless_loop(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_decode", lambda records, start, found, identity: start)
    with pytest.raises(ProtocolError, match="without a single whole batch"):
        cluster.records("t")
