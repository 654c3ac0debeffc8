# SPDX-License-Identifier: Apache-2.0
"""Threads that wait do the sender's work, and keep no other thread waiting by that."""

from __future__ import annotations

import ctypes
import logging
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import Fluvio, TopicProducer
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._net.transport import SocketTransport
from tests.support.client import emit_events, parked, used_memory, watch
from tests.support.system import needs_leading, replaces_code

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from fluvio_sync.testing import LocalCluster

LONG = 10.0


def noting(original: Callable[..., Any], workers: list[threading.Thread]) -> Callable[..., Any]:
    """Return a function that does the same and notes which thread did."""

    def function(*arguments: Any) -> Any:
        workers.append(threading.current_thread())
        return original(*arguments)

    return function


@needs_leading
def test_a_thread_that_sends_and_waits_does_the_work_itself(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.create_topic("t")
    watch(monkeypatch)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0)
        for _ in range(20):
            producer.send(b"x").result(LONG)
        workers: list[threading.Thread] = []
        for name in ("send", "receive_into"):
            monkeypatch.setattr(SocketTransport, name, noting(getattr(SocketTransport, name), workers))
        with parked(fluvio):
            for _ in range(100):
                producer.send(b"x").result(LONG)
        assert len(workers) >= 200
        assert {*workers} == {threading.current_thread()}


def test_a_record_leaves_no_reference_cycle_behind(own: LocalCluster) -> None:
    """Collecting those would hold up the thread for milliseconds, every now and then.

    In a process of its own: in this one, what other tests left becomes garbage at any time.
    """
    own.create_topic("t")
    script = f"""
import gc

from fluvio_sync import Fluvio

with Fluvio.connect({own.endpoint!r}) as fluvio:
    producer = fluvio.topic_producer("t", linger=0)
    for _ in range(20):
        producer.send(b"x").result({LONG})
    gc.collect()
    gc.disable()
    for _ in range(1000):
        producer.send(b"x").result({LONG})
    print(gc.collect())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < 100


def test_what_nobody_waits_for_after_that_is_sent_all_the_same(own: LocalCluster) -> None:
    own.create_topic("t", partitions=3)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0)
        for number in range(30):
            producer.send(b"waited for").result(LONG)
            futures = [producer.send(b"not waited for", partition=(number + n) % 3) for n in range(5)]
            called = threading.Event()
            futures[-1].add_done_callback(lambda _, called=called: called.set())  # type: ignore[misc]
            assert called.wait(LONG)
            assert not wait(futures, LONG).not_done


def test_others_are_told_while_the_main_thread_drives(own: LocalCluster) -> None:
    """The main thread waits for a partition that does not answer; the records of others are acknowledged meanwhile."""
    own.create_topic("stuck", replication=1)
    own.create_topic("t", partitions=2)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0)
        for _ in range(20):
            producer.send(b"x").result(LONG)
        stuck = fluvio.topic_producer("stuck", linger=60.0)
        results = []

        def others() -> None:
            for _ in range(50):
                future = producer.send(b"x")
                called = threading.Event()
                future.add_done_callback(lambda _: called.set())  # noqa: B023
                done = wait([future], LONG, FIRST_COMPLETED).done
                results.append((len(done), called.wait(LONG), future.result(LONG).acknowledged))

        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(others) for _ in range(3)]
            with pytest.raises(TimeoutError):
                stuck.send(b"lingers").result(3.0)
            assert all(thread.done() for thread in waiting)
        assert results == [(1, True, True)] * 150
        stuck.flush(LONG)


def test_threads_that_send_and_wait_at_once(own: LocalCluster) -> None:
    own.create_topic("t", partitions=4)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0)

        def work(number: int) -> set[int]:
            return {producer.send(b"%d" % number, partition=number % 4).result(LONG).offset or 0 for _ in range(100)}

        with ThreadPoolExecutor(8) as pool:
            offsets = list(pool.map(work, range(8)))
        assert [len(one) for one in offsets] == [100] * 8
        assert all(offsets[n] | offsets[n + 4] == set(range(200)) for n in range(4))


@pytest.mark.alone
def test_a_wait_ends_in_time_though_the_thread_drives(own: LocalCluster) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=60.0)
        future = producer.send(b"x")
        for limit in (0.0, 0.05, 0.3):
            began = time.monotonic()
            with pytest.raises(TimeoutError, match="is not completed after"):
                future.result(limit)
            assert limit <= time.monotonic() - began < limit + 0.25


@pytest.mark.alone
def test_the_background_thread_is_in_time_for_a_record_that_a_former_leader_leaves_to_linger(own: LocalCluster) -> None:
    """It looks once a second while another thread leads, and has to hear of a timer that comes before its next look."""
    own.create_topic("t")
    own.create_topic("stuck")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0.05)
        producer.send(b"connects").result(LONG)
        stuck = fluvio.topic_producer("stuck", linger=60.0)
        with pytest.raises(TimeoutError):
            stuck.send(b"lingers").result(1.3)
        called = threading.Event()
        began = time.monotonic()
        producer.send(b"not waited for").add_done_callback(lambda _: called.set())
        assert called.wait(LONG)
        assert time.monotonic() - began < 0.4
        stuck.flush(LONG)


def endlessly(producer: TopicProducer) -> None:
    while True:
        producer.send(b"x").result(LONG)


# An exception that comes right after a socket was made leaves it to the collector, which closes it and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.interrupts
def test_the_time_out_of_a_signal_handler_is_not_taken_for_a_network_error(own: LocalCluster) -> None:
    own.create_topic("t")

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the application's")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with Fluvio.connect(own.endpoint) as fluvio:
            producer = fluvio.topic_producer("t", linger=0)
            seen = 0
            for number in range(60):
                # And again, should a handler of pytest's swallow it in the middle of a line of the log.
                signal.setitimer(signal.ITIMER_REAL, 0.001 + number * 0.00005, 0.5)
                with pytest.raises(TimeoutError, match="the application's"):
                    endlessly(producer)
                seen += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert seen == 60
            assert producer.flush(LONG).failed == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@replaces_code
@pytest.mark.parametrize("name", ["records_queued", "_replied"])
def test_a_bug_in_the_middle_of_a_decision_is_overcome(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """tests/core/test_sender.py plants others, in memory."""
    own.create_topic("t", partitions=2)
    original = getattr(Dispatcher, name)

    def fail_once(*_arguments: object) -> None:
        monkeypatch.setattr(Dispatcher, name, original)
        raise ZeroDivisionError

    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t")
        with caplog.at_level(logging.WARNING, logger="fluvio_sync"):
            monkeypatch.setattr(Dispatcher, name, fail_once)
            # This does not lead: no exception interrupts the background thread, so one there is known to be a bug.
            assert not wait(producer.send_all([b"x"] * 20), LONG).not_done
            assert producer.flush(LONG) == (20, 0, 0, None)
        assert used_memory(fluvio) == 0
        emit_events(fluvio)
        assert caplog.text.count("sender.internal_error") == 1
        assert caplog.text.count("sender.interrupted") == 1


class TimeLimitError(Exception):
    """As of a job queue that runs its jobs in threads."""


@needs_leading
def test_a_time_limit_that_is_injected_in_a_thread_ends_its_wait_and_nothing_else(
    own: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio, ThreadPoolExecutor(1) as pool:
        producer = fluvio.topic_producer("t", linger=0)
        for _ in range(20):
            producer.send(b"x").result(LONG)
        own.hold_replies(5001)
        future = producer.send(b"y")
        thread = pool.submit(threading.get_ident).result(LONG)
        with caplog.at_level(logging.ERROR, logger="fluvio_sync"):
            job = pool.submit(future.result, LONG)
            while not fluvio._holder.engine.poller.led and not future.done():  # type: ignore[union-attr]
                time.sleep(0.001)
            began = time.monotonic()
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeLimitError))
            assert isinstance(job.exception(LONG), TimeLimitError)
            assert time.monotonic() - began < LONG / 2  # it waits for a second at a time
        own.hold_replies(5001, on=False)
        assert future.result(LONG).acknowledged
        assert producer.send(b"z").result(LONG).acknowledged
        assert caplog.text == ""


@replaces_code
@pytest.mark.parametrize("name", ["records_queued", "_replied"])
@needs_leading
def test_an_exception_in_a_step_that_a_thread_leads_reaches_its_caller(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A time limit that comes in the middle of a decision is not logged as a bug, and no record is lost."""
    own.create_topic("t")
    original = getattr(Dispatcher, name)

    def fail_once(*_arguments: object) -> None:
        monkeypatch.setattr(Dispatcher, name, original)
        raise TimeLimitError

    def lead() -> list[BaseException | None]:
        producer.send(b"x").result(LONG)  # from here on it leads
        with parked(fluvio):
            monkeypatch.setattr(Dispatcher, name, fail_once)
            with pytest.raises(TimeLimitError):
                endlessly(producer)
        return [producer.send(b"y").exception(LONG)]

    watch(monkeypatch)
    with Fluvio.connect(own.endpoint) as fluvio, ThreadPoolExecutor(1) as pool:
        producer = fluvio.topic_producer("t", linger=0)
        with caplog.at_level(logging.ERROR, logger="fluvio_sync"):
            assert pool.submit(lead).result(LONG) == [None]
        assert producer.flush(LONG).failed == 0
        assert used_memory(fluvio) == 0
        assert caplog.text == ""
