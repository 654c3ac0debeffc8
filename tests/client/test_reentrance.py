# SPDX-License-Identifier: Apache-2.0
"""Calls of a signal handler, or of a finalizer, that interrupts the library's own work anywhere.

Each works, or raises `RuntimeError` at once.  Afterwards the log has what the futures say, and no memory is left over.

`FLUVIO_SYNC_EVERY_LINE=1` interrupts at each point; otherwise at one in several, others at each run.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import ClosedError, Fluvio
from fluvio_sync._base.compiled import COMPILED
from fluvio_sync.testing import read_records
from tests.support.client import used_memory
from tests.support.interruption import handling

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync import TopicProducer
    from fluvio_sync.futures import DeliveryFuture
    from fluvio_sync.testing import LocalCluster

LONG = 20.0  # seconds that nothing here takes
SHORT = 5.0  # seconds within which a call returns that does not wait for the work beneath it
STRIDE = 1 if os.environ.get("FLUVIO_SYNC_EVERY_LINE") else 11


class Story:
    """A client, and the records that it accepted, in the order of `send()`."""

    def __init__(self, cluster: LocalCluster, topic: str, **settings: Any) -> None:
        self.cluster, self.topic = cluster, topic
        self.settings = settings
        self.number = 0
        self.sent: list[tuple[bytes, DeliveryFuture]] = []
        self.refused = self.handled = 0
        self.connect()

    def connect(self) -> None:
        self.fluvio = Fluvio.connect(self.cluster.endpoint)
        self.producer: TopicProducer = self.fluvio.topic_producer(self.topic, **self.settings)
        self.send().result(LONG)
        self.send().result(LONG)

    def value(self) -> bytes:
        self.number += 1
        return b"%d" % self.number

    def send(self) -> DeliveryFuture:
        value = self.value()
        future = self.producer.send(value)
        self.sent.append((value, future))
        return future

    def send_all(self) -> list[DeliveryFuture]:
        values = [self.value() for _ in range(3)]
        futures = self.producer.send_all(values)
        self.sent += zip(values, futures, strict=True)
        return futures

    def handler(self, call: Callable[[], object]) -> Callable[[], None]:
        """Return a handler that makes a call of the client, and returns."""

        def handle() -> None:
            began = time.monotonic()
            self.handled += 1
            try:
                call()
            except RuntimeError as error:
                assert "was called from within itself" in str(error)  # noqa: PT017 - others do not raise
                self.refused += 1
            except ClosedError:
                assert not self.fluvio.running
            assert time.monotonic() - began < SHORT

        return handle

    def check(self) -> None:
        """Compare the log with the futures."""
        for _, future in self.sent:
            future.result(LONG)
        if self.fluvio.running:
            assert self.producer.flush(LONG).failed == 0
            assert used_memory(self.fluvio) == 0
            assert sum(self.producer.stats()[:2]) == 0
        stored = [record.value for record in read_records(self.cluster.endpoint, self.topic, 0)]
        assert len(stored) == len(self.sent)
        assert {future.result(0).offset: value for value, future in self.sent} == dict(enumerate(stored))

    def close(self) -> None:
        self.fluvio.close(LONG)


ACTIONS: dict[str, Callable[[Story], object]] = {
    "send": Story.send,
    "send_all": Story.send_all,
    "result": lambda story: story.send().result(LONG),
    "flush": lambda story: (story.send(), story.producer.flush(LONG)),
    "callback": lambda story: story.send().add_done_callback(lambda _: None),
    "stats": lambda story: (story.producer.stats(), story.fluvio.health()),
    "wait": lambda story: wait([story.send(), story.send()], LONG),
}
CALLS: dict[str, Callable[[Story], object]] = {
    "send": Story.send,
    "send_all": Story.send_all,
    "result": lambda story: story.sent[-1][1].result(LONG),
    "send and result": lambda story: story.send().result(LONG),
    "flush": lambda story: story.producer.flush(LONG),
    "stats": lambda story: story.producer.stats(),
    "health": lambda story: story.fluvio.health(),
    "topic_producer": lambda story: story.fluvio.topic_producer(story.topic),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_handler_that_interrupts_a_call_anywhere_may_call_the_client(
    own: LocalCluster, action: str, call: str
) -> None:
    own.create_topic("t")
    story = Story(own, "t", linger=0)
    run(story, action, call)
    story.check()
    story.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("action", ["result", "flush", "wait"])
def test_so_it_is_while_another_thread_leads(own: LocalCluster, action: str, call: str) -> None:
    own.create_topic("t")
    own.create_topic("stuck")
    story = Story(own, "t", linger=0)
    stuck = story.fluvio.topic_producer("stuck", linger=3600.0)
    with ThreadPoolExecutor(1) as pool:
        leading = pool.submit(stuck.send(b"x").result, LONG)
        try:
            run(story, action, call)
        finally:
            stuck.flush(LONG)
        assert leading.result(LONG).acknowledged
    story.check()
    story.close()


def run(story: Story, action: str, call: str) -> None:
    handler = story.handler(lambda: CALLS[call](story))
    at = random.randrange(STRIDE)
    while handling(lambda: ACTIONS[action](story), at, handler):
        for _, future in story.sent[-4:]:
            future.result(LONG)
        at += STRIDE
    assert story.handled > 0 or COMPILED  # a profiler sees few calls of compiled code, of send() none


@pytest.mark.parametrize("closed", ["client", "producer"])
@pytest.mark.parametrize("action", ["send", "result", "flush"])
def test_a_handler_that_interrupts_a_call_anywhere_may_close(own: LocalCluster, action: str, closed: str) -> None:
    own.create_topic("t")
    story = Story(own, "t", linger=0)

    def close() -> None:
        (story.fluvio if closed == "client" else story.producer).close(LONG)

    def act() -> None:
        with contextlib.suppress(ClosedError):
            ACTIONS[action](story)

    at = random.randrange(STRIDE)
    while handling(act, at, story.handler(close)):
        story.close()
        story.connect()
        at += STRIDE
    assert story.handled > 0 or COMPILED  # as above
    story.close()
