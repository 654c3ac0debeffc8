# SPDX-License-Identifier: Apache-2.0
"""SPUs whose address changes: the old one gets a moment for its answers, and the batches go to the new one."""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync._core.dispatcher import ABANDON_GRACE
from fluvio_sync._core.partition import Idle
from fluvio_sync._core.pipeline import MAX_IN_FLIGHT, AwaitingCommit
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce
from fluvio_sync.errors import ConnectError
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, connects, disconnects, reports, values, writes
from tests.support.servers import spu

BROKEN = ConnectError("the connection broke")
PATIENT = AtLeastOnce(RetryPolicy(initial_delay=5.0, max_delay=5.0, timeout=100.0))


def move(rig: Rig) -> list[Any]:
    rig.push("SPU", [spu(5001, port=9999)])
    return rig.step()


def port_of(rig: Rig, pipeline: Any) -> int:
    port: int = rig.connection(pipeline).peer.endpoint.port
    return port


def test_batches_in_flight_go_to_the_new_address_after_the_grace_without_a_delay() -> None:
    rig = Rig(delivery_semantic=PATIENT)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    assert move(rig) == []
    assert disconnects(rig.run(ABANDON_GRACE - 0.01)) == []
    actions = rig.run(0.02)
    assert disconnects(actions) == [request.pipeline]
    (pipeline,) = connects(actions)
    assert port_of(rig, pipeline) == 9999
    (again,) = writes(rig.connect())
    rig.answer(again, base=3)
    assert future.result(0).offset == 3
    assert isinstance(rig.queue().state, Idle)


def test_an_answer_from_the_old_address_counts_within_the_grace() -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    move(rig)
    rig.run(ABANDON_GRACE - 0.01)
    rig.answer(request, base=5)
    assert future.result(0).offset == 5
    actions = rig.run(0.02)
    assert disconnects(actions) == [request.pipeline]
    assert reports(actions) == []
    assert rig.topic_state.counters.records_retried == 0


def test_records_of_other_partitions_go_to_the_new_address_at_once() -> None:
    rig = Rig(2)
    rig.send(b"0", to=0)
    (request,) = writes(rig.connect())
    move(rig)
    rig.send(b"1", to=1)
    (pipeline,) = connects(rig.step())
    assert port_of(rig, pipeline) == 9999
    (other,) = writes(rig.connect())
    assert values(other) == [b"1"]
    rig.answer(other)
    rig.answer(request)
    assert rig.topic_state.counters.records_acked == 2


def test_records_that_waited_for_the_old_connection_leave_it_at_once() -> None:
    rig = Rig(MAX_IN_FLIGHT + 1)
    for index in range(MAX_IN_FLIGHT + 1):
        rig.send(to=index)
        if not index:
            rig.connect()
        rig.step()
    (pipeline,) = connects(move(rig))
    (request,) = writes(rig.connect())
    assert (request.pipeline, [queue.partition for queue, _ in request.entries]) == (pipeline, [MAX_IN_FLIGHT])


@pytest.mark.parametrize("retries", [0, 5])
def test_a_connection_that_is_being_made_is_begun_anew_without_a_retry(retries: int) -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=retries, initial_delay=5.0, timeout=100.0)))
    future = rig.send()
    (old,) = connects(rig.step())
    actions = move(rig)
    assert disconnects(actions) == [old]
    (new,) = connects(actions)
    assert port_of(rig, new) == 9999
    (request,) = writes(rig.connect())
    rig.answer(request, base=1)
    assert future.result(0).offset == 1


def test_at_most_once_records_that_were_written_are_not_written_again() -> None:
    rig = Rig(delivery_semantic=AtMostOnce())
    rig.send(b"0")
    (request,) = writes(rig.connect())
    rig.written(request)
    move(rig)
    rig.run(ABANDON_GRACE)
    assert rig.connected() == []
    rig.send(b"1")
    (again,) = writes(rig.step() + rig.connect())
    assert values(again) == [b"1"]


def test_a_commit_wait_ends_with_the_old_connection() -> None:
    rig = Rig(isolation="read-committed", delivery_semantic=PATIENT)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 7, base=40)
    assert isinstance(rig.queue().state, AwaitingCommit)
    move(rig)
    rig.run(ABANDON_GRACE)
    (again,) = writes(rig.connect())
    rig.answer(again, base=41)
    assert future.result(0).offset == 41


def test_an_address_that_changes_twice_within_the_grace() -> None:
    rig = Rig(2)
    rig.send(b"0", to=0)
    rig.connect()
    move(rig)
    rig.send(b"1", to=1)
    rig.connect()
    rig.push("SPU", [spu(5001, port=9998)])
    rig.run(ABANDON_GRACE)
    requests = writes(rig.connect())
    assert {port_of(rig, request.pipeline) for request in requests} == {9998}
    assert sorted(value for request in requests for value in values(request)) == [b"0", b"1"]


def test_an_spu_without_a_connection_is_connected_to_at_its_new_address() -> None:
    rig = Rig()
    assert move(rig) == []
    rig.send()
    (pipeline,) = connects(rig.step())
    assert port_of(rig, pipeline) == 9999


def test_an_old_address_that_breaks_within_the_grace_is_no_concern_of_the_new_one() -> None:
    rig = Rig(2, delivery_semantic=PATIENT)
    rig.send(b"0", to=0)
    (request,) = writes(rig.connect())
    move(rig)
    rig.lose(request.pipeline, BROKEN)
    (again,) = writes(rig.connect())
    assert values(again) == [b"0"]
    assert disconnects(rig.run(1.0)) == []


def test_recovery_within_the_grace() -> None:
    rig = Rig()
    future = rig.send()
    rig.connect()
    move(rig)
    rig.interrupt()
    rig.step()
    (again,) = writes(rig.run(0.1) + rig.connect())
    assert port_of(rig, again.pipeline) == 9999
    rig.answer(again)
    assert future.result(0).acknowledged
