# SPDX-License-Identifier: Apache-2.0
"""Connections to SPUs: their failures, the batches that wait for them, and the time of an answer."""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync._core.events import Connected
from fluvio_sync._core.partition import Idle
from fluvio_sync._core.pipeline import MAX_IN_FLIGHT, PipelineState
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import ConnectError, RetriesExhaustedError, UnsupportedVersionError
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, connects, disconnects, values, writes
from tests.support.servers import partition, spu

BROKEN = ConnectError("the connection broke")
VERSIONS = UnsupportedVersionError(api="PRODUCE", ours=(8, 25), theirs=(0, 7), platform="0.10.0")


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 0.010, "max_delay": 2.0, "timeout": 100.0} | settings)))


# Failures.


def test_a_queue_that_went_elsewhere_does_not_fail_with_the_connection_it_waited_for() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (old,) = connects(rig.step())
    rig.push("Partition", [partition("t-0", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5002]
    rig.lose(old, BROKEN)
    (request,) = writes(rig.connect())
    rig.answer(request, base=1)
    assert future.result(0).offset == 1


def test_changes_beside_a_partition_move_nothing() -> None:
    rig = Rig(2)
    rig.send()
    (pipeline,) = connects(rig.step())
    rig.push("Topic", [], delete=True)
    rig.push("SPU", [spu(5001, rack="other")])
    assert rig.step() == []
    assert [len(writes(rig.connect())), pipeline.state] == [1, PipelineState.UP]


def test_a_late_event_that_a_broken_connection_is_ready_does_not_count() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    rig.handle(Connected(pipeline, pipeline.generation))
    assert pipeline.state is PipelineState.DOWN
    assert connects(rig.step(0.020)) == [pipeline]


def test_a_queue_behind_requests_that_are_lost_connects_at_once() -> None:
    rig = Rig(MAX_IN_FLIGHT + 1)
    rig.send(to=0)
    (first,) = writes(rig.connect())
    for index in range(1, MAX_IN_FLIGHT + 1):
        rig.send(to=index)
        rig.step()
    assert connects(rig.lose(first.pipeline, BROKEN)) == [first.pipeline]
    (request,) = writes(rig.connect())
    assert [queue.partition for queue, _ in request.entries] == [MAX_IN_FLIGHT]


def test_requests_that_are_lost_and_repeated_at_once_make_one_connection() -> None:
    rig = Rig(MAX_IN_FLIGHT + 1, delivery_semantic=policy(max_retries=1, initial_delay=0))
    rig.send(to=0)
    (first,) = writes(rig.connect())
    for index in range(1, MAX_IN_FLIGHT + 1):
        rig.send(to=index)
        rig.step()
    assert connects(rig.lose(first.pipeline, BROKEN)) == [first.pipeline]


def test_a_server_of_other_versions_is_asked_again_for_later_records() -> None:
    rig = Rig(batch_size=1000, max_request_size=1000)
    futures = [rig.send(b"x" * 800) for _ in range(2)]
    (pipeline,) = connects(rig.step())
    assert connects(rig.lose(pipeline, VERSIONS)) == [pipeline]
    assert [future.done() for future in futures] == [True, False]
    assert connects(rig.lose(pipeline, VERSIONS)) == []
    assert [future.done() for future in futures] == [True, True]
    futures.append(rig.send(b"-"))
    assert connects(rig.step()) == [pipeline]


def test_a_failed_attempt_is_counted_before_recovery_and_leaves_no_doubt() -> None:
    for code in (6, 10):
        rig = Rig(batch_size=100, delivery_semantic=policy(max_retries=1, initial_delay=1.0))
        rig.send(b"0" * 50)
        (request,) = writes(rig.connect())
        futures = [rig.send(b"%d" % n * 50) for n in (1, 2)]
        (request,) = writes(rig.answer(request))
        if code == 6:
            rig.answer(request, code)
            rig.interrupt()
        else:
            rig.written(request)
            rig.interrupt(lambda: rig.answer(request, 10))  # noqa: B023
        requests = writes(rig.step() + rig.connect())
        while not futures[0].done():
            requests = writes(rig.answer(requests[0], 6) + rig.run(1.0)) or requests
        error = futures[0].exception(0)
        assert isinstance(error, RetriesExhaustedError)
        assert not error.may_be_stored


# Time.


def test_an_old_reply_time_does_not_end_a_new_connection() -> None:
    rig = Rig(request_timeout=3.0, connect_timeout=10.0, delivery_semantic=policy())
    rig.send()
    (request,) = writes(rig.connect())
    rig.run(2.0)
    rig.lose(request.pipeline, BROKEN)
    rig.run(5.0)
    assert request.pipeline.state is PipelineState.CONNECTING
    assert request.pipeline.last_error is BROKEN
    rig.run(5.1)
    assert "still connecting after 10.0 s" in str(request.pipeline.last_error)


def test_a_reply_that_is_late_tells_how_late() -> None:
    rig = Rig(request_timeout=3.0, delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.run(3.0)
    error = str(future.exception(0))
    assert " has not answered a produce request for 3.0 s" in error
    assert "SPU 5001 at 127.0.0.1:9010" in error


@pytest.mark.parametrize(("semantic", "patience"), [("at-least-once", 7.0), ("at-most-once", 3.0)])
def test_a_read_committed_answer_may_take_the_servers_time_for_each_partition(semantic: str, patience: float) -> None:
    settings: dict[str, Any] = {"isolation": "read-committed", "server_timeout": 2.0}
    settings["delivery_semantic"] = policy() if semantic == "at-least-once" else semantic
    rig = Rig(2, request_timeout=3.0, **settings)
    for index in range(2):
        rig.send(to=index)
    (request,) = writes(rig.connect())
    rig.written(request)
    assert disconnects(rig.run(patience - 0.1)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]


def test_at_most_once_on_a_read_committed_connection_waits_for_no_replica() -> None:
    rig = Rig(2, request_timeout=3.0, delivery_semantic="at-most-once", isolation="read-committed", server_timeout=2.0)
    rig.send(to=0)
    (request,) = writes(rig.connect())
    rig.send(to=1)
    rig.step()  # behind it, so that its contents do not matter
    assert disconnects(rig.run(2.9)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]


def one_behind_the_other(short_first: bool) -> tuple[Rig, Any, Any]:  # noqa: FBT001
    """Return a rig whose SPU has two requests, one of which expires after 0.9 s."""
    rig = Rig(2, request_timeout=30.0, delivery_semantic=policy(timeout=0.9))
    patient = rig.make_topic_state(delivery_semantic=policy(timeout=90.0))
    topic_states = [rig.topic_state, patient] if short_first else [patient, rig.topic_state]
    rig.send(to=0, topic_state=topic_states[0])
    (first,) = writes(rig.connect())
    rig.send(to=1, topic_state=topic_states[1])
    (second,) = writes(rig.step())
    rig.written(second)
    return rig, first, second


def test_a_request_that_is_alone_is_waited_for_until_its_records_expire() -> None:
    rig, first, second = one_behind_the_other(short_first=False)
    rig.run(0.5)
    rig.answer(first)
    assert disconnects(rig.run(0.35)) == []
    assert disconnects(rig.run(0.1)) == [second.pipeline]


def test_requests_do_not_pay_for_the_short_deadline_of_the_one_before_them() -> None:
    rig, first, second = one_behind_the_other(short_first=True)
    assert disconnects(rig.run(29.9)) == []
    assert disconnects(rig.run(0.2)) == [first.pipeline]
    assert second.lost


# SPUs that go offline.


def test_only_the_connections_of_an_spu_that_is_offline_are_closed() -> None:
    rig = Rig(2)
    rig.push("Partition", [partition("t-1", 5002)])
    rig.send(to=0)
    rig.send(to=1)
    requests = {request.pipeline.spu: request for request in writes(rig.connect())}
    rig.push("SPU", [spu(5002, SpuResolution.OFFLINE)])
    assert disconnects(rig.step()) == [requests[5002].pipeline]
    assert not requests[5001].lost


def test_a_connection_that_is_gone_is_not_closed() -> None:
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request)
    rig.lose(request.pipeline, BROKEN)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    assert disconnects(rig.step()) == []


def test_a_queue_goes_on_when_its_leader_comes_online() -> None:
    rig = Rig()
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.send()
    assert connects(rig.step()) == []
    rig.push("SPU", [spu(5002, port=9999)])
    assert connects(rig.step()) == []
    rig.push("SPU", [spu(5001)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5001]


def test_a_queue_whose_records_expire_while_they_are_queued_is_idle() -> None:
    rig = Rig(connect_timeout=60.0, delivery_semantic=policy(timeout=5.0))
    rig.send()
    rig.step()
    rig.run(5.0)
    assert isinstance(rig.queue().state, Idle)
    assert writes(rig.connect()) == []
    rig.send(b"later")
    (request,) = writes(rig.step())
    assert values(request) == [b"later"]
