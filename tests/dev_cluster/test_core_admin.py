# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol.admin import (
    AddMirror,
    AddPartitions,
    AdminStatus,
    CreateTopicRequest,
    DeleteTopicRequest,
    UpdateTopicRequest,
)
from fluvio_sync.protocol.metadata import (
    AssignedReplicas,
    CleanupPolicy,
    ComputedReplicas,
    Deduplication,
    HomeMirror,
    MirrorReplicas,
    PartitionMap,
    PartitionObject,
    PartitionResolution,
    SpuObject,
    SpuResolution,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStorage,
)
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    ApiVersionsRequest,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
)
from fluvio_sync.protocol.watch import ListRequest, ListResponse, WatchRequest, WatchUpdate
from fluvio_sync.testing._cluster.core import STATUS_INTERVAL, ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._cluster.partition_log import FileStorage
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession
from tests.dev_cluster.messages import batch, produce, sent, tell

if TYPE_CHECKING:
    from pathlib import Path

    from fluvio_sync.testing._cluster.core import ServerSession


SPUS = [SpuAddress(5001, "127.0.0.1", 9010), SpuAddress(5002, "127.0.0.1", 9020)]


def administer(core: ClusterCore, api: ScApi, message: Any) -> AdminStatus:
    (body,) = tell(ScSession(core), api, message)
    return AdminStatus.read(body, 19)


def names(core: ClusterCore, label: str, *filters: str, system: bool = False) -> list[str]:
    """Return the names of the objects that the SC lists."""
    (body,) = tell(ScSession(core), ScApi.LIST, ListRequest(label, filters, system=system))
    response = ListResponse.read(body, 19)
    assert response.label == label
    return [item.name for item in response.items]


# --- topics --------------------------------------------------------------------------------------

COMPUTED = ComputedReplicas(1)


@pytest.mark.parametrize(
    ("name", "spec", "code"),
    [
        ("a", TopicSpec(), 0),
        ("x" * 63, TopicSpec(), 0),
        ("x" * 64, TopicSpec(), 2006),
        ("", TopicSpec(), 2006),
        ("-a", TopicSpec(), 2006),
        ("a-", TopicSpec(), 2006),
        ("a_b", TopicSpec(), 2006),
        ("ä", TopicSpec(), 2006),
        ("there", TopicSpec(ComputedReplicas(0)), 2002),
        ("a", TopicSpec(COMPUTED, CleanupPolicy(9)), 2004),
        ("a", TopicSpec(COMPUTED, CleanupPolicy(10)), 0),
        ("a", TopicSpec(storage=TopicStorage(1023)), 2004),
        ("a", TopicSpec(storage=TopicStorage(1024)), 0),
        ("a", TopicSpec(storage=TopicStorage(1024, 2047)), 2004),
        ("a", TopicSpec(storage=TopicStorage(1024, 2048)), 0),
        ("a", TopicSpec(storage=TopicStorage(4096, 2048)), 2004),
        ("a", TopicSpec(storage=TopicStorage(None, 2048)), 2004),
        ("a", TopicSpec(storage=TopicStorage(None, 1 << 30)), 0),
        ("a", TopicSpec(deduplication=Deduplication(1, None, "filter")), 10000),
        ("a", TopicSpec(ComputedReplicas(0)), 2000),
        ("a", TopicSpec(ComputedReplicas(1, 0)), 2000),
        ("a", TopicSpec(ComputedReplicas(2**32 - 1)), 2000),
        ("a", TopicSpec(ComputedReplicas(1, 3)), 2005),
        ("a", TopicSpec(MirrorReplicas(HomeMirror(()))), 2000),
        ("a", TopicSpec(AssignedReplicas((PartitionMap(1, (5001,)),))), 2000),
        ("a", TopicSpec(AssignedReplicas((PartitionMap(0, ()),))), 2000),
        ("a", TopicSpec(AssignedReplicas((PartitionMap(0, (5001, 5001)),))), 2000),
        ("a", TopicSpec(AssignedReplicas((PartitionMap(0, (7,)),))), 2000),
        ("a", TopicSpec(AssignedReplicas((PartitionMap(0, (5002, 5001)),))), 0),
    ],
)
def test_topics_are_checked_as_by_a_real_sc(core: ClusterCore, name: str, spec: TopicSpec, code: int) -> None:
    core.create_topic("there", TopicSpec())
    dry = administer(core, ScApi.CREATE, CreateTopicRequest(name, dry_run=True, spec=spec))
    assert dry.error_code.code == (0 if code == 2005 else code)
    assert (name in core.topics) == (name == "there")
    status = administer(core, ScApi.CREATE, CreateTopicRequest(name, spec=spec))
    assert status.error_code.code == code
    assert (status.error_message is None) == (code == 0)
    assert (name in core.topics) == (code in (0, 2002, 2005))


def test_partitions_go_round_the_spus(core: ClusterCore) -> None:
    spec = TopicSpec(ComputedReplicas(3, 2))
    administer(core, ScApi.CREATE, CreateTopicRequest("t", spec=spec))
    partitions = core.topics["t"].partitions
    assert [item.replicas for item in partitions] == [[5001, 5002], [5002, 5001], [5001, 5002]]
    assert {item.resolution for item in partitions} == {PartitionResolution.ONLINE}


def test_a_topic_may_wait_for_spus(core: ClusterCore) -> None:
    core.kill_spu(5002)
    status = core.create_topic("t", TopicSpec(ComputedReplicas(1, 2)))
    assert status.error_code.code == 2005
    assert status.error_message == "only 0 out of 1 provisioned"
    topic = core.topics["t"]
    assert topic.resolution == TopicResolution.INSUFFICIENT_RESOURCES
    assert topic.partitions == []
    core.restart_spu(5002)
    assert topic.object().status.resolution == TopicResolution.PROVISIONED
    assert [item.resolution for item in topic.partitions] == [PartitionResolution.ONLINE]


def test_deleting(core: ClusterCore) -> None:
    core.create_topic("t", TopicSpec())
    assert administer(core, ScApi.DELETE, DeleteTopicRequest("t")).error_code.code == 0
    assert names(core, "Topic") == names(core, "Partition") == []
    assert administer(core, ScApi.DELETE, DeleteTopicRequest("t")).error_code.code == 2001
    refused = administer(core, ScApi.DELETE, DeleteTopicRequest("consumer-offset"))
    assert refused.error_code.payload == ("topic", "consumer-offset")
    forced = DeleteTopicRequest("consumer-offset", force=True)
    assert administer(core, ScApi.DELETE, forced).error_code.code == 0


def test_adding_partitions(core: ClusterCore) -> None:
    core.create_topic("t", TopicSpec())
    assigned = TopicSpec(AssignedReplicas((PartitionMap(0, (5001,)),)))
    core.create_topic("assigned", assigned)
    for name, count, code in (
        ("t", 2, 0),
        ("t", 2**32 - 1, 2000),
        ("nope", 1, 2001),
        ("assigned", 1, 2008),
        ("consumer-offset", 1, 12002),
    ):
        status = administer(core, ScApi.UPDATE, UpdateTopicRequest(name, AddPartitions(count)))
        assert (name, status.error_code.code) == (name, code)
    topic = core.topics["t"]
    assert topic.spec.partition_count == len(topic.partitions) == 3
    assert [item.leader for item in topic.partitions] == [5001, 5002, 5001]
    mirror = UpdateTopicRequest("t", AddMirror("remote"))
    assert administer(core, ScApi.UPDATE, mirror).error_code.code == 11001


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (ScApi.CREATE, CreateTopicRequest("", label="SmartModule", inner=b"what")),
        (ScApi.DELETE, DeleteTopicRequest("", label="SmartModule", inner=b"what")),
        (ScApi.UPDATE, UpdateTopicRequest("", label="x" * 32767, inner=b"what")),
    ],
)
def test_other_objects_cannot_be_administered(core: ClusterCore, api: ScApi, message: Any) -> None:
    status = administer(core, api, message)
    assert status.error_code.code == 2
    assert "the development cluster does not know" in status.error_code.text


def test_lists(core: ClusterCore) -> None:
    for topic in ("orders", "order-lines", "users"):
        core.create_topic(topic, TopicSpec())
    assert names(core, "Topic") == ["orders", "order-lines", "users"]
    assert names(core, "Topic", "order") == ["orders", "order-lines"]
    assert names(core, "Topic", "lin", "use") == ["order-lines", "users"]
    assert names(core, "Topic", system=True) == ["consumer-offset"]
    assert names(core, "Partition", "users") == ["orders-0", "order-lines-0", "users-0"]
    assert names(core, "Partition", system=True) == ["consumer-offset-0"]
    assert names(core, "SPU") == ["custom-spu-5001", "custom-spu-5002"]
    for label in ("CustomSpu", "SpuGroup", "SmartModule", "TableFormat", "Mirror"):
        assert names(core, label) == []


# --- versions ------------------------------------------------------------------------------------


def versions(session: ServerSession, client_version: str) -> ApiVersionsResponse | None:
    request = ApiVersionsRequest(client_version, "linux", "x86_64")
    bodies = tell(session, API_VERSIONS, request, version=2)
    return ApiVersionsResponse.read(bodies[0], 2) if bodies else None


def test_the_sc_wants_a_semantic_client_version(core: ClusterCore) -> None:
    for wrong in ("", "1.2", "new", "1.2.3 "):
        session = ScSession(core)
        assert versions(session, wrong) is None
        assert session.closed
    for right in ("0.50.2", "0.50.2-dev-1", "1.0.0+x86"):
        assert versions(ScSession(core), right) is not None


def test_an_spu_offers_less_to_a_client_without_a_version(core: ClusterCore) -> None:
    offers = [versions(SpuSession(core, 5001), text) for text in ("0.50.2", "")]
    assert [offer and offer.offered(SpuApi.STREAM_FETCH) for offer in offers] == [(0, 25), (0, 15)]


def test_versions_can_be_lowered() -> None:
    core = ClusterCore(SPUS, platform="0.9.0", sc_version=12, spu_version=24)
    sc = versions(ScSession(core), "0.50.2")
    spu = versions(SpuSession(core, 5001), "0.50.2")
    assert sc is not None
    assert spu is not None
    assert sc.platform_version == "0.9.0"
    assert sc.offered(ScApi.WATCH) == (12, 12)
    assert sc.offered(ScApi.CREATE) == (9, 12)
    assert spu.offered(SpuApi.PRODUCE) == (0, 24)
    assert spu.offered(SpuApi.FETCH_OFFSETS) == (24, 24)


# --- watching ------------------------------------------------------------------------------------


class Watcher:
    """An SC session that watches everything."""

    def __init__(self, core: ClusterCore) -> None:
        self.session = ScSession(core)
        self.first = {
            label: WatchUpdate.read(tell(self.session, ScApi.WATCH, WatchRequest(label))[0], 19)
            for label in ("SPU", "Partition", "Topic")
        }

    def changes(self) -> list[Any]:
        """Return the changes that it has been told since, in order."""
        return [change for body in sent(self.session) for change in WatchUpdate.read(body, 19).changes]

    def resolutions(self) -> list[Any]:
        """Return whether each change is a deletion, the object's name, and its resolution."""
        return [(change.delete, change.content.name, change.content.status.resolution) for change in self.changes()]


@pytest.fixture
def watcher(core: ClusterCore) -> Watcher:
    return Watcher(core)


def test_the_first_update_has_everything(watcher: Watcher) -> None:
    assert [item.name for item in watcher.first["Topic"].all] == ["consumer-offset"]
    assert [item.name for item in watcher.first["Partition"].all] == ["consumer-offset-0"]
    spus = watcher.first["SPU"].all
    assert [item.name for item in spus] == ["custom-spu-5001", "custom-spu-5002"]
    assert isinstance(spus[0], SpuObject)
    assert spus[0].spec.public_endpoint.port == 9010
    assert spus[0].spec.public_endpoint.ingress[0].hostname == "127.0.0.1"


def test_a_new_topic_comes_before_its_partitions_are_online(core: ClusterCore, watcher: Watcher) -> None:
    core.create_topic("t", TopicSpec(ComputedReplicas(2)))
    assert watcher.resolutions() == [
        (False, "t", TopicResolution.PENDING),
        (False, "t", TopicResolution.PROVISIONED),
        (False, "t-0", PartitionResolution.OFFLINE),
        (False, "t-0", PartitionResolution.ONLINE),
        (False, "t-1", PartitionResolution.OFFLINE),
        (False, "t-1", PartitionResolution.ONLINE),
    ]


def test_a_topic_grows_before_the_new_partition_exists(core: ClusterCore, watcher: Watcher) -> None:
    core.create_topic("t", TopicSpec())
    watcher.changes()
    core.add_partitions("t", 1)
    changes = [change.content for change in watcher.changes()]
    assert isinstance(changes[0], TopicObject)
    assert changes[0].spec.partition_count == 2
    assert [item.name for item in changes] == ["t", "t", "t-1", "t-1"]


def test_a_deleted_topic_goes_after_its_partitions(core: ClusterCore, watcher: Watcher) -> None:
    core.create_topic("t", TopicSpec())
    watcher.changes()
    core.delete_topic("t")
    assert [(gone, name) for gone, name, _ in watcher.resolutions()] == [(True, "t-0"), (True, "t")]


def test_the_answer_to_create_comes_after_the_changes(core: ClusterCore, watcher: Watcher) -> None:
    bodies = tell(watcher.session, ScApi.CREATE, CreateTopicRequest("t"))
    assert len(bodies) == 5
    assert AdminStatus.read(bodies[-1], 19).name == "t"


def test_a_follower_takes_over_from_a_dead_leader(core: ClusterCore, watcher: Watcher) -> None:
    core.create_topic("t", TopicSpec(ComputedReplicas(1, 2)))
    core.create_topic("lone", TopicSpec())
    watcher.changes()
    core.kill_spu(5001)
    updates = [change.content for change in watcher.changes()]
    assert isinstance(updates[0], SpuObject)
    assert updates[0].status.resolution == SpuResolution.OFFLINE
    moved = [item for item in updates if item.name == "t-0"]
    assert isinstance(moved[0], PartitionObject)
    assert moved[0].spec.leader == 5002
    assert moved[0].status.resolution == PartitionResolution.ONLINE
    lone = [item for item in updates if item.name == "lone-0"]
    assert [item.status.resolution for item in lone] == [
        PartitionResolution.OFFLINE,
        PartitionResolution.LEADER_OFFLINE,
    ]
    core.restart_spu(5001)
    told = watcher.resolutions()
    assert (False, "custom-spu-5001", SpuResolution.ONLINE) in told
    assert (False, "lone-0", PartitionResolution.ONLINE) in told
    assert core.topics["t"].partitions[0].leader == 5002


def test_a_follower_that_lacks_records_does_not_take_over(core: ClusterCore) -> None:
    core.create_topic("t", TopicSpec(ComputedReplicas(1, 2)))
    core.kill_spu(5002)
    tell(SpuSession(core, 5001), SpuApi.PRODUCE, produce("t", (0, batch(b"a"))))
    core.kill_spu(5001)
    core.restart_spu(5002)
    partition = core.topics["t"].partitions[0]
    without_leader = (partition.leader, partition.resolution)
    core.restart_spu(5001)
    with_leader = (partition.leader, partition.resolution)
    assert without_leader == (5001, PartitionResolution.LEADER_OFFLINE)
    assert with_leader == (5001, PartitionResolution.ONLINE)
    assert partition.hw == 1


@pytest.mark.parametrize(("replication", "replicas"), [(2, [5001, 5002]), (1, [5002])])
def test_a_leader_can_be_moved(core: ClusterCore, watcher: Watcher, replication: int, replicas: list[int]) -> None:
    core.create_topic("t", TopicSpec(ComputedReplicas(1, replication)))
    watcher.changes()
    core.move_leader("t", 0, 5002)
    (update,) = watcher.changes()
    assert isinstance(update.content, PartitionObject)
    assert update.content.spec.leader == 5002
    assert list(update.content.spec.replicas) == replicas
    core.move_leader("t", 0, 5002)
    assert watcher.changes() == []


def test_changes_by_writes_are_gathered(core: ClusterCore, watcher: Watcher) -> None:
    core.create_topic("t", TopicSpec())
    watcher.changes()
    spu = SpuSession(core, 5001)
    for time in range(5):
        tell(spu, SpuApi.PRODUCE, produce("t", (0, batch(b"a"))), now=10 + time / 100)
    assert watcher.changes() == []
    assert watcher.session.wakeup_at == core.wakeup_at == 10 + STATUS_INTERVAL
    watcher.session.on_time(10 + STATUS_INTERVAL)
    (change,) = watcher.changes()
    assert isinstance(change.content, PartitionObject)
    assert change.content.status.leader.leo == 5
    assert core.wakeup_at is None


def test_a_held_sc_is_mute(core: ClusterCore, watcher: Watcher) -> None:
    core.hold_replies(0, on=True)
    core.create_topic("t", TopicSpec())
    assert watcher.changes() == []
    core.hold_replies(0, on=False)
    assert len(watcher.changes()) == 4


def test_unknown_kinds_cannot_be_watched(core: ClusterCore) -> None:
    session = ScSession(core)
    assert tell(session, ScApi.WATCH, WatchRequest("Nonsense")) == []
    assert session.closed


def test_a_session_that_is_gone_is_told_no_more(core: ClusterCore, watcher: Watcher) -> None:
    watcher.session.disconnect()
    core.create_topic("t", TopicSpec())
    assert watcher.session.outgoing() == []
    assert core.take_ready() == []


# --- kept state ----------------------------------------------------------------------------------


def test_a_cluster_finds_its_topics_and_records_again(tmp_path: Path) -> None:
    core = ClusterCore(SPUS, FileStorage(tmp_path))
    core.create_topic("t", TopicSpec(ComputedReplicas(2, 2), storage=TopicStorage(4096)))
    core.create_topic("gone", TopicSpec())
    core.move_leader("t", 1, 5001)
    request = produce("t", (0, batch(b"a", b"b")), (1, batch(b"c")))
    tell(SpuSession(core, 5001), SpuApi.PRODUCE, request)
    core.delete_topic("gone")
    spec = core.topics["t"].spec
    core.close()
    core = ClusterCore(SPUS, FileStorage(tmp_path))
    assert list(core.topics) == ["consumer-offset", "t"]
    assert core.topics["t"].spec == spec
    ends = [(item.leader, item.hw, item.log.end_offset) for item in core.topics["t"].partitions]
    assert ends == [(5001, 2, 2), (5001, 1, 1)]
    core.close()


def test_a_cluster_may_come_back_with_fewer_spus(tmp_path: Path) -> None:
    core = ClusterCore(SPUS, FileStorage(tmp_path))
    core.create_topic("t", TopicSpec(ComputedReplicas(2)))
    core.create_topic("two", TopicSpec(ComputedReplicas(2, 2)))
    core.close()
    core = ClusterCore(SPUS[:1], FileStorage(tmp_path))
    for name in ("t", "two"):
        partitions = core.topics[name].partitions
        assert [item.leader for item in partitions] == [5001, 5001]
        assert {item.resolution for item in partitions} == {PartitionResolution.ONLINE}
    core.close()


@pytest.mark.parametrize("state", ["[]", "{", '{"topics": []}', '{"topics": [{}], "consumer_offsets": []}'])
def test_damaged_state_is_rejected(tmp_path: Path, state: str) -> None:
    (tmp_path / "cluster.json").write_text(state)
    storage = FileStorage(tmp_path)
    with pytest.raises(ValueError, match=r"cluster|Expecting"):
        ClusterCore(SPUS, storage)
    storage.close()


def test_a_cluster_needs_an_spu() -> None:
    with pytest.raises(ValueError, match="at least one SPU"):
        ClusterCore([])


def test_sessions_are_of_spus_that_exist(core: ClusterCore) -> None:
    with pytest.raises(KeyError):
        SpuSession(core, 1)
