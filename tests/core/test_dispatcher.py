# SPDX-License-Identifier: Apache-2.0
"""Records on their way: batches, requests, broken connections and deadlines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fluvio_sync._core.events import Connected, Disconnected, Replied
from fluvio_sync._core.partition import Idle, Lingering
from fluvio_sync._core.pipeline import MAX_IN_FLIGHT
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ClosedError,
    ConnectError,
    DeliveryError,
    DeliveryTimeoutError,
    RejectedError,
    RetriesExhaustedError,
    UnsupportedVersionError,
)
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy, RetryStrategy
from tests.support.rig import Rig, connects, disconnects, reports, values, writes
from tests.support.servers import partition, response, spu, topic

BROKEN = ConnectError("the connection broke")


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 0.010, "max_delay": 2.0, "timeout": 10.0} | settings)))


# The straight way.


def test_a_record_is_connected_written_and_acknowledged() -> None:
    rig = Rig()
    future = rig.send(b"one")
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5001]
    (request,) = writes(rig.connect())
    assert values(request) == [b"one"]
    assert not future.done()
    rig.answer(request, base=41)
    assert future.result(0).offset == 41
    assert rig.accumulator.used == 0
    assert isinstance(rig.queue().state, Idle)


def test_records_collect_while_a_request_is_in_flight() -> None:
    rig = Rig()
    rig.send(b"1")
    (first,) = writes(rig.connect())
    futures = [rig.send(b"2"), rig.send(b"3")]
    assert writes(rig.step()) == []
    (second,) = writes(rig.answer(first))
    assert values(second) == [b"2", b"3"]
    rig.answer(second, base=7)
    assert [f.result(0).offset for f in futures] == [7, 8]


def test_several_batches_of_a_partition_travel_as_one_entry_and_number_on() -> None:
    rig = Rig(batch_size=200)
    first = rig.send(b"x")
    (request,) = writes(rig.connect())
    futures = [rig.send(b"y" * 100) for _ in range(5)]
    (second,) = writes(rig.answer(request))
    ((_, batches),) = second.entries
    assert len(batches) == 5
    rig.answer(second, base=10)
    assert [f.result(0).offset for f in futures] == [10, 11, 12, 13, 14]
    assert first.result(0).offset == 0


def test_a_request_is_bounded_by_max_request_size() -> None:
    rig = Rig(batch_size=1000, max_request_size=2500)
    rig.send(b"x")
    (request,) = writes(rig.connect())
    for _ in range(6):
        rig.send(b"y" * 900)
    (second,) = writes(rig.answer(request))
    assert sum(batch.builder.size for batch in second.batches) <= 2500
    assert len(list(second.batches)) == 2
    (third,) = writes(rig.answer(second))
    assert len(list(third.batches)) == 2


def test_a_batch_lingers_until_its_time() -> None:
    rig = Rig(linger=0.005)
    rig.send(b"1")
    assert rig.step() == []
    assert isinstance(rig.queue().state, Lingering)
    rig.send(b"2")
    assert rig.step(0.004) == []
    assert connects(rig.step(0.001))
    (request,) = writes(rig.connect())
    assert values(request) == [b"1", b"2"]


def test_a_full_batch_does_not_linger() -> None:
    rig = Rig(linger=60.0, batch_size=200)
    rig.send(b"x" * 90)
    assert rig.step() == []
    rig.send(b"x" * 90)
    assert connects(rig.step())


def test_a_flush_ends_the_linger() -> None:
    rig = Rig(linger=60.0)
    rig.send(b"x")
    rig.step()
    barrier = rig.accumulator.begin_flush(rig.topic_state, None)
    (request,) = writes(rig.connect())
    assert len(barrier.batches) == 1
    rig.answer(request)
    assert not barrier.batches


def test_partitions_share_a_request_and_are_answered_one_by_one() -> None:
    rig = Rig(3)
    futures = [rig.send(b"x", to=index) for index in range(3)]
    (request,) = writes(rig.connect())
    assert [queue.partition for queue, _ in request.entries] == [0, 1, 2]
    rig.answer(request, 0, 9000, 0)
    assert futures[0].result(0).offset == 0
    assert futures[2].result(0).offset == 200
    with pytest.raises(RejectedError) as caught:
        futures[1].result(0)
    assert caught.value.code == 9000
    assert not caught.value.may_be_stored


@pytest.mark.parametrize("semantic", ["at-least-once", "at-most-once"])
def test_requests_of_different_partitions_are_pipelined_up_to_a_limit(semantic: str) -> None:
    rig = Rig(MAX_IN_FLIGHT + 3, delivery_semantic=semantic)
    rig.send(to=0)
    requests = writes(rig.connect())
    for index in range(1, MAX_IN_FLIGHT + 3):
        rig.send(to=index)
        requests += writes(rig.step())
    assert len(requests) == MAX_IN_FLIGHT
    (more,) = writes(rig.answer(requests[0]) if requests[0].acked else rig.written(requests[0]))
    assert [queue.partition for queue, _ in more.entries] == [MAX_IN_FLIGHT, MAX_IN_FLIGHT + 1, MAX_IN_FLIGHT + 2]


def test_a_partition_is_in_one_request_at_a_time() -> None:
    rig = Rig(2)
    rig.send(to=0)
    (first,) = writes(rig.connect())
    rig.send(to=0)
    rig.send(to=1)
    (second,) = writes(rig.step())
    assert [queue.partition for queue, _ in second.entries] == [1]
    assert [queue.partition for queue, _ in first.entries] == [0]


def test_leaders_on_different_spus_get_pipelines_of_their_own() -> None:
    rig = Rig(2)
    rig.push("Partition", [partition("t-1", 5002)])
    rig.send(to=0)
    rig.send(to=1)
    assert sorted(pipeline.spu for pipeline in connects(rig.step())) == [5001, 5002]


def test_read_committed_has_a_pipeline_of_its_own() -> None:
    rig = Rig()
    committed = rig.make_topic_state(isolation="read-committed")
    rig.send()
    rig.send(topic_state=committed)
    assert len(connects(rig.step())) == 2


# Failures of the connection.


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (RetryStrategy.EXPONENTIAL_BACKOFF, [0.010, 0.100, 1.0, 2.0, 2.0]),
        (RetryStrategy.FIBONACCI_BACKOFF, [0.010, 0.010, 0.020, 0.030, 0.050]),
        (RetryStrategy.FIXED_DELAY, [0.010] * 5),
    ],
)
def test_a_refused_connection_is_retried_with_the_policys_delays(strategy: RetryStrategy, delays: list[float]) -> None:
    semantic = AtLeastOnce(
        RetryPolicy(max_retries=5, initial_delay=0.010, max_delay=2.0, timeout=100.0, strategy=strategy)
    )
    rig = Rig(delivery_semantic=semantic)
    future = rig.send()
    (pipeline,) = connects(rig.step())
    for delay in delays:
        assert connects(rig.lose(pipeline, BROKEN)) == []
        assert connects(rig.step(delay * 0.99)) == []
        assert connects(rig.step(delay * 0.011)) == [pipeline]
    rig.lose(pipeline, BROKEN)
    with pytest.raises(RetriesExhaustedError) as caught:
        future.result(0)
    assert caught.value.attempts == 6
    assert caught.value.__cause__ is BROKEN
    assert not caught.value.may_be_stored
    assert caught.value.retriable


def test_a_server_of_other_versions_is_not_tried_again() -> None:
    rig = Rig()
    future = rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, UnsupportedVersionError(api="PRODUCE", ours=(8, 25), theirs=(0, 7), platform="0.10.0"))
    with pytest.raises(
        DeliveryError, match=r"speaks versions 8 to 25.*offers versions 0 to 7.*is not stored"
    ) as caught:
        future.result(0)
    assert not caught.value.retriable
    assert rig.run(60.0) == []


def test_no_retries_means_one_attempt() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    with pytest.raises(RetriesExhaustedError) as caught:
        future.result(0)
    assert caught.value.attempts == 1


def test_records_in_flight_on_a_broken_connection_are_sent_again_first() -> None:
    rig = Rig()
    first = rig.send(b"1")
    (request,) = writes(rig.connect())
    rig.begin_to_write(request)
    rest = [rig.send(b"2"), rig.send(b"3")]
    rig.lose(request.pipeline, BROKEN)
    rig.step(0.020)
    (again,) = writes(rig.connect())
    assert values(again) == [b"1", b"2", b"3"]
    rig.answer(again, base=5)
    assert [f.result(0).offset for f in (first, *rest)] == [5, 6, 7]


def test_events_of_an_old_connection_do_not_count() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    old = pipeline.generation
    rig.lose(pipeline, BROKEN)
    assert connects(rig.step(0.020)) == [pipeline]
    assert rig.handle(Connected(pipeline, old)) == []
    assert rig.handle(Disconnected(pipeline, old, BROKEN)) == []
    assert len(writes(rig.connect())) == 1


def test_a_late_answer_of_a_lost_request_does_not_count() -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.lose(request.pipeline, BROKEN)
    assert rig.handle(Replied(request, response(request, base=3))) == []
    assert not future.done()


def test_connections_are_reported_when_they_open_break_and_open_again() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    assert reports(rig.connect()) == ["spu.connected"]
    assert reports(rig.lose(pipeline, BROKEN)) == ["spu.disconnected", "delivery.failing"]
    rig.step(0.020)
    assert reports(rig.connect()) == ["spu.connected"]


def test_lost_without_a_byte_written_is_not_stored() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.lose(request.pipeline, BROKEN)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert not error.may_be_stored


def test_lost_with_bytes_written_may_be_stored() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.begin_to_write(request)
    rig.lose(request.pipeline, BROKEN)
    with pytest.raises(RetriesExhaustedError, match="may have been stored") as caught:
        future.result(0)
    assert caught.value.may_be_stored


def test_a_connection_that_takes_too_long_is_a_failed_attempt() -> None:
    rig = Rig(connect_timeout=2.0, delivery_semantic=policy(max_retries=0))
    future = rig.send()
    rig.step()
    rig.run(1.9)
    assert not future.done()
    rig.run(0.2)
    with pytest.raises(RetriesExhaustedError, match=r"SPU 5001 at .* still connecting after 2\.0 s"):
        future.result(0)


def test_a_reply_that_does_not_come_ends_the_connection() -> None:
    rig = Rig(request_timeout=3.0, delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    assert disconnects(rig.run(2.9)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]
    with pytest.raises(RetriesExhaustedError, match=r"has not answered a produce request for 3\.0 s") as caught:
        future.result(0)
    assert caught.value.may_be_stored


def test_the_reply_time_counts_from_being_first_in_line() -> None:
    rig = Rig(2, request_timeout=3.0)
    rig.send(to=0)
    (first,) = writes(rig.connect())
    rig.send(to=1)
    (second,) = writes(rig.step())
    rig.run(2.0)
    rig.answer(first)
    assert disconnects(rig.run(2.9)) == []
    assert disconnects(rig.run(0.2)) == [second.pipeline]


# Deadlines.


def test_the_deadline_covers_waiting_for_a_leader_which_is_no_attempt() -> None:
    rig = Rig(delivery_semantic=policy(timeout=5.0))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.run(4.99)
    assert not future.done()
    rig.run(0.02)
    with pytest.raises(DeliveryTimeoutError, match="offline") as caught:
        future.result(0)
    assert caught.value.attempts == 0
    assert caught.value.elapsed == pytest.approx(5.0, abs=0.05)


def test_a_batch_whose_deadline_passes_in_flight_fails_alone_and_may_be_stored() -> None:
    rig = Rig(2, request_timeout=30.0, delivery_semantic=policy(timeout=5.0))
    patient = rig.make_topic_state(delivery_semantic=policy(timeout=50.0))
    futures = rig.send(to=0), rig.send(to=1, topic_state=patient)
    (request,) = writes(rig.connect())
    rig.written(request)
    assert disconnects(rig.run(5.01)) == []
    with pytest.raises(DeliveryTimeoutError, match="may have been stored") as caught:
        futures[0].result(0)
    assert caught.value.may_be_stored
    assert not futures[1].done()
    rig.answer(request)
    assert futures[1].result(0).offset == 100
    assert isinstance(rig.queue().state, Idle)


def test_a_queue_whose_records_were_closed_does_not_fail_with_its_connection() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    rig.abandon(rig.handle_stats)
    assert "delivery.failing" not in reports(rig.lose(pipeline, BROKEN))
    queue = rig.queue()
    assert not queue.failing
    assert isinstance(queue.state, Idle)


def test_records_that_still_wait_for_the_socket_when_they_expire_may_be_stored() -> None:
    """It will be written when the socket takes it: its connection goes on."""
    rig = Rig(2)
    impatient = rig.make_topic_state(delivery_semantic=policy(timeout=0.9))
    rig.send(to=0)
    rig.connect()
    future = rig.send(to=1, topic_state=impatient)
    (request,) = writes(rig.step())
    assert disconnects(rig.run(0.95)) == []
    assert not request.wrote_any
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.may_be_stored


@pytest.mark.parametrize("of_handle", [True, False])
def test_records_that_still_wait_for_the_socket_when_they_are_closed(*, of_handle: bool) -> None:
    """A client's connections end with it; those of a handle go on, and write."""
    rig = Rig()
    future = rig.send()
    rig.connect()
    rig.abandon(rig.handle_stats if of_handle else None)
    error = future.exception(0)
    assert isinstance(error, ClosedError)
    assert ("may have been stored" in str(error)) is of_handle
    assert ("it is not stored" in str(error)) is not of_handle


def test_a_batch_that_is_closed_early_is_looked_at_early() -> None:
    """Its deadline runs from then on, and the queue's timer was for a later one."""
    rig = Rig(connect_timeout=60.0, batch_size=100, linger=12.0, delivery_semantic=policy(timeout=5.0))
    rig.send(b"x" * 100)
    rig.run(4.9)
    lingering = rig.send(b"y")
    rig.run(0.2)
    assert rig.queue().timer == pytest.approx(1000.0 + 4.9 + 12.0 + 5.0)
    rig.send(b"x" * 100)
    rig.run(5.01)
    assert isinstance(lingering.exception(0), DeliveryTimeoutError)


def test_an_offline_leader_is_tried_when_the_sc_goes_away() -> None:
    """Its last word on offline SPUs is not trusted then."""
    rig = Rig()
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.send()
    assert connects(rig.run(5.0)) == []
    assert [pipeline.spu for pipeline in connects(rig.lose_sc())] == [5001]


@pytest.mark.parametrize("order", list(itertools.permutations(["SPU", "Partition", "Topic"])))
def test_records_of_a_topic_that_is_gone_fail_when_the_sc_has_pushed_all_kinds(order: tuple[str, ...]) -> None:
    rig = Rig()
    offline = [spu(5001, SpuResolution.OFFLINE)]
    rig.push("SPU", offline)
    rig.push("Topic", [topic("t", 1), topic("other", 1)])
    rig.push("Partition", [partition("t-0", 5009), partition("other-0", 5002)])
    future = rig.send()
    rig.run(5.0)
    rig.lose_sc()
    assert connects(rig.run(1.0)) == []  # in any case there is no address of its leader
    rig.servers.sc_online = rig.servers.sc_silent = True
    rig.run(5.0)
    now: dict[str, Any] = {"SPU": offline, "Partition": [partition("other-0", 5002)], "Topic": [topic("other", 1)]}
    for label in order:
        assert not future.done()
        rig.list_all(label, now[label])
    rig.run(1.0)
    assert "the cluster has no topic 't'" in str(future.exception(0))


def test_a_delay_that_would_pass_the_deadline_leaves_a_reserve_for_a_last_attempt() -> None:
    rig = Rig(delivery_semantic=policy(timeout=0.5, max_retries=9))
    future = rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    rig.step(0.010)
    rig.lose(pipeline, BROKEN)
    rig.step(0.100)
    assert not future.done()
    rig.lose(pipeline, BROKEN)  # the next delay would be 1 s
    assert connects(rig.run(0.339)) == []
    assert connects(rig.run(0.002)) == [pipeline]  # 0.05 s before the deadline
    rig.lose(pipeline, BROKEN)
    with pytest.raises(DeliveryTimeoutError) as caught:
        future.result(0)
    assert caught.value.attempts == 4
    assert caught.value.elapsed == pytest.approx(0.451)


def test_batches_that_are_ready_one_after_the_other_share_their_last_attempts() -> None:
    rig = Rig(delivery_semantic=policy(timeout=10.0, max_retries=None))
    rig.servers.spus_online = False
    futures, made = [], []
    for _ in range(200):
        futures.append(rig.send())
        made.append(rig.clock.now)
        rig.queue().seal_open(rig.clock.now)
        rig.run(0.01)
    rig.run(10.0 - (rig.clock.now - made[0]) - 1.5)
    assert not any(future.done() for future in futures)
    assert len(connects(rig.run(4.0))) <= 8  # one for each half of the reserve
    for future, at in zip(futures, made, strict=True):
        error = future.exception(0)
        assert isinstance(error, DeliveryTimeoutError)
        assert 9.0 - 0.001 <= error.elapsed <= 10.0, at


def test_a_lingering_batch_of_a_partition_without_leader_fails_at_linger_plus_timeout() -> None:
    rig = Rig(linger=1.0, delivery_semantic=policy(timeout=5.0))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.run(5.9)
    assert not future.done()
    rig.run(0.2)
    assert isinstance(future.exception(0), DeliveryTimeoutError)


def test_the_deadline_of_a_batch_that_was_flushed_runs_from_the_flush() -> None:
    rig = Rig(linger=60.0, delivery_semantic=policy(timeout=5.0))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.run(1.0)
    rig.accumulator.begin_flush(rig.topic_state, None)
    rig.run(4.9)
    assert not future.done()
    rig.run(0.2)
    assert isinstance(future.exception(0), DeliveryTimeoutError)


# Closing.


def test_abandoning_fails_the_records_of_one_handle_only() -> None:
    rig = Rig(2)
    mine = rig.send(to=0)
    other = type(rig.handle_stats)()
    theirs = rig.send(b"x", to=1, handle_stats=other)
    rig.step()
    rig.abandon(rig.handle_stats)
    with pytest.raises(ClosedError, match="the producer was closed before the record was acknowledged"):
        mine.result(0)
    assert not theirs.done()
