# SPDX-License-Identifier: Apache-2.0
"""The errors of records: their text for a person, and their attributes for a program."""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ClosedError,
    CommitTimeoutError,
    ConnectError,
    DeliveryError,
    DeliveryTimeoutError,
    RejectedError,
    RequestTimeoutError,
    RetriesExhaustedError,
    ServerError,
)
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, asks, connects, writes
from tests.support.servers import partition, spu, topic

BROKEN = ConnectError("the connection broke")


def rejected(code: int, **settings: Any) -> BaseException | None:
    """Return the error of a record whose only attempt, 0.5 s after it was ready, a server answers with a code."""
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=0, **settings)))
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.clock.advance(0.5)
    rig.answer(request, code)
    return future.exception(0)


def test_an_exhausted_policy_tells_the_effort_and_the_last_failure() -> None:
    error = rejected(6)
    assert isinstance(error, RetriesExhaustedError)
    assert (
        str(error)
        == (
            "topic 't', partition 0: not acknowledged after 1 attempt in 0.5 s, the last that the policy allows: "
            "SPU 5001 answered NotLeaderForPartition (6) for topic 't', partition 0: "
            + str(error.__cause__).split(": ")[1]
        )
        + "; it is not stored"
    )
    assert (error.topic, error.partition, error.attempts, error.elapsed) == ("t", 0, 1, 0.5)
    assert error.retriable
    assert isinstance(error.__cause__, ServerError)
    assert (error.__cause__.code, error.__cause__.name) == (6, "NotLeaderForPartition")


def test_several_attempts_are_counted() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=1, initial_delay=0)))
    future = rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    rig.lose(pipeline, BROKEN)
    assert "not acknowledged after 2 attempts in 0.0 s" in str(future.exception(0))


def test_a_passed_timeout_tells_the_last_failure_if_there_was_one() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5)))
    in_flight = rig.send()
    writes(rig.connect())
    rig.run(5.0)
    error = in_flight.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert isinstance(error.__cause__, RequestTimeoutError)
    assert error.retriable
    assert f"the last failure: {error.__cause__}; it is not stored" in str(error)


@pytest.mark.parametrize("max_retries", [0, 1])
def test_a_passed_timeout_is_one_though_the_retries_are_exhausted_as_well(max_retries: int) -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=1, max_retries=max_retries, initial_delay=0)))
    future = rig.send()
    (request,) = writes(rig.connect())
    for _ in range(max_retries):
        (request,) = writes(rig.answer(request, 6))
    rig.run(1.0)
    assert isinstance(future.exception(0), DeliveryTimeoutError)


def test_a_passed_timeout_without_leader_tells_why_there_is_none() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5)))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.run(5.0)
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.attempts == 0
    assert f"the last failure: {error.__cause__}; it is not stored" in str(error)
    assert "SPU 5001" in str(error)


def test_a_rejection_has_the_servers_code_and_name() -> None:
    error = rejected(2004)
    assert isinstance(error, RejectedError)
    assert (error.code, error.name) == (2004, "TopicInvalidConfiguration")
    assert not error.retriable
    assert str(error) == f"topic 't', partition 0: {error.__cause__}"
    assert str(error).count(";") == 0  # no advice


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (10, "send less"),
        (72, "free space"),
        (73, "restart its SPU"),
        (6001, "load the SmartModule"),
        (9000, "compression setting"),
    ],
)
def test_where_something_can_be_done_the_error_says_so(code: int, advice: str) -> None:
    error = rejected(code)
    assert advice in str(error)
    assert error is not None
    assert advice in str(error.__cause__)  # which is logged before the record fails


def test_a_record_that_was_not_seen_replicated_has_its_own_offset() -> None:
    rig = Rig(isolation="read-committed", delivery_semantic=AtLeastOnce(RetryPolicy(timeout=1)))
    futures = [rig.send(), rig.send()]
    (request,) = writes(rig.connect())
    assert asks(rig.answer(request, 7, base=40))
    rig.run(1.0)
    for future, offset in zip(futures, (40, 41), strict=True):
        error = future.exception(0)
        assert isinstance(error, CommitTimeoutError)
        assert (error.offset, error.retriable, error.may_be_stored) == (offset, False, True)
        assert isinstance(error.__cause__, ServerError)


def test_a_deleted_topic_and_a_closed_client_say_whether_the_record_is_stored() -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.abandon()
    assert isinstance(future.exception(0), ClosedError)
    assert "topic 't', partition 0: the client was closed" in str(future.exception(0))
    assert "may have been stored" in str(future.exception(0))

    rig = Rig()
    rig.push("Topic", [topic("t", 1)], delete=True)
    future = rig.send()
    rig.step()
    error = future.exception(0)
    assert isinstance(error, DeliveryError)
    assert str(error).endswith("; it is not stored")
    assert not error.retriable


def test_each_record_has_an_error_of_its_own() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=0)))
    rig.push("Partition", [partition("t-0", 5001)])
    futures = [rig.send(), rig.send()]
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    one, two = (future.exception(0) for future in futures)
    assert one is not two
    assert str(one) == str(two)


# A reason, though no attempt of the batch has failed.


def reason_of(future: Any) -> str:
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.__cause__ is not None
    assert f"the last failure: {error.__cause__}" in str(error)
    return str(error.__cause__)


def test_a_partition_without_leader_says_for_how_long() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5)))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.run(5.0)
    assert reason_of(future) == (
        "partition 0 of topic 't' has had no leader for 5.0 s: "
        "SPU 5001, the leader of partition 0 of topic 't', is offline"
    )


def test_a_connection_that_is_still_being_made_says_for_how_long() -> None:
    rig = Rig(connect_timeout=60.0, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5)))
    future = rig.send()
    rig.run(5.0)
    assert reason_of(future).endswith("still connecting after 5.0 s")


def test_an_answer_that_is_awaited_says_for_how_long() -> None:
    rig = Rig(batch_size=100, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=0.8)))
    in_flight = rig.send(b"1" * 50)
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.run(0.3)
    behind = rig.send(b"2" * 90)
    rig.queue().seal_open(rig.clock.now)
    rig.run(0.6)
    assert reason_of(in_flight).endswith(" has not answered a produce request for 0.8 s")
    assert not behind.done()


def test_a_batch_behind_a_failing_one_has_its_error() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(initial_delay=4.0)))
    rig.send()
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, BROKEN)
    behind = rig.send()
    rig.step()
    rig.abandon()
    error = behind.exception(0)
    assert error is not None
    assert error.__cause__ is BROKEN


def test_a_closed_client_says_why_the_record_was_not_acknowledged_yet() -> None:
    rig = Rig()
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.run(3.0)
    rig.abandon()
    error = future.exception(0)
    assert isinstance(error, ClosedError)
    assert "at that time: partition 0 of topic 't' has had no leader for 3.0 s" in str(error)
