# SPDX-License-Identifier: Apache-2.0
"""Log records in a topic, and log calls that neither wait nor raise."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import logging.config
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import ConfigError, RetryPolicy
from fluvio_sync.contrib._json_formatter import JsonFormatter
from fluvio_sync.contrib.logging import FluvioHandler
from fluvio_sync.delivery import AtLeastOnce
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.testing import LocalCluster

TOPIC = "logs"
PYTHON = (sys.executable, "-W", "ignore:This process:DeprecationWarning")  # about forks of processes with threads


@pytest.fixture
def cluster(own: LocalCluster) -> LocalCluster:
    own.create_topic(TOPIC)
    return own


@contextlib.contextmanager
def logging_to(handler: logging.Handler, name: str = "app") -> Iterator[logging.Logger]:
    logger = logging.getLogger(name)
    known = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = known
        handler.close()


def shipped(cluster: LocalCluster) -> list[dict[str, Any]]:
    return [json.loads(record.value) for record in cluster.records(TOPIC)]


def messages(cluster: LocalCluster) -> list[str]:
    return [fields["message"] for fields in shipped(cluster)]


@pytest.fixture
def closed_port() -> str:
    return "127.0.0.1:1"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        yield f"127.0.0.1:{mute.getsockname()[1]}"


# Contents.


def test_records_arrive_in_order_as_json(cluster: LocalCluster) -> None:
    before = datetime.now(timezone.utc)
    with logging_to(FluvioHandler(TOPIC, cluster.endpoint)) as logger:
        logger.info("order %d of %s", 7, "Ann", extra={"request_id": "r-1", "items": [1, 2]})
        for number in range(200):
            logger.warning("line %d", number)
    first, *others = shipped(cluster)
    assert first["message"] == "order 7 of Ann"
    assert (first["level"], first["logger"], first["request_id"], first["items"]) == ("INFO", "app", "r-1", [1, 2])
    assert before <= datetime.fromisoformat(first["timestamp"]) <= datetime.now(timezone.utc)
    assert set(first) == {"timestamp", "level", "logger", "message", "request_id", "items"}
    assert [fields["message"] for fields in others] == [f"line {number}" for number in range(200)]


def test_the_time_of_the_log_call_and_the_applications_key_and_formatter(cluster: LocalCluster) -> None:
    handler = FluvioHandler(TOPIC, cluster.endpoint, key=lambda record: record.levelname)
    handler.setFormatter(logging.Formatter("%(levelname)s:%(message)s"))
    made = logging.LogRecord("app", logging.ERROR, "", 0, "grüße \udc80", None, None)
    made.created = 1_700_000_000.25
    with logging_to(handler) as logger:
        logger.handle(made)
    (record,) = cluster.records(TOPIC)
    assert (record.key, record.value) == (b"ERROR", "ERROR:grüße \\udc80".encode())
    assert record.timestamp == 1_700_000_000_250


def key_of(record: logging.LogRecord) -> bytes:
    return record.name.encode()


def test_dict_config(cluster: LocalCluster) -> None:
    handler = {
        "class": "fluvio_sync.contrib.logging.FluvioHandler",
        "level": "WARNING",
        "topic": TOPIC,
        "endpoint": cluster.endpoint,
        "key": f"ext://{__name__}.key_of",
        "compression": "gzip",
        "delivery_semantic": "at-most-once",
        "client_id": "app-logs",
    }
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"fluvio": handler},
        "loggers": {"app.shop": {"handlers": ["fluvio"], "level": "DEBUG", "propagate": False}},
    }
    logging.config.dictConfig(config)
    logger = logging.getLogger("app.shop")
    (made,) = logger.handlers
    try:
        logger.info("not this")
        logger.warning("this")
        made.close()
        assert [(record.key, json.loads(record.value)["message"]) for record in cluster.records(TOPIC)] == [
            (b"app.shop", "this")
        ]
    finally:
        logger.removeHandler(made)


def test_invalid_settings() -> None:
    for settings, words in (
        ({"lingr": 1}, "did you mean 'linger'"),
        ({"conect_timeout": 1}, "did you mean 'connect_timeout'"),
        ({"on_full": "raise"}, "unknown setting 'on_full'"),
        ({"linger": -1}, "linger"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"buffer_memory": 1000}, "buffer_memory"),
        ({"flush_timeout": "soon"}, "flush_timeout"),
        ({"key": "levelname"}, "key is a function"),
    ):
        with pytest.raises(ConfigError, match=words):
            FluvioHandler(TOPIC, "127.0.0.1:1", **settings)
    with pytest.raises(ConfigError):
        FluvioHandler("No Topic", "127.0.0.1:1")


# JSON.


def formatted(message: str, *arguments: object, **attributes: Any) -> dict[str, Any]:
    record = logging.LogRecord("app", logging.ERROR, "", 0, message, arguments, attributes.pop("exc_info", None))
    vars(record).update(attributes)
    text = JsonFormatter().format(record)
    assert text.isascii()
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


def test_json_of_an_exception() -> None:
    try:
        raise ValueError("no\nbooks")
    except ValueError:
        found = formatted("failed", exc_info=sys.exc_info(), stack_info="Stack: here")
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("ValueError: no\nbooks")
    assert found["stack"] == "Stack: here"
    assert "exception" not in formatted("failed", exc_info=(None, None, None))
    assert formatted("failed", exc_text="cached")["exception"] == "cached"


def test_json_leaves_out_values_that_it_cannot_hold() -> None:
    circular: list[Any] = []
    circular.append(circular)
    extra = {"object": object(), "circular": circular, "nan": float("nan"), "keys": {(1, 2): 3}, "good": {"a": None}}
    found = formatted("odd", **extra)
    assert set(found) == {"timestamp", "level", "logger", "message", "good"}


def test_json_keeps_extra_fields_with_names_of_its_own() -> None:
    found = formatted("x", level="mine", timestamp=1)
    assert (found["level"], found["level_"], found["timestamp_"]) == ("ERROR", "mine", 1)


# The application goes on.


def burst(logger: logging.Logger, number: int = 1000) -> float:
    """Return the seconds of the slowest of `number` log calls."""
    slowest = 0.0
    for index in range(number):
        start = time.perf_counter()
        logger.info("line %d", index)
        slowest = max(slowest, time.perf_counter() - start)
    return slowest


@pytest.mark.alone
@pytest.mark.parametrize("place", ["closed_port", "black_hole"])
def test_a_log_call_does_not_wait_for_a_cluster_that_is_away(
    place: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = FluvioHandler(TOPIC, request.getfixturevalue(place), connect_timeout=3, flush_timeout=0.3)
    with logging_to(handler) as logger:
        assert burst(logger) < 0.25
        with within(0.3, 0.2):
            handler.flush()
        with within(1.3):  # the thread may be connecting
            handler.close()
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1] == "fluvio_sync: log records for topic 'logs': 1000 dropped"
    assert len(errors) == (2 if place == "closed_port" else 1)
    assert handler.dropped == 1000


def test_records_wait_for_a_cluster_that_comes_late(cluster: LocalCluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.kill_sc()
    with logging_to(FluvioHandler(TOPIC, cluster.endpoint)) as logger:
        logger.info("early")
        wait_until(lambda: "the cluster cannot be used" in capsys.readouterr().err, "the first attempt has failed")
        cluster.restart_sc()
        logger.info("late")
    assert messages(cluster) == ["early", "late"]


def test_memory_is_bounded_and_drops_are_counted(closed_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    handler = FluvioHandler(TOPIC, closed_port, buffer_memory=4 * 1024 * 1024, flush_timeout=0)
    with logging_to(handler) as logger:
        text = "x" * 10_000
        for _ in range(1000):
            logger.info(text)
        kept = 2 * 1024 * 1024 // 10_000
        assert 1000 - kept <= handler.dropped <= 1000 - 0.97 * kept
        assert handler._backlog is not None
        assert handler._backlog._used <= 2 * 1024 * 1024
    errors = capsys.readouterr().err.splitlines()
    assert sum("dropped so far" in line for line in errors) == 3  # the 1st, the 10th, the 100th
    assert errors[-1].endswith("1000 dropped")


@pytest.mark.alone
def test_a_full_client_makes_records_wait_in_the_handler_and_then_drops(cluster: LocalCluster) -> None:
    handler = FluvioHandler(TOPIC, cluster.endpoint, buffer_memory=4 * 1024 * 1024, flush_timeout=0.2)
    with logging_to(handler) as logger:
        logger.info("first")
        handler.flush()
        cluster.hold_replies(5001)
        text = "x" * 100_000
        slowest = 0.0
        for _ in range(100):
            start = time.perf_counter()
            logger.info(text)
            slowest = max(slowest, time.perf_counter() - start)
        assert slowest < 0.25
        assert handler.dropped > 40
        assert handler._backlog is not None
        assert handler._client.health().bytes_queued + handler._backlog._used < 4 * 1024 * 1024
        cluster.hold_replies(5001, on=False)


def test_reports_end(closed_port: str, capsys: pytest.CaptureFixture[str]) -> None:
    handler = FluvioHandler(TOPIC, closed_port)
    for number in range(50):
        handler._report(str(number))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].endswith("9; further lines are not shown")


def test_there_may_be_no_standard_error(closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    handler = FluvioHandler(TOPIC, closed_port, flush_timeout=0)
    with logging_to(handler) as logger:
        logger.info("%d", "no number")
        assert handler.dropped == 1


class Broken:
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_a_record_that_cannot_be_formatted_raises_nothing(
    cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = iter(["good", 5, object()])
    handler = FluvioHandler(TOPIC, cluster.endpoint, key=lambda _: next(keys))  # type: ignore[arg-type,return-value]
    with logging_to(handler) as logger:
        logger.info("%d", "no number")
        logger.info("%s", Broken())
        logger.info("good")
        for _ in range(3):
            logger.info("its key is bad, or there is none any more")
        assert handler.dropped == 5
    assert messages(cluster) == ["good"]
    assert "ZeroDivisionError" not in capsys.readouterr().err  # it is the 2nd; the 1st and the 10th are reported
    assert [record.key for record in cluster.records(TOPIC)] == [b"good"]


def test_a_record_that_is_too_large_or_rejected_is_counted(cluster: LocalCluster) -> None:
    handler = FluvioHandler(TOPIC, cluster.endpoint, max_request_size=20_000)
    with logging_to(handler) as logger:
        logger.info("x" * 30_000)
        handler.flush()
        cluster.fail_next_produce(9000)
        logger.info("rejected")
        handler.flush()
        assert handler.dropped == 2
        logger.info("good")
    assert messages(cluster) == ["good"]
    assert handler.dropped == 2


def test_its_own_logs_are_not_shipped(cluster: LocalCluster) -> None:
    """A failing SPU causes no log storm, even with the library's events on the same handler."""
    policy = AtLeastOnce(RetryPolicy(max_retries=1, initial_delay=0.01))
    handler = FluvioHandler(TOPIC, cluster.endpoint, delivery_semantic=policy)
    with logging_to(handler) as logger, logging_to(handler, "fluvio_sync") as library:
        library.error("never")
        logging.getLogger("fluvio_sync.client").error("never")
        cluster.fail_next_produce(9000)
        logger.info("rejected")
        handler.flush()
        assert handler.dropped == 1
        logging.getLogger("fluvio_sync_like").addHandler(handler)
        logging.getLogger("fluvio_sync_like").warning("shipped")
        logging.getLogger("fluvio_sync_like").removeHandler(handler)
        handler.flush()
    assert messages(cluster) == ["shipped"]


class Talkative:
    """Logs while it is formatted."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def __str__(self) -> str:
        self.logger.info("from within, and again %s", self)
        return "talk"


def test_records_that_are_logged_while_it_formats_are_not_shipped(cluster: LocalCluster) -> None:
    with logging_to(FluvioHandler(TOPIC, cluster.endpoint)) as logger:
        logger.info("%s", Talkative(logger))
        logger.info("after")
    assert messages(cluster) == ["talk", "after"]


def test_logs_of_its_own_threads_are_not_shipped(cluster: LocalCluster) -> None:
    handler: FluvioHandler
    logger = logging.getLogger("app")

    def override(spu: int, _advertised: str) -> None:
        logger.warning("asked for SPU %d", spu)

    handler = FluvioHandler(TOPIC, cluster.endpoint, spu_address_override=override)
    with logging_to(handler):
        logger.info("shipped")
    assert messages(cluster) == ["shipped"]


# The end.


@pytest.mark.alone
def test_flush_delivers_what_was_logged(cluster: LocalCluster) -> None:
    handler = FluvioHandler(TOPIC, cluster.endpoint, linger=30)
    with logging_to(handler) as logger:
        handler.flush()  # without records
        logger.info("one")
        with within(5):
            handler.flush()
        assert messages(cluster) == ["one"]


def test_closing_ends_its_threads_and_it_is_not_kept(cluster: LocalCluster) -> None:
    before = set(threading.enumerate())
    handler = FluvioHandler(TOPIC, cluster.endpoint)
    with logging_to(handler) as logger:
        logger.info("one")
        handler.close()
        logger.info("too late")
        assert handler.dropped == 1  # it is closed again when the block ends
    assert messages(cluster) == ["one"]
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert not {name for name in names if name.startswith("fluvio-sync-logging")}
    known = weakref.ref(handler)
    del handler
    gc.collect()
    assert known() is None


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PYTHON, "-c", textwrap.dedent(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False)


EXIT = """
    import atexit, logging, sys
    from fluvio_sync.contrib.logging import FluvioHandler
    handler = FluvioHandler("logs", sys.argv[1], flush_timeout=float(sys.argv[2]))
    logging.getLogger().addHandler(handler)
    atexit.register(logging.warning, "from an exit handler")
    for number in range(1000):
        logging.warning("line %d", number)
    if len(sys.argv) > 3:
        handler.flush()
    """


@pytest.mark.parametrize("more", [(), ("flush",)], ids=["at once", "connected"])
def test_the_interpreters_end_delivers(cluster: LocalCluster, more: tuple[str, ...]) -> None:
    done = run(EXIT, cluster.endpoint, "10", *more)
    lines = [*(f"line {number}" for number in range(1000)), "from an exit handler"]
    if more or sys.version_info[:2] != (3, 12):
        assert (done.returncode, done.stderr) == (0, "")
        assert messages(cluster) == lines
    else:  # which starts no more threads once the main thread has ended
        assert done.returncode == 0
        assert messages(cluster) == lines or re.search(
            r"^fluvio_sync: log records for .*: \d+ dropped$", done.stderr, re.MULTILINE
        )


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("place", ["closed_port", "black_hole"])
def test_the_interpreters_end_waits_for_flush_timeout(place: str, request: pytest.FixtureRequest) -> None:
    """The end waits once, although `logging.shutdown` flushes and closes."""
    with within(2 * 4, 4):
        done = run(EXIT, request.getfixturevalue(place), "4")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "fluvio_sync: log records for topic 'logs': 1001 dropped"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_fork(cluster: LocalCluster) -> None:
    script = """
        import logging, os, signal, sys
        from fluvio_sync.contrib.logging import FluvioHandler
        logger = logging.getLogger()
        logger.addHandler(FluvioHandler("logs", sys.argv[1]))
        for round in range(3):
            logger.warning("parent %d", round)
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a child that hangs does not outlive the test
                for number in range(50):
                    logger.warning("child %d %d", round, number)
                logging.shutdown()
                os._exit(0)
            logger.warning("parent after %d", round)
            assert os.waitpid(child, 0)[1] == 0
        """
    done = run(script, cluster.endpoint)
    assert (done.returncode, done.stderr) == (0, "")
    found = messages(cluster)
    expected = [f"parent {n}" for n in range(3)] + [f"parent after {n}" for n in range(3)]
    expected += [f"child {n} {number}" for n in range(3) for number in range(50)]
    assert sorted(found) == sorted(expected)


def test_its_thread_imports_nothing(cluster: LocalCluster, closed_port: str) -> None:
    """After a fork in the middle of a thread's import, the child can never import that module."""
    script = """
        import logging, sys
        from fluvio_sync.contrib.logging import FluvioHandler
        from tests.support.import_watch import watch_imports
        imported = watch_imports()
        for endpoint in sys.argv[1:]:
            handler = FluvioHandler("logs", endpoint, compression="gzip", flush_timeout=0.3)
            logging.getLogger().addHandler(handler)
            logging.warning("x")
            handler.flush()
        print(imported)
        """
    done = run(script, cluster.endpoint, closed_port, closed_port.replace("127.0.0.1", "localhost"))
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_children_of_multiprocessing_deliver(cluster: LocalCluster) -> None:
    """A child of another start method makes its own handler there, which is closed at its end in the same way."""
    script = """
        import logging, multiprocessing, signal, sys
        from fluvio_sync.contrib.logging import FluvioHandler
        logging.getLogger().addHandler(FluvioHandler("logs", sys.argv[1]))
        logging.warning("parent")
        def work():
            signal.alarm(20)  # a child that hangs does not outlive the test
            logging.warning("child")
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join(20)
        print(process.exitcode)
        """
    done = run(script, cluster.endpoint)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "0\n")
    assert sorted(messages(cluster)) == ["child", "parent"]
