# SPDX-License-Identifier: Apache-2.0
"""The thread of a client's events: bounded, and never waited for longer than was said."""

from __future__ import annotations

import _thread
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._base import threads
from fluvio_sync._base.log import get_logger
from fluvio_sync._runtime import log_thread
from fluvio_sync._runtime.log_thread import MOST_EVENTS, LogThread
from tests.support.interruption import interrupted
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 10.0


class Handler(logging.Handler):
    """An application's handler: it waits until it is opened, and then does what a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.opened.set()
        self.entered = threading.Event()
        self.work: Callable[[], None] = lambda: None
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        assert self.opened.wait(LONG)
        self.records.append(record)
        self.work()

    def numbers(self) -> list[Any]:
        return [vars(record).get("number") for record in self.records]


@pytest.fixture
def handler() -> Iterator[Handler]:
    logger, handler = logging.getLogger("fluvio_sync"), Handler()
    logger.addHandler(handler)
    yield handler
    handler.opened.set()
    logger.removeHandler(handler)


class Emitter:
    """A client's thread of events, and a logger that gives them to it."""

    def __init__(self) -> None:
        self.thread = LogThread("shop")
        self._log = get_logger("client", self.thread.put)

    def emit(self, *numbers: int) -> None:
        for number in numbers:
            self._log.warning("spu.disconnected", number=number)


def test_events_are_emitted_in_order_on_one_thread(handler: Handler) -> None:
    emitter, seen = Emitter(), set()
    handler.work = lambda: seen.add(threading.current_thread())
    emitter.emit(*range(100))
    emitter.thread.close(LONG)
    assert handler.numbers() == list(range(100))
    (thread,) = seen
    assert (thread.name, thread.daemon, thread.is_alive()) == ("shop-log", True, False)


def test_it_starts_with_the_first_event_and_again_after_it_was_closed(handler: Handler) -> None:
    emitter, before = Emitter(), threading.active_count()
    emitter.thread.close(LONG)
    for number in range(3):
        assert threading.active_count() == before
        emitter.emit(number)
        emitter.thread.close(LONG)
    assert handler.numbers() == [0, 1, 2]


def test_it_ends_when_it_has_no_event_for_a_while(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_thread, "_IDLE", 0.01)
    emitter = Emitter()
    for number in range(3):
        emitter.emit(number)
        wait_until(lambda: emitter.thread._thread is None, "it ended")
    assert handler.numbers() == [0, 1, 2]


def test_an_interrupted_start_leaves_one_thread(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception comes once the system has made the thread, and before that says that it runs."""
    emitter, seen = Emitter(), set()
    handler.work = lambda: seen.add(threading.current_thread())
    delayed: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def interrupt(function: Callable[..., None], arguments: tuple[Any, ...] = (), **_more: object) -> None:
        delayed.append((function, arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        name = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
        patch.setattr(threading, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            emitter.emit(1)
    emitter.emit(2)
    wait_until(lambda: handler.numbers() == [1, 2], "both were emitted")
    (thread,) = seen
    ((function, arguments),) = delayed
    _thread.start_new_thread(function, arguments)  # now it begins after all
    wait_until(lambda: function.__self__.ident is not None, "it began")  # type: ignore[attr-defined]
    for number in range(3, 100):
        emitter.emit(number)
        wait_until(lambda number=number: number in handler.numbers(), "it was emitted")  # type: ignore[misc]
    with within(LONG / 2):
        emitter.thread.close(LONG)
    assert handler.numbers() == [*range(1, 100)]
    assert seen == {thread}


def test_a_close_meanwhile_another_thread_starts_it_waits_for_it(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitter, begun, go_on = Emitter(), threading.Event(), threading.Event()
    start = threads.DaemonThread.start

    def start_slowly(thread: threads.DaemonThread) -> None:
        begun.set()
        assert go_on.wait(LONG)
        start(thread)

    monkeypatch.setattr(threads.DaemonThread, "start", start_slowly)
    with ThreadPoolExecutor(2) as pool:
        emitted = pool.submit(emitter.emit, 1)
        assert begun.wait(LONG)
        closed = pool.submit(emitter.thread.close, LONG)
        go_on.set()
        emitted.result(LONG)
        closed.result(LONG)
        assert handler.numbers() == [1]


def test_a_record_tells_of_the_moment_and_the_thread_of_the_event(handler: Handler) -> None:
    handler.opened.clear()
    emitter = Emitter()
    application = threading.Thread(target=emitter.emit, args=(1, 2), name="application")
    before = logging.LogRecord("", 0, "", 0, "", None, None).created
    application.start()
    application.join()
    after = logging.LogRecord("", 0, "", 0, "", None, None).created
    handler.opened.set()
    emitter.thread.close(LONG)
    for record in handler.records:
        assert (record.threadName, record.thread, record.funcName) == ("application", application.ident, "emit")
        assert before <= record.created <= after


def test_events_beyond_the_bound_are_counted_and_the_count_is_logged(handler: Handler) -> None:
    handler.opened.clear()
    emitter = Emitter()
    emitter.emit(-1)
    assert handler.entered.wait(LONG)
    emitter.emit(*range(MOST_EVENTS + 7))
    assert emitter.thread.dropped == 7
    handler.opened.set()
    emitter.thread.close(LONG)
    emitter.emit(-2)
    emitter.thread.close(LONG)
    told = [record for record in handler.records if "log.events_dropped" in record.getMessage()]
    assert [vars(record)["events"] for record in told] == [7]
    assert told[0].getMessage().startswith("log.events_dropped client_id='shop' events=7")
    numbers = [number for number in handler.numbers() if number is not None]
    assert numbers == [-1, *range(MOST_EVENTS), -2]


def test_a_handler_that_stands_still_delays_neither_events_nor_the_end(handler: Handler) -> None:
    handler.opened.clear()
    emitter = Emitter()
    with within(1.0):
        emitter.emit(*range(2 * MOST_EVENTS))
        emitter.thread.close(0.2)
        emitter.emit(1)
    handler.opened.set()
    emitter.thread.close(LONG)


def test_a_handler_that_closes_the_client_does_not_wait_for_itself(handler: Handler) -> None:
    emitter = Emitter()
    handler.work = lambda: emitter.thread.close(LONG)
    with within(1.0):
        emitter.emit(1, 2)
        emitter.thread.close(LONG)
        wait_until(lambda: handler.numbers() == [1, 2], "both were emitted")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_that_raises_loses_no_other_event(handler: Handler) -> None:
    emitter, ended = Emitter(), []

    def exit_once() -> None:
        handler.work = lambda: None
        ended.append(threading.current_thread())
        raise SystemExit

    handler.work = exit_once
    emitter.emit(1, 2)
    emitter.emit(3)
    wait_until(lambda: handler.numbers() == [1, 2, 3], "all were emitted")
    emitter.thread.close(LONG)
    ended[0].join()


def test_where_no_thread_starts_any_more_the_end_emits_and_so_do_later_events(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    emitter = Emitter()
    emitter.emit(1, 2)  # perhaps on the sender's thread, which still has records to deliver
    assert handler.records == []
    emitter.thread.close(LONG)
    assert handler.numbers() == [1, 2]
    emitter.emit(3)
    assert handler.numbers() == [1, 2, 3]


def test_an_interrupted_event_keeps_none_behind_it(handler: Handler) -> None:
    emitter, at = Emitter(), 0
    while interrupted(partial(emitter.emit, at), at):
        emitter.emit(-1)
        emitter.thread.close(LONG)
        assert handler.numbers()[-1] == -1
        at += 1
    assert at > 10
