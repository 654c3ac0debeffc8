# SPDX-License-Identifier: Apache-2.0
"""At-most-once: never written twice, and each record counted as sent or dropped."""

from __future__ import annotations

from typing import Any

from fluvio_sync._core.partition import Sent
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ConnectError,
)
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, connects, disconnects, reports, values, writes
from tests.support.servers import spu

BROKEN = ConnectError("the connection broke")


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 0.010, "max_delay": 2.0, "timeout": 10.0} | settings)))


def test_at_most_once_is_done_at_once_and_gives_its_memory_back_when_written() -> None:
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


def test_at_most_once_reports_its_losses_until_it_works_again_once() -> None:
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


def test_at_most_once_counts_late_rejections_and_reports_them_once() -> None:
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


def test_the_answer_to_at_most_once_has_its_whole_time_however_late_the_request_was_written() -> None:
    """The deadline of a batch ends with its writing, and must not close a connection that is in order."""
    rig = Rig(delivery_semantic="at-most-once", connect_timeout=60.0, request_timeout=30.0)
    rig.send()
    rig.run(25.0)
    (request,) = writes(rig.connect())
    rig.written(request)
    assert disconnects(rig.run(29.9)) == []
    assert disconnects(rig.run(0.2)) == [request.pipeline]


def test_late_rejections_are_counted_though_no_producer_has_these_settings_any_more() -> None:
    rig = Rig(delivery_semantic="at-most-once")
    rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.step()
    rig.accumulator._crowded = 0
    forgotten = rig.accumulator.forget_unused(rig.metadata)
    rig.dispatcher.forget(forgotten)
    assert [queue.topic for queue in forgotten] == ["t"]
    rig.answer_unread(request, 9000)
    counted = rig.accumulator.stats_by_topic(0)["t"]
    assert (counted.records_unacknowledged, counted.records_rejected) == (1, 1)
