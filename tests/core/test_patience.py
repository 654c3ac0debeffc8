# SPDX-License-Identifier: Apache-2.0
"""Patience: slow connections are waited for, dead ones are not, and less is sent after a late answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core.actions import Disconnect
from fluvio_sync._core.patience import reply_timeout
from fluvio_sync._core.pipeline import PipelineState
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import ConnectError
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, disconnects, writes

if TYPE_CHECKING:
    from fluvio_sync._core.pipeline import Request


def policy(**settings: Any) -> AtLeastOnce:
    defaults: dict[str, Any] = {"initial_delay": 0.010, "timeout": 30.0, "strategy": "fixed-delay"}
    return AtLeastOnce(RetryPolicy(**(defaults | settings)))


@pytest.mark.parametrize(
    ("timeout", "request_timeout", "expected"),
    [(300.0, 30.0, 30.0), (10.0, 30.0, 10 / 3), (2.0, 30.0, 1.0), (0.2, 30.0, 1.0), (10.0, 0.5, 0.5)],
)
def test_an_attempt_may_take_a_third_of_the_time(timeout: float, request_timeout: float, expected: float) -> None:
    assert reply_timeout(timeout, request_timeout) == expected


def one_in_flight(value: bytes = b"v", **settings: Any) -> tuple[Rig, Any, Request]:
    """Return a rig with a written request, of a policy that waits 10 s for an answer."""
    rig = Rig(delivery_semantic=policy(), **settings)
    future = rig.send(value)
    (request,) = writes(rig.connect())
    rig.written(request)
    return rig, future, request


def transport(rig: Rig, request: Request) -> Any:
    return rig.connection(request.pipeline).transport


def test_a_forgotten_connection_leaves_time_for_other_attempts() -> None:
    rig, future, request = one_in_flight(b"v" * 1000)
    transport(rig, request).under_way = 900
    assert disconnects(rig.run(9.9)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]
    error = request.pipeline.last_error
    assert "SPU 5001 at 127.0.0.1:9010" in str(error)
    assert str(error).endswith("has received nothing for 10.0 s, with 900 bytes of requests under way")
    (again,) = writes(rig.connect())
    rig.answer(again)
    assert future.result(0).offset == 0


def test_a_slow_connection_is_waited_for_while_bytes_arrive() -> None:
    rig = Rig(request_timeout=10.0, delivery_semantic=policy(timeout=300.0))
    future = rig.send(b"v" * 1000)
    (request,) = writes(rig.connect())
    rig.written(request)
    for left in range(900, -1, -100):
        transport(rig, request).under_way = left
        assert disconnects(rig.run(9.0)) == []
    rig.answer(request)
    assert future.result(0).offset == 0
    assert request.pipeline.allowance.limit is None


def test_the_time_for_the_answer_counts_from_the_last_byte_that_arrived() -> None:
    rig, _, request = one_in_flight(b"v" * 1000)
    socket = transport(rig, request)
    socket.under_way = 900
    rig.run(8.0)
    socket.under_way = 0
    assert disconnects(rig.run(10.0)) == []  # 2 s more until it was seen
    assert disconnects(rig.run(2.1)) == [request.pipeline]
    assert "has not answered a produce request for 10.0 s" in str(request.pipeline.last_error)


def test_bytes_of_later_requests_do_not_count_as_progress_of_the_first() -> None:
    rig = Rig(2, delivery_semantic=policy())
    rig.send(b"v" * 1000)
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.send(b"v" * 1000, to=1)
    (later,) = writes(rig.step())
    rig.written(later)
    socket = transport(rig, request)
    for left in (1000, 700, 400, 100):
        socket.under_way = left
        assert disconnects(rig.run(2.45)) == []
    assert disconnects(rig.run(0.3)) == [request.pipeline]


def test_a_socket_that_takes_nothing_is_dead() -> None:
    rig = Rig(delivery_semantic=policy())
    rig.send()
    (request,) = writes(rig.connect())
    assert rig.is_unwritten(request)
    assert disconnects(rig.run(9.9)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]


def test_a_look_at_a_connection_that_broke_meanwhile_changes_nothing() -> None:
    rig, _, request = one_in_flight()
    pipeline = request.pipeline
    rig.clock.advance(2.6)
    rig.sender._disconnect(Disconnect(pipeline))
    rig.step()
    assert pipeline.state is PipelineState.UP  # the dispatcher learns of it from the event that follows
    assert pipeline.progress.look_at == pytest.approx(rig.clock.now + 2.5)


# Policies of different patience on one connection.


def mixed(under_way: int) -> tuple[Rig, Any, Request, Any]:
    """Return a rig with an impatient request (1 s) behind a patient one (10 s), and the impatient one's future."""
    rig = Rig(2, delivery_semantic=policy())
    rig.send(b"v" * 1000)
    (first,) = writes(rig.connect())
    rig.written(first)
    rig.run(4.0)
    impatient = rig.make_topic_state(delivery_semantic=policy(timeout=3.0))
    future = rig.send(b"v" * 1000, to=1, topic_state=impatient)
    (second,) = writes(rig.step())
    rig.written(second)
    transport(rig, first).under_way = under_way
    return rig, first, second, future


def test_a_dead_connection_is_abandoned_for_the_impatient() -> None:
    rig, first, _, future = mixed(under_way=1000)
    assert disconnects(rig.run(0.9)) == []
    assert disconnects(rig.run(0.5)) == [first.pipeline]
    assert not future.done()


def test_a_slow_spu_does_not_cost_the_patient_their_connection() -> None:
    rig, first, _, future = mixed(under_way=0)
    assert disconnects(rig.run(5.9)) == []
    assert future.done()  # alone, at its deadline
    assert future.exception(0).attempts == 1
    assert rig.answer(first)
    assert rig.topic_state.counters.records_acked == 1


def test_at_most_once_does_not_make_a_connection_patient() -> None:
    rig = Rig(2, delivery_semantic=policy(timeout=3.0))
    rig.send()
    (first,) = writes(rig.connect())
    rig.written(first)
    rig.send(to=1, topic_state=rig.make_topic_state(delivery_semantic="at-most-once"))
    (second,) = writes(rig.step())
    rig.written(second)
    assert disconnects(rig.run(0.9)) == []
    assert disconnects(rig.run(0.2)) == [first.pipeline]


# Less is sent after a late answer.


def backlog(batches: int) -> tuple[Rig, Request]:
    """Return a rig with so many batches of 1 kB, all in one request."""
    rig = Rig(batch_size=1000, delivery_semantic=policy(timeout=900.0))
    for _ in range(batches):
        rig.send(b"v" * 900)
    (request,) = writes(rig.connect())
    assert size(request) == batches
    rig.written(request)
    return rig, request


def size(request: Request) -> int:
    return len(list(request.batches))


def late(rig: Rig, request: Request) -> Request:
    """Have an answer be late, and return the next request, which is written."""
    assert disconnects(rig.run(30.1)) == [request.pipeline]
    (request,) = writes(rig.connect())
    rig.written(request)
    return request


def test_late_answers_halve_a_request_down_to_one_batch_and_answers_in_time_double_it() -> None:
    rig, request = backlog(100)
    found = []
    for _ in range(8):
        request = late(rig, request)
        found.append(size(request))
    assert found == [50, 25, 12, 6, 3, 1, 1, 1]
    for _ in range(6):
        (request,) = writes(rig.answer(request))
        found.append(size(request))
    assert found[8:] == [2, 4, 8, 16, 32, 37]  # the rest


def test_slow_answers_do_not_enlarge_requests() -> None:
    rig, request = backlog(8)
    request = late(rig, request)
    assert size(request) == 4
    rig.run(20.0)
    (request,) = writes(rig.answer(request))
    assert size(request) == 4


def test_a_limit_outlasts_the_connection_and_not_its_need() -> None:
    rig, request = backlog(8)
    request = late(rig, request)
    rig.lose(request.pipeline, ConnectError("the connection broke"))
    rig.run(0.02)
    (request,) = writes(rig.connect())
    assert size(request) == 4
    pipeline = request.pipeline
    for _ in range(9):
        rig.answer(request)
        rig.send()
        (request,) = writes(rig.step()) or [*pipeline.in_flight]
    assert pipeline.allowance.limit is None
