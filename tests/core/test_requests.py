# SPDX-License-Identifier: Apache-2.0
"""The contents of a request, and the state of a queue once it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core import pipeline as pipeline_module
from fluvio_sync._core.events import Connected, Replied, Written
from fluvio_sync._core.partition import Acknowledged, Failed, Idle, Lingering, Sent
from fluvio_sync._core.pipeline import MAX_IN_FLIGHT, InFlight
from fluvio_sync.config import ProducerConfig, SmartModule
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import ClosedError, ConnectError, DeliveryTimeoutError, RejectedError, RetriesExhaustedError
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, connects, disconnects, values, writes
from tests.support.servers import partition, response, spu, topic
from tests.support.system import replaces_code

if TYPE_CHECKING:
    from fluvio_sync._core.partition import PartitionQueue
    from fluvio_sync._core.pipeline import Request

BROKEN = ConnectError("the connection broke")


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 0.010, "max_delay": 2.0, "timeout": 10.0} | settings)))


def places(request: Request) -> list[tuple[str, int]]:
    return [(queue.topic, queue.partition) for queue, _ in request.entries]


def is_at_rest(queue: PartitionQueue) -> bool:
    return isinstance(queue.state, Idle) and not queue.batches() and not queue.unresolved


# Batches that stand together.


@pytest.mark.parametrize(
    "settings",
    [
        {"delivery_semantic": "at-most-once"},
        {"server_timeout": 3.0},
        {"smartmodules": [SmartModule("filter")]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_queues_with_other_settings_of_the_request_do_not_share_it(settings: dict[str, Any]) -> None:
    rig = Rig(4)
    other = rig.make_topic_state(**settings)
    rig.send(to=0)
    rig.send(to=1, topic_state=other)
    rig.send(to=2, topic_state=other)
    rig.send(to=3)
    requests = writes(rig.connect())
    assert [[queue.partition for queue, _ in request.entries] for request in requests] == [[0, 3], [1, 2]]


def test_settings_that_are_not_in_a_request_may_differ() -> None:
    rig = Rig(2)
    rig.send(to=0)
    rig.send(to=1, topic_state=rig.make_topic_state(batch_size=100))
    assert [places(request) for request in writes(rig.connect())] == [[("t", 0), ("t", 1)]]


def test_two_queues_of_one_partition_stand_in_requests_of_their_own() -> None:
    rig = Rig()
    rig.send(b"1")
    rig.send(b"2", topic_state=rig.make_topic_state(batch_size=100))
    assert [values(request) for request in writes(rig.connect())] == [[b"1"], [b"2"]]


def test_the_partitions_of_a_topic_stand_together() -> None:
    rig = Rig(2)
    rig.push("Partition", [partition("a-0", 5001)])
    rig.push("Topic", [topic("a", 1)])
    other = rig.accumulator.topic_state("a", ProducerConfig(), rig.metadata)
    rig.send(to=0)
    rig.send(to=0, topic_state=other)
    rig.send(to=1)
    (request,) = writes(rig.connect())
    assert places(request) == [("a", 0), ("t", 0), ("t", 1)]


def test_the_size_of_a_request_is_bounded_over_all_its_partitions() -> None:
    rig = Rig(4, batch_size=1000, max_request_size=2100)
    for number, size in enumerate((900, 900, 900, 10)):
        rig.send(b"x" * size, to=number)
    requests = writes(rig.connect())
    assert [[queue.partition for queue, _ in request.entries] for request in requests] == [[0, 1], [2, 3]]


def test_a_batch_as_large_as_a_request_may_be_is_sent() -> None:
    rig = Rig(max_request_size=1000, batch_size=1000)
    future = rig.send(b"x" * next(n for n in range(900, 1000) if _size(n) == 1000))
    (request,) = writes(rig.connect())
    assert [batch.builder.size for batch in request.batches] == [1000]
    rig.answer(request)
    assert future.result(0).offset == 0


def _size(length: int) -> int:
    rig = Rig()
    rig.send(b"x" * length)
    return rig.queue().unresolved[0].builder.size


def test_a_batch_that_lingers_does_not_go_with_the_full_one_before_it() -> None:
    rig = Rig(linger=60.0, batch_size=200)
    rig.send(b"1" * 100)
    rig.send(b"2" * 100)
    (request,) = writes(rig.connect())
    assert values(request) == [b"1" * 100]
    assert writes(rig.answer(request)) == []
    assert isinstance(rig.queue().state, Lingering)
    rig.send(b"3")
    (request,) = writes(rig.run(60.0))
    assert values(request) == [b"2" * 100, b"3"]


# How much may be under way.


def test_requests_that_were_written_and_not_acknowledged_are_under_way() -> None:
    rig = Rig(MAX_IN_FLIGHT + 1)
    rig.send(to=0)
    requests = writes(rig.connect())
    for index in range(1, MAX_IN_FLIGHT + 1):
        rig.written(requests[-1])
        rig.send(to=index)
        requests += writes(rig.step())
    assert len(requests) == MAX_IN_FLIGHT


@replaces_code
def test_at_most_once_waits_for_a_server_that_leaves_too_many_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "MAX_UNREAD", MAX_IN_FLIGHT + 3)
    rig = Rig(delivery_semantic="at-most-once")
    rig.connect()
    unread = []
    for _ in range(20):
        rig.send()
        requests = writes(rig.step() + rig.connect())
        unread += requests
        for request in requests:
            rig.written(request)
    assert len(unread) == MAX_IN_FLIGHT + 3
    (request,) = writes(rig.answer_unread(unread[0], 0))
    assert len(values(request)) == 20 - len(unread)


def test_a_queue_that_went_elsewhere_is_not_sent_here() -> None:
    rig = Rig(MAX_IN_FLIGHT + 1)
    rig.send(to=0)
    requests = writes(rig.connect())
    for index in range(1, MAX_IN_FLIGHT + 1):
        rig.send(to=index)
        requests += writes(rig.step())
    rig.push("Partition", [partition(f"t-{MAX_IN_FLIGHT}", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5002]
    assert writes(rig.answer(requests[0])) == []
    (request,) = writes(rig.connect())
    assert places(request) == [("t", MAX_IN_FLIGHT)]


def test_a_queue_that_is_ready_twice_is_sent_once() -> None:
    rig = Rig(batch_size=900, max_request_size=1000, connect_timeout=60.0, delivery_semantic=policy(timeout=5.0))
    rig.send()
    rig.step()
    rig.run(5.0)  # it expires, and its queue is not looked for in the queue
    for _ in range(3):
        rig.send(b"x" * 800)
    rig.step()
    (request,) = writes(rig.connect())
    assert len(list(request.batches)) == 1


def test_a_connection_that_breaks_before_anything_is_written_on_it_is_made_again() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    rig.sender._events.append(Connected(pipeline, pipeline.generation))
    actions = rig.lose(pipeline, BROKEN)
    assert writes(actions) == []
    assert connects(actions) == [pipeline]
    assert len(writes(rig.connect())) == 1


# Answers.


@pytest.mark.parametrize("semantic", ["at-least-once", "at-most-once"])
def test_a_queue_whose_records_are_resolved_is_at_rest(semantic: str) -> None:
    rig = Rig(delivery_semantic=semantic)
    rig.send()
    (request,) = writes(rig.connect())
    if request.acked:
        rig.answer(request)
    else:
        rig.written(request)
    assert is_at_rest(rig.queue())


def test_after_a_rejection_the_next_record_is_sent() -> None:
    rig = Rig()
    first = rig.send(b"1")
    (request,) = writes(rig.connect())
    second = rig.send(b"2")
    (request,) = writes(rig.answer(request, 2004))
    assert isinstance(first.exception(0), RejectedError)
    assert values(request) == [b"2"]
    rig.answer(request, 2004)
    assert isinstance(second.exception(0), RejectedError)
    assert is_at_rest(rig.queue())


def test_an_answer_with_a_negative_offset_ends_the_connection() -> None:
    rig = Rig(2)
    futures = [rig.send(to=index) for index in range(2)]
    (request,) = writes(rig.connect())
    actions = rig.answer(request, base=-50)  # the second partition's is 50
    assert disconnects(actions) == [request.pipeline]
    assert not any(future.done() for future in futures)
    assert "negative offset" in str(rig.queue().sealed[0].last_error)


def test_an_answer_without_the_results_of_at_most_once_is_taken() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    assert disconnects(rig.answer_with(request, ProduceResponse((), 0))) == []
    assert not request.pipeline.in_flight


def test_a_batch_that_expired_in_flight_is_decided_once() -> None:
    rig = Rig(2, delivery_semantic=policy(timeout=0.9))
    late = rig.send(to=0)
    rig.send(to=1, topic_state=rig.make_topic_state(delivery_semantic=policy(timeout=50.0)))
    (request,) = writes(rig.connect())
    rig.run(0.9)
    assert isinstance(late.exception(0), DeliveryTimeoutError)
    actions = rig.answer(request)
    assert [action.batch.queue.partition for action in actions if isinstance(action, Acknowledged)] == [1]
    assert rig.topic_state.counters.records_acked == 0


def expired_in_flight() -> tuple[Rig, Request]:
    """Return a rig whose one record is in flight, and has expired; another in its request has not."""
    rig = Rig(2, delivery_semantic=policy(timeout=0.9))
    rig.send(b"late", to=0)
    rig.send(b"other", to=1, topic_state=rig.make_topic_state(delivery_semantic=policy(timeout=50.0)))
    (request,) = writes(rig.connect())
    rig.run(0.9)
    return rig, request


def test_a_batch_that_expired_in_flight_is_not_sent_again() -> None:
    rig, request = expired_in_flight()
    rig.lose(request.pipeline, BROKEN)
    rig.step(0.010)
    (again,) = writes(rig.connect())
    assert values(again) == [b"other"]
    assert is_at_rest(rig.queue())
    for code in (10, 6):
        rig, request = expired_in_flight()
        assert writes(rig.answer(request, code, 0) + rig.run(5.0)) == []
        assert is_at_rest(rig.queue())


def test_one_of_several_batches_that_expired_in_flight_does_not_come_back() -> None:
    rig = Rig(2, batch_size=100, delivery_semantic=policy(timeout=1.9))
    rig.send(b"1" * 50)
    rig.step(1.0)
    rig.send(b"2" * 50)
    rig.send(to=1, topic_state=rig.make_topic_state(delivery_semantic=policy(timeout=50.0)))
    (request,) = writes(rig.connect())
    assert len(list(request.batches)) == 3
    rig.run(0.9)
    (again,) = writes(rig.answer(request, 10, 0))
    assert values(again) == [b"2" * 50]


def test_a_batch_that_expired_in_flight_leaves_no_doubt_about_the_one_beside_it() -> None:
    rig = Rig(2, delivery_semantic=policy(timeout=5.0))
    rig.send(to=0)
    other = rig.send(to=1, topic_state=rig.make_topic_state(delivery_semantic=policy(timeout=50.0, max_retries=0)))
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.run(5.0)
    rig.answer(request, 6)
    error = other.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert not error.may_be_stored


def test_at_most_once_that_expired_before_it_was_written_is_dropped_and_not_sent() -> None:
    rig = Rig(2, delivery_semantic="at-most-once", request_timeout=3.0)
    rig.send(to=0)
    rig.step(1.0)
    rig.send(to=1)
    (request,) = writes(rig.connect())
    rig.run(2.0)
    counters = rig.topic_state.counters
    assert (counters.records_dropped, request.lost) == (1, False)
    sent = [action.batch for action in rig.written(request) if isinstance(action, Sent)]
    assert [batch.queue.partition for batch in sent] == [1]
    assert counters.records_unacknowledged == 1


def test_an_event_that_a_lost_request_was_written_does_not_count() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send(b"1")
    (lost,) = writes(rig.connect())
    rig.lose(lost.pipeline, BROKEN)
    rig.send(b"2")
    (request,) = writes(rig.step() + rig.connect())
    assert not any(isinstance(action, Sent) for action in rig.handle(Written(lost)))
    assert isinstance(rig.queue().state, InFlight)
    assert values(request) == [b"2"]
    rig.written(request)
    assert (rig.topic_state.counters.records_dropped, rig.topic_state.counters.records_unacknowledged) == (1, 1)


# Failed attempts.


def test_a_queue_waits_for_the_delay_of_its_oldest_batch() -> None:
    rig = Rig(batch_size=100, delivery_semantic=policy())
    rig.send(b"1" * 50)
    (request,) = writes(rig.connect())
    rig.send(b"2" * 50)
    rig.answer(request, 6)
    (request,) = writes(rig.step(0.010))
    assert len(list(request.batches)) == 2
    rig.answer(request, 6)
    assert writes(rig.step(0.090)) == []
    assert len(writes(rig.step(0.010))) == 1


def test_a_flush_during_a_delay_does_not_end_it() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=1.0))
    rig.send(b"1")
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    rig.step(0.5)
    rig.send(b"2")
    rig.accumulator.begin_flush(rig.topic_state, None)
    assert writes(rig.run(0.49)) == []
    (request,) = writes(rig.run(0.02))
    assert values(request) == [b"1", b"2"]


def test_a_delay_that_ends_with_the_deadline_is_shortened() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=5.0, max_delay=5.0, timeout=5.0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    (second,) = writes(rig.run(4.5))
    rig.answer(second, 6)
    assert isinstance(future.exception(0), DeliveryTimeoutError)
    assert is_at_rest(rig.queue())


def test_the_last_failure_is_told_though_the_leader_is_away_now() -> None:
    rig = Rig(delivery_semantic=policy(timeout=5.0))
    future = rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.run(5.0)
    error = future.exception(0)
    assert error is not None
    assert error.__cause__ is BROKEN


# Too large.


def test_batches_travel_together_again_once_all_is_sent() -> None:
    rig = Rig(batch_size=100)
    rig.send(b"1" * 50)
    (request,) = writes(rig.connect())
    rig.send(b"2" * 50)
    rig.answer(request, 6)
    (request,) = writes(rig.step(0.020))
    requests = writes(rig.answer(request, 10))
    assert [len(list(request.batches)) for request in requests] == [1]
    (request,) = writes(rig.answer(requests[0]))
    rig.answer(request)
    rig.send(b"-")
    (request,) = writes(rig.step())
    rig.send(b"3" * 50)
    rig.send(b"4" * 50)
    (request,) = writes(rig.answer(request))
    assert len(list(request.batches)) == 2


def test_batches_are_no_larger_afterwards_than_the_larger_half() -> None:
    rig = Rig(linger=1.0)
    for size in (10, 100, 200):
        rig.send(b"x" * size)
    (request,) = writes(rig.run(1.0) + rig.connect())
    for _ in range(2):
        rig.send(b"y" * 100)
    rig.step()
    queue = rig.queue()
    (request,) = writes(rig.answer(request, 10))
    halves = [batch.builder.size for batch in (*queue.in_flight, *queue.sealed)][:2]
    assert queue.batch_size == max(halves) > min(halves)
    limit = queue.batch_size
    rig.answer(request)  # and it never grows again
    while queue.unresolved:
        (request,) = [*request.pipeline.in_flight] or writes(rig.run(1.0))
        rig.answer(request, 0)
    assert queue.batch_size == limit


# Closing.


def test_records_that_are_abandoned_while_their_connection_is_made_are_not_written() -> None:
    rig = Rig()
    future = rig.send()
    rig.step()
    rig.abandon()
    assert isinstance(future.exception(0), ClosedError)
    assert writes(rig.connect()) == []
    assert is_at_rest(rig.queue())


def test_a_handle_that_is_closed_leaves_the_records_of_others_in_the_queue() -> None:
    rig = Rig(batch_size=100, linger=60.0)
    other = type(rig.handle_stats)()
    mine = rig.send(b"1" * 60)
    theirs = [rig.accumulator.append(rig.topic_state, 0, None, b"2" * 60, None, other)]
    last = rig.send(b"3" * 60)
    rig.abandon(rig.handle_stats)
    assert [mine.done(), theirs[0].done(), last.done()] == [True, False, True]
    theirs.append(rig.send(b"4", handle_stats=other))
    (request,) = writes(rig.connect())
    rig.answer(request)
    (request,) = writes(rig.run(60.0))
    rig.answer(request)
    assert [future.exception(0) for future in theirs] == [None, None]
    assert rig.handle_stats.take()[0] == 0


def test_a_batch_that_was_abandoned_in_flight_is_not_sent_again() -> None:
    for code in (6, 10, None):
        rig = Rig(batch_size=100)
        other = type(rig.handle_stats)()
        rig.send(b"1")
        rig.send(b"2")
        rig.accumulator.append(rig.topic_state, 0, None, b"3" * 60, None, other)
        (request,) = writes(rig.connect())
        assert len(list(request.batches)) == 2
        rig.abandon(rig.handle_stats)
        actions = rig.lose(request.pipeline, BROKEN) if code is None else rig.answer(request, code)
        (again,) = writes(actions + rig.step(0.020) + rig.connect())
        assert values(again) == [b"3" * 60]


def test_a_batch_that_was_abandoned_in_flight_and_is_too_large_is_not_halved() -> None:
    rig = Rig()
    rig.send(b"1")
    rig.send(b"2")
    (request,) = writes(rig.connect())
    rig.abandon()
    assert writes(rig.answer(request, 10)) == []
    assert is_at_rest(rig.queue())


def test_a_batch_that_expired_in_flight_is_not_failed_again_by_closing() -> None:
    rig, _ = expired_in_flight()
    failed = [action.batch.queue for action in rig.abandon() if isinstance(action, Failed)]
    assert [queue.partition for queue in failed] == [1]


def test_a_late_answer_to_an_abandoned_batch_does_no_harm() -> None:
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    rig.abandon()
    rig.handle(Replied(request, response(request)))
    rig.step()
    assert rig.topic_state.counters.records_acked == 0
    assert is_at_rest(rig.queue())
