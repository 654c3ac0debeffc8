# SPDX-License-Identifier: Apache-2.0
"""Emits events to the application's structlog if it configured one, else to `logging`.

Effects: logging only; any thread, no lock of its own.  The library configures nothing: it sets no level and adds no
handler but a `NullHandler`, so an application that configured neither sees no output.  Each event chooses between the
two, because applications configure late.

Making an event runs no code of the application and takes no lock of `logging`; emitting it does both.  A logger that
hands its events over (`_runtime.log_thread`) can therefore be used where the application's handlers must not run.
Emitting never raises: a broken log pipeline of the application must not fail its caller.

Events are named `area.verb_past` (`"spu.disconnected"`).  Their data are fields, never the contents of records or keys.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = "fluvio_sync"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())
# `getLogger` takes the lock of `logging`, which `dictConfig` holds while it closes handlers, and one of these may wait
# for a thread that makes a client.  So the loggers of clients are looked up here, and never again.
_OF_CLIENTS = {name: logging.getLogger(name) for name in (f"{_ROOT}.client", f"{_ROOT}.log")}

# Names that `extra=` rejects, because every LogRecord has them.
_RESERVED = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {
    "message",
    "asctime",
}

# What a LogRecord says about the moment in which it was made.
_MOMENT = (
    "created",
    "msecs",
    "relativeCreated",
    "thread",
    "threadName",
    "process",
    "processName",
    "taskName",  # since Python 3.12
)

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# Seconds after which an event for structlog, whose pipeline reads the time itself, states its age.
_LATE = 1.0

_clock = SystemClock()


class Event:
    """An event of this moment and this thread, to be emitted now or by another thread."""

    __slots__ = ("_context", "_event", "_fields", "_happened", "_level", "_logger", "_record")

    def __init__(
        self, logger: logging.Logger, level: str, event: str, fields: dict[str, Any], *, to_structlog: bool
    ) -> None:
        """Made by a `Logger`, in the third frame from the caller that it names."""
        exc_info = _exc_info(fields.pop("exc_info", None))
        self._logger = logger
        self._level = level
        self._event = event
        self._fields = fields
        self._happened = _clock.monotonic()
        # Filters and processors read the caller's context variables: the id of a web request, of a trace.
        self._context = contextvars.copy_context()
        self._record: logging.LogRecord | None = None
        if to_structlog:
            if exc_info is not None:
                fields["exc_info"] = exc_info
        else:
            self._record = self._describe(exc_info)

    def _describe(self, exc_info: Any) -> logging.LogRecord:
        extra = {f"{name}_" if name in _RESERVED else name: value for name, value in self._fields.items()}
        # The fields are in the text as well: most applications' formats show nothing of `extra`.  They are arguments of
        # a text that is the same for all events of a name, because collectors group events by it; repr() shows them, so
        # that an error text with a line break does not forge a second line.
        text = " ".join([self._event, *(f"{name}=%({name})r" for name in extra)])
        self._fields = extra
        caller = sys._getframe(4)  # noqa: SLF001 - behind `__init__`, `_emit` and `warning()`
        place, name = (caller.f_code.co_filename, caller.f_lineno), caller.f_code.co_name
        arguments = (extra,) if extra else ()
        level = _LEVELS[self._level]
        return logging.LogRecord(self._logger.name, level, *place, text, arguments, exc_info, name)

    def emit(self) -> None:
        """Run the application's log pipeline."""
        with contextlib.suppress(Exception):
            if self._record is None:
                self._context.run(self._to_structlog, None)
            else:
                self._context.run(self._to_logging, self._record)

    def _to_structlog(self, _record: object) -> None:
        import structlog  # noqa: PLC0415 - imported already, by the application

        late = _clock.monotonic() - self._happened
        if late >= _LATE:
            self._fields["seconds_late"] = round(late, 1)
        # The name is also a field: only structlog's pipelines over `logging` would add it.
        emit = getattr(structlog.get_logger(self._logger.name), self._level)
        emit(self._event, **{"logger": self._logger.name, **self._fields})

    def _to_logging(self, moment: Any) -> None:
        # The application may have a record factory of its own, which then knows the emitting thread: the moment of the
        # event is put back.  `Logger.handle` does not ask for the level, which was checked when the event was made:
        # `isEnabledFor` may take the lock of `logging`, which `dictConfig` holds while it closes handlers.
        record = self._logger.makeRecord(
            moment.name,
            moment.levelno,
            moment.pathname,
            moment.lineno,
            moment.msg,
            moment.args if isinstance(moment.args, tuple) else (moment.args,),
            moment.exc_info,
            moment.funcName,
            self._fields,
        )
        known = vars(moment)
        vars(record).update({name: known[name] for name in _MOMENT if name in known})
        self._logger.handle(record)


class Logger:
    """Makes events with fields, and gives them to `deliver`.

    `exc_info` is a field with a meaning of its own, as in `logging`: True, or an exception.
    """

    __slots__ = ("_deliver", "_fields", "_logging")

    def __init__(self, logger: logging.Logger, fields: dict[str, Any], deliver: Callable[[Event], None]) -> None:
        self._logging = logger
        self._fields = fields
        self._deliver = deliver

    def bind(self, **fields: Any) -> Logger:
        """Return a logger whose events all carry these fields as well."""
        return Logger(self._logging, self._fields | fields, self._deliver)

    def debug(self, event: str, /, **fields: Any) -> None:
        """Emit an event for the search for a fault: every batch, every connection."""
        self._emit("debug", event, fields)

    def info(self, event: str, /, **fields: Any) -> None:
        """Emit a change of state, or the end of an outage."""
        self._emit("info", event, fields)

    def warning(self, event: str, /, **fields: Any) -> None:
        """Emit the first failure of an outage."""
        self._emit("warning", event, fields)

    def error(self, event: str, /, **fields: Any) -> None:
        """Emit a loss of records, or a bug of the library."""
        self._emit("error", event, fields)

    def _emit(self, level: str, event: str, fields: dict[str, Any]) -> None:
        to_structlog = _is_structlog_configured()
        if to_structlog or self._is_enabled(_LEVELS[level]):
            self._deliver(Event(self._logging, level, event, self._fields | fields, to_structlog=to_structlog))

    def _is_enabled(self, level: int) -> bool:
        # As `Logger.isEnabledFor`, without its cache, which is guarded by the lock of `logging`.
        logger = self._logging
        return not logger.disabled and logger.manager.disable < level and logger.getEffectiveLevel() <= level

    def shows_errors(self) -> bool:
        """Whether a handler of the application, or structlog, takes an error of this logger."""
        if _is_structlog_configured():
            return True
        return self._is_enabled(logging.ERROR) and any(
            handler.level <= logging.ERROR
            and not isinstance(handler, logging.NullHandler)
            and not getattr(handler, "ignores_fluvio_sync", False)  # `contrib.logging.FluvioHandler`
            for handler in _handlers(self._logging)
        )


def _handlers(logger: logging.Logger) -> list[logging.Handler]:
    """Return the handlers that take a logger's records: its own, and those of its parents."""
    found = []
    at: logging.Logger | None = logger
    while at is not None:
        found += at.handlers
        at = at.parent if at.propagate else None
    return found


def _is_structlog_configured() -> bool:
    # An application that has not imported structlog has not configured it, and need not pay for the import.  Nor is it
    # imported here: another thread may be in the middle of that, and hold its lock.
    is_configured = getattr(sys.modules.get("structlog"), "is_configured", None)
    return is_configured is not None and bool(is_configured())


def _exc_info(given: Any) -> Any:
    """Return what `logging` makes of its argument `exc_info`, in the thread that has the exception."""
    if not given:
        return None
    return (type(given), given, given.__traceback__) if isinstance(given, BaseException) else sys.exc_info()


def get_logger(name: str, deliver: Callable[[Event], None] = Event.emit) -> Logger:
    """Return the logger of one part of the package, known to `logging` as `fluvio_sync.<name>`.

    * `name`: the part.
    * `deliver`: called with each event; it is emitted in the thread in which it happens by default.
    """
    name = f"{_ROOT}.{name}"
    return Logger(_OF_CLIENTS.get(name) or logging.getLogger(name), {}, deliver)
