# SPDX-License-Identifier: Apache-2.0
"""A server's error codes: retried, final, and batches that are too large."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ConnectError,
    ProtocolError,
    RejectedError,
    RetriesExhaustedError,
)
from fluvio_sync.protocol.batch import MAX_TIMESTAMP_DELTA, MIN_TIMESTAMP_DELTA
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, disconnects, values, writes

if TYPE_CHECKING:
    from fluvio_sync._core.pipeline import Request

BROKEN = ConnectError("the connection broke")


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 0.010, "max_delay": 2.0, "timeout": 10.0} | settings)))


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
def test_only_some_error_codes_leave_no_doubt(code: int, doubt: bool) -> None:  # noqa: FBT001
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


def test_batches_rejected_together_are_sent_one_by_one_before_they_are_halved() -> None:
    rig = Rig(batch_size=150)
    rig.send(b"-")
    (first,) = writes(rig.connect())
    for value in (b"a", b"b" * 200, b"c"):
        rig.send(value)
    stored = answer_by_size(rig, writes(rig.answer(first)), 160)
    assert stored == [[b"a"], [b"c"]]


@given(
    st.lists(st.integers(-5, 5) | st.sampled_from([MIN_TIMESTAMP_DELTA, MAX_TIMESTAMP_DELTA]), min_size=2, max_size=12),
    st.integers(80, 200),
)
def test_halves_hold_all_records_with_timestamps_in_any_order(stamps: list[int], limit: int) -> None:
    """Those of an application come in any order, and so do those of a clock that was set back."""
    rig = Rig(batch_size=10_000)
    first = 1_700_000_000_000
    futures = [rig.send(b"first", timestamp=first)]
    futures += [rig.send(b"%d" % n, timestamp=first + stamp) for n, stamp in enumerate(stamps)]
    stored = answer_by_size(rig, writes(rig.connect()), limit)
    assert [value for batch in stored for value in batch] == [b"first", *(b"%d" % n for n in range(len(stamps)))]
    results = [future.result(0) for future in futures]
    assert [result.offset for result in results] == list(range(len(futures)))
    assert [result.timestamp - first for result in results] == [0, *stamps]
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


def test_futures_that_were_waited_for_before_their_batch_was_halved_are_resolved() -> None:
    rig = Rig()
    futures = [rig.send(b"%d" % n) for n in range(4)]
    seen: list[int | None] = []
    futures[3].add_done_callback(lambda future: seen.append(future.result().offset))
    waiters = [
        threading.Thread(target=lambda: seen.append(futures[1].result(10).offset)),
        threading.Thread(target=lambda: seen.extend(future.result(0).offset for future in wait(futures[2:3], 10).done)),
    ]
    for waiter in waiters:
        waiter.start()
    shared = futures[0]._shared
    while shared.completed is None or not shared.completed._waiters or not futures[2]._waiters:
        threading.Event().wait(0.001)
    answer_by_size(rig, writes(rig.connect()), 80)
    for waiter in waiters:
        waiter.join(10)
    assert rig.accumulator.callbacks.wait_for_due(10)
    assert sorted(map(str, seen)) == ["1", "2", "3"]


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
