# SPDX-License-Identifier: Apache-2.0
"""Events go to the log that the application configured."""

from __future__ import annotations

import contextvars
import io
import json
import logging
import subprocess
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

from fluvio_sync._base import log as base_log
from fluvio_sync._base.log import get_logger
from tests.support.rig import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync._base.log import Event, Logger


@pytest.fixture(autouse=True)
def _structlog_as_imported() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Records(logging.Handler):
    """An application's handler."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.DEBUG, logger="fluvio_sync")
    handler = Records()
    logging.getLogger().addHandler(handler)
    yield handler.records
    logging.getLogger().removeHandler(handler)


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=True, timeout=60)


EVENTS = """
from fluvio_sync._base.log import get_logger
log = get_logger("client").bind(topic="orders")
for emit in (log.debug, log.info, log.warning, log.error):
    emit("records.lost", count=3)
try:
    1 / 0
except ZeroDivisionError:
    log.error("sender.internal_error", exc_info=True)
"""


@pytest.mark.parametrize("before", ["", "import structlog\n", "import logging\n"])
def test_nothing_is_printed_where_nothing_is_configured(before: str) -> None:
    done = run(before + EVENTS)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_structlog_is_not_imported_for_an_application_that_has_not() -> None:
    run(EVENTS + "import sys\nassert 'structlog' not in sys.modules\n")


def test_an_application_of_logging_sees_text_and_fields() -> None:
    done = run(
        "import logging\nlogging.basicConfig(format='%(levelname)s %(name)s %(message)s', level='WARNING')\n" + EVENTS
    )
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "WARNING fluvio_sync.client records.lost topic='orders' count=3"
    assert lines[1] == "ERROR fluvio_sync.client records.lost topic='orders' count=3"
    assert lines[2] == "ERROR fluvio_sync.client sender.internal_error topic='orders'"
    assert lines[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_levels_names_and_fields_of_a_log_record(level: str, records: list[logging.LogRecord]) -> None:
    getattr(get_logger("sender"), level)("leader.moved", partition=3)
    (record,) = records
    assert record.levelname == level.upper()
    assert record.name == "fluvio_sync.sender"
    assert record.getMessage() == "leader.moved partition=3"
    assert vars(record)["partition"] == 3


def test_a_log_record_names_the_line_that_emitted_it(records: list[logging.LogRecord]) -> None:
    get_logger("sender").info("leader.moved")
    assert records[0].funcName == "test_a_log_record_names_the_line_that_emitted_it"


def test_records_of_an_event_share_their_template(records: list[logging.LogRecord]) -> None:
    log = get_logger("sender")
    log.info("leader.moved", partition=3)
    log.info("leader.moved", partition=4)
    assert records[0].msg == records[1].msg


def test_an_event_without_fields(records: list[logging.LogRecord]) -> None:
    get_logger("sender").info("100% done")
    assert records[0].getMessage() == "100% done"


def test_a_field_cannot_forge_a_line(records: list[logging.LogRecord]) -> None:
    get_logger("sender").warning("sc.disconnected", error="boom\nERROR root forged")
    assert records[0].getMessage() == r"sc.disconnected error='boom\nERROR root forged'"


def test_fields_that_logging_reserves_are_renamed(records: list[logging.LogRecord]) -> None:
    get_logger("sender").info("topic.found", name="orders", message="m", args=1, asctime=2)
    (record,) = records
    assert record.name == "fluvio_sync.sender"
    assert vars(record)["name_"] == "orders"
    assert vars(record)["message_"] == "m"
    assert record.getMessage() == "topic.found name_='orders' message_='m' args_=1 asctime_=2"


def test_exceptions_reach_the_log_record(records: list[logging.LogRecord]) -> None:
    error = ValueError("x")
    get_logger("sender").error("sender.internal_error", exc_info=error)
    exc_info = records[0].exc_info
    assert exc_info is not None
    assert exc_info[1] is error


def test_bound_fields_add_up_and_leave_the_parent_alone(records: list[logging.LogRecord]) -> None:
    parent = get_logger("sender").bind(client_id="a", topic="orders")
    child = parent.bind(topic="clicks", partition=1)
    child.info("batch.acked", partition=2)
    parent.info("batch.acked")
    assert records[0].getMessage() == "batch.acked client_id='a' topic='clicks' partition=2"
    assert records[1].getMessage() == "batch.acked client_id='a' topic='orders'"


def test_a_level_that_logging_ignores_costs_no_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="fluvio_sync")

    class Unshowable:
        def __repr__(self) -> str:
            raise AssertionError

    get_logger("sender").info("batch.acked", value=Unshowable())
    assert caplog.records == []


def test_a_structlog_application_gets_the_events(records: list[logging.LogRecord]) -> None:
    structlog.configure()
    with capture_logs() as captured:
        get_logger("sender").bind(topic="orders").warning("spu.disconnected", spu=5001)
    assert captured == [
        {
            "event": "spu.disconnected",
            "log_level": "warning",
            "logger": "fluvio_sync.sender",
            "topic": "orders",
            "spu": 5001,
        }
    ]
    assert records == []


def test_the_application_may_configure_after_the_logger_was_made(
    records: list[logging.LogRecord],
) -> None:
    log = get_logger("sender").bind(topic="orders")
    log.info("batch.acked")
    structlog.configure()
    with capture_logs() as captured:
        log.info("batch.acked")
    structlog.reset_defaults()
    log.info("batch.acked")
    assert len(captured) == 1
    assert len(records) == 2


def test_events_go_through_the_applications_whole_pipeline() -> None:
    out = io.StringIO()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(out),
    )
    log = get_logger("sender")
    log.info("batch.acked")
    log.error("sender.internal_error", exc_info=KeyError("cause"), name="x", message="m")
    (line,) = out.getvalue().splitlines()
    event: dict[str, Any] = json.loads(line)
    assert "KeyError: 'cause'" in event.pop("exception")
    assert event == {
        "event": "sender.internal_error",
        "level": "error",
        "logger": "fluvio_sync.sender",
        "name": "x",
        "message": "m",
    }


def test_a_structlog_application_over_logging(records: list[logging.LogRecord]) -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    get_logger("sender").warning("spu.disconnected", spu=5001)
    (record,) = records
    assert record.name == "fluvio_sync.sender"
    assert record.getMessage() == "spu.disconnected"
    assert vars(record)["spu"] == 5001


def _failing(*_: Any) -> Any:
    raise RuntimeError("the application's pipeline is broken")


def _interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def test_a_broken_structlog_pipeline_does_not_reach_the_caller() -> None:
    structlog.configure(processors=[_failing])
    get_logger("sender").error("records.lost", count=3)


def test_a_broken_logging_filter_does_not_reach_the_caller(
    records: list[logging.LogRecord],
) -> None:
    logger = logging.getLogger("fluvio_sync.sender")
    logger.addFilter(_failing)
    try:
        get_logger("sender").error("records.lost", count=3)
    finally:
        logger.removeFilter(_failing)
    assert records == []


def test_an_interrupt_does_reach_the_caller() -> None:
    structlog.configure(processors=[_interrupted])
    with pytest.raises(KeyboardInterrupt):
        get_logger("sender").info("batch.acked")


def test_the_library_configures_nothing() -> None:
    logger = logging.getLogger("fluvio_sync")
    assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]
    assert logger.level == logging.NOTSET
    assert logger.propagate
    get_logger("sender").info("batch.acked")
    assert not structlog.is_configured()


# Events that another thread emits.


def handed_over() -> tuple[Logger, list[Event]]:
    events: list[Event] = []
    return get_logger("sender", events.append), events


def in_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits"


def test_making_an_event_takes_no_lock_of_logging(records: list[logging.LogRecord]) -> None:
    """`dictConfig` holds it while it flushes and closes handlers, and has forgotten which levels are enabled."""
    log, events = handed_over()

    def make() -> None:
        log.debug("spu.connected")
        events[0].emit()

    logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]
    with logging._lock:  # type: ignore[attr-defined]
        in_a_thread(make)
    assert len(records) == 1


def test_making_an_event_runs_no_code_of_the_application(records: list[logging.LogRecord]) -> None:
    log, events = handed_over()
    made: list[threading.Thread] = []

    class Record(logging.LogRecord):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self.shop = "north"
            made.append(threading.current_thread())

    factory = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Record)
    try:
        log.info("spu.connected", spu=5001)
        assert made == []
        in_a_thread(events[0].emit)
    finally:
        logging.setLogRecordFactory(factory)
    (record,) = records
    assert type(record) is Record
    assert (record.shop, record.getMessage()) == ("north", "spu.connected spu=5001")
    assert record.threadName == threading.current_thread().name
    assert record.funcName == "test_making_an_event_runs_no_code_of_the_application"


def test_filters_find_the_context_of_the_event(records: list[logging.LogRecord]) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    log, events = handed_over()
    seen: list[str] = []
    logger = logging.getLogger("fluvio_sync.sender")

    def look(_record: logging.LogRecord) -> bool:
        seen.append(request.get())
        return True

    logger.addFilter(look)
    token = request.set("GET /")
    try:
        log.info("spu.connected")
        request.reset(token)
        in_a_thread(events[0].emit)
    finally:
        logger.removeFilter(look)
    assert seen == ["GET /"]


@pytest.mark.parametrize("to_structlog", [False, True])
def test_the_exception_is_that_of_the_thread_in_which_the_event_happened(
    records: list[logging.LogRecord], *, to_structlog: bool
) -> None:
    log, events = handed_over()
    if to_structlog:
        structlog.configure()
    error = ZeroDivisionError()
    try:
        raise error
    except ZeroDivisionError:
        log.error("sender.internal_error", exc_info=True)  # noqa: G201 - not the logger of `logging`
    if to_structlog:
        with capture_logs() as captured:
            in_a_thread(events[0].emit)
        exc_info: Any = captured[0]["exc_info"]
    else:
        in_a_thread(events[0].emit)
        exc_info = records[0].exc_info
    assert exc_info[1] is error


def test_an_event_that_reaches_structlog_late_states_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr(base_log, "_clock", clock)
    log, events = handed_over()
    structlog.configure()
    with capture_logs() as captured:
        log.info("spu.connected")
        log.info("spu.connected")
        clock.advance(0.5)
        events[0].emit()
        clock.advance(3)
        events[1].emit()
    assert [event.get("seconds_late") for event in captured] == [None, 3.5]


def test_structlog_that_another_thread_is_importing_is_not_waited_for(
    records: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "structlog", types.ModuleType("structlog"))
    get_logger("sender").info("spu.connected")
    assert len(records) == 1


class Shipping(logging.Handler):
    """As `contrib.logging.FluvioHandler`, which ships no event of the library."""

    ignores_fluvio_sync = True


@pytest.mark.parametrize(
    ("handlers", "shown"),
    [
        ([], False),
        ([logging.NullHandler()], False),
        ([Shipping()], False),
        ([logging.StreamHandler()], True),
        ([logging.NullHandler(), logging.StreamHandler()], True),
    ],
)
def test_whether_errors_are_shown(handlers: list[logging.Handler], *, shown: bool) -> None:
    logger = logging.getLogger("fluvio_sync")
    before, propagate = list(logger.handlers), logger.propagate
    logger.handlers += handlers
    logger.propagate = False  # the handlers of pytest are the root's
    try:
        assert get_logger("sender").shows_errors() is shown
        logger.setLevel(logging.CRITICAL)
        assert not get_logger("sender").shows_errors()
    finally:
        logger.handlers[:] = before
        logger.propagate = propagate
        logger.setLevel(logging.NOTSET)


def test_a_handler_of_the_root_and_structlog_show_errors() -> None:
    log = get_logger("sender")
    assert log.shows_errors()  # pytest's handlers
    logging.disable(logging.CRITICAL)
    try:
        assert not log.shows_errors()
        structlog.configure()
        assert log.shows_errors()
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("closed", ["sys.stderr = None", "sys.stderr.close()"])
def test_a_last_line_does_not_go_to_standard_output(closed: str) -> None:
    done = run(f"import sys\nfrom fluvio_sync._base.stderr import say\n{closed}\nsay('lost')\n")
    assert done.stdout == b""
