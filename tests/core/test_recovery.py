# SPDX-License-Identifier: Apache-2.0
"""An exception at any line of a step: nothing is lost, counted twice, or out of order, and no memory leaks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.delivery import AtLeastOnce, AtMostOnce
from fluvio_sync.errors import ConnectError, DeliveryTimeoutError, RetriesExhaustedError
from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.protocol.metadata import SpuResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.interruption import interrupted
from tests.support.rig import Rig, connects, disconnects, partition, reports, response, spu, values, writes

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.partition import FlushBarrier
    from fluvio_sync._core.pipeline import Request
    from fluvio_sync.futures import DeliveryFuture

ERROR = ConnectError("interrupted")
PATIENT = AtLeastOnce(RetryPolicy(max_retries=1000, initial_delay=0.01, timeout=1000.0))
ONE_ATTEMPT = AtLeastOnce(RetryPolicy(max_retries=0, timeout=1000.0))


def recover(rig: Rig) -> None:
    with rig.accumulator.lock:
        rig.dispatcher.recover(rig.accumulator.queues(), ERROR, rig.clock.now)
        rig.accumulator.recover(rig.metadata)


class Story:
    """Five records on their way, an event, and a server that comes to its senses afterwards."""

    def __init__(self, semantic: AtLeastOnce | AtMostOnce = PATIENT) -> None:
        self.rig = Rig(2, batch_size=200, delivery_semantic=semantic)
        self.stored: dict[int, list[bytes]] = {0: [], 1: []}
        self.futures: list[DeliveryFuture] = [self.rig.send(b"%d" % n * 50, to=n % 5 // 4) for n in range(5)]
        self.barrier: FlushBarrier = self.rig.accumulator.begin_flush([self.rig.topic_state], None)

    def connect(self) -> None:
        self.rig.connect()

    def wait(self) -> None:
        self.rig.step(0.1)

    def answer(self, *codes: int) -> None:
        """Have the first request answered; it is stored if the code is 0 or 7."""
        rig = self.rig
        for pipeline in list(rig.dispatcher.pipelines.values()):
            for request in [*pipeline.in_flight][:1]:
                self.store(request, codes or (0,))
                self.finish(request, *codes)

    def finish(self, request: Request, *codes: int) -> None:
        self.rig.written(request)
        if request.acked:
            self.rig.answer(request, *codes, base=0)
        elif request.unread and not request.lost:
            self.rig.answer_unread(request, 0)

    def store(self, request: Request, codes: tuple[int, ...]) -> None:
        for index, (queue, batches) in enumerate(request.entries):
            if codes[index % len(codes)] in (0, 7):
                for batch in batches:
                    self.stored[queue.partition] += [value for _, value, _ in batch.builder.records()]

    def lose(self) -> None:
        for pipeline in list(self.rig.dispatcher.pipelines.values()):
            for request in pipeline.in_flight:
                rig.begin_to_write(request)
            self.rig.lose(pipeline, ERROR)

    def move(self) -> None:
        self.rig.push("Partition", [partition("t-0", 5002), partition("t-1", 5002)])
        self.rig.step(0.4)

    def settle(self) -> None:
        for queue in self.rig.accumulator.queues():
            if queue.commit_wait is not None:
                self.rig.watermark(queue.commit_wait, 1000)

    def recover(self) -> None:
        recover(self.rig)

    def come_to_an_end(self) -> None:
        for _ in range(100):
            if not self.barrier.batches and self.rig.accumulator.is_empty():
                return
            self.rig.step(0.2)
            self.connect()
            self.settle()
            self.answer()
        raise AssertionError("it does not end")


STORIES: dict[str, list[Callable[[Story], None]]] = {
    "acknowledged": [Story.connect, Story.answer],
    "refused": [Story.connect, lambda story: story.answer(6, 3000), Story.wait],
    "lost": [Story.connect, Story.lose, Story.connect, Story.lose],
    "not connected": [Story.wait, Story.lose],
    "too large": [Story.connect, lambda story: story.answer(10, 0), lambda story: story.answer(10), Story.answer],
    "not replicated": [Story.connect, lambda story: story.answer(7), Story.settle],
    "moved": [Story.connect, Story.move],
}


def check(story: Story) -> None:
    rig = story.rig
    assert all(future.done() for future in story.futures)
    assert rig.accumulator.used == 0
    assert all(not queue.unresolved and queue.charge == 0 for queue in rig.accumulator.queues())
    for index, stored in story.stored.items():
        firsts = list(dict.fromkeys(stored))
        assert firsts == sorted(firsts), (index, stored)


@pytest.mark.parametrize("name", STORIES)
def test_at_least_once_survives_an_exception_at_any_line(name: str) -> None:
    for at in itertools.count():
        story = Story()

        def happen(story: Story = story) -> None:
            for part in STORIES[name]:
                part(story)

        was_interrupted = interrupted(happen, at)
        if was_interrupted:
            story.recover()
        story.come_to_an_end()
        check(story)
        assert [future.exception() for future in story.futures] == [None] * 5
        assert story.rig.handle_stats.take() == (5, 0, 0, None)
        assert story.rig.topic_state.counters.records_acked == 5
        assert {value for stored in story.stored.values() for value in stored} == {b"%d" % n * 50 for n in range(5)}
        if not was_interrupted:
            assert at > 200
            return


@pytest.mark.parametrize("name", ["refused", "not connected"])
def test_a_policy_that_was_interrupted_is_not_spent(name: str) -> None:
    first, failure, *_ = STORIES[name]
    for at in itertools.count():
        story = Story()
        first(story)
        was_interrupted = interrupted(lambda: failure(story), at)  # noqa: B023
        if was_interrupted:
            story.recover()
        story.connect()
        story.answer(6)
        story.come_to_an_end()
        assert [future.exception() for future in story.futures] == [None] * 5
        if not was_interrupted:
            assert at > 50
            return


@pytest.mark.parametrize("first", [100, 400, 700])
def test_recovery_itself_may_be_interrupted_and_done_again(first: int) -> None:
    for at in itertools.count():
        story = Story()

        def happen(story: Story = story) -> None:
            for part in STORIES["too large"]:
                part(story)

        assert interrupted(happen, first)
        was_interrupted = interrupted(story.recover, at)
        story.recover()
        story.come_to_an_end()
        check(story)
        assert story.rig.handle_stats.take() == (5, 0, 0, None)
        if not was_interrupted:
            assert at > 50
            return


def test_at_most_once_is_never_written_twice_and_all_of_it_is_counted() -> None:
    for at in itertools.count():
        story = Story(AtMostOnce())
        was_interrupted = interrupted(lambda: [part(story) for part in STORIES["acknowledged"]], at)  # noqa: B023
        if was_interrupted:
            story.recover()
        story.come_to_an_end()
        check(story)
        stored = [value for values_ in story.stored.values() for value in values_]
        assert len(stored) == len(set(stored))
        acked, unacknowledged, failed, _ = story.rig.handle_stats.take()
        assert (acked, unacknowledged + failed) == (0, 5)
        counters = story.rig.topic_state.counters
        assert counters.records_unacknowledged + counters.records_dropped == 5
        if not was_interrupted:
            assert (at > 200, unacknowledged) == (True, 5)
            return


def test_what_was_in_a_request_is_a_failed_attempt_in_doubt() -> None:
    story = Story(ONE_ATTEMPT)
    story.connect()
    story.recover()
    story.rig.step()
    errors = [future.exception() for future in story.futures]
    assert all(isinstance(error, RetriesExhaustedError) and error.may_be_stored for error in errors)
    assert story.rig.handle_stats.take()[:3] == (0, 0, 5)
    check(story)


def test_what_was_not_in_a_request_spends_no_retry() -> None:
    story = Story(ONE_ATTEMPT)
    story.rig.step()  # queued for a connection
    story.recover()
    story.come_to_an_end()
    check(story)
    assert [future.exception() for future in story.futures] == [None] * 5


def test_answers_to_what_was_sent_before_do_not_count() -> None:
    story = Story()
    story.connect()
    (pipeline,) = story.rig.dispatcher.pipelines.values()
    (request,) = pipeline.in_flight
    story.recover()
    story.rig.handle(Replied(request, response(request), story.rig.clock.now)
    story.rig.dispatcher.written(request, story.rig.clock.now)
    story.rig.step()
    assert not any(future.done() for future in story.futures)
    assert values(request)[0] == b"0" * 50
    story.come_to_an_end()
    check(story)


def test_what_a_leader_says_about_offsets_asked_for_before_does_not_count() -> None:
    story = Story()
    story.connect()
    story.answer(7)
    commit_wait = [queue.commit_wait for queue in story.rig.accumulator.queues() if queue.commit_wait is not None]
    assert commit_wait
    story.recover()
    for commit_wait in commit_wait:
        story.rig.watermark(commit_wait, 1000)
    assert not any(future.done() for future in story.futures)
    story.come_to_an_end()
    check(story)


def test_a_batch_that_lingers_lingers_on() -> None:
    rig = Rig(linger=60.0)
    futures = [rig.send(b"1")]
    rig.step()
    recover(rig)
    assert rig.step() == []
    futures.append(rig.send(b"2"))
    rig.step(60.0)
    (request,) = writes(rig.connect())
    assert values(request) == [b"1", b"2"]
    rig.answer(request)
    assert all(future.done() for future in futures)


def test_what_had_failed_when_it_was_interrupted_is_not_sent() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5.0)))
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    future = rig.send()
    rig.step()
    rig.clock.advance(5.0)
    rig.dispatcher.tick(rig.clock.now)  # fails the batch, and that is not carried out
    rig.push("SPU", [spu(5001)])
    recover(rig)
    actions = rig.step()
    assert not connects(actions)
    assert not writes(actions)
    assert isinstance(future.exception(0), DeliveryTimeoutError)
    assert rig.accumulator.used == 0


def test_what_was_acknowledged_when_it_was_interrupted_is_no_failure() -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.handle(Replied(request, response(request)))  # and that is not carried out
    recover(rig)
    assert reports(rig.step()) == []
    assert future.result(0).offset == 0


def test_a_send_whose_clean_up_was_interrupted_too_leaves_nothing_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BatchBuilder, "append", interrupt)
        patch.setattr(rig.accumulator, "_rollback", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rig.send()
    assert rig.queue().unresolved
    recover(rig)
    assert rig.step() == []
    assert rig.accumulator.is_empty()


def test_news_of_a_connection_that_was_made_before_does_not_count_and_the_new_one_has_its_time() -> None:
    rig = Rig(connect_timeout=10.0)
    future = rig.send()
    (pipeline,) = connects(rig.step())
    old = pipeline.generation
    rig.run(5.0)
    recover(rig)
    assert connects(rig.step()) == [pipeline]
    rig.handle(Connected(pipeline, old))
    rig.handle(Disconnected(pipeline, old, ERROR))
    assert rig.step() == []
    assert disconnects(rig.run(9.9)) == []
    assert disconnects(rig.run(0.2)) == [pipeline]
    assert not future.done()


def test_what_was_to_be_done_before_is_not_done() -> None:
    rig = Rig()
    rig.send()
    for queue in rig.accumulator.take_dirty():
        rig.dispatcher.records(queue, rig.clock.now)  # which would connect
    recover(rig)
    (pipeline,) = connects(rig.step())
    (request,) = writes(rig.connect())
    assert request.pipeline is pipeline


def test_what_was_in_a_request_is_queued_once_and_tells_what_happened() -> None:
    rig = Rig(delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5.0)))
    future = rig.send()
    rig.connect()
    recover(rig)
    assert len(rig.queue().batches()) == 1
    rig.run(5.0)
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.__cause__ is ERROR
    assert error.may_be_stored
