# SPDX-License-Identifier: Apache-2.0
"""The cost of `send().result()`, one record at a time: no thread is woken, and few functions are called."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import FlushTimeoutError, Fluvio
from fluvio_sync._runtime import sender_thread
from fluvio_sync.testing import FaultProxy
from tests.support.client import WatchedPoller, WatchedThread, parked, watch
from tests.support.system import needs_leading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from fluvio_sync import TopicProducer
    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.alone

LONG = 10.0
RECORDS = 100
MANY = 1000
ROUNDS = 10
MOST_CALLS = 150
MOST_STEPS = 4
MOST_SLOWER = 2.0
SOON = 2.0
ANSWERS_AFTER = 0.01  # seconds, each way: by then the thread that sent waits, however busy the machine is


@pytest.fixture
def warm(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Fluvio, TopicProducer]]:
    """A client and its producer, whose partition is connected."""
    own.create_topic("t")
    watch(monkeypatch)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0)
        for _ in range(50):
            producer.send(b"x").result(LONG)
        yield fluvio, producer


@needs_leading
def test_a_thread_that_sends_and_waits_wakes_no_other(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.create_topic("t")
    watch(monkeypatch)
    with (
        FaultProxy(own.spu_endpoints[5001]) as proxy,
        Fluvio.connect(own.endpoint, spu_address_override={5001: proxy.endpoint}) as fluvio,
    ):
        proxy.delay(ANSWERS_AFTER)
        producer = fluvio.topic_producer("t", linger=0)
        for _ in range(5):
            producer.send(b"x").result(LONG)
        engine = fluvio._holder.engine
        assert engine is not None
        poller, thread = engine.poller, engine.thread
        assert isinstance(poller, WatchedPoller)
        assert isinstance(thread, WatchedThread)
        for calls in (poller.woken, poller.background_woken, thread.steps):
            calls.clear()
        began = time.monotonic()
        for _ in range(RECORDS):
            producer.send(b"x").result(LONG)
        # The background thread looks once a second by itself, and may have the step lock at that moment: then it takes
        # a few steps, until a thread that waits leads again.
        seen = len(poller.woken), len(poller.background_woken), len(thread.steps)
        looks = 1 + math.ceil((time.monotonic() - began) / sender_thread._LOOK)
    woken, background, steps = seen
    assert woken <= 2 * looks, "send() and result() of a record may both meet it there"
    assert background <= looks
    assert steps <= MOST_STEPS * looks < RECORDS / 4


@needs_leading
def test_a_thread_that_sends_and_waits_keeps_the_connections(warm: tuple[Fluvio, TopicProducer]) -> None:
    """Each change is a system call, and an answer to connections that were given back wakes the background thread."""
    fluvio, producer = warm
    engine = fluvio._holder.engine
    assert engine is not None
    poller = engine.poller
    assert isinstance(poller, WatchedPoller)

    def changes() -> int:
        poller.changed_hands.clear()
        for _ in range(MANY):
            producer.send(b"x").result(LONG)
        return len(poller.changed_hands)

    # An answer that is late has the background thread look after a second only, and until then each lead gives back.
    assert any(changes() < MANY / 10 for _ in range(ROUNDS))


@needs_leading
def test_a_record_takes_few_calls(warm: tuple[Fluvio, TopicProducer]) -> None:
    fluvio, producer = warm
    calls: list[int] = []

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            calls[-1] += 1

    with parked(fluvio):
        producer.send(b"x").result(LONG)
        for _ in range(20):
            calls.append(0)
            sys.setprofile(count)
            try:
                producer.send(b"x").result(LONG)
            finally:
                sys.setprofile(None)
    assert max(calls) < MOST_CALLS


def test_a_thread_that_looks_again_and_again_does_not_keep_answers_from_the_background_thread(
    warm: tuple[Fluvio, TopicProducer],
) -> None:
    """It leads for a moment each time, and reads nothing."""
    producer = warm[0].topic_producer("t", linger=0.01)
    futures = [producer.send(b"x" * 1000) for _ in range(4000)]
    began = time.monotonic()
    while not all(future.done() for future in futures):
        with contextlib.suppress(FlushTimeoutError):
            producer.flush(timeout=0)
        time.sleep(0.01)
        assert time.monotonic() - began < SOON


@needs_leading
def test_after_a_thread_has_had_the_connections_go_on_the_next_record_wakes_the_sender(
    warm: tuple[Fluvio, TopicProducer],
) -> None:
    fluvio, producer = warm
    engine = fluvio._holder.engine
    assert engine is not None
    with parked(fluvio):
        accumulator = engine.accumulator
        accumulator.woken_seq = accumulator.sleep_seq  # another thread woke it, and this one does what that left
        engine.thread.go_on()
        assert accumulator.sleep_seq != accumulator.woken_seq
    assert producer.send(b"x").result(LONG).acknowledged


def test_eight_threads_send_as_fast_as_one(warm: tuple[Fluvio, TopicProducer]) -> None:
    """A thread that stands in line for the client's lock makes each record four times as slow."""
    producer = warm[0].topic_producer("t", linger=0.005)

    def seconds(threads: int) -> float:
        workers = [Thread(target=send, args=(40_000 // threads,)) for _ in range(threads)]
        began = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        producer.flush(LONG)
        return time.perf_counter() - began

    def send(records: int) -> None:
        for _ in range(records):
            producer.send(b"x" * 100)

    ratios = [seconds(8) / seconds(1) for _ in range(5)]
    assert min(ratios) < MOST_SLOWER, ratios
