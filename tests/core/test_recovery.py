# SPDX-License-Identifier: Apache-2.0
"""An exception at any line of a step: nothing is lost, counted twice, or out of order, and no memory leaks.

The step is the real sender's, over real connections and frames, and so is the recovery at the next step.
"""

from __future__ import annotations

import itertools
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import protocol
from fluvio_sync._base.compiled import COMPILED
from fluvio_sync._core.events import Connected, Disconnected, OffsetsReplied, Replied, Written
from fluvio_sync._core.pipeline import AwaitingCommit
from fluvio_sync._net.transport import Stage
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce
from fluvio_sync.errors import ConnectError, DeliveryTimeoutError, RetriesExhaustedError
from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.interruption import Interruption, handling, interrupted
from tests.support.rig import Rig, asks, connects, replicated_to, reports, values, writes
from tests.support.servers import partition, records, response, spu
from tests.support.system import replaces_code, traces_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync._core.partition import FlushBarrier
    from fluvio_sync.futures import DeliveryFuture

FOLDER = Path(protocol.__file__).parent
ERROR = ConnectError("the connection broke")
PATIENT = AtLeastOnce(RetryPolicy(max_retries=1000, initial_delay=0.01, timeout=900.0))
ONE_ATTEMPT = AtLeastOnce(RetryPolicy(max_retries=0, timeout=900.0))


# One line of so many is interrupted, others at each run; and one moment of so many by a handler that returns.
STRIDE, MOMENTS = (1, 1) if os.environ.get("FLUVIO_SYNC_EVERY_LINE") else (5, 50)
# Modules whose functions keep nothing: an exception in one is an exception in its caller.
PURE = (
    "_base/log.py",
    "_base/text.py",
    "errors.py",
    *(f"protocol/{path.name}" for path in FOLDER.iterdir() if path.name not in ("batch.py", "frames.py")),
)


def lines() -> Iterator[int]:
    """Return the lines to interrupt: one of each `STRIDE`, beginning anywhere."""
    return itertools.count(random.randrange(STRIDE), STRIDE)


class Story:
    """Five records on their way, an event, and a server that stores everything afterwards.

    `stored`: the records that SPUs received in requests which they then answered as stored, by partition.
    """

    def __init__(self, semantic: AtLeastOnce | AtMostOnce = PATIENT) -> None:
        self.rig = Rig(2, batch_size=200, delivery_semantic=semantic)
        self.stored: dict[int, list[bytes]] = {0: [], 1: []}
        self.futures: list[DeliveryFuture] = [self.rig.send(b"%d" % n * 50, to=n % 5 // 4) for n in range(5)]
        self.barrier: FlushBarrier = self.rig.accumulator.begin_flush(self.rig.topic_state, None)

    def connect(self) -> None:
        self.rig.connect()

    def wait(self) -> None:
        self.rig.step(0.1)

    def answer(self, *codes: int) -> None:
        """Have the first request of each SPU answered; it is stored if the code is 0 or 7."""
        for pipeline in self.rig.connected():
            for request in [*pipeline.in_flight][:1]:
                if self.rig.is_unwritten(request):
                    self.rig.written(request)
                if request.acked:
                    self.store(records(self.rig.arrived(request)), codes or (0,))
                    self.rig.answer(request, *codes, base=0)
                elif request.unread:
                    self.rig.answer_unread(request, 0)

    def store(self, by_partition: dict[int, list[bytes]], codes: tuple[int, ...]) -> None:
        for index, (number, received) in enumerate(by_partition.items()):
            if codes[index % len(codes)] in (0, 7):
                self.stored[number] += received

    def lose(self) -> None:
        for pipeline in self.rig.connected():
            for request in pipeline.in_flight:
                self.rig.begin_to_write(request)
            self.rig.lose(pipeline, ERROR)

    def lose_sc(self) -> None:
        self.rig.lose_sc()
        self.rig.servers.sc_online = True
        self.rig.step(0.2)

    def move(self) -> None:
        self.rig.push("Partition", [partition("t-0", 5002), partition("t-1", 5002)])
        self.rig.step(0.4)

    def confirm(self) -> None:
        """Have each SPU say that the records which it was asked about are replicated."""
        for queue in self.rig.accumulator.queues():
            if isinstance(queue.state, AwaitingCommit) and queue.state.wait.asked_at is not None:
                self.rig.watermark(queue.state.wait, 1000)

    def come_to_an_end(self) -> None:
        for _ in range(100):
            self.rig.step(0.2)
            if not self.barrier.batches and self.rig.accumulator.is_empty():
                return
            self.connect()
            self.confirm()
            self.answer()
        raise AssertionError("it does not end")


STORIES: dict[str, list[Callable[[Story], None]]] = {
    "connected": [Story.connect],
    "acknowledged": [Story.connect, Story.answer],
    "rejected": [Story.connect, lambda story: story.answer(6, 3000), Story.wait],
    "lost": [Story.connect, Story.lose, Story.connect, Story.lose],
    "not connected": [Story.wait, Story.lose],
    "too large": [Story.connect, lambda story: story.answer(10, 0), lambda story: story.answer(10), Story.answer],
    "not replicated": [Story.connect, lambda story: story.answer(7), Story.confirm],
    "moved": [Story.connect, Story.move],
    "SC lost": [Story.connect, Story.lose_sc],
}


def tell(story: Story, parts: list[Callable[[Story], None]]) -> None:
    for part in parts:
        part(story)


def check(story: Story) -> None:
    rig = story.rig
    assert all(future.done() for future in story.futures)
    assert rig.accumulator.used == 0
    assert all(not queue.unresolved and queue.charge == 0 for queue in rig.accumulator.queues())
    assert not rig.sender.in_step
    connections = rig.sender._all_connections()
    assert {item.transport for item in connections} == {
        transport for transport in rig.servers.transports if transport.stage is not Stage.CLOSED
    }
    assert set(rig.sender._unready) <= set(connections)
    for index, stored in story.stored.items():
        firsts = list(dict.fromkeys(stored))
        assert firsts == sorted(firsts), (index, stored)


@traces_lines
@pytest.mark.parametrize("name", STORIES)
def test_at_least_once_survives_an_exception_at_any_line(name: str) -> None:
    for at in lines():
        story = Story()
        first, *rest = STORIES[name]
        if rest:  # the first part of all others is a story of its own
            first(story)
        was_interrupted = interrupted(lambda: tell(story, rest or [first]), at, beside=PURE)  # noqa: B023
        story.come_to_an_end()
        check(story)
        assert [future.exception() for future in story.futures] == [None] * 5
        assert story.rig.handle_stats.take() == (5, 0, 0, None)
        assert story.rig.topic_state.counters.records_acked == 5
        assert {value for stored in story.stored.values() for value in stored} == {b"%d" % n * 50 for n in range(5)}
        if not was_interrupted:
            assert at > 200
            return


@pytest.mark.parametrize("name", STORIES)
def test_a_handler_that_interrupts_a_step_anywhere_may_send_flush_and_look(name: str) -> None:
    """Each call works, or raises `RuntimeError`; no record is lost, out of order or accounted for twice."""
    for at in itertools.count(random.randrange(MOMENTS), MOMENTS):
        story = Story()
        rig = story.rig
        first, *rest = STORIES[name]
        if rest:
            first(story)

        def handle(story: Story = story) -> None:
            for call in (
                lambda: story.futures.append(story.rig.send(b"%d" % len(story.futures) * 50, to=0)),
                lambda: story.rig.accumulator.begin_flush(story.rig.topic_state, None),
                lambda: story.rig.accumulator.stats(story.rig.topic_state, 0),
            ):
                with suppress(RuntimeError):  # the client's lock is this thread's
                    call()

        was_interrupted = handling(lambda: tell(story, rest or [first]), at, handle)  # noqa: B023
        story.come_to_an_end()
        check(story)
        assert [future.exception() for future in story.futures] == [None] * len(story.futures)
        assert rig.handle_stats.take() == (len(story.futures), 0, 0, None)
        assert rig.topic_state.counters.records_acked == len(story.futures)
        if not was_interrupted:
            assert at > 200 or COMPILED  # a profiler sees few calls of compiled code
            return


@traces_lines
@pytest.mark.parametrize("name", ["rejected", "not connected"])
def test_a_policy_that_was_interrupted_is_not_exhausted(name: str) -> None:
    first, failure, *_ = STORIES[name]
    for at in lines():
        story = Story()
        first(story)
        was_interrupted = interrupted(lambda: failure(story), at, beside=PURE)  # noqa: B023
        story.connect()
        story.answer(6)
        story.come_to_an_end()
        assert [future.exception() for future in story.futures] == [None] * 5
        if not was_interrupted:
            assert at > 200
            return


@traces_lines
@pytest.mark.parametrize("first", [100, 400, 700, 1000, 1250])
def test_recovery_itself_may_be_interrupted_and_done_again(first: int) -> None:
    for at in lines():
        story = Story()
        assert interrupted(lambda: tell(story, STORIES["too large"]), first, beside=PURE)  # noqa: B023
        was_interrupted = interrupted(story.rig.step, at, beside=PURE)
        story.come_to_an_end()
        check(story)
        assert story.rig.handle_stats.take() == (5, 0, 0, None)
        if not was_interrupted:
            assert at > 500
            return


@traces_lines
def test_at_most_once_is_never_written_twice_and_all_of_it_is_counted() -> None:
    for at in lines():
        story = Story(AtMostOnce())
        was_interrupted = interrupted(lambda: tell(story, STORIES["acknowledged"]), at, beside=PURE)  # noqa: B023
        story.come_to_an_end()
        check(story)
        requests = [records(request) for request in story.rig.servers.arrived.values()]
        arrived = [value for request in requests for received in request.values() for value in received]
        assert len(arrived) == len(set(arrived))
        acked, unacknowledged, failed, _ = story.rig.handle_stats.take()
        assert (acked, unacknowledged + failed) == (0, 5)
        assert unacknowledged <= len(arrived)
        counters = story.rig.topic_state.counters
        assert counters.records_unacknowledged + counters.records_dropped == 5
        if not was_interrupted:
            assert (at > 1000, unacknowledged) == (True, 5)
            return


def test_records_that_were_in_a_request_had_a_failed_attempt_in_doubt() -> None:
    story = Story(ONE_ATTEMPT)
    story.connect()
    story.rig.interrupt()
    story.rig.step()
    errors = [future.exception(0) for future in story.futures]
    assert all(isinstance(error, RetriesExhaustedError) and error.may_be_stored for error in errors)
    assert story.rig.handle_stats.take()[:3] == (0, 0, 5)
    check(story)


def test_records_that_were_not_in_a_request_use_up_no_retry() -> None:
    story = Story(ONE_ATTEMPT)
    story.rig.step()  # queued for a connection
    story.rig.interrupt()
    story.come_to_an_end()
    check(story)
    assert [future.exception() for future in story.futures] == [None] * 5


def test_answers_to_requests_before_an_interruption_do_not_count() -> None:
    story = Story()
    rig = story.rig
    story.connect()
    (pipeline,) = rig.connected()
    (request,) = pipeline.in_flight
    rig.interrupt()
    rig.step()
    assert request.lost
    assert rig.handle(Replied(request, response(request))) == []
    assert rig.handle(Written(request)) == []
    assert not any(future.done() for future in story.futures)
    assert values(request)[0] == b"0" * 50
    story.come_to_an_end()
    check(story)


def test_answers_about_offsets_before_an_interruption_do_not_count() -> None:
    story = Story()
    rig = story.rig
    story.connect()
    (pipeline,) = rig.connected()
    waits = asks(rig.answer(pipeline.in_flight[0], 7))
    assert len(waits) == 2
    rig.interrupt()
    rig.step()
    for wait in waits:
        assert rig.handle(OffsetsReplied(wait, replicated_to(1000))) == []
    assert not any(future.done() for future in story.futures)
    story.come_to_an_end()
    check(story)


def test_a_batch_that_lingers_lingers_on() -> None:
    rig = Rig(linger=60.0)
    futures = [rig.send(b"1")]
    rig.step()
    rig.interrupt()
    assert rig.step() == []
    futures.append(rig.send(b"2"))
    rig.step(60.0)
    (request,) = writes(rig.connect())
    assert values(request) == [b"1", b"2"]
    rig.answer(request)
    assert all(future.done() for future in futures)


def test_records_that_had_failed_when_it_was_interrupted_are_not_sent() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5.0)))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.step()
    rig.interrupt(lambda: rig.step(5.0))  # the batch has failed, and that is not carried out
    assert not future.done()
    rig.push("SPU", [spu(5001)])
    actions = rig.run(1.0)
    assert not connects(actions)
    assert not writes(actions)
    assert isinstance(future.exception(0), DeliveryTimeoutError)
    assert rig.accumulator.used == 0


def test_records_that_were_acknowledged_when_it_was_interrupted_are_no_failure() -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.interrupt(lambda: rig.answer(request))
    assert not future.done()
    assert reports(rig.step()) == []
    assert future.result(0).offset == 0


@replaces_code
def test_a_send_whose_clean_up_was_interrupted_as_well_leaves_nothing_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchBuilder, "append", interrupt)
        patch.setattr(rig.accumulator, "_rollback", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rig.send()
    assert rig.queue().unresolved
    rig.interrupt()
    assert rig.step() == []
    assert rig.accumulator.is_empty()


def test_events_of_a_connection_that_was_made_before_do_not_count_and_the_new_one_has_its_time() -> None:
    rig = Rig(connect_timeout=10.0)
    future = rig.send()
    (pipeline,) = connects(rig.step())
    old = pipeline.generation
    rig.run(5.0)
    rig.interrupt()
    assert connects(rig.step()) == [pipeline]
    assert rig.handle(Connected(pipeline, old)) == []
    assert rig.handle(Disconnected(pipeline, old, ERROR)) == []
    rig.run(9.9)
    assert pipeline.last_error is None
    rig.run(0.2)
    assert "still connecting after 10.0 s" in str(pipeline.last_error)
    assert not future.done()


def test_actions_that_were_decided_before_are_not_carried_out() -> None:
    rig = Rig()
    rig.send()
    rig.interrupt()  # it would connect
    assert rig.connected() == []
    (pipeline,) = connects(rig.step())
    (request,) = writes(rig.connect())
    assert request.pipeline is pipeline


def test_records_that_were_in_a_request_are_queued_once_and_tell_the_reason() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5.0)))
    future = rig.send()
    rig.connect()
    rig.interrupt()
    rig.step()
    assert len(rig.queue().batches()) == 1
    rig.run(5.0)
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert str(error.__cause__) == "the sender was interrupted, and began again with new connections"
    assert error.may_be_stored


def test_the_watch_on_the_sc_begins_again_and_nothing_is_forgotten() -> None:
    rig = Rig()
    rig.interrupt()
    rig.step()
    assert not rig.metadata.live
    assert rig.metadata.route("t", 0).spu == 5001
    rig.push("Partition", [partition("t-0", 5002)])  # there is no connection that would bring it
    assert rig.metadata.route("t", 0).spu == 5001
    assert reports(rig.run(0.1)) == ["sc.reconnected"]
    assert rig.metadata.complete
    assert rig.metadata.route("t", 0).spu == 5002


@replaces_code
def test_updates_of_the_sc_before_an_interruption_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()

    def interrupt() -> None:
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(rig.sender, "_decide", interrupt)
        with pytest.raises(Interruption):
            rig.push("Partition", [partition("t-0", 5002)])
    rig.step()
    assert not rig.metadata.live
    assert rig.metadata.route("t", 0).spu == 5001
    rig.run(0.1)
    assert rig.metadata.route("t", 0).spu == 5002


def test_an_interruption_while_the_sender_waits_is_nothing_to_recover_from(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())

    def interrupt(_timeout: float) -> None:
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(rig.poller, "wait", interrupt)
        with pytest.raises(Interruption):
            rig.step()
    assert not rig.sender.in_step
    rig.answer(request)
    assert future.result(0).offset == 0
