# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol.batch import decode_record_set
from fluvio_sync.protocol.consume import StreamFetchRequest, StreamFetchResponse
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    TopicCompression,
    TopicSpec,
    TopicStorage,
)
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
from fluvio_sync.protocol.versions import ApiVersionsRequest, SpuApi
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._cluster.partition_log import LogStorage, PartitionLog
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession
from tests.dev_cluster.messages import batch, codes, outcome, produce, request_frame, sent, tell

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def topics(core: ClusterCore) -> ClusterCore:
    """Topics `t` (partitions 0 and 1, led by 5001 and 5002) and `two` (5001, follower 5002)."""
    core.create_topic("t", TopicSpec(ComputedReplicas(2)))
    core.create_topic("two", TopicSpec(ComputedReplicas(1, 2)))
    return core


def test_entries_are_answered_in_order_and_written_one_after_the_other(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    request = produce("t", (0, batch(b"a", b"b")), (1, batch(b"x")), (7, b""), (0, batch(b"c")))
    assert outcome(session, request) == [(0, 0), (6, 0), (6, 0), (0, 2)]
    assert outcome(session, produce("nope", (0, batch(b"a")))) == [(6, 0)]


def test_an_entry_without_records_succeeds_at_offset_zero(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    outcome(session, produce("t", (0, batch(b"a"))))
    assert outcome(session, produce("t", (0, b""))) == [(0, 0)]
    assert outcome(session, produce("t")) == []


def test_a_topic_may_demand_a_codec(core: ClusterCore) -> None:
    core.create_topic("z", TopicSpec(compression=TopicCompression.ZSTD))
    core.create_topic("plain", TopicSpec(compression=TopicCompression.NONE))
    session = SpuSession(core, 5001)
    assert outcome(session, produce("z", (0, batch(b"a")))) == [(9000, 0)]
    assert outcome(session, produce("z", (0, batch(b"a", codec=4)))) == [(0, 0)]
    mixed = batch(b"a", codec=4) + batch(b"a", codec=1)
    assert outcome(session, produce("z", (0, mixed))) == [(9000, 0)]
    assert outcome(session, produce("plain", (0, batch(b"a", codec=1)))) == [(9000, 0)]


def test_a_batch_may_not_exceed_the_segment(core: ClusterCore) -> None:
    records = batch(b"x" * 2000)
    spec = TopicSpec(storage=TopicStorage(len(records)))
    core.create_topic("fits", spec)
    core.create_topic("small", TopicSpec(storage=TopicStorage(len(records) - 1)))
    session = SpuSession(core, 5001)
    assert outcome(session, produce("fits", (0, records + records))) == [(0, 0)]
    assert outcome(session, produce("small", (0, records))) == [(10, 0)]


def test_a_batch_may_not_exceed_32_mib(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    overhead = len(batch(b"x" * 33_000_000)) - 33_000_000
    largest = batch(b"x" * (33_554_432 - overhead))
    assert outcome(session, produce("t", (0, largest))) == [(0, 0)]
    too_large = batch(b"x" * (33_554_433 - overhead))
    assert outcome(session, produce("t", (0, too_large))) == [(10, 0)]


def test_modules_are_unknown_by_name_and_passed_over_otherwise(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    named = (SmartModuleInvocation(name="missing"),)
    (body,) = tell(session, SpuApi.PRODUCE, produce("t", (0, batch(b"a")), smartmodules=named))
    (result,) = ProduceResponse.read(body, 25).topics[0].partitions
    assert (result.error_code.code, result.error_code.payload) == (6001, ("missing",))
    adhoc = (SmartModuleInvocation(adhoc=b"wasm"),)
    assert outcome(session, produce("t", (0, batch(b"a")), smartmodules=adhoc)) == [(0, 0)]


# --- only faulty producers send this --------------------------------------------------------------


def spoil(good: bytes, at: int, layout: str, value: int) -> bytes:
    size = struct.calcsize(layout)
    return good[:at] + struct.pack(layout, value) + good[at + size :]


FAULTY: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda good: good[:-1],
    "magic": lambda good: spoil(good, 16, ">b", 1),
    "checksum": lambda good: spoil(good, 17, ">I", 1),
    "count": lambda good: spoil(good, 23, ">i", 5),
    "schema": lambda good: spoil(good, 21, ">h", 0x10),
    "negative length": lambda good: spoil(good, 8, ">i", -1),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_strict_cluster_closes_the_connection_and_says_why(topics: ClusterCore, fault: str) -> None:
    session = SpuSession(topics, 5001)
    request = produce("t", (0, FAULTY[fault](batch(b"a", b"b"))))
    assert tell(session, SpuApi.PRODUCE, request) == []
    assert session.closed
    assert len(topics.violations) == 1
    assert "5001" in topics.violations[0]
    assert outcome(SpuSession(topics, 5001), produce("t", (0, batch(b"a")))) == [(0, 0)]


@pytest.mark.parametrize("fault", ["magic", "checksum", "count"])
def test_a_lenient_cluster_takes_the_faults_that_a_real_one_takes(fault: str) -> None:
    core = ClusterCore([SpuAddress(5001, "127.0.0.1", 9010)], strict=False)
    core.create_topic("t", TopicSpec())
    request = produce("t", (0, FAULTY[fault](batch(b"a", b"b"))))
    assert outcome(SpuSession(core, 5001), request) == [(0, 0)]


def empty_batch() -> bytes:
    return struct.pack(">qiibIhiqqqhi", 0, 49, -1, 2, 0, 0, -1, 0, 0, -1, -1, -1) + bytes(4)


def test_an_empty_batch_breaks_the_partition_until_its_spu_restarts() -> None:
    core = ClusterCore([SpuAddress(5001, "127.0.0.1", 9010)], strict=False)
    core.create_topic("t", TopicSpec())
    session = SpuSession(core, 5001)
    assert outcome(session, produce("t", (0, empty_batch()))) == [(0, 0)]
    assert outcome(session, produce("t", (0, batch(b"a") + empty_batch()))) == [(56, 0)]
    assert outcome(session, produce("t", (0, batch(b"a")))) == [(73, 0)]
    core.kill_spu(5001)
    core.restart_spu(5001)
    assert outcome(SpuSession(core, 5001), produce("t", (0, batch(b"a")))) == [(0, 0)]


def test_a_full_disk_breaks_the_partition_until_its_leader_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(PartitionLog):
        def append(self, batches: object) -> int:
            raise OSError(28, "No space left on device")

    storage = LogStorage()
    monkeypatch.setattr(storage, "open_log", lambda topic, partition: Full())
    spus = [SpuAddress(5001, "127.0.0.1", 9010), SpuAddress(5002, "127.0.0.1", 9020)]
    core = ClusterCore(spus, storage)
    core.create_topic("t", TopicSpec())
    session = SpuSession(core, 5001)
    assert outcome(session, produce("t", (0, batch(b"a")))) == [(56, 0)]
    assert outcome(session, produce("t", (0, batch(b"a")))) == [(73, 0)]
    core.move_leader("t", 0, 5002)
    assert outcome(SpuSession(core, 5002), produce("t", (0, batch(b"a")))) == [(56, 0)]


# --- read-committed ------------------------------------------------------------------------------


def hw(core: ClusterCore, topic: str) -> int:
    request = FetchOffsetsRequest((FetchOffsetsTopic(topic, (0,)),))
    (body,) = tell(SpuSession(core, 5001), SpuApi.FETCH_OFFSETS, request)
    return FetchOffsetsResponse.read(body, 25).topics[0].partitions[0].last_stable_offset


def test_a_dead_follower_means_code_7_with_the_real_offset(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    outcome(session, produce("two", (0, batch(b"a"))))
    topics.kill_spu(5002)
    request = produce("two", (0, batch(b"b")), committed=True, timeout_ms=700)
    assert tell(session, SpuApi.PRODUCE, request, now=5.0) == []
    topics.on_time(5.0)
    assert topics.wakeup_at == session.wakeup_at == pytest.approx(5.7)
    topics.on_time(5.69)
    assert session.outgoing() == []
    topics.on_time(5.7)
    (body,) = sent(session)
    (result,) = ProduceResponse.read(body, 25).topics[0].partitions
    assert (result.error_code.code, result.error_code.payload) == (7, (700, 0))
    assert result.base_offset == 1
    assert hw(topics, "two") == 1
    topics.restart_spu(5002)
    assert hw(topics, "two") == 2


def test_a_follower_that_returns_in_time_ends_the_wait(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    topics.kill_spu(5002)
    request = produce("two", (0, batch(b"a")), committed=True)
    assert tell(session, SpuApi.PRODUCE, request) == []
    topics.restart_spu(5002)
    assert [codes(body) for body in sent(session)] == [[(0, 0)]]
    assert session.wakeup_at is None


def test_a_wait_stops_all_behind_it_on_the_connection_and_nothing_else(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    topics.kill_spu(5002)
    tell(session, SpuApi.PRODUCE, produce("two", (0, batch(b"a")), committed=True))
    assert tell(session, SpuApi.PRODUCE, produce("t", (0, batch(b"b")))) == []
    assert session.backlog > 0
    assert outcome(SpuSession(topics, 5001), produce("t", (0, batch(b"c")))) == [(0, 0)]
    topics.on_time(1.0)
    assert len(session.outgoing()) == 2
    assert session.backlog == 0


def test_waits_run_one_after_another_each_with_the_whole_timeout(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    topics.kill_spu(5002)
    entries = [(0, batch(b"a")), (0, batch(b"b"))]
    tell(session, SpuApi.PRODUCE, produce("two", *entries, committed=True, timeout_ms=1000))
    topics.on_time(1.0)
    assert session.outgoing() == []
    assert session.wakeup_at == pytest.approx(2.0)
    topics.on_time(2.0)
    assert len(session.outgoing()) == 1


@pytest.mark.parametrize(
    ("alive", "topic", "timeout_ms", "code"),
    [(True, "two", 1000, 0), (False, "two", 0, 7), (False, "t", 1000, 0)],
    ids=["all replicas live", "a timeout of zero", "a single replica"],
)
def test_read_committed_may_not_have_to_wait(
    topics: ClusterCore, topic: str, timeout_ms: int, code: int, *, alive: bool
) -> None:
    if not alive:
        topics.kill_spu(5002)
    request = produce(topic, (0, batch(b"a")), committed=True, timeout_ms=timeout_ms)
    assert outcome(SpuSession(topics, 5001), request) == [(code, 0)]


# --- faults to order -----------------------------------------------------------------------------


def test_errors_to_order_are_answered_and_nothing_is_written(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    topics.fail_next_produce(1000, count=2, topic="t")
    topics.fail_next_produce(72, topic="two", payload=("two", 0))
    request = produce("t", (0, batch(b"a")))
    assert outcome(session, produce("two", (0, batch(b"a")))) == [(72, 0)]
    assert [outcome(session, request) for _ in range(3)] == [[(1000, 0)], [(1000, 0)], [(0, 0)]]
    assert outcome(session, produce("two", (0, batch(b"a")))) == [(0, 0)]
    with pytest.raises(ValueError, match="12345"):
        topics.fail_next_produce(12345)


def test_a_held_spu_carries_out_one_request_and_is_mute_until_released(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    topics.hold_replies(5001, on=True)
    for value in (b"a", b"b"):
        assert tell(session, SpuApi.PRODUCE, produce("t", (0, batch(value)))) == []
    partition = topics.partition("t", 0)
    assert partition is not None
    assert partition.log.end_offset == 1
    assert outcome(SpuSession(topics, 5002), produce("t", (1, batch(b"x")))) == [(0, 0)]
    topics.hold_replies(5001, on=False)
    assert session in topics.take_ready()
    assert len(session.outgoing()) == 2
    assert partition.log.end_offset == 2


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("after", 1)])
def test_a_connection_is_cut_before_or_after_the_write(topics: ClusterCore, when: Any, written: int) -> None:
    session = SpuSession(topics, 5001)
    topics.cut_next_produce(5001, when)
    assert outcome(SpuSession(topics, 5002), produce("t", (1, batch(b"x")))) == [(0, 0)]
    hello = ApiVersionsRequest("0.50.2", "linux", "x86_64")
    assert len(tell(session, 18, hello, version=2)) == 1
    assert tell(session, SpuApi.PRODUCE, produce("t", (0, batch(b"a")))) == []
    assert session.closed
    assert session in topics.take_ready()
    assert topics.violations == []
    again = outcome(SpuSession(topics, 5001), produce("t", (0, batch(b"a"))))
    assert again == [(0, written)]


def cut_late(core: ClusterCore, topic: str, records: bytes, delay: float, *, now: float = 10.0) -> None:
    """Have a produce request to 5001 carried out late, and its connection cut now."""
    core.now = now
    core.cut_next_produce(5001, "late", delay=delay)
    session = SpuSession(core, 5001)
    assert tell(session, SpuApi.PRODUCE, produce(topic, (0, records), committed=True), now=now) == []
    assert session.closed


def test_a_request_may_be_carried_out_late(topics: ClusterCore) -> None:
    cut_late(topics, "t", batch(b"a"), 0.3)
    cut_late(topics, "t", batch(b"b", b"c"), 0.1)
    assert topics.wakeup_at == pytest.approx(10.1)
    assert outcome(SpuSession(topics, 5001), produce("t", (0, batch(b"d"))), now=10.05) == [(0, 0)]
    topics.on_time(10.09)
    assert topics.existing("t", 0).log.end_offset == 1
    topics.on_time(10.1)
    assert topics.existing("t", 0).log.end_offset == 3
    topics.on_time(10.3)
    assert topics.existing("t", 0).log.end_offset == 4
    topics.on_time(11)
    assert topics.existing("t", 0).log.end_offset == 4
    assert topics.wakeup_at is None


def test_late_requests_of_one_time_keep_their_order(topics: ClusterCore) -> None:
    for value in (b"a", b"b", b"c"):
        cut_late(topics, "t", batch(value), 0.1)
    topics.on_time(10.1)
    stored = b"".join(topics.existing("t", 0).log.read(0, 3, 1 << 20))
    assert [records[0].value for _, records in decode_record_set(stored)] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(
    ("event", "written"),
    [
        (lambda core: None, 1),
        (lambda core: core.move_leader("two", 0, 5002), 0),
        (lambda core: core.kill_spu(5001), 0),
        (lambda core: (core.kill_spu(5001), core.restart_spu(5001), core.move_leader("two", 0, 5001)), 0),
        (lambda core: (core.kill_spu(5002), core.restart_spu(5002)), 1),
        (lambda core: core.delete_topic("t"), 1),
    ],
)
def test_an_spu_that_is_killed_or_leads_no_more_carries_nothing_out_late(
    topics: ClusterCore, event: Callable[[ClusterCore], None], written: int
) -> None:
    cut_late(topics, "two", batch(b"a"), 0.3)
    event(topics)
    topics.on_time(11)
    assert topics.existing("two", 0).log.end_offset == written


def test_a_late_request_with_a_fault_is_a_violation(topics: ClusterCore) -> None:
    cut_late(topics, "t", FAULTY["checksum"](batch(b"a")), 0.3)
    assert topics.violations == []
    topics.on_time(11)
    assert len(topics.violations) == 1
    assert "checksum" in topics.violations[0]
    assert topics.existing("t", 0).log.end_offset == 0


def test_consumers_get_what_is_written_late(topics: ClusterCore) -> None:
    cut_late(topics, "two", batch(b"a"), 0.3)
    stream = SpuSession(topics, 5001)
    assert tell(stream, SpuApi.STREAM_FETCH, StreamFetchRequest("two", 0, 0, 1 << 20, 1)) == []
    topics.on_time(11)
    (pushed,) = sent(stream)
    assert StreamFetchResponse.read(pushed, 25).partition.high_watermark == 1


def test_a_killed_spu_drops_its_sessions(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5002)
    other = SpuSession(topics, 5001)
    topics.kill_spu(5002)
    assert session.closed
    assert session in topics.take_ready()
    assert not other.closed
    assert tell(session, SpuApi.PRODUCE, produce("t", (1, batch(b"x")))) == []


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (lambda core: core.kill_spu(9), "no SPU 9"),
        (lambda core: core.restart_spu(5001), "running"),
        (lambda core: core.move_leader("t", 9, 5001), "no partition 9"),
        (lambda core: core.move_leader("t", 0, 9), "no SPU 9"),
        (lambda core: core.move_leader("t", 0, 5001, lost=1), "5001 cannot become the leader without 1"),
        (lambda core: core.move_leader("t", 0, 5002, lost=-1), "without -1"),
        (lambda core: core.cut_next_produce(5001, "now"), "'before', 'after' or 'late'"),
        (lambda core: core.cut_next_produce(9), "no SPU 9"),
    ],
)
def test_orders_that_make_no_sense_are_rejected(
    topics: ClusterCore, order: Callable[[ClusterCore], None], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        order(topics)


# --- leaders that lack records --------------------------------------------------------------------


def ends(core: ClusterCore, topic: str) -> tuple[int, int, dict[int, int]]:
    """Return a log's end, its high watermark and the ends of its replicas."""
    partition = core.existing(topic, 0)
    return partition.log.end_offset, partition.hw, partition.leo


def test_a_leader_that_lacks_batches_goes_on_from_its_own_end(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    for value in (b"a", b"b", b"c"):
        outcome(session, produce("two", (0, batch(value, value))))
    topics.move_leader("two", 0, 5002, lost=2)
    assert ends(topics, "two") == (2, 2, {5001: 2, 5002: 2})
    status = topics.existing("two", 0).object().status
    assert (status.leader.spu, status.leader.hw, status.leader.leo) == (5002, 2, 2)
    assert outcome(session, produce("two", (0, batch(b"x")))) == [(6, 0)]
    assert outcome(SpuSession(topics, 5002), produce("two", (0, batch(b"x")))) == [(0, 2)]
    stored = b"".join(topics.existing("two", 0).log.read(0, 9, 1 << 20))
    assert [len(records) for _, records in decode_record_set(stored)] == [2, 1]


def test_an_offline_leader_forgets_the_lost_batches_too(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    outcome(session, produce("two", (0, batch(b"a"))))
    topics.kill_spu(5002)
    outcome(session, produce("two", (0, batch(b"b"))))
    outcome(session, produce("two", (0, batch(b"c"))))
    assert ends(topics, "two") == (3, 1, {5001: 3, 5002: 1})
    topics.kill_spu(5001)
    topics.restart_spu(5002)
    topics.move_leader("two", 0, 5002, lost=2)
    assert ends(topics, "two") == (1, 1, {5001: 1, 5002: 1})
    assert outcome(SpuSession(topics, 5002), produce("two", (0, batch(b"x")))) == [(0, 1)]
    assert ends(topics, "two") == (2, 1, {5001: 1, 5002: 2})
    topics.restart_spu(5001)
    assert ends(topics, "two") == (2, 2, {5001: 2, 5002: 2})


def test_lost_records_are_never_replicated_by_those_that_take_their_place(topics: ClusterCore) -> None:
    """A request that waits for replication is not told that records of another one are its own."""
    session = SpuSession(topics, 5001)
    topics.kill_spu(5002)
    request = produce("two", (0, batch(b"a")), committed=True, timeout_ms=700)
    assert tell(session, SpuApi.PRODUCE, request, now=5.0) == []
    topics.restart_spu(5002)
    assert codes(sent(session)[0]) == [(0, 0)]
    topics.kill_spu(5002)
    assert tell(session, SpuApi.PRODUCE, request, now=6.0) == []
    topics.spus[5002].online = True  # it lags behind, and is elected all the same
    topics.online.add(5002)
    topics.move_leader("two", 0, 5002, lost=1)
    assert outcome(SpuSession(topics, 5002), produce("two", (0, batch(b"x")))) == [(0, 1)]
    assert ends(topics, "two")[1] == 2
    topics.on_time(6.69)
    assert session.outgoing() == []
    topics.on_time(6.7)
    assert codes(sent(session)[0]) == [(7, 1)]


# --- undecodable requests ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x19\x00\x00\x00\x01\x00\x00\x02",  # a boolean of 2
        b"\x27\x0f\x00\x19\x00\x00\x00\x01\x00\x00",  # request 9999
        b"\x00\x00\x00\x19\x00\x00\x00\x01\x00\x00\x00\x00\x01\xff\xff\xff\xff" + bytes(8),
    ],
    ids=["empty", "one byte", "boolean", "unknown request", "negative timeout"],
)
def test_an_undecodable_request_closes_the_connection(topics: ClusterCore, payload: bytes) -> None:
    for session in (SpuSession(topics, 5001), ScSession(topics)):
        session.receive(payload, 0.0)
        assert session.closed
        assert session.outgoing() == []
        assert session in topics.take_ready()
    assert len(topics.violations) == 2


def test_bytes_behind_a_request_are_ignored(topics: ClusterCore) -> None:
    session = SpuSession(topics, 5001)
    frame = request_frame(SpuApi.PRODUCE, produce("t", (0, batch(b"a"))))
    session.receive(frame[4:] + b"more", 0.0)
    assert len(session.outgoing()) == 1
