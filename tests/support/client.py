# SPDX-License-Identifier: Apache-2.0
"""Policies of a client under test, and the inside of that client."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fluvio_sync import AtLeastOnce, Fluvio, RetryPolicy
from fluvio_sync._net.poller import Poller
from fluvio_sync._runtime import engine as engine_module
from fluvio_sync._runtime.engine import Parts
from fluvio_sync._runtime.sender_thread import SenderThread
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


WIDE: Any = "w" if sys.version_info >= (3, 13) else "u"
"""The type code of an array of characters; the older one is deprecated."""


def attempts(number: int, *, delay: float = 0.01, timeout: float = 10.0) -> AtLeastOnce:
    """Return a policy of so many attempts with a fixed delay between them."""
    policy = RetryPolicy(
        max_retries=number - 1, initial_delay=delay, max_delay=delay, timeout=timeout, strategy="fixed-delay"
    )
    return AtLeastOnce(policy)


def bring_online(client: Fluvio, topic: str, partitions: int) -> None:
    """Write to each partition, and wait until the client knows that all are online.

    A real SC sometimes calls a new partition online only after the first write.
    """
    producer = client.topic_producer(topic)
    for partition in range(partitions):
        producer.send(b"", partition=partition)
    producer.flush(10)
    wait_online(client, topic, partitions)


def wait_online(client: Fluvio, topic: str, partitions: int) -> None:
    """Wait until the client knows that so many of the topic's partitions are online."""
    engine = client._holder.engine
    assert engine is not None
    wait_until(lambda: len(engine.metadata.available(topic)) == partitions, f"{partitions} partitions are online")


def wait_offline(client: Fluvio, spu: int) -> None:
    """Wait until the SC has told the client that an SPU is offline."""
    engine = client._holder.engine
    assert engine is not None
    wait_until(lambda: not engine.metadata.spu_online(spu), f"SPU {spu} is offline")


def used_memory(client: Fluvio) -> int:
    """Return the bytes that unresolved records are charged."""
    assert client._holder.engine is not None
    return client._holder.engine.accumulator.used


def emit_events(client: Fluvio) -> None:
    """Wait until the log handlers have the client's events so far."""
    assert client._holder.engine is not None
    client._holder.engine.log_thread.close(10)


def assert_settled(client: Fluvio) -> None:
    """The client holds nothing any more.  The account follows the futures by a moment."""
    wait_until(lambda: used_memory(client) == 0, "the memory account is back at 0")


class WatchedThread(SenderThread):
    """A background thread that can be kept from working; `steps`: the times at which it began one."""

    def __init__(self, *parts: Any, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self.steps: list[float] = []
        self.park: Callable[[], None] | None = None

    def _run_step(self) -> None:
        self.steps.append(time.monotonic())
        if self.park is not None:
            self.park()
        else:
            super()._run_step()


class WatchedPoller(Poller):
    """A poller that notes when a thread was woken, and when the connections were borrowed or given back."""

    def __init__(self) -> None:
        super().__init__()
        self.woken: list[float] = []
        self.background_woken: list[float] = []
        self.changed_hands: list[float] = []

    def _listen(self, events: int) -> None:
        self.changed_hands.append(time.monotonic())
        super()._listen(events)

    def wake(self) -> None:
        self.woken.append(time.monotonic())
        super().wake()

    def wake_background(self) -> None:
        self.background_woken.append(time.monotonic())
        super().wake_background()


def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clients that are made from now on use these."""
    monkeypatch.setattr(engine_module, "Parts", partial(Parts, thread=WatchedThread, poller=WatchedPoller))


@contextmanager
def parked(fluvio: Fluvio) -> Iterator[None]:
    """Keep the background thread of a watched client from working."""
    engine = fluvio._holder.engine
    assert engine is not None
    assert isinstance(engine.thread, WatchedThread)
    here, go_on = threading.Event(), threading.Event()

    def park() -> None:
        here.set()
        go_on.wait(10)

    engine.thread.park = park
    engine.poller.wake_background()
    assert here.wait(10)
    try:
        yield
    finally:
        engine.thread.park = None
        go_on.set()
