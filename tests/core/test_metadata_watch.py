# SPDX-License-Identifier: Apache-2.0
"""The watch on the SC: a silent subscription is asked and replaced, and an idle one may end in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluvio_sync._core.dispatcher import ABANDON_GRACE
from fluvio_sync.config import ProducerConfig
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce
from fluvio_sync.errors import MetadataTimeoutError, TopicNotFoundError
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, reports, writes
from tests.support.servers import partition, topic

if TYPE_CHECKING:
    from collections.abc import Callable

TEN_SECONDS = AtLeastOnce(RetryPolicy(timeout=10.0))


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the events that were logged since the last call."""
    caplog.set_level("DEBUG")

    def take() -> list[str]:
        found = [f"{record.levelname} {record.getMessage().split()[0]}" for record in caplog.records]
        caplog.clear()
        return [event for event in found if " sc." in event]

    return take


# Half-open connections.


def test_a_silent_sc_is_asked_and_the_answer_is_enough(events: Callable[[], list[str]]) -> None:
    rig = Rig()
    asked = rig.servers.sc_asked
    rig.run(100.0)
    assert 4 <= rig.servers.sc_asked - asked <= 7
    assert len(rig.sender._watch.connections()) == 1
    assert events() == []
    assert rig.engine.health().connected


def test_an_sc_that_pushes_is_not_asked() -> None:
    rig = Rig()
    asked = rig.servers.sc_asked
    for _ in range(10):
        rig.push("Topic", [topic("t", 1)])
        rig.run(10.0)
    assert rig.servers.sc_asked == asked


def test_a_half_open_connection_is_replaced_within_a_bounded_time(events: Callable[[], list[str]]) -> None:
    rig = Rig()
    rig.forget_sc()
    rig.push("Partition", [partition("t-0", 5002)])  # there is no connection that would bring it
    rig.run(14.0)
    assert rig.metadata.route("t", 0).spu == 5001
    rig.run(2.0)
    assert rig.metadata.route("t", 0).spu == 5002
    assert rig.engine.health().connected
    assert events() == ["INFO sc.replaced"]
    rig.push("Partition", [partition("t-0", 5001)])
    assert rig.metadata.route("t", 0).spu == 5001


@pytest.mark.parametrize("semantic", [TEN_SECONDS, AtMostOnce()])
def test_a_leader_that_does_not_lead_makes_the_sc_be_asked(semantic: AtLeastOnce | AtMostOnce) -> None:
    rig = Rig(delivery_semantic=semantic)
    rig.forget_sc()
    rig.servers.objects["Partition"]["t-0"] = partition("t-0", 5002)
    future = rig.send()
    (request,) = writes(rig.connect())
    if semantic is TEN_SECONDS:
        rig.answer(request, 6)
    else:
        rig.written(request)
        rig.answer_unread(request, 6)
    rig.run(0.6)
    assert rig.metadata.route("t", 0).spu == 5002
    if semantic is TEN_SECONDS:
        rig.run(ABANDON_GRACE)  # of the second attempt, at the old leader
        (again,) = writes(rig.connect())
        assert again.pipeline.spu == 5002
        rig.answer(again, base=1)
        assert future.result(0).offset == 1


def test_an_spu_that_breaks_makes_the_sc_be_asked() -> None:
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    rig.forget_sc()
    rig.servers.objects["Partition"]["t-0"] = partition("t-0", 5002)
    rig.connection(request.pipeline).transport.ended = True
    rig.run(0.6)
    assert rig.metadata.route("t", 0).spu == 5002


def test_a_healthy_watch_is_not_replaced_after_not_leader() -> None:
    rig = Rig(delivery_semantic=TEN_SECONDS)
    (before,) = rig.sender._watch.connections()
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(5.0)
    assert rig.sender._watch.connections() == [before]


def test_metadata_that_spus_contradict_for_a_second_is_read_anew_and_then_more_rarely() -> None:
    """The SC answers and its streams bring nothing: they are dead, or the SPUs have not heard of the leader yet."""
    policy = RetryPolicy(max_retries=1000, initial_delay=0.5, max_delay=0.5, timeout=900.0)
    rig = Rig(delivery_semantic=AtLeastOnce(policy))
    asked, made = rig.servers.sc_asked, []
    rig.send()
    (request,) = writes(rig.connect())
    start = rig.clock.now
    while rig.clock.now < start + 100.0:
        before = rig.sender._watch.connections()
        rig.answer(request, 6)
        (request,) = writes(rig.run(0.5))
        if rig.sender._watch.connections() != before:
            made.append(round(rig.clock.now - start))
    assert made[0] <= 2
    assert 5 <= len(made) <= 8
    assert rig.servers.sc_asked - asked <= 101 + len(made)


def test_dead_streams_of_an_sc_that_answers_are_replaced() -> None:
    rig = Rig(delivery_semantic=TEN_SECONDS)
    rig.servers._streams.clear()
    rig.push("Partition", [partition("t-0", 5002)])
    future = rig.send()
    (request,) = writes(rig.connect())
    while request.pipeline.spu == 5001:
        rig.answer(request, 6)
        (request,) = writes(rig.run(3.0) + rig.connect())
    rig.answer(request)
    assert future.result(0).acknowledged


def test_an_sc_that_is_silent_and_unreachable_is_told_of(events: Callable[[], list[str]]) -> None:
    rig = Rig(connect_timeout=3.0)
    rig.forget_sc()
    rig.servers.sc_unreachable = True
    rig.run(18.0)
    assert rig.engine.health().connected
    assert rig.engine.health().disconnected_since is None
    rig.run(1.0)
    health = rig.engine.health()
    assert not health.connected
    assert health.disconnected_since == rig.clock.time_ms() - 19_000
    assert "has not answered for 18.5 s: cannot connect to the SC at 127.0.0.1:9003" in str(health.last_error)
    assert events() == ["WARNING sc.disconnected"]
    rig.servers.sc_unreachable = False
    assert reports(rig.run(5.0)) == ["sc.reconnected"]
    assert rig.engine.health().connected
    assert rig.engine.health().disconnected_since is None


def test_a_slow_sc_that_takes_no_other_connection_is_kept(events: Callable[[], list[str]]) -> None:
    rig = Rig(connect_timeout=3.0)
    rig.forget_sc()
    rig.servers.sc_unreachable = True
    rig.run(16.0)
    for transport, _ in rig.servers._streams.values():
        transport.forgotten = False
    rig.push("Partition", [partition("t-0", 5002)])
    rig.run(3.0)
    assert rig.metadata.route("t", 0).spu == 5002
    assert rig.engine.health().connected
    assert len(rig.sender._watch.connections()) == 1
    assert events() == ["DEBUG sc.successor_failed"]


def test_an_interruption_closes_both_subscriptions() -> None:
    rig = Rig()
    rig.forget_sc()
    rig.servers.sc_unreachable = True
    rig.run(16.0)
    old = rig.sender._watch.connections()
    assert len(old) == 2
    rig.interrupt()
    rig.servers.sc_unreachable = False
    rig.run(0.2)
    assert all(connection.stage.name == "CLOSED" for connection in old)
    assert rig.engine.health().connected


# Connections that end.


def test_an_idle_connection_that_ends_is_made_again_in_silence(events: Callable[[], list[str]]) -> None:
    rig = Rig()
    rig.run(2.0)
    rig.servers.end_sc_connection()
    rig.push("Partition", [partition("t-0", 5002)])
    assert rig.engine.health().connected
    rig.step()
    assert rig.engine.health() == rig.engine.health()._replace(connected=True, last_error=None)
    assert rig.metadata.complete
    assert rig.metadata.route("t", 0).spu == 5002
    assert events() == ["DEBUG sc.resubscribing"]


def test_a_connection_that_cannot_be_made_again_is_told_of(events: Callable[[], list[str]]) -> None:
    rig = Rig()
    rig.run(2.0)
    rig.lose_sc()
    assert events() == ["DEBUG sc.resubscribing", "WARNING sc.disconnected"]
    assert not rig.engine.health().connected
    assert rig.sender.next_timer() == pytest.approx(rig.clock.now + 0.1)


def test_connections_that_end_at_once_are_not_made_again_at_once(events: Callable[[], list[str]]) -> None:
    rig = Rig()
    rig.run(2.0)
    for _ in range(2):
        rig.servers.end_sc_connection()
        rig.step()
    assert events() == ["DEBUG sc.resubscribing", "WARNING sc.disconnected"]


def test_metadata_that_arrives_in_the_last_moment_counts() -> None:
    rig = Rig(connect_timeout=2.0)
    rig.lose_sc()
    rig.servers.sc_online = rig.servers.sc_silent = True
    rig.run(0.2)
    for label, objects in rig.servers.objects.items():
        rig.servers.tell(label, everything=tuple(objects.values()))
    rig.step(3.0)
    assert rig.metadata.complete
    assert rig.engine.health().connected


# Topics that are not there.


def look_for(rig: Rig, name: str, timeout: float = 0.0) -> Exception | None:
    """Ask for a topic's state; the time stands still meanwhile."""
    engine = rig.engine
    engine.config = engine.config._replace(metadata_timeout=timeout)
    try:
        engine.topic_state(name, ProducerConfig(), rig)
    except (MetadataTimeoutError, TopicNotFoundError) as error:
        return error
    return None


def test_an_absent_topic_is_asked_for_before_it_is_said_to_be_absent() -> None:
    rig = Rig()
    rig.run(5.0)
    asked = rig.servers.sc_asked
    error = look_for(rig, "absent", 0.001)
    assert isinstance(error, MetadataTimeoutError)
    assert "could not be asked" in str(error)
    rig.step()
    assert rig.servers.sc_asked == asked + 1
    assert isinstance(look_for(rig, "absent", 0.001), TopicNotFoundError)


def test_without_a_timeout_the_metadata_is_all_there_is() -> None:
    rig = Rig()
    rig.run(5.0)
    assert isinstance(look_for(rig, "absent"), TopicNotFoundError)


def test_a_topic_that_a_half_open_connection_did_not_bring_is_found() -> None:
    rig = Rig()
    rig.forget_sc()
    rig.push("Topic", [topic("new", 1)])
    rig.run(5.0)
    assert isinstance(look_for(rig, "new", 0.001), MetadataTimeoutError)
    rig.run(0.6)
    assert look_for(rig, "new") is None


def test_a_topic_that_was_absent_makes_the_sc_be_asked_all_the_same() -> None:
    rig = Rig()
    assert isinstance(look_for(rig, "later"), TopicNotFoundError)
    rig.step()
    rig.forget_sc()
    rig.push("Topic", [topic("later", 1)])
    rig.run(2.0)
    assert isinstance(look_for(rig, "later"), TopicNotFoundError)
    rig.run(0.6)
    assert look_for(rig, "later") is None
