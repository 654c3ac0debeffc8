# SPDX-License-Identifier: Apache-2.0
"""Log handlers of the application delay no record, no flush and no end: slow ones, and ones that wait for a lock."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio, TopicProducer
from fluvio_sync.testing import LocalCluster
from tests.support.client import attempts, emit_events
from tests.support.scripts import run
from tests.support.system import needs_fork
from tests.support.waiting import in_thread, wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LONG = 10.0
PATIENT = attempts(1000, timeout=LONG)


class Handler(logging.Handler):
    """Does the work of a test with each event."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__()
        self._work = work
        self.entered = threading.Event()
        self.errors: list[Exception] = []
        self.handled = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.errors.append(error)
        self.handled += 1


@contextmanager
def handled_by(handler: logging.Handler) -> Iterator[None]:
    """Give the library's events to a handler."""
    logger = logging.getLogger("fluvio_sync")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture
def producer(own: LocalCluster) -> Iterator[TopicProducer]:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=PATIENT)
        producer.send(b"warm").result(LONG)
        yield producer


def fail_and_recover(own: LocalCluster, producer: TopicProducer) -> None:
    """Have the sender log that its SPU is away, and is there again; its record is delivered."""
    fluvio = Fluvio(producer._holder)
    own.kill_spu(5001)
    future = producer.send(b"x")
    wait_until(lambda: fluvio.health().last_error, "the sender noticed it")
    own.restart_spu(5001)
    assert future.result(LONG).acknowledged


@pytest.mark.parametrize("wait", ["result", "flush", "close"])
def test_a_handler_may_send_and_wait(own: LocalCluster, producer: TopicProducer, wait: str) -> None:
    fluvio = Fluvio(producer._holder)
    handle = fluvio.topic_producer("t", delivery_semantic=PATIENT)

    def work() -> None:
        one = fluvio.topic_producer("t", delivery_semantic=PATIENT) if wait == "close" else handle
        future = one.send(b"from a log handler")
        if wait == "result":
            future.result(LONG)
        else:
            getattr(one, wait)(LONG)
        assert future.done()

    handler = Handler(work)
    with handled_by(handler):
        fail_and_recover(own, producer)
        emit_events(fluvio)
    assert handler.handled
    assert handler.errors == []


def test_a_handler_that_waits_for_its_lock_keeps_no_record(own: LocalCluster, producer: TopicProducer) -> None:
    """Its holder may itself wait for the record, as in the `emit()` of a handler that sends."""
    handler = Handler(lambda: None)
    with handled_by(handler):
        handler.acquire()
        try:
            fail_and_recover(own, producer)
            assert handler.handled == 0
        finally:
            handler.release()


def test_a_handler_that_stands_still_delays_neither_a_flush_nor_the_end(own: LocalCluster) -> None:
    own.create_topic("t")
    go_on = threading.Event()
    handler = Handler(lambda: go_on.wait(LONG))
    fluvio = Fluvio.connect(own.endpoint)
    producer = fluvio.topic_producer("t", delivery_semantic=PATIENT)
    try:
        with handled_by(handler):
            fail_and_recover(own, producer)
            assert handler.entered.wait(LONG)
            producer.send(b"y")
            with within(1.0):
                assert producer.flush(LONG).failed == 0
            with within(2.0):
                assert fluvio.close(LONG).failed == 0
    finally:
        go_on.set()


def test_the_lock_of_logging_keeps_no_record(own: LocalCluster, producer: TopicProducer) -> None:
    """`dictConfig` holds it while handlers are flushed and closed, and forgets which levels are enabled."""
    handler = Handler(lambda: None)
    with handled_by(handler):
        logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]
        with logging._lock:  # type: ignore[attr-defined]
            fail_and_recover(own, producer)
            wait_until(lambda: handler.handled, "and no event")


def test_the_lock_of_logging_keeps_no_client_from_being_made() -> None:
    """A handler that is flushed and closed by `dictConfig` may wait for a thread that makes its client just then."""
    made: list[Fluvio] = []
    with LocalCluster() as other:  # in a process of its own: asyncio logs
        with logging._lock:  # type: ignore[attr-defined]
            in_thread(lambda: made.append(Fluvio.connect(other.endpoint)))
            wait_until(lambda: made, "the client")
        made[0].close()


def test_health_tells_how_many_events_found_no_space(producer: TopicProducer) -> None:
    fluvio = Fluvio(producer._holder)
    engine = fluvio._holder.engine
    assert engine is not None
    assert fluvio.health().log_events_dropped == 0
    go_on = threading.Event()
    with handled_by(Handler(lambda: go_on.wait(LONG))):
        for _ in range(2000):
            engine.log.warning("spu.disconnected", spu=5001)
        dropped = fluvio.health().log_events_dropped
        go_on.set()
        emit_events(fluvio)
    assert dropped in (999, 1000)  # the thread may have taken one already


FORK = """
    import logging
    here, go_on = threading.Event(), threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            here.set()
            if os.getpid() == parent:
                go_on.wait(10)
            elif "environment.unknown" in record.getMessage():
                told.append(threading.current_thread().name)

    parent, told = os.getpid(), []
    logging.getLogger().addHandler(Handler())
    os.environ["FLUVIO_SYNC_CLIENTID"] = "x"
    fluvio = Fluvio.connect(endpoint, client_id="shop")
    producer = fluvio.topic_producer(topic)
    assert here.wait(10)  # the parent's thread is in the handler, and has its lock
    child = os.fork()
    if child == 0:
        producer.send("from the child").result(10)
        fluvio.close(10)
        say(told)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    """


@needs_fork
def test_the_child_of_a_fork_has_a_thread_of_its_own(own: LocalCluster) -> None:
    own.create_topic("t")
    done = run(FORK, own.endpoint, "t")
    assert (done.stdout, done.returncode) == ("['shop-log']\n", 0), done.stderr


EXIT = """
    import logging

    class Handler(logging.Handler):
        def emit(self, record):
            time.sleep(0.05)
            say(record.getMessage().split()[0], vars(record).get("variable", ""))

    logging.getLogger().addHandler(Handler())
    names = [f"FLUVIO_SYNC_CLIENTID{n}" for n in range(5)]
    os.environ.update(dict.fromkeys(names, "x"))
    fluvio = Fluvio.connect(endpoint)
    """


@pytest.mark.parametrize("end", ["", "fluvio.close()"])
def test_events_are_emitted_before_the_process_ends(own: LocalCluster, end: str) -> None:
    done = run(EXIT + f"{end}\n", own.endpoint, "t")
    assert done.stdout.count("environment.unknown") == 5, done.stdout
