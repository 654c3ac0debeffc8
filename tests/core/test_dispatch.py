# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync._core.dispatcher import ABANDON_GRACE
from fluvio_sync._core.events import Connected, Disconnected, OffsetsReplied, Replied
from fluvio_sync._core.partition import OFFLINE_PATIENCE, BackingOff, Idle, Lingering, Sent, Waiting
from fluvio_sync._core.pipeline import COMMIT_POLL_INTERVAL, MAX_IN_FLIGHT
from fluvio_sync.config import SmartModule
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ClosedError,
    CommitTimeoutError,
    ConnectError,
    DeliveryError,
    DeliveryTimeoutError,
    ProtocolError,
    RejectedError,
    RetriesExhaustedError,
    TopicNotFoundError,
    UnsupportedVersionError,
)
from fluvio_sync.protocol.metadata import Deduplication, PartitionResolution, SpuResolution
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.retry import RetryPolicy, RetryStrategy
from tests.support.rig import Rig, asks, connects, disconnects, partition, reports, response, spu, topic, values, writes

if TYPE_CHECKING:
    from fluvio_sync._core.pipeline import CommitWait, Request
    from fluvio_sync.futures import DeliveryFuture

BROKEN = ConnectError("the connection was lost")


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
    barrier = rig.accumulator.begin_flush([rig.topic_state], None)
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


def test_leaders_on_different_spus_get_links_of_their_own() -> None:
    rig = Rig(2)
    rig.push("Partition", [partition("t-1", 5002)])
    rig.send(to=0)
    rig.send(to=1)
    assert sorted(pipeline.spu for pipeline in connects(rig.step())) == [5001, 5002]


def test_read_committed_has_a_link_of_its_own() -> None:
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


def test_what_was_in_flight_on_a_lost_connection_is_sent_again_first() -> None:
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


def test_news_of_an_old_connection_does_not_count() -> None:
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
    assert reports(rig.connect()) == ["connection.opened"]
    assert reports(rig.lose(pipeline, BROKEN)) == ["connection.lost", "delivery.failing"]
    rig.step(0.020)
    assert reports(rig.connect()) == ["connection.opened"]


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
    with pytest.raises(RetriesExhaustedError, match="may be stored") as caught:
        future.result(0)
    assert caught.value.may_be_stored


def test_a_connection_that_takes_too_long_is_a_failed_attempt() -> None:
    rig = Rig(connect_timeout=2.0, delivery_semantic=policy(max_retries=0))
    future = rig.send()
    rig.step()
    assert disconnects(rig.run(1.9)) == []
    assert len(disconnects(rig.run(0.2))) == 1
    with pytest.raises(RetriesExhaustedError, match=r"did not complete the connection within 2\.0 s"):
        future.result(0)


def test_a_reply_that_does_not_come_ends_the_connection() -> None:
    rig = Rig(request_timeout=3.0, delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    assert disconnects(rig.run(2.9)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]
    with pytest.raises(RetriesExhaustedError, match="did not answer a produce request") as caught:
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


def test_the_deadline_covers_waiting_for_a_leader_and_spends_no_attempt() -> None:
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
    with pytest.raises(DeliveryTimeoutError, match="may be stored") as caught:
        futures[0].result(0)
    assert caught.value.may_be_stored
    assert not futures[1].done()
    rig.answer(request)
    assert futures[1].result(0).offset == 100
    assert isinstance(rig.queue().state, Idle)


def test_a_lane_whose_records_were_closed_does_not_fail_with_its_connection() -> None:
    rig = Rig()
    rig.send()
    (pipeline,) = connects(rig.step())
    rig.abandon(rig.handle_stats)
    assert "delivery.failing" not in reports(rig.lose(pipeline, BROKEN))
    queue = rig.queue()
    assert not queue.failing
    assert isinstance(queue.state, Idle)


def test_what_still_waits_for_the_socket_when_it_expires_may_be_stored() -> None:
    """It will be written when the socket takes it: its connection goes on."""
    rig = Rig(2)
    impatient = rig.make_topic_state(delivery_semantic=policy(timeout=5.0))
    rig.send(to=0)
    rig.connect()
    future = rig.send(to=1, topic_state=impatient)
    (request,) = writes(rig.step())
    assert disconnects(rig.run(5.1)) == []
    assert not request.wrote_any
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.may_be_stored


@pytest.mark.parametrize("of_handle", [True, False])
def test_what_still_waits_for_the_socket_when_it_is_closed(*, of_handle: bool) -> None:
    """A client's connections end with it; those of a handle go on, and write."""
    rig = Rig()
    future = rig.send()
    rig.connect()
    rig.abandon(rig.handle_stats if of_handle else None)
    error = future.exception(0)
    assert isinstance(error, ClosedError)
    assert ("may be stored" in str(error)) is of_handle
    assert ("it is not stored" in str(error)) is not of_handle


def test_a_batch_that_is_closed_early_is_looked_at_early() -> None:
    """Its deadline runs from then on, and the queue's timer was for a later one."""
    rig = Rig(connect_timeout=60.0, batch_size=100, linger=10.0, delivery_semantic=policy(timeout=5.0))
    rig.send(b"x" * 100)
    rig.run(4.9)
    lingering = rig.send(b"y")
    rig.run(0.2)
    assert rig.queue().timer == pytest.approx(1000.0 + 4.9 + 10.0 + 5.0)
    rig.send(b"x" * 100)
    rig.run(5.01)
    assert isinstance(lingering.exception(0), DeliveryTimeoutError)


def test_what_waits_is_tried_when_the_sc_goes_away() -> None:
    """Its last word on offline SPUs is not trusted then."""
    rig = Rig()
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.send()
    assert connects(rig.run(5.0)) == []
    assert [pipeline.spu for pipeline in connects(rig.lose_sc())] == [5001]


@pytest.mark.parametrize("order", list(itertools.permutations(["SPU", "Partition", "Topic"])))
def test_what_waits_for_a_topic_that_is_gone_fails_when_all_was_told(order: tuple[str, ...]) -> None:
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


def test_if_the_next_delay_would_pass_the_deadline_the_batch_fails_now() -> None:
    rig = Rig(delivery_semantic=policy(timeout=0.5, max_retries=9))
    future = rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    rig.step(0.010)
    rig.lose(pipeline, BROKEN)
    rig.step(0.100)
    assert not future.done()
    rig.lose(pipeline, BROKEN)  # the next delay would be 1 s
    with pytest.raises(DeliveryTimeoutError) as caught:
        future.result(0)
    assert caught.value.elapsed == pytest.approx(0.110)


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
    rig.accumulator.begin_flush([rig.topic_state], None)
    rig.run(4.9)
    assert not future.done()
    rig.run(0.2)
    assert isinstance(future.exception(0), DeliveryTimeoutError)


# Error codes.


@pytest.mark.parametrize("code", [6, 1002, 1003, 3001, 2001, 2003, 3000, 1000, -1, 56])
def test_retriable_codes_are_retried(code: int) -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    assert writes(rig.answer(request, code)) == []
    (again,) = writes(rig.step(0.020))
    rig.answer(again, base=9)
    assert future.result(0).offset == 9
    assert rig.topic_state.counters.records_retried == 1


@pytest.mark.parametrize("code", [72, 73])
def test_storage_trouble_waits_at_least_a_second(code: int) -> None:
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, code)
    assert writes(rig.run(0.99)) == []
    assert len(writes(rig.run(0.02))) == 1


@pytest.mark.parametrize("code", [2, 13, 9000, 6000, 11003, 11006, 2000, 2004])
def test_other_codes_are_final_and_name_themselves(code: int) -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, code)
    with pytest.raises(RejectedError) as caught:
        future.result(0)
    assert caught.value.code == code
    assert not caught.value.retriable
    assert not caught.value.may_be_stored
    assert f"({code})" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "doubt"),
    [(6, False), (2003, False), (3000, False), (56, True), (-1, True), (1000, True), (72, True), (73, True)],
)
def test_only_some_refusals_leave_no_doubt(code: int, doubt: bool) -> None:  # noqa: FBT001
    rig = Rig(delivery_semantic=policy(max_retries=0))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, code)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored is doubt


def test_a_failed_batch_does_not_stop_the_ones_behind_it() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=0))
    first = rig.send(b"1")
    (request,) = writes(rig.connect())
    second = rig.send(b"2")
    (next_request,) = writes(rig.answer(request, 6))
    assert isinstance(first.exception(0), RetriesExhaustedError)
    assert values(next_request) == [b"2"]
    rig.answer(next_request)
    assert second.result(0).offset == 0


def answer_by_size(rig: Rig, requests: list[Request], limit: int) -> list[list[bytes]]:
    """Answer as an SPU that takes batches up to `limit` bytes; returns the records that it stored, batch by batch."""
    stored: list[list[bytes]] = []
    for _ in range(100):
        if not requests:
            return stored
        (request,) = requests
        if any(batch.builder.size > limit for batch in request.batches):
            requests = writes(rig.answer(request, 10))
        else:
            base = sum(map(len, stored))
            stored.append(values(request))
            requests = writes(rig.answer(request, base=base))
    raise AssertionError("it goes on for ever")


def test_too_large_a_batch_is_halved_in_order_until_it_fits() -> None:
    rig = Rig()
    futures = [rig.send(b"%d" % n) for n in range(5)]
    stored = answer_by_size(rig, writes(rig.connect()), 80)
    assert stored == [[b"0", b"1"], [b"2"], [b"3", b"4"]]
    assert [f.result(0).offset for f in futures] == [0, 1, 2, 3, 4]
    assert rig.accumulator.used == 0
    assert rig.handle_stats.take() == (5, 0, 0, None)


def test_batches_refused_together_are_sent_one_by_one_before_they_are_halved() -> None:
    rig = Rig(batch_size=150)
    rig.send(b"-")
    (first,) = writes(rig.connect())
    for value in (b"a", b"b" * 200, b"c"):
        rig.send(value)
    stored = answer_by_size(rig, writes(rig.answer(first)), 160)
    assert stored == [[b"a"], [b"c"]]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=12), st.integers(80, 200))
def test_halves_hold_all_records_whatever_their_timestamps(stamps: list[int], limit: int) -> None:
    """Those of an application come in any order, and so do those of a clock that was set back."""
    rig = Rig(batch_size=10_000)
    first = min(stamps)
    futures = [rig.send(b"first", timestamp=1000 + first)]
    futures += [rig.send(b"%d" % n, timestamp=1000 + stamp) for n, stamp in enumerate(stamps)]
    stored = answer_by_size(rig, writes(rig.connect()), limit)
    assert [value for batch in stored for value in batch] == [b"first", *(b"%d" % n for n in range(len(stamps)))]
    results = [future.result(0) for future in futures]
    assert [result.offset for result in results] == list(range(len(futures)))
    assert [result.timestamp - 1000 for result in results] == [first, *stamps]
    assert rig.accumulator.used == 0


@pytest.mark.parametrize("large", [0, 1, 2])
def test_a_lone_record_that_is_too_large_fails_and_the_others_go(large: int) -> None:
    rig = Rig()
    futures = [rig.send(b"x" * (500 if n == large else 1)) for n in range(3)]
    answer_by_size(rig, writes(rig.connect()), 300)
    error = futures.pop(large).exception(0)
    assert isinstance(error, RejectedError)
    assert error.code == 10
    assert not error.may_be_stored
    assert [f.result(0).offset for f in futures] == [0, 1]
    assert rig.accumulator.used == 0


def test_the_halves_go_on_with_the_retries_that_are_left() -> None:
    rig = Rig(delivery_semantic=policy(max_retries=1))
    futures = [rig.send(b"1"), rig.send(b"2")]
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    (request,) = writes(rig.step(0.010))
    (request,) = writes(rig.answer(request, 10))
    for future in futures:
        requests = writes(rig.answer(request, 6))
        error = future.exception(0)
        assert isinstance(error, RetriesExhaustedError)
        assert error.attempts == 3
        request = requests[0] if requests else request


def test_a_half_belongs_to_those_who_sent_its_records() -> None:
    rig = Rig()
    other = type(rig.handle_stats)()
    futures = [rig.send(b"1"), rig.send(b"2")]
    futures += [rig.send(value, handle_stats=other) for value in (b"3", b"4")]
    (request,) = writes(rig.connect())
    (request,) = writes(rig.answer(request, 10))
    rig.abandon(other)
    assert [future.done() for future in futures] == [False, False, True, True]


def test_futures_watched_and_called_before_the_halving_are_resolved_after_it() -> None:
    rig = Rig()
    futures = [rig.send(b"%d" % n) for n in range(4)]
    seen: list[int | None] = []
    futures[3].add_done_callback(lambda future: seen.append(future.result().offset))
    waiter = threading.Thread(target=lambda: seen.append(futures[1].result(10).offset))
    waiter.start()
    while futures[1]._cond is None:
        threading.Event().wait(0.001)
    answer_by_size(rig, writes(rig.connect()), 80)
    waiter.join(10)
    assert rig.accumulator.callbacks.wait_for_due(10)
    assert sorted(map(str, seen)) == ["1", "3"]


def test_a_segment_size_caps_batches_from_the_start() -> None:
    rig = Rig(segment_size=100)
    for _ in range(3):
        rig.send(b"x" * 30)
    (request,) = writes(rig.connect())
    assert all(batch.builder.size <= 100 for batch in request.batches)


def test_an_answer_for_other_partitions_ends_the_connection() -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.begin_to_write(request)
    assert disconnects(rig.answer_with(request, ProduceResponse((), 0))) == [request.pipeline]
    assert not future.done()
    assert isinstance(rig.queue().sealed[0].last_error, ProtocolError)


# The leader.


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


def test_a_leader_that_is_replaced_while_it_does_not_answer_is_left_after_a_grace() -> None:
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


def test_a_lost_connection_does_not_fail_what_was_taken_out_of_its_request() -> None:
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


def test_a_status_push_without_change_is_no_news() -> None:
    rig = Rig(delivery_semantic=policy(initial_delay=5.0, max_delay=5.0, timeout=100.0))
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    rig.push("Partition", [partition("t-0", 5001)])
    assert rig.step() == []


def test_an_spu_that_the_sc_reports_offline_is_left_at_once() -> None:
    rig = Rig(request_timeout=30.0)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    assert disconnects(rig.step()) == [request.pipeline]
    rig.push("Partition", [partition("t-0", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5002]
    assert not future.done()


def test_waiting_lanes_go_on_when_their_partition_comes_online() -> None:
    rig = Rig()
    rig.push("Partition", [partition("t-0", 5001, PartitionResolution.OFFLINE)])
    rig.send()
    assert rig.step() == []
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


# Read-committed.


def settling(**settings: Any) -> tuple[Rig, DeliveryFuture, CommitWait]:
    rig = Rig(isolation="read-committed", **settings)
    future = rig.send(b"1")
    (request,) = writes(rig.connect())
    (commit_wait,) = asks(rig.answer(request, 7, base=40))
    return rig, future, commit_wait


def test_a_batch_that_timed_out_on_the_server_is_asked_for_and_not_written_again() -> None:
    rig, future, commit_wait = settling()
    assert rig.watermark(commit_wait, 40) == []
    assert asks(rig.run(COMMIT_POLL_INTERVAL)) == [commit_wait]
    actions = rig.watermark(commit_wait, 41)
    assert writes(actions) == []
    assert future.result(0).offset == 40


def test_the_deadline_of_a_settlement_gives_the_offset() -> None:
    rig, future, _ = settling(delivery_semantic=policy(timeout=5.0))
    assert writes(rig.run(5.1)) == []
    with pytest.raises(CommitTimeoutError) as caught:
        future.result(0)
    assert caught.value.offset == 40
    assert caught.value.may_be_stored


# Where the server may drop records, their offsets are not known.

FILTERS: dict[str, Any] = {"smartmodules": [SmartModule("filter")]}


def test_a_filtered_record_is_acknowledged_without_an_offset() -> None:
    rig = Rig(**FILTERS)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, base=40)
    assert future.result(0).acknowledged
    assert future.result(0).offset is None


def test_a_filtered_record_that_was_settled_has_no_offset_either() -> None:
    rig, future, commit_wait = settling(**FILTERS)
    rig.watermark(commit_wait, 41)
    assert future.result(0).offset is None
    rig, future, _ = settling(delivery_semantic=policy(timeout=5.0), **FILTERS)
    rig.run(5.1)
    with pytest.raises(CommitTimeoutError) as caught:
        future.result(0)
    assert caught.value.offset is None


def test_a_topic_that_drops_duplicates_gives_no_offsets_as_long_as_it_does() -> None:
    rig = Rig()
    plain = topic("t", 1)
    spec = plain.spec.replace(deduplication=Deduplication(100, None, "dedup"))
    rig.push("Topic", [plain.replace(spec=spec)])
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, base=40)
    assert future.result(0).offset is None
    rig.push("Topic", [plain])
    future = rig.send()
    (request,) = writes(rig.step())
    rig.answer(request, base=41)
    assert future.result(0).offset == 41


def test_a_settlement_whose_leader_changed_is_an_ordinary_retry() -> None:
    rig, future, _ = settling(delivery_semantic=policy(max_retries=1))
    rig.push("Partition", [partition("t-0", 5002)])
    (pipeline,) = connects(rig.run(0.1))
    assert pipeline.spu == 5002
    assert str(rig.queue().sealed[0].last_error) == "the leader changed: SPU 5002"
    rig.lose(pipeline, BROKEN)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored


def test_a_settlement_whose_connection_broke_is_an_ordinary_retry() -> None:
    rig, _, commit_wait = settling()
    pipeline = commit_wait.pipeline
    rig.lose(pipeline, BROKEN)
    assert connects(rig.run(0.1)) == [pipeline]
    assert rig.handle(OffsetsReplied(commit_wait, 100)) == []
    assert rig.topic_state.counters.records_acked == 0


def test_nothing_of_the_partition_is_written_while_it_settles() -> None:
    rig, _, commit_wait = settling()
    later = rig.send(b"2")
    assert writes(rig.run(1.0)) == []
    (request,) = writes(rig.watermark(commit_wait, 41))
    rig.answer(request, base=41)
    assert later.result(0).offset == 41


# At-most-once.


def test_at_most_once_is_done_at_once_and_off_the_books_when_written() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    future = rig.send()
    assert future.done()
    assert future.result(0) == ("t", 0, None, rig.clock.wall, False)
    assert rig.accumulator.used > 0
    (request,) = writes(rig.connect())
    assert any(isinstance(action, Sent) for action in rig.written(request))
    assert rig.accumulator.used == 0
    assert rig.topic_state.counters.records_unacknowledged == 1


def test_at_most_once_does_not_wait_for_answers() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send(b"1")
    (request,) = writes(rig.connect())
    rig.send(b"2")
    (second,) = writes(rig.written(request))
    assert values(second) == [b"2"]


def test_at_most_once_is_never_written_twice() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send(b"1")
    (request,) = writes(rig.connect())
    rig.begin_to_write(request)
    actions = rig.lose(request.pipeline, BROKEN) + rig.run(60.0)
    assert writes(actions) == []
    assert rig.topic_state.counters.records_dropped == 1
    assert rig.accumulator.used == 0


def test_at_most_once_reports_its_losses_once_a_streak() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    seen: list[str] = []
    for _ in range(3):
        rig.send()
        (pipeline,) = connects(rig.step())
        seen += reports(rig.lose(pipeline, BROKEN))
    assert seen.count("at_most_once.dropping") == 1
    rig.send()
    (request,) = writes(rig.connect())
    assert "delivery.recovered" in reports(rig.written(request))
    assert rig.topic_state.counters.records_dropped == 3


def test_at_most_once_counts_late_refusals_and_reports_them_once_a_streak() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    seen = reports(rig.answer_unread(request, 9000))
    rig.send()
    rig.send()
    (request,) = writes(rig.step())
    rig.written(request)
    seen += reports(rig.answer_unread(request, 9000))
    assert seen == ["at_most_once.rejected"]
    assert rig.topic_state.counters.records_rejected == 3


def test_at_most_once_is_dropped_after_request_timeout_without_leader() -> None:
    rig = Rig(delivery_semantic="at-most-once", request_timeout=3.0)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.send()
    rig.run(2.9)
    assert rig.topic_state.counters.records_dropped == 0
    rig.run(0.2)
    assert rig.topic_state.counters.records_dropped == 1


# Closing.


def test_abandoning_fails_what_is_left_of_one_handle_only() -> None:
    rig = Rig(2)
    mine = rig.send(to=0)
    other = type(rig.handle_stats)()
    theirs = rig.send(b"x", to=1, handle_stats=other)
    rig.step()
    rig.abandon(rig.handle_stats)
    with pytest.raises(ClosedError, match="the producer was closed before the record was acknowledged"):
        mine.result(0)
    assert not theirs.done()
