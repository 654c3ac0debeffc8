# SPDX-License-Identifier: Apache-2.0
"""The log of the state machine: changes of state, once each, with the facts that an operator needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._core.actions import Report
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import ConnectError, UnsupportedVersionError
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, asks, connects, reports, writes
from tests.support.servers import partition, spu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluvio_sync._core.actions import Action

BROKEN = ConnectError("the connection broke")
STUBBORN = AtLeastOnce(RetryPolicy(max_retries=100, initial_delay=0.01, max_delay=0.01))


def told(actions: Sequence[Action]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(action.level, action.event, dict(action.fields)) for action in actions if isinstance(action, Report)]


def test_a_connection_and_a_partition_that_fail_and_work_again() -> None:
    rig = Rig(delivery_semantic=STUBBORN)
    rig.send()
    (pipeline,) = connects(rig.step())
    place = {"topic": "t", "partition": 0}
    assert told(rig.lose(pipeline, BROKEN)) == [
        ("warning", "spu.disconnected", {"spu": 5001, "error": str(BROKEN)}),
        ("warning", "delivery.failing", {**place, "error": str(BROKEN)}),
    ]
    rig.step(0.01)
    assert told(rig.lose(pipeline, BROKEN)) == []
    rig.step(0.01)
    actions = rig.connect()
    assert told(actions) == [("info", "spu.connected", {"spu": 5001})]
    (request,) = writes(actions)
    assert told(rig.answer(request)) == [("info", "delivery.recovered", place)]
    assert not rig.queue().failing
    rig.send()
    (request,) = writes(rig.step())
    assert reports(rig.answer(request, base=1)) == []


def test_a_connection_that_breaks_again_is_reported_again() -> None:
    rig = Rig(delivery_semantic=STUBBORN)
    for base in range(2):
        rig.send()
        (request,) = writes(rig.step() + rig.connect())
        assert reports(rig.lose(request.pipeline, BROKEN)) == ["spu.disconnected", "delivery.failing"]
        rig.step(0.01)
        actions = rig.connect()
        assert reports(actions) == ["spu.connected"]
        assert reports(rig.answer(writes(actions)[0], base=base)) == ["delivery.recovered"]


def test_an_unused_connection_breaks_in_silence() -> None:
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request)
    assert reports(rig.lose(request.pipeline, BROKEN)) == []


def test_a_connection_that_one_of_several_queues_waits_for_is_reported() -> None:
    rig = Rig(2)
    rig.send(to=0)
    rig.send(to=1)
    (pipeline,) = connects(rig.step())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.step()
    assert reports(rig.lose(pipeline, BROKEN)) == ["spu.disconnected", "delivery.failing"]


def test_connections_that_recovery_makes_anew_are_not_reported() -> None:
    rig = Rig()
    rig.send()
    rig.connect()
    rig.interrupt()
    rig.step()
    assert reports(rig.connect()) == []


def test_a_partition_whose_server_speaks_no_common_version_or_rejects_is_failing() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    versions = UnsupportedVersionError(api="PRODUCE", ours=(8, 25), theirs=(0, 7), platform="0.10.0")
    assert reports(rig.lose(pipeline, versions)) == ["spu.disconnected", "delivery.failing"]
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    assert reports(rig.answer(request, 2004)) == ["delivery.failing"]
    assert rig.queue().failing


def test_a_confirmed_batch_ends_a_failure() -> None:
    rig = Rig(isolation="read-committed", delivery_semantic=STUBBORN)
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    (request,) = writes(rig.step(0.01))
    (commit_wait,) = asks(rig.answer(request, 7))
    assert reports(rig.watermark(commit_wait, 1)) == ["delivery.recovered"]


def test_rejections_of_at_most_once_are_reported_again_after_a_success() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send()
    (request,) = writes(rig.connect())
    told_of_it = []
    for code in (2004, 2004, 0, 2004):
        rig.written(request)
        told_of_it.append(told(rig.answer_unread(request, code)))
        rig.send()
        (request,) = writes(rig.step())
    rejected = told_of_it[0]
    ((level, event, fields),) = rejected
    assert (level, event) == ("warning", "at_most_once.rejected")
    assert fields.items() >= {"topic": "t", "partition": 0, "code": 2004}.items()
    assert fields["error"]
    assert told_of_it == [rejected, [], [], rejected]


def test_a_partition_with_records_that_has_no_leader_and_has_one_again() -> None:
    rig = Rig(2)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    assert told(rig.step()) == []  # no record waits
    rig.send()
    rig.send()
    place = {"topic": "t", "partition": 0}
    offline = "SPU 5001, the leader of partition 0 of topic 't', is offline"
    assert told(rig.step()) == [("warning", "partition.leaderless", {**place, "error": offline})]
    assert told(rig.run(2.5)) == []
    rig.send()
    assert told(rig.step()) == []
    rig.push("Partition", [partition("t-0", 5002)])
    elected = ("info", "partition.leader_elected", {**place, "spu": 5002, "seconds": 2.5})
    assert told(rig.step()) == [elected]
    assert told(rig.step()) == []


def test_a_leader_that_is_tried_without_the_sc_was_not_elected() -> None:
    rig = Rig()
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.send()
    assert "partition.leaderless" in reports(rig.step())
    actions = rig.lose_sc()
    assert [pipeline.spu for pipeline in connects(actions)] == [5001]
    assert "partition.leader_elected" not in reports(actions)
