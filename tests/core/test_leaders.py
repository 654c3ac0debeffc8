# SPDX-License-Identifier: Apache-2.0
"""Leaders that move, leaders that are away, and topics that are gone."""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync._core.dispatcher import ABANDON_GRACE
from fluvio_sync._core.partition import OFFLINE_PATIENCE, BackingOff, Idle, Waiting
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ConnectError,
    DeliveryError,
    DeliveryTimeoutError,
    RetriesExhaustedError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.metadata import PartitionResolution, SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, asks, connects, disconnects, values, writes
from tests.support.servers import partition, spu, topic

BROKEN = ConnectError("the connection broke")
OFFLINE = PartitionResolution.OFFLINE


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 5.0, "max_delay": 5.0, "timeout": 100.0} | settings)))


# Away.


def test_each_time_that_a_partition_is_offline_is_waited_for_anew() -> None:
    rig = Rig()
    for _ in range(2):
        rig.push("Partition", [partition("t-0", 5001, OFFLINE)])
        rig.send()
        assert connects(rig.run(OFFLINE_PATIENCE / 2)) == []
        rig.accumulator.begin_flush(rig.topic_state, None)  # does not make it any faster
        assert connects(rig.run(OFFLINE_PATIENCE / 2 - 0.01)) == []
        rig.push("Partition", [partition("t-0", 5001)])
        (request,) = writes(rig.step() + rig.connect())
        rig.answer(request)
        rig.lose(request.pipeline, BROKEN)
        rig.run(60.0)


def test_a_topic_that_is_deleted_while_its_leader_is_away_is_gone() -> None:
    rig = Rig(spus=(5002,))
    future = rig.send()
    rig.run(OFFLINE_PATIENCE + 1.0)
    rig.push("Topic", [topic("t", 1)], delete=True)
    rig.step()
    error = future.exception(0)
    assert error is not None
    assert isinstance(error.__cause__, TopicNotFoundError)
    assert isinstance(rig.queue().state, Idle)
    assert not rig.queue().batches()


# Moved.


def in_flight(**settings: Any) -> tuple[Rig, Any]:
    rig = Rig(2, spus=(5001, 5002, 5003), **settings)
    rig.send(b"0", to=0)
    rig.send(b"1", to=1)
    (request,) = writes(rig.connect())
    return rig, request


def test_only_the_partition_that_moved_is_taken_out_of_its_request() -> None:
    rig, request = in_flight()
    rig.push("Partition", [partition("t-1", 5002)])
    rig.run(ABANDON_GRACE)
    (again,) = writes(rig.connect())
    assert values(again) == [b"1"]
    rig.answer(request)
    assert isinstance(rig.queue().state, Idle)


def test_another_change_of_leader_does_not_make_the_grace_longer() -> None:
    rig, _ = in_flight()
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE - 0.1)
    rig.push("Partition", [partition("t-0", 5003)])
    assert [pipeline.spu for pipeline in connects(rig.run(0.11))] == [5003]


def test_a_leader_that_is_the_leader_again_is_not_abandoned() -> None:
    rig, request = in_flight()
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE - 0.1)
    rig.push("Partition", [partition("t-0", 5001)])
    assert connects(rig.run(ABANDON_GRACE + 1.0)) == []
    rig.answer(request)
    assert rig.topic_state.counters.records_acked == 2
    assert rig.topic_state.counters.records_retried == 0


def test_the_end_of_a_grace_does_not_end_a_delay() -> None:
    rig, request = in_flight(delivery_semantic=policy())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(0.1)
    rig.push("Partition", [partition("t-0", 5001)])
    rig.answer(request, 6)
    assert writes(rig.run(4.9)) == []
    assert isinstance(rig.queue().state, BackingOff)
    (again,) = writes(rig.run(0.2))
    assert sorted(values(again)) == [b"0", b"1"]


def test_a_delay_that_was_cut_short_does_not_delay_later_records() -> None:
    rig = Rig(linger=1.0, delivery_semantic=policy(initial_delay=50.0, max_delay=50.0))
    rig.send()
    (request,) = writes(rig.run(1.0) + rig.connect())
    rig.answer(request, 6)
    rig.push("Partition", [partition("t-0", 5002)])
    (request,) = writes(rig.step() + rig.connect())
    rig.answer(request)
    rig.send(b"later")
    (request,) = writes(rig.run(1.0))
    assert values(request) == [b"later"]


def test_records_that_expire_in_the_grace_do_not_end_it() -> None:
    rig = Rig(batch_size=100, delivery_semantic=policy(timeout=1.4))
    expired = rig.send(b"1" * 50)
    rig.step(0.5)
    rig.send(b"2" * 50)
    rig.connect()
    rig.run(0.9 - ABANDON_GRACE / 2)
    rig.push("Partition", [partition("t-0", 5002)])
    assert connects(rig.run(ABANDON_GRACE / 2 + 0.01)) == []
    assert isinstance(expired.exception(0), DeliveryTimeoutError)
    assert [pipeline.spu for pipeline in connects(rig.run(ABANDON_GRACE / 2))] == [5002]


def test_records_that_were_written_to_an_abandoned_leader_may_be_stored() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=1))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE)
    (again,) = writes(rig.connect())
    rig.answer(again, 6)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored


def test_at_most_once_is_not_taken_out_of_its_request() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send()
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE + 0.1)
    assert rig.topic_state.counters.records_dropped == 0
    rig.written(request)
    assert rig.topic_state.counters.records_unacknowledged == 1


def test_records_that_still_wait_for_the_socket_to_an_abandoned_leader_may_be_stored() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=1))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE)
    (again,) = writes(rig.connect())
    assert not request.wrote_any
    rig.answer(again, 6)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored


@pytest.mark.parametrize("answer", [None, 0])
def test_a_commit_wait_goes_on_though_its_leader_was_about_to_be_abandoned(answer: int | None) -> None:
    rig = Rig(isolation="read-committed")
    rig.send()
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.push("Partition", [partition("t-0", 5001)])
    (commit_wait,) = asks(rig.answer(request, 7))
    for _ in range(5):
        assert asks(rig.run(0.11)) == []
        assert asks(rig.watermark(commit_wait, answer) + rig.run(0.11)) == [commit_wait]
    assert disconnects(rig.run(1.0)) == []


# Both, and one request for several partitions.


def test_a_new_leader_cuts_the_delay_short() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=5.0, max_delay=5.0, timeout=100.0))
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    assert isinstance(rig.queue().state, BackingOff)
    rig.push("Partition", [partition("t-0", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5002]


def test_a_leader_that_moved_before_the_failure_leaves_no_delay() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=5.0, max_delay=5.0, timeout=100.0))
    rig.send()
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.answer(request, 6))] == [5002]


def test_a_replaced_leader_that_does_not_answer_is_abandoned_after_a_grace() -> None:
    rig = Rig(2, request_timeout=30.0)
    future, other = rig.send(b"1", to=0), rig.send(b"o", to=1)
    (request,) = writes(rig.connect())
    rig.written(request)
    later = rig.send(b"2", to=0)
    rig.push("Partition", [partition("t-0", 5002)])
    assert connects(rig.run(ABANDON_GRACE - 0.01)) == []
    actions = rig.run(0.02)
    assert [pipeline.spu for pipeline in connects(actions)] == [5002]
    assert disconnects(actions) == []
    (again,) = writes(rig.connect())
    assert values(again) == [b"1", b"2"]
    rig.answer(request, base=7)  # late; counts for the partition that did not move
    assert not future.done()
    assert other.result(0).offset == 107
    rig.answer(again, base=40)
    assert (future.result(0).offset, later.result(0).offset) == (40, 41)
    assert rig.accumulator.used == 0


def test_a_leader_that_answers_within_the_grace_is_believed() -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE / 2)
    rig.answer(request, base=3)
    assert future.result(0).offset == 3
    assert writes(rig.run(60.0)) == []


def test_a_broken_connection_does_not_fail_batches_that_were_taken_out_of_its_request() -> None:
    rig = Rig(2, request_timeout=30.0)
    future, other = rig.send(), rig.send(to=1)
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(ABANDON_GRACE + 0.01)
    rig.lose(request.pipeline, BROKEN)
    rig.step(0.020)
    elsewhere, again = sorted(writes(rig.connect()), key=lambda request: request.entries[0][0].partition)
    rig.answer(elsewhere, base=1)
    rig.answer(again, base=2)
    assert (future.result(0).offset, other.result(0).offset) == (1, 2)
    assert rig.topic_state.counters.records_retried == 2


def test_a_record_sent_to_a_topic_that_is_gone_does_not_linger() -> None:
    rig = Rig(linger=60.0)
    rig.push("Topic", [topic("t", 1)], delete=True)
    future = rig.send()
    rig.step()
    assert isinstance(future.exception(0), DeliveryError)


def test_a_status_push_without_change_changes_nothing() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=5.0, max_delay=5.0, timeout=100.0))
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    rig.push("Partition", [partition("t-0", 5001)])
    assert rig.step() == []


def test_the_connection_to_an_spu_that_the_sc_reports_offline_is_closed_at_once() -> None:
    rig = Rig(request_timeout=30.0)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    assert disconnects(rig.step()) == [request.pipeline]
    rig.push("Partition", [partition("t-0", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5002]
    assert not future.done()


def test_waiting_queues_go_on_when_their_partition_comes_online() -> None:
    rig = Rig()
    rig.push("Partition", [partition("t-0", 5001, PartitionResolution.OFFLINE)])
    rig.send()
    assert connects(rig.step()) == []
    assert isinstance(rig.queue().state, Waiting)
    rig.push("Partition", [partition("t-0", 5001)])
    assert len(connects(rig.step())) == 1


def test_a_partition_that_stays_offline_though_its_leader_is_online_is_tried_after_a_while() -> None:
    rig = Rig()
    rig.push("Partition", [partition("t-0", 5001, PartitionResolution.OFFLINE)])
    future = rig.send()
    assert connects(rig.run(OFFLINE_PATIENCE - 0.01)) == []
    assert [pipeline.spu for pipeline in connects(rig.run(0.02))] == [5001]
    (request,) = writes(rig.connect())
    assert writes(rig.answer(request, 6)) == []
    (again,) = writes(rig.run(0.03))  # by the policy's delay, and not after another second
    rig.answer(again, base=3)
    assert future.result(0).offset == 3


def test_a_deleted_topic_fails_its_records() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=5.0, timeout=100.0, max_delay=5.0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    rig.push("Topic", [topic("t", 1)], delete=True)
    rig.step()
    error = future.exception(0)
    assert isinstance(error, DeliveryError)
    assert isinstance(error.__cause__, TopicNotFoundError)
    assert not error.retriable


def test_a_deleted_topic_fails_records_that_linger() -> None:
    rig = Rig(linger=60.0)
    future = rig.send()
    rig.step()
    rig.push("Topic", [topic("t", 1)], delete=True)
    rig.step()
    assert isinstance(future.exception(0), DeliveryError)


def test_one_failing_partition_does_not_disturb_another() -> None:
    rig = Rig(2)
    rig.push("Partition", [partition("t-1", 5002)])
    bad, good = rig.send(to=1), rig.send(to=0)
    pipelines = {pipeline.spu: pipeline for pipeline in connects(rig.step())}
    rig.lose(pipelines[5002], BROKEN)
    (request,) = writes(rig.connect())
    rig.answer(request)
    assert good.result(0).offset == 0
    assert not bad.done()
