# SPDX-License-Identifier: Apache-2.0
"""The future against the contract of `concurrent.futures`: raced, and where a race is too rare, forced."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import threading
import tracemalloc
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, as_completed, wait
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest

from fluvio_sync._outcomes.batch_futures import BatchFutures
from fluvio_sync._outcomes.process import PROCESS, forget_parent
from fluvio_sync._runtime.callbacks import CallbackThread
from fluvio_sync.errors import DeliveryError, ForkedError
from fluvio_sync.futures import DeliveryFuture, RecordMetadata
from tests.support.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync._base.threads import OwnedLock
    from fluvio_sync._core.partition import Batch, PartitionQueue

LONG = 20.0  # seconds that nothing here takes


def resolve(outcome: BatchFutures, base_offset: int | None) -> None:
    outcome.acknowledge(base_offset)
    outcome.notify()


class Maker:
    """An outcome with `count` futures."""

    def __init__(self, count: int) -> None:
        self.callbacks = CallbackThread("callbacks")
        self.batch = BatchFutures("t", 3, 1000, list(range(count)), self.callbacks)
        self.futures = [DeliveryFuture(self.batch, index) for index in range(count)]

    def acknowledge(self, base_offset: int | None) -> None:
        resolve(self.batch, base_offset)

    def fail(self) -> None:
        self.batch.fail(lambda index: DeliveryError(f"record {index}", topic="t", partition=3))
        self.batch.notify()


def in_threads(*functions: Callable[[], object]) -> list[object]:
    """Run functions at once and return their results; an exception in one is raised."""
    with concurrent.futures.ThreadPoolExecutor(len(functions)) as pool:
        return [running.result(LONG) for running in [pool.submit(function) for function in functions]]


def test_it_is_a_future_and_resolves_to_its_place() -> None:
    made = Maker(3)
    assert all(isinstance(future, Future) and not future.done() and future.running() for future in made.futures)
    made.acknowledge(40)
    assert [future.result(0) for future in made.futures] == [
        RecordMetadata("t", 3, 40, 1000, True),
        RecordMetadata("t", 3, 41, 1001, True),
        RecordMetadata("t", 3, 42, 1002, True),
    ]
    assert all(future.done() and not future.running() for future in made.futures)
    assert made.futures[0].exception() is None
    assert "finished" in repr(made.futures[0])


def test_unknown_offsets_and_unacknowledged_records() -> None:
    known_nowhere, unacknowledged = Maker(1), Maker(1)
    known_nowhere.acknowledge(None)
    unacknowledged.batch.mark_sent()
    assert known_nowhere.futures[0].result() == ("t", 3, None, 1000, True)
    assert unacknowledged.futures[0].result() == ("t", 3, None, 1000, False)


@pytest.mark.parametrize("timeout", [0.01, timedelta(milliseconds=10)])
def test_result_and_exception_time_out_and_the_future_stays_valid(timeout: float | timedelta) -> None:
    made = Maker(1)
    future = made.futures[0]
    with pytest.raises(TimeoutError, match=r"topic 't', partition 3 is not completed after 0\.01 s"):
        future.result(timeout)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(timeout)
    made.acknowledge(1)
    assert future.wait(0).offset == 1


def test_each_future_raises_an_error_of_its_own_again_and_again() -> None:
    made = Maker(2)
    made.fail()
    one, two = made.futures
    assert one.exception() is one.exception()
    assert one.exception() is not two.exception()
    depths = set()
    for _ in range(3):
        with pytest.raises(DeliveryError, match="record 1") as caught:
            two.result()
        depths.add(len(caught.traceback))
    assert "DeliveryError" in repr(one)


def test_completing_twice_changes_nothing() -> None:
    made = Maker(1)
    made.acknowledge(5)
    made.fail()
    made.acknowledge(6)
    future = made.futures[0]
    assert future.done()
    assert future._state == concurrent.futures._base.FINISHED


def test_a_record_is_not_taken_back() -> None:
    made = Maker(1)
    future = made.futures[0]
    assert future.cancel() is False
    assert future.cancelled() is False
    for refuse in (
        future.set_running_or_notify_cancel,
        lambda: future.set_result(RecordMetadata("t", 0, 0, 0, True)),
        lambda: future.set_exception(ValueError()),
    ):
        with pytest.raises(RuntimeError, match="only the client completes"):
            refuse()
    assert not future.done()


def test_asyncio_wraps_it() -> None:
    made, failing = Maker(2), Maker(1)

    async def main() -> list[object]:
        wrapped = [asyncio.wrap_future(future) for future in (*made.futures, *failing.futures)]
        threading.Thread(target=made.acknowledge, args=(7,)).start()
        threading.Thread(target=failing.fail).start()
        return await asyncio.wait_for(asyncio.gather(*wrapped, return_exceptions=True), LONG)

    first, second, third = asyncio.run(main())
    assert (first, second) == (("t", 3, 7, 1000, True), ("t", 3, 8, 1001, True))
    assert isinstance(third, DeliveryError)


# Callbacks.


def test_callbacks_run_on_the_callback_thread_once_and_in_order() -> None:
    made = Maker(2)
    seen: list[tuple[int, str]] = []

    def note(number: int) -> Callable[[Future[RecordMetadata]], None]:
        return lambda future: seen.append((number, threading.current_thread().name))

    made.futures[1].add_done_callback(note(1))
    made.futures[1].add_done_callback(note(2))
    made.futures[0].add_done_callback(note(3))
    made.acknowledge(0)
    assert made.callbacks.wait_for_due(LONG)
    assert seen == [(1, "callbacks"), (2, "callbacks"), (3, "callbacks")]
    made.futures[0].add_done_callback(note(4))
    assert seen[3] == (4, threading.current_thread().name)


def test_a_callback_that_raises_is_logged_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    made = Maker(3)
    seen: list[object] = []

    def bad(_: object) -> None:
        raise ZeroDivisionError

    def leave(_: object) -> None:
        raise SystemExit

    made.futures[0].add_done_callback(bad)
    made.futures[1].add_done_callback(leave)
    made.futures[2].add_done_callback(seen.append)
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        made.acknowledge(0)
        assert made.callbacks.wait_for_due(LONG)
    assert seen == [made.futures[2]]
    assert caplog.text.count("exception calling callback") == 2


def test_a_stopped_callback_thread_ends_and_another_runs_later_callbacks() -> None:
    first, second = Maker(1), Maker(1)
    second.batch.callbacks = first.callbacks
    threads: dict[Maker, threading.Thread] = {}
    for made in (first, second):
        made.futures[0].add_done_callback(lambda _, made=made: threads.update({made: threading.current_thread()}))  # type: ignore[misc]
    first.acknowledge(0)
    first.callbacks.stop()
    second.acknowledge(0)
    assert first.callbacks.wait_for_due(LONG)
    threads[first].join(LONG)
    assert [threads[made].is_alive() for made in (first, second)] == [False, True]
    first.callbacks.stop()


def test_a_callback_must_not_wait_for_a_pending_future() -> None:
    made, pending = Maker(1), Maker(1)
    pending.batch.callbacks = made.callbacks
    raised: list[BaseException | None] = []

    def callback(_: object) -> None:
        try:
            pending.futures[0].result(LONG)
        except RuntimeError as error:
            raised.append(error)

    made.futures[0].add_done_callback(callback)
    made.acknowledge(0)
    assert made.callbacks.wait_for_due(LONG)
    assert "callback must not wait" in str(raised[0])


# wait() and as_completed().


def test_wait_knows_first_exception_and_first_completed() -> None:
    good, bad, pending = Maker(2), Maker(1), Maker(1)
    good.acknowledge(0)
    everything = [*good.futures, *bad.futures, *pending.futures]
    done, _ = wait(everything, timeout=LONG, return_when=FIRST_COMPLETED)
    assert done == set(good.futures)
    bad.fail()
    done, rest = wait(everything, timeout=LONG, return_when=FIRST_EXCEPTION)
    assert (len(done), rest) == (3, set(pending.futures))


def test_waiting_in_every_way_races_the_resolution() -> None:
    for round_ in range(150):
        makers = [Maker(5) for _ in range(4)]
        everything = [future for made in makers for future in made.futures]

        def wait_all(futures: list[DeliveryFuture] = everything) -> bool:
            done, rest = wait(futures, timeout=LONG)
            return len(done) == len(futures) and not rest and all(future.done() for future in futures)

        def wait_backwards(futures: list[DeliveryFuture] = everything) -> bool:
            return not wait(list(reversed(futures))[:11], timeout=LONG)[1]

        def wait_first(futures: list[DeliveryFuture] = everything) -> bool:
            done, _ = wait(futures, timeout=LONG, return_when=FIRST_COMPLETED)
            return len(done) >= 1 and all(future.done() for future in done)

        def iterate(futures: list[DeliveryFuture] = everything) -> bool:
            return len(list(as_completed(futures, timeout=LONG))) == len(futures)

        def results(futures: list[DeliveryFuture] = everything) -> bool:
            return [future.result(LONG).offset for future in futures] == list(range(5)) * 4

        finish = [lambda made=made: made.acknowledge(0) for made in makers]
        answers = in_threads(wait_all, wait_backwards, wait_first, iterate, results, *finish)
        assert answers[:5] == [True] * 5, round_


def test_two_waiters_over_the_futures_of_two_batches_do_not_dead_lock() -> None:
    # wait() takes conditions in the order of id(future): with one condition a batch, two callers would cross.
    for _ in range(20):
        one, two = Maker(60), Maker(60)
        pool = sorted(one.futures + two.futures, key=id)

        in_threads(*[partial(wait_often, futures) for futures in (pool[::2], pool[1::2], pool)])


def wait_often(futures: list[DeliveryFuture]) -> None:
    for _ in range(10):
        wait(futures, timeout=0)


def test_a_condition_made_while_the_batch_finishes_misses_nothing() -> None:
    """Force the race between the look at a pending future and its completion: on both sides of the leaf lock."""
    for moment in ("before", "after"):
        made = Maker(1)
        future = made.futures[0]
        lock = made.batch.lock
        finish = made.acknowledge

        class Trap:
            """Stands in for the outcome's lock and completes it around the first acquisition."""

            def __init__(self, lock: OwnedLock, when: str) -> None:
                self.lock, self.when, self.sprung = lock, when, False

            def spring(self) -> None:
                if not self.sprung:
                    self.sprung = True
                    made.batch.lock = lock  # noqa: B023
                    finish(9)  # noqa: B023

            def __enter__(self) -> None:
                if self.when == "before":
                    self.spring()
                self.lock.acquire()

            def __exit__(self, *_: object) -> None:
                self.lock.release()
                if self.when == "after":
                    self.spring()

        made.batch.lock = Trap(lock, moment)  # type: ignore[assignment]
        done, rest = wait([future], LONG)
        assert (done, rest) == ({future}, set())
        assert future.result(0).offset == 9


def test_a_future_whose_first_look_was_interrupted_is_resolved_like_the_others() -> None:
    made = Maker(2)
    interrupted, other = made.futures
    made.batch.watched.append(interrupted)  # enlisted, and Ctrl-C came before it had its condition
    with pytest.raises(TimeoutError):
        other.result(0)
    made.batch.called.append(interrupted)  # the same for its callbacks
    made.acknowledge(5)
    assert [future.result(0).offset for future in made.futures] == [5, 6]
    assert made.callbacks.wait_for_due(LONG)


def test_a_future_that_is_enlisted_twice_tells_its_waiters_once() -> None:
    made = Maker(1)
    future = made.futures[0]
    made.batch.watched.append(future)
    threading.Timer(0.01, made.acknowledge, (5,)).start()
    assert list(as_completed([future], timeout=LONG)) == [future]
    assert made.batch.watched == []


# Halving.


def halved(count: int) -> tuple[Rig, Batch, list[DeliveryFuture]]:
    rig = Rig()
    futures = [rig.send(b"%d" % n) for n in range(count)]
    rig.step()
    queue: PartitionQueue = rig.queue()
    queue.seal_open(rig.clock.now)
    return rig, queue.sealed[0], futures


def test_the_futures_of_a_halved_batch_follow_their_half_however_often() -> None:
    _, batch, futures = halved(7)
    left, right = batch.halve()
    right_left, right_right = right.halve()
    assert [b.builder.count for b in (left, right_left, right_right)] == [3, 2, 2]
    resolve(left.futures, 10)
    resolve(right_right.futures, 30)
    assert [future.done() for future in futures] == [True] * 3 + [False] * 2 + [True] * 2
    right_left.futures.fail(lambda index: DeliveryError(f"no {index}", topic="t", partition=0))
    assert [future.result().offset for future in futures[:3] + futures[5:]] == [10, 11, 12, 30, 31]
    assert str(futures[4].exception()) == "no 1"
    assert batch.charge == left.charge + right.charge


def test_waiting_races_with_halving() -> None:
    for _ in range(100):
        _, batch, futures = halved(6)

        def split(batch: Batch = batch) -> None:
            left, right = batch.halve()
            resolve(left.futures, 0)
            resolve(right.futures, 100)

        def results(futures: list[DeliveryFuture] = futures) -> list[int | None]:
            return [future.result(LONG).offset for future in futures]

        def iterate(futures: list[DeliveryFuture] = futures) -> int:
            return len(list(as_completed(futures, timeout=LONG)))

        first, second, _ = in_threads(results, iterate, split)
        assert (first, second) == ([0, 1, 2, 100, 101, 102], 6)


def test_owners_of_a_halved_batch_keep_their_records() -> None:
    rig = Rig()
    other = type(rig.handle_stats)()
    rig.send(b"1")
    for value in (b"2", b"3", b"4"):
        rig.send(value, handle_stats=other)
    rig.send(b"5")
    queue = rig.queue()
    queue.seal_open(rig.clock.now)
    left, right = queue.sealed[0].halve()
    assert [(span.start, span.handle_stats is other) for span in left.futures.spans] == [(0, False), (1, True)]
    assert [(span.start, span.handle_stats is other) for span in right.futures.spans] == [(0, True), (2, False)]


# Fork.


@pytest.fixture
def child() -> Iterator[None]:
    """The work of the hook in the child of a fork, undone afterwards."""
    identity = PROCESS.identity
    yield
    PROCESS.identity = identity


@pytest.mark.usefixtures("child")
def test_in_a_child_the_parents_pending_futures_are_forked_errors_though_locks_were_held() -> None:
    made, looked_at, done = Maker(1), Maker(1), Maker(1)
    done.acknowledge(4)
    held = looked_at.futures[0]._condition
    made.batch.lock.acquire()
    held.acquire()
    forget_parent()
    for future in (*made.futures, *looked_at.futures):
        assert future.done()
        with pytest.raises(ForkedError, match="parent process delivers it"):
            future.result()
        seen: list[object] = []
        future.add_done_callback(seen.append)
        assert seen == [future]
    everything = [*made.futures, *looked_at.futures, *done.futures]
    assert in_threads(lambda: wait(everything, timeout=LONG))[0] == (set(everything), set())
    assert set(as_completed(everything, timeout=LONG)) == set(everything)
    assert done.futures[0].result().offset == 4


# Cost.


def test_a_pending_future_costs_little_memory() -> None:
    made = Maker(1)
    gc.collect()
    tracemalloc.start()
    kept = [DeliveryFuture(made.batch, index) for index in range(10_000)]
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / len(kept) < 250  # a stock future takes 1600
