# SPDX-License-Identifier: Apache-2.0
"""Waits where no thread leads, as on Windows: they end for Ctrl-C only if each is divided into short ones.

CPython interrupts a wait for a lock or a socket for a signal handler on POSIX alone.  Here a wait of the main thread
raises at once, with the seconds that it was to take.
"""

from __future__ import annotations

import io
import selectors
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import Fluvio
from fluvio_sync._base import threads
from fluvio_sync._base.threads import slices
from fluvio_sync._net import poller
from fluvio_sync._net.transport import SocketTransport
from fluvio_sync.cli.input import Chunks
from fluvio_sync.client import unconnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._runtime.holder import EngineHolder
    from fluvio_sync.testing import LocalCluster

SHORT = threads.LONGEST_SLEEP


class Waited(BaseException):
    """A wait of the main thread, of so many seconds."""


def waits(timeout: float | None) -> None:
    if threading.current_thread() is threading.main_thread() and timeout != 0:
        raise Waited(timeout)


def noted(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that waits, which raises in the main thread."""

    def wait(self: object, timeout: float | None = None) -> Any:
        waits(timeout)
        return original(self, timeout)

    return wait


class Lock:
    """A lock whose waits in the main thread raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.release = self._lock.release

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:  # noqa: FBT001, FBT002 - as the real one
        if self._lock.acquire(blocking=False):
            return True
        waits(timeout)
        return self._lock.acquire(blocking, timeout)


class Threading:
    """The module `threading`, with that lock."""

    Lock = Lock

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


@pytest.fixture
def watched(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], float]:
    """Without epoll: returns the seconds of the first wait of a call."""
    monkeypatch.setattr(poller, "_EPOLL", ())
    own.create_topic("t")

    def wait_of(call: Callable[[], object]) -> float:
        with monkeypatch.context() as patch:
            patch.setattr(threads, "threading", Threading())
            patch.setattr(selectors.DefaultSelector, "select", noted(selectors.DefaultSelector.select))
            patch.setattr(SocketTransport, "wait_resolved", noted(SocketTransport.wait_resolved))
            with pytest.raises(Waited) as raised:
                call()
        seconds: float = raised.value.args[0]
        return seconds

    return wait_of


def test_no_wait_for_records_is_long(own: LocalCluster, watched: Callable[[Callable[[], object]], float]) -> None:
    with Fluvio.connect(own.endpoint, buffer_memory=1_200_000) as client:
        producer = client.topic_producer("t", linger=60)
        future = producer.send(b"x")
        own.hold_replies(5001)
        calls: list[Callable[[], object]] = [
            future.result,
            lambda: future.result(30),
            producer.flush,
            lambda: producer.flush(30),
            lambda: client.close(30),
            lambda: client.topic_producer("unknown"),
            lambda: [producer.send(b"x" * 100_000) for _ in range(20)],
        ]
        assert [0 < watched(call) <= SHORT for call in calls] == [True] * len(calls)
        own.hold_replies(5001, on=False)


def test_no_wait_to_connect_is_long(watched: Callable[[Callable[[], object]], float]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        assert 0 < watched(lambda: Fluvio.connect(f"127.0.0.1:{silent.getsockname()[1]}")) <= SHORT


def test_no_wait_for_a_name_is_long(
    watched: Callable[[Callable[[], object]], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()

    def unanswered(*_: object, flags: int = 0, **__: object) -> None:
        if not flags:
            answered.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unanswered)
    assert 0 < watched(lambda: Fluvio.connect("sc.example")) <= SHORT
    answered.set()


def test_no_wait_for_the_thread_that_connects_is_long(watched: Callable[[Callable[[], object]], float]) -> None:
    holder: EngineHolder = unconnected({"endpoint": "127.0.0.1:1"})._holder
    holder._lock = Lock()  # type: ignore[assignment]
    holder._lock.is_mine = lambda: False  # type: ignore[method-assign]
    holder._lock.acquire()
    assert watched(holder.running) == SHORT


def test_no_wait_for_input_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            threading.Event().wait()
            return b""

    chunks = Chunks(Endless())  # type: ignore[arg-type]
    monkeypatch.setattr(chunks._read, "get", waits)
    with pytest.raises(Waited) as raised:
        chunks.next(None)
    assert raised.value.args[0] == SHORT


def test_a_wait_is_divided() -> None:
    assert list(slices(2.5)) == [1.0, 1.0, 0.5]
    assert list(slices(0.0)) == [0.0]
