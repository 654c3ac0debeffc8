# SPDX-License-Identifier: Apache-2.0
"""`verify_topic` against development clusters."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import PartitionNotFoundError, TlsConfig, TopicNotFoundError
from fluvio_sync._reading import partition_log
from fluvio_sync._reading.partition_log import PartitionLog
from fluvio_sync.errors import (
    ConfigError,
    ConnectError,
    ConnectTimeoutError,
    ProtocolError,
    RequestTimeoutError,
    ServerError,
)
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing import BatchIdentity, DuplicateBatch, LocalCluster, verify_topic
from tests.dev_cluster.messages import batch, identified, produce
from tests.support.asking import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluvio_sync.testing import PartitionCheck
    from tests.support.certificates import Certificates

ID = 2**62 - 1


def write(cluster: LocalCluster, records: bytes, partition: int = 0, topic: str = "t") -> None:
    with Asked(cluster.spu_endpoints[cluster.leader(topic, partition)], SPU_CLIENT_RANGES) as asked:
        asked.ask(SpuApi.PRODUCE, produce(topic, (partition, records)))


def numbered(*sequences: int, size: int = 1) -> bytes:
    return b"".join(identified(batch(b"x" * size, b"y"), ID, sequence) for sequence in sequences)


def verified(cluster: LocalCluster, **settings: Any) -> list[PartitionCheck]:
    return list(verify_topic("t", endpoint=cluster.endpoint, **settings))


def summary(found: Sequence[PartitionCheck]) -> list[tuple[int, int, int, int, int]]:
    return [(item.partition, item.batches, item.records, item.unidentified_batches, item.duplicates) for item in found]


def test_every_partition_is_read(pair: LocalCluster) -> None:
    pair.create_topic("t", partitions=3)
    write(pair, batch(b"other client") + numbered(0, 1, 2))
    write(pair, numbered(0, 1, 0), partition=1)
    found = verified(pair)
    assert summary(found) == [(0, 4, 7, 1, 0), (1, 3, 6, 0, 1), (2, 0, 0, 0, 0)]
    assert found[1].examples == [DuplicateBatch(BatchIdentity(ID, 0, 0), offset=4, first_offset=0, records=2)]
    assert summary(list(verify_topic("t", 1, endpoint=pair.endpoint))) == [(1, 3, 6, 0, 1)]


def test_an_answer_may_end_anywhere_in_a_batch(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.create_topic("t")
    write(own, numbered(*range(5), 3))
    size = len(numbered(0))
    for max_bytes in (57, 58, size - 1, size, size + 1, size + 57, 3 * size + 60):
        monkeypatch.setattr(partition_log, "_CHUNK", max_bytes)
        assert summary(verified(own)) == [(0, 6, 12, 0, 1)]
    monkeypatch.setattr(partition_log, "_CHUNK", 56)
    with pytest.raises(ProtocolError, match="no batch behind offset 0"):
        verified(own)


def test_records_that_are_not_replicated_are_read_too(pair: LocalCluster) -> None:
    pair.create_topic("t", replication=2)
    write(pair, numbered(0))
    pair.kill_spu(5002)
    write(pair, numbered(0))
    assert summary(verified(pair)) == [(0, 2, 4, 0, 1)]


def test_a_large_topic_takes_little_memory() -> None:
    """The cluster is a process of its own, so that its memory does not count."""
    with LocalCluster() as cluster:
        cluster.create_topic("t")
        for first in range(0, 40, 4):
            write(cluster, numbered(*range(first, first + 4), size=3_000_000))
        tracemalloc.start()
        try:
            assert summary(verified(cluster)) == [(0, 40, 80, 0, 0)]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 12_000_000  # of 120 MB


@pytest.mark.parametrize("version", [22, 23, 24, 25])
def test_spus_of_every_version_can_be_read(version: int) -> None:
    with LocalCluster(spu_version=version, in_process=True) as cluster:
        cluster.create_topic("t")
        write(cluster, numbered(0, 0))
        assert summary(verified(cluster)) == [(0, 2, 4, 0, 1)]


def test_it_connects_as_a_client_does(certificates: Certificates) -> None:
    with LocalCluster(in_process=True, **certificates.of_cluster("mutual")) as cluster:
        cluster.create_topic("t")
        assert summary(verified(cluster, tls=certificates.of_client("mutual"))) == [(0, 0, 0, 0, 0)]
        with pytest.raises(ConnectError):
            verified(cluster, tls=TlsConfig.disabled(), connect_timeout=2.0)


def test_addresses_of_spus_may_be_others(own: LocalCluster) -> None:
    own.create_topic("t")
    real = own.spu_endpoints[5001]
    own.advertise(5001, "127.0.0.1:1", local=real)
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1"):
        verified(own)
    ways: list[dict[str, Any]] = [
        {"use_spu_local_address": True},
        {"spu_address_override": {5001: real}},
        {"spu_address_override": lambda spu, advertised: real if (spu, advertised) == (5001, "127.0.0.1:1") else None},
    ]
    for settings in ways:
        assert summary(verified(own, **settings)) == [(0, 0, 0, 0, 0)]
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1"):
        verified(own, spu_address_override={7: real})
    with pytest.raises(ConnectError, match="no address for SPU 5001: ConfigError"):
        verified(own, spu_address_override=lambda spu, advertised: "not an address")


def test_errors_are_those_of_the_library(own: LocalCluster) -> None:
    own.create_topic("t")
    with pytest.raises(TopicNotFoundError, match="'u'"):
        list(verify_topic("u", endpoint=own.endpoint))
    with pytest.raises(PartitionNotFoundError, match="no partition 3"):
        list(verify_topic("t", 3, endpoint=own.endpoint))
    with pytest.raises(ConfigError):
        verified(own, connect_timeout=-1)
    own.hold_replies(5001)
    with pytest.raises(ConnectTimeoutError):
        verified(own, connect_timeout=0.2)


@pytest.fixture
def reading(pair: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Give a function that has something happen before the third answer of five."""
    pair.create_topic("t")
    write(pair, numbered(*range(5)))
    monkeypatch.setattr(partition_log, "_CHUNK", 60)
    real = PartitionLog._fetch

    def happen(event: Callable[[], None]) -> None:
        asked = itertools.count()

        def fetch(log: PartitionLog, offset: int, size: int) -> bytes:
            if next(asked) == 2:
                event()
            return real(log, offset, size)

        monkeypatch.setattr(PartitionLog, "_fetch", fetch)

    return happen


def test_a_leader_that_moves_while_it_is_read(
    pair: LocalCluster, reading: Callable[[Callable[[], None]], None]
) -> None:
    reading(lambda: pair.move_leader("t", 0, 5002))
    with pytest.raises(ServerError) as refused:
        verified(pair)
    assert refused.value.code == 6


def test_a_leader_that_stalls_while_it_is_read(
    pair: LocalCluster, reading: Callable[[Callable[[], None]], None]
) -> None:
    reading(lambda: pair.hold_replies(5001))
    with pytest.raises(RequestTimeoutError, match=r"FETCH within 0\.2 s"):
        verified(pair, request_timeout=0.2)
