# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core.metadata import Metadata, MetadataDiff, Route
from fluvio_sync.protocol.metadata import Endpoint as WireEndpoint
from fluvio_sync.protocol.metadata import (
    IngressAddr,
    IngressPort,
    PartitionObject,
    PartitionResolution,
    PartitionStatus,
    ReplicaStatus,
    SpuObject,
    SpuResolution,
    SpuSpec,
    SpuStatus,
    SpuType,
)
from fluvio_sync.protocol.watch import Change, WatchUpdate
from tests.support.servers import partition, spu, topic

if TYPE_CHECKING:
    from fluvio_sync._settings.endpoint import Endpoint


def known(**settings: bool) -> Metadata:
    metadata = Metadata(**settings)
    metadata.begin()
    metadata.apply(WatchUpdate("SPU", 0, all=(spu(5001), spu(5002))))
    metadata.apply(WatchUpdate("Partition", 0, all=(partition("a-b-0", 5001), partition("a-b-1", 5002))))
    metadata.apply(WatchUpdate("Topic", 0, all=(topic("a-b", 2),)))
    return metadata


def test_nothing_is_known_before_a_watch_begins() -> None:
    metadata = Metadata()
    assert not metadata.live
    assert not metadata.complete
    assert metadata.advertised(5001) is None
    assert metadata.is_local(5001) is False
    assert not metadata.spu_online(5001)
    assert metadata.spu_name(5001) == "custom-spu-5001"


def test_a_full_list_replaces_what_is_known() -> None:
    metadata = known()
    diff = metadata.apply(WatchUpdate("Topic", 1, all=(topic("a-b", 2), topic("c", 1))))
    assert diff == MetadataDiff(topics={"c"})
    diff = metadata.apply(WatchUpdate("Topic", 1, all=(topic("c", 1),)))
    assert diff == MetadataDiff(topics={"a-b"})
    assert list(metadata.topics) == ["c"]
    diff = metadata.apply(WatchUpdate("Partition", 1, all=(partition("a-b-1", 5002), partition("c-0", 5001))))
    assert diff == MetadataDiff(partitions={("a-b", 0), ("c", 0)})
    assert list(metadata.partitions) == [("a-b", 1), ("c", 0)]
    diff = metadata.apply(WatchUpdate("SPU", 1, all=(spu(5002), spu(5003))))
    assert diff == MetadataDiff(spus={5001, 5003})
    assert list(metadata.spus) == [5002, 5003]


@pytest.mark.parametrize(
    ("label", "new", "old", "unknown", "name"),
    [
        ("Topic", topic("c", 1), topic("a-b", 2), topic("d", 1), "topics"),
        ("Partition", partition("c-0", 5001), partition("a-b-0", 5001), partition("d-0", 5001), "partitions"),
        ("SPU", spu(5003), spu(5001), spu(5004), "spus"),
    ],
    ids=["topic", "partition", "SPU"],
)
def test_changes_insert_and_remove(label: str, new: Any, old: Any, unknown: Any, name: str) -> None:
    metadata = known()
    before = set(getattr(metadata, name))
    diff = metadata.apply(WatchUpdate(label, 1, changes=(Change(False, new), Change(True, old), Change(True, unknown))))
    after = set(getattr(metadata, name))
    assert getattr(diff, name) == before ^ after
    assert len(before - after) == len(after - before) == 1
    assert diff
    again = metadata.apply(WatchUpdate(label, 1, changes=(Change(False, new), Change(True, old))))
    assert again == MetadataDiff()
    assert not again
    assert metadata.apply(WatchUpdate(label, 1)) == MetadataDiff()


def test_new_and_deleted_topics_are_counted() -> None:
    metadata = known()
    before = metadata.topics_version
    for changes, more in [
        ([Change(False, topic("c", 1))], 1),
        ([Change(False, topic("c", 1))], 0),
        ([Change(False, topic("c", 2)), Change(True, topic("a-b", 2))], 2),
        ([Change(True, topic("a-b", 2))], 0),
    ]:
        metadata.apply(WatchUpdate("Topic", 1, changes=tuple(changes)))
        assert metadata.topics_version == before + more
        before = metadata.topics_version


def test_a_change_that_a_write_makes_is_not_in_the_diff() -> None:
    metadata = known()
    old = partition("a-b-0", 5001)
    moved_on = PartitionObject(
        old.name, old.spec, PartitionStatus(PartitionResolution.ONLINE, ReplicaStatus(5001, 7, 7), size=100)
    )
    assert not metadata.apply(WatchUpdate("Partition", 1, changes=(Change(False, moved_on),)))
    assert metadata.partitions["a-b", 0] == (5001, PartitionResolution.ONLINE)


@pytest.mark.parametrize(
    "change",
    [partition("a-b-0", 5002), partition("a-b-0", 5001, PartitionResolution.OFFLINE)],
)
def test_a_new_leader_or_resolution_is_in_the_diff(change: PartitionObject) -> None:
    diff = known().apply(WatchUpdate("Partition", 1, changes=(Change(False, change),)))
    assert diff.partitions == {("a-b", 0)}


@pytest.mark.parametrize("change", [spu(5001, SpuResolution.OFFLINE), spu(5001, port=9999)])
def test_a_new_status_or_address_is_in_the_diff(change: SpuObject) -> None:
    assert known().apply(WatchUpdate("SPU", 1, changes=(Change(False, change),))).spus == {5001}


def test_an_sc_that_just_started_and_knows_nothing_makes_nothing_forgotten() -> None:
    metadata = known()
    metadata.lose()
    metadata.begin()
    assert metadata.apply(WatchUpdate("Topic", 0)) == MetadataDiff()
    assert "a-b" in metadata.topics
    assert not metadata.complete


def test_an_empty_cluster_is_known_to_be_empty() -> None:
    metadata = Metadata()
    metadata.begin()
    known = [metadata.complete]
    for label in ("SPU", "Partition", "Topic"):
        metadata.apply(WatchUpdate(label, 0))
        known.append(metadata.complete)
    assert known == [False, False, False, True]
    assert metadata.route("x", 0) == Route(None, "the cluster has no topic 'x'", gone=True)


def test_the_first_update_of_a_new_watch_replaces_even_as_changes() -> None:
    metadata = known()
    metadata.lose()
    metadata.begin()
    changes = Change(False, topic("new", 1)), Change(True, topic("old", 1))
    assert metadata.apply(WatchUpdate("Topic", 0, changes=changes)) == MetadataDiff(topics={"a-b", "new"})
    assert list(metadata.topics) == ["new"]


def test_routes() -> None:
    metadata = known()
    assert metadata.route("a-b", 1) == Route(5002)
    assert metadata.route("a-b", 2).gone
    metadata.apply(WatchUpdate("Topic", 1, changes=(Change(False, topic("a-b", 3)),)))
    grown = metadata.route("a-b", 2)
    assert (grown.spu, grown.gone) == (None, False)
    assert "does not exist yet" in grown.reason
    metadata.apply(WatchUpdate("SPU", 1, changes=(Change(False, spu(5002, SpuResolution.OFFLINE)),)))
    assert "SPU 5002" in metadata.route("a-b", 1).reason
    metadata.apply(
        WatchUpdate(
            "Partition", 1, changes=(Change(False, partition("a-b-0", 5001, PartitionResolution.LEADER_OFFLINE)),)
        )
    )
    assert "leader offline (SPU 5001)" in metadata.route("a-b", 0).reason


def test_a_partition_that_is_offline_perhaps_has_the_leader_that_is_online() -> None:
    metadata = known()
    offline = partition("a-b-0", 5001, PartitionResolution.OFFLINE)
    metadata.apply(WatchUpdate("Partition", 1, changes=(Change(False, offline),)))
    assert (metadata.route("a-b", 0).spu, metadata.route("a-b", 0).fallback) == (None, 5001)
    metadata.apply(WatchUpdate("SPU", 1, changes=(Change(False, spu(5001, SpuResolution.OFFLINE)),)))
    assert (metadata.route("a-b", 0).spu, metadata.route("a-b", 0).fallback) == (None, None)


def test_a_leader_whose_address_is_not_known_yet_is_waited_for() -> None:
    metadata = known()
    metadata.apply(WatchUpdate("Partition", 1, changes=(Change(False, partition("a-b-0", 5003)),)))
    reason = "the SC has not sent the address of SPU 5003, the partition's leader, yet"
    assert metadata.route("a-b", 0) == Route(None, reason)


def test_a_partition_is_only_known_not_to_exist_once_all_was_told() -> None:
    metadata = Metadata()
    metadata.begin()
    metadata.apply(WatchUpdate("Topic", 0, all=(topic("a-b", 2),)))
    assert not metadata.route("a-b", 2).gone
    assert not known().route("a-b", 1).gone
    assert known().route("a-b", 2).gone


def test_while_the_sc_is_away_the_last_known_leader_is_tried() -> None:
    metadata = known()
    offline = partition("a-b-0", 5001, PartitionResolution.OFFLINE)
    metadata.apply(WatchUpdate("Partition", 1, changes=(Change(False, offline),)))
    metadata.apply(WatchUpdate("SPU", 1, changes=(Change(False, spu(5002, SpuResolution.OFFLINE)),)))
    metadata.lose()
    assert [metadata.route("a-b", number).spu for number in range(2)] == [5001, 5002]
    assert not metadata.route("unknown", 0).gone


def test_an_spu_that_the_sc_has_not_heard_of_yet_is_tried() -> None:
    metadata = known()
    metadata.apply(WatchUpdate("SPU", 1, changes=(Change(False, spu(5001, SpuResolution.INIT)),)))
    assert metadata.route("a-b", 0).spu == 5001


def test_available_partitions_are_those_online() -> None:
    metadata = known()
    assert metadata.available("a-b") == (0, 1)
    metadata.apply(
        WatchUpdate("Partition", 1, changes=(Change(False, partition("a-b-0", 5001, PartitionResolution.OFFLINE)),))
    )
    assert metadata.available("a-b") == (1,)
    assert metadata.available("unknown") == ()
    assert metadata.partition_count("unknown") == 0


def with_addresses(public: tuple[IngressAddr, ...], local: WireEndpoint | None, **settings: bool) -> Endpoint | None:
    metadata = Metadata(**settings)
    spec = SpuSpec(1, SpuType.CUSTOM, IngressPort(9010, public), WireEndpoint(9011, "private"), None, local)
    metadata.apply(WatchUpdate("SPU", 0, all=(SpuObject("main-0", spec, SpuStatus(SpuResolution.ONLINE)),)))
    assert metadata.spu_name(1) == "main-0"
    address = metadata.advertised(1)
    assert metadata.is_local(1) is (address is not None and address.host == "inside")
    return address


def test_the_address_of_an_spu() -> None:
    named, numbered = IngressAddr("host", "10.0.0.1"), IngressAddr(None, "10.0.0.1")
    local = WireEndpoint(9110, "inside")
    assert with_addresses((named,), local) == ("host", 9010)
    assert with_addresses((named, numbered), None) == ("host", 9010)
    assert with_addresses((numbered, named), None) == ("10.0.0.1", 9010)
    assert with_addresses((named,), local, use_local_address=True) == ("inside", 9110)
    assert with_addresses((named,), None, use_local_address=True) == ("host", 9010)
    assert with_addresses((), local) == ("inside", 9110)
    assert with_addresses((), None) is None
    assert with_addresses((IngressAddr(None, None),), None) is None


def test_diffs_are_added_up() -> None:
    parts = [
        MetadataDiff({"a"}),
        MetadataDiff(partitions={("a", 0)}),
        MetadataDiff(spus={5001}),
        MetadataDiff(watch_changed=True),
    ]
    assert all(parts)
    assert not MetadataDiff()
    diff = MetadataDiff({"b"}, {("b", 1)}, {5002})
    for part in parts:
        diff.add(part)
    assert diff == MetadataDiff({"a", "b"}, {("a", 0), ("b", 1)}, {5001, 5002}, watch_changed=True)
    diff.add(MetadataDiff())
    assert diff.watch_changed
