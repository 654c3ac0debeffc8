# SPDX-License-Identifier: Apache-2.0
"""Processes without descriptors or threads: errors of this package, and nothing that stays open."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from fluvio_sync._net.poller import Poller
from tests.support.scripts import run
from tests.support.system import needs_resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync import DeliveryFuture, TopicProducer
    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="the system does not list a process's descriptors"
)

LONGEST = 20.0  # seconds that nothing here takes

LIMITED = """
import contextlib, resource
def opened():
    return len(os.listdir("/proc/self/fd"))
@contextlib.contextmanager
def limited(more):  # as by `ulimit -n`
    probes = [os.dup(0) for _ in range(more)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (probes[-1] + 1, before[1]))
    for probe in probes:
        os.close(probe)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
Fluvio.connect(endpoint).close()  # which loads modules
"""


@needs_resource
def test_a_process_that_gets_too_few_descriptors(own: LocalCluster) -> None:
    script = """
        before = opened()
        for more in range(1, 20):
            try:
                with limited(more):
                    fluvio = Fluvio.connect(endpoint)
                break
            except ConnectError as error:
                assert f"SC at {endpoint}: Too many open files" in str(error), error
                assert opened() == before, more
        say(more > 5)
        fluvio.close()
        with Fluvio.connect(endpoint) as fluvio:
            with limited(1):
                try:
                    fluvio.topics()
                except ConnectError as error:
                    say("Too many open files" in str(error))
            say(fluvio.topics())
        say(opened() - before)
        """
    done = run(LIMITED + dedent(script), own.endpoint, "t", flags=("-W", "error"))
    assert (done.stdout, done.stderr) == ("True\nTrue\n[]\n0\n", "")


def test_a_poller_that_is_made_in_part_closes_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    real = socket.socketpair

    def pair() -> tuple[socket.socket, socket.socket]:
        if made:
            raise OSError(errno.EMFILE, "Too many open files")
        made.extend(real())
        return made[0], made[1]

    monkeypatch.setattr(socket, "socketpair", pair)
    with pytest.raises(OSError, match="Too many"):
        Poller()
    assert [sock.fileno() for sock in made] == [-1, -1]


@contextmanager
def no_threads() -> Iterator[None]:
    """Have no thread started meanwhile."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def send_and_note_thread(own: LocalCluster, producer: TopicProducer, seen: list[str]) -> DeliveryFuture:
    """Send a record whose callback notes on which thread it runs, and is there before the answer."""
    own.hold_replies(5001)
    future = producer.send("v")
    future.add_done_callback(lambda _: seen.append(threading.current_thread().name))
    own.hold_replies(5001, on=False)
    return future


def test_callbacks_that_get_no_thread_run_where_the_application_flushes(own: LocalCluster) -> None:
    own.create_topic("t")
    seen: list[str] = []
    with Fluvio.connect(own.endpoint) as client, no_threads():
        producer = client.topic_producer("t")
        for _ in range(2):
            send_and_note_thread(own, producer, seen).result(LONGEST)
        assert seen == []
        producer.flush(LONGEST)
        assert seen == [threading.current_thread().name] * 2


def test_callbacks_that_get_no_thread_run_when_there_is_one_again(own: LocalCluster) -> None:
    own.create_topic("t")
    seen: list[str] = []
    with Fluvio.connect(own.endpoint) as client:
        with no_threads():
            send_and_note_thread(own, client.topic_producer("t"), seen).result(LONGEST)
        deadline = time.monotonic() + LONGEST
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "callbacks" in seen[0]


def test_callbacks_of_records_that_closing_fails_run_without_a_thread(own: LocalCluster) -> None:
    own.create_topic("t")
    seen: list[str] = []
    client = Fluvio.connect(own.endpoint)
    with no_threads():
        own.kill_spu(5001)
        send_and_note_thread(own, client.topic_producer("t"), seen)
        client.close(0)
    assert seen == [threading.current_thread().name]


@needs_resource
def test_a_process_that_gets_no_thread(own: LocalCluster) -> None:
    script = """
        before = opened()
        start = threading.Thread.start
        def refuse(thread):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = refuse
        try:
            Fluvio.connect(endpoint)
        except ConnectError as error:
            say(error)
            say(repr(error.__cause__), opened() - before)
        threading.Thread.start = start
        Fluvio.connect(endpoint).close()
        """
    done = run(LIMITED + dedent(script), own.endpoint, "t", flags=("-W", "error"))
    said, cause = done.stdout.splitlines()
    assert f"SC at {own.endpoint}: its thread cannot be started: can't start new thread; raise the limit" in said
    assert cause == """RuntimeError("can't start new thread") 0"""
    assert done.stderr == ""
