# SPDX-License-Identifier: Apache-2.0
"""The development cluster's SmartModules: the entries of a produce request behind a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluvio_sync.protocol.batch import decode_record_set, verify_batch
from fluvio_sync.protocol.metadata import TopicSpec
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.testing._cluster.spu import SpuSession
from tests.dev_cluster.messages import batch, produce, tell

if TYPE_CHECKING:
    from fluvio_sync.testing._cluster.core import ClusterCore


@pytest.fixture
def core(core: ClusterCore) -> ClusterCore:
    core.create_topic("t", TopicSpec())
    core.smartmodules.add("filter")
    return core


def send(core: ClusterCore, records: bytes, *texts: str) -> tuple[int, tuple[object, ...], int]:
    """Produce a record set through filters for these texts; returns code, payload and base offset."""
    return send_through(core, records, *(SmartModuleInvocation("filter", params={"keep": text}) for text in texts))


def send_through(
    core: ClusterCore, records: bytes, *modules: SmartModuleInvocation
) -> tuple[int, tuple[object, ...], int]:
    (body,) = tell(SpuSession(core, 5001), SpuApi.PRODUCE, produce("t", (0, records), smartmodules=modules))
    (result,) = ProduceResponse.read(body, 25).topics[0].partitions
    return result.error_code.code, result.error_code.payload, result.base_offset


def stored(core: ClusterCore) -> list[tuple[int, int, list[bytes]]]:
    """Return base offset, number of offsets, and values of every batch."""
    found = core.partition("t", 0)
    assert found is not None
    whole = b"".join(found.log.read(0, found.log.end_offset, 1 << 20))
    return [
        (batch.header.base_offset, batch.header.record_count, [record.value for record in batch.records])
        for batch in decode_record_set(whole)
    ]


@pytest.mark.parametrize("codec", [0, 1])
def test_all_batches_become_one_and_offsets_advance_by_the_incoming_records(core: ClusterCore, codec: int) -> None:
    records = batch(b"apple", b"pear", codec=codec) + batch(b"grape", b"fig", b"plum")
    assert send(core, records, "p") == (0, (), 0)
    assert send(core, records, "p", "r") == (0, (), 5)
    assert send(core, records) == (0, (), 10)
    assert stored(core)[:2] == [
        (0, 5, [b"apple", b"pear", b"grape", b"plum"]),
        (5, 5, [b"pear", b"grape"]),
    ]
    assert [base for base, _, _ in stored(core)] == [0, 5, 10, 12]


def test_nothing_left_is_success_at_offset_0_and_nothing_written(core: ClusterCore) -> None:
    assert send(core, batch(b"a"), "a") == (0, (), 0)
    assert send(core, batch(b"a", b"b"), "x") == (0, (), 0)
    assert stored(core) == [(0, 1, [b"a"])]


def test_a_record_at_which_it_fails_has_the_whole_entry_rejected(core: ClusterCore) -> None:
    code, payload, _ = send(core, batch(b"good") + batch(b"good", b"\xff"), "good")
    assert code == 6004
    assert payload[1:] == (2, 0, b"k1", b"\xff")
    assert stored(core) == []


def test_a_filter_without_its_parameter_cannot_begin(core: ClusterCore) -> None:
    code, payload, _ = send_through(core, batch(b"a"), SmartModuleInvocation("filter"))
    assert code == 6006
    assert "'keep'" in str(payload[0])


def test_a_batch_that_lost_nothing_is_still_a_correct_one(core: ClusterCore) -> None:
    send(core, batch(b"a", b"ab"), "a")
    found = core.partition("t", 0)
    assert found is not None
    verify_batch(b"".join(found.log.read(0, found.log.end_offset, 1 << 20)))
