# SPDX-License-Identifier: Apache-2.0
"""What may stand in one request, what an answer has to be, and how long one is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from rig import Rig, asks, connects, disconnects, partition, reports, response, spu, topic, values, writes

from fluvio_sync._actions import Report
from fluvio_sync.config import SmartModule
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, Isolation
from fluvio_sync.errors import ConnectError, RequestTimeoutError
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.protocol.produce import PartitionResult, ProduceResponse, TopicResult
from fluvio_sync.retry import RetryPolicy, RetryStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluvio_sync._actions import Action

BROKEN = ConnectError("the connection was lost")
SHORT: dict[str, Any] = {"initial_delay": 0.1, "strategy": RetryStrategy.FIXED_DELAY}


def said(actions: Sequence[Action], event: str) -> list[Report]:
    return [action for action in actions if isinstance(action, Report) and action.event == event]


# What shares a request.


@pytest.mark.parametrize(
    "settings",
    [
        {"delivery_semantic": AtMostOnce()},
        {"server_timeout": 7.0},
        {"smartmodules": [SmartModule("filter")]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_records_with_other_demands_of_the_request_travel_in_another(settings: dict[str, Any]) -> None:
    rig = Rig(partitions=2)
    other = rig.make_channel(**settings)
    rig.send(b"1", to=0)
    rig.send(b"2", to=1, channel=other)
    first, second = writes(rig.connect())
    assert (values(first), values(second)) == ([b"1"], [b"2"])


def test_settings_that_a_request_does_not_name_may_differ_within_it() -> None:
    rig = Rig(partitions=2)
    other = rig.make_channel(batch_size=500)
    rig.send(b"1", to=0)
    rig.send(b"2", to=1, channel=other)
    (request,) = writes(rig.connect())
    assert values(request) == [b"1", b"2"]


def test_a_partition_stands_once_in_a_request() -> None:
    rig = Rig()
    other = rig.make_channel(batch_size=500)
    rig.send(b"1")
    rig.send(b"2", channel=other)
    first, second = writes(rig.connect())
    assert (values(first), values(second)) == ([b"1"], [b"2"])


def test_the_partitions_of_a_topic_stand_together() -> None:
    rig = Rig(partitions=2)
    rig.push("Partition", [partition("a-0", 5001)])
    rig.push("Topic", [topic("a", 1)])
    config = rig.channel.config
    of_a = rig.accumulator.channel("a", config, rig.channel.compression, rig.metadata)
    rig.send(b"1", to=0)
    rig.send(b"2", channel=of_a)
    rig.send(b"3", to=1)
    (request,) = writes(rig.connect())
    assert [lane.topic for lane, _ in request.entries] == ["a", "t", "t"]


def test_what_does_not_fit_is_first_in_the_next_request() -> None:
    rig = Rig(partitions=3, max_request_size=2000, batch_size=1000)
    for number in range(3):
        rig.send(bytes([number]) * 900, to=number)
    first, second = writes(rig.connect())
    assert [value[0] for value in values(first)] == [0, 1]
    assert [value[0] for value in values(second)] == [2]


# What an answer has to be.


def test_an_offset_below_zero_ends_the_connection() -> None:
    rig = Rig(partitions=2, delivery_semantic=AtLeastOnce(RetryPolicy(**SHORT)))
    futures = [rig.send(b"1", to=0), rig.send(b"2", to=1)]
    (request,) = writes(rig.connect())
    good, bad = (
        PartitionResult(index, response(request).topics[0].partitions[0].error_code, at)
        for index, at in ((0, 5), (1, -1))
    )
    rig.dispatcher.replied(request, ProduceResponse((TopicResult("t", (good, bad)),)), rig.clock.now)
    assert disconnects(rig.step()) == [request.link]
    assert not any(future.done() for future in futures)
    rig.step(0.1)
    (again,) = writes(rig.connect())
    assert values(again) == [b"1", b"2"]


# How long one is waited for.


def test_an_spu_that_waits_for_replicas_has_that_time_as_well() -> None:
    rig = Rig(partitions=2, request_timeout=10.0, isolation=Isolation.READ_COMMITTED, server_timeout=2.0)
    rig.send(b"1", to=0)
    rig.send(b"2", to=1)
    rig.connect()
    assert disconnects(rig.run(13.9)) == []
    assert disconnects(rig.run(0.2)) != []


def test_a_request_is_not_waited_for_longer_than_its_records_live() -> None:
    rig = Rig(request_timeout=30.0, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=3.0)))
    rig.send()
    rig.connect()
    assert disconnects(rig.run(2.9)) == []
    assert disconnects(rig.run(0.2)) != []


def test_those_behind_it_do_not_pay_for_a_short_deadline() -> None:
    rig = Rig(partitions=2, request_timeout=30.0, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=3.0)))
    patient = rig.make_channel(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=60.0)))
    rig.send(b"1", to=0)
    rig.connect()
    rig.send(b"2", to=1, channel=patient)
    rig.step()
    assert disconnects(rig.run(29.0)) == []
    assert disconnects(rig.run(2.0)) != []


def test_the_time_that_was_waited_is_told() -> None:
    rig = Rig(request_timeout=10.0, delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=0)))
    future = rig.send()
    rig.connect()
    rig.run(10.0)
    error = future.exception(0)
    assert error is not None
    assert isinstance(error.__cause__, RequestTimeoutError)
    assert "did not answer a produce request within 10.0 s" in str(error.__cause__)


# Connections and their SPUs.


def test_what_waits_behind_a_lost_request_connects_again_at_once() -> None:
    rig = Rig(partitions=2, delivery_semantic=AtLeastOnce(RetryPolicy(**SHORT)))
    rig.send(b"1", to=0)
    (request,) = writes(rig.connect())
    other = rig.send(b"2", to=1)
    rig.dispatcher.records(rig.channel.lanes[1], rig.clock.now)  # queued, and in no request yet
    actions = rig.lose(request.link, BROKEN)
    assert connects(actions) == [request.link]
    assert not other.done()


def test_an_offline_spu_costs_its_own_connections_only() -> None:
    rig = Rig(partitions=2)
    rig.push("Partition", [partition("t-1", 5002)])
    rig.send(b"1", to=0)
    rig.send(b"2", to=1)
    rig.connect()
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    assert [link.spu for link in disconnects(rig.step())] == [5001]


def test_a_partition_that_fails_and_recovers_is_told_of_by_name() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(**SHORT)))
    rig.send()
    (request,) = writes(rig.connect())
    (failing,) = said(rig.answer(request, 2003), "delivery.failing")
    assert failing.level == "warning"
    assert failing.fields.keys() == {"topic", "partition", "error"}
    assert (failing.fields["topic"], failing.fields["partition"]) == ("t", 0)
    assert rig.channel.failing == {0}
    (again,) = writes(rig.step(0.1))
    (recovered,) = said(rig.answer(again), "delivery.recovered")
    assert (recovered.level, recovered.fields) == ("info", {"topic": "t", "partition": 0})
    assert rig.channel.failing == set()
    assert "delivery.failing" not in reports(rig.step())


# Settling.


def test_each_batch_of_a_settlement_that_ends_has_its_own_offset() -> None:
    rig = Rig(isolation=Isolation.READ_COMMITTED, batch_size=100, delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5)))
    futures = [rig.send(b"x" * 90) for _ in range(3)]
    (request,) = writes(rig.connect())
    (settlement,) = asks(rig.answer(request, 7, base=40))
    assert len(settlement.batches) > 1
    rig.run(5.0)
    assert [getattr(future.exception(0), "offset", None) for future in futures] == [40, 41, 42]


def test_a_watermark_that_is_not_told_is_asked_for_again_after_a_while() -> None:
    rig = Rig(isolation=Isolation.READ_COMMITTED)
    future = rig.send()
    (request,) = writes(rig.connect())
    (settlement,) = asks(rig.answer(request, 7, base=3))
    for mark in (None, 3):
        assert asks(rig.watermark(settlement, mark)) == []
        assert asks(rig.step(0.09)) == []
        assert asks(rig.step(0.01)) == [settlement]
    rig.watermark(settlement, 4)
    assert future.result(0).offset == 3
    assert rig.channel.lanes[0].settlement is None


def test_offsets_that_are_not_told_in_time_end_the_connection() -> None:
    rig = Rig(isolation=Isolation.READ_COMMITTED, request_timeout=2.0)
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 7)
    assert disconnects(rig.run(1.9)) == []
    assert disconnects(rig.run(0.2)) == [request.link]
