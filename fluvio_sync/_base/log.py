# SPDX-License-Identifier: Apache-2.0
"""Emits events to the application's structlog if it configured one, else to `logging`.

Effects: logging only; any thread, no lock of its own.  The library configures nothing: it sets no level and adds no
handler but a `NullHandler`, so an application that configured neither sees no output.  Each event chooses between the
two, because applications configure late.  An event never raises into its caller.

Events are named `area.verb_past` (`"spu.disconnected"`).  Their data are fields, never the contents of records or keys.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any

_ROOT = "fluvio_sync"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())

# Names that `extra=` rejects, because every LogRecord has them.
_RESERVED = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {
    "message",
    "asctime",
}

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# From the application's call down to logging's: `warning()`, `_emit()`, `_to_logging()`.
_FRAMES = 4


class Logger:
    """Emits events with fields.

    `exc_info` is a field with a meaning of its own, as in `logging`: True, or an exception.
    """

    __slots__ = ("_fields", "_logging", "_name")

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self._name = name
        self._fields = fields
        self._logging = logging.getLogger(name)

    def bind(self, **fields: Any) -> Logger:
        """Return a logger whose events all carry these fields as well."""
        return Logger(self._name, self._fields | fields)

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
        with contextlib.suppress(Exception):  # a broken log pipeline of the application must not stop the sender
            if self._is_structlog_configured():
                self._to_structlog(level, event, self._fields | fields)
            elif self._logging.isEnabledFor(_LEVELS[level]):
                self._to_logging(level, event, self._fields | fields)

    @staticmethod
    def _is_structlog_configured() -> bool:
        # An application that has not imported structlog has not configured it, and need not pay for the import.
        if "structlog" not in sys.modules:
            return False
        import structlog  # noqa: PLC0415 - see above

        return structlog.is_configured()

    def _to_structlog(self, level: str, event: str, fields: dict[str, Any]) -> None:
        import structlog  # noqa: PLC0415 - imported already, by the application

        # The name is also a field: only structlog's pipelines over `logging` would add it.
        emit = getattr(structlog.get_logger(self._name), level)
        emit(event, **{"logger": self._name, **fields})

    def _to_logging(self, level: str, event: str, fields: dict[str, Any]) -> None:
        exc_info = fields.pop("exc_info", None)
        extra = {f"{name}_" if name in _RESERVED else name: value for name, value in fields.items()}
        # The fields are in the text as well: most applications' formats show nothing of `extra`.  They are arguments of
        # a text that is the same for all events of a name, because collectors group events by it; repr() shows them, so
        # that an error text with a line break does not forge a second line.
        text = " ".join([event, *(f"{name}=%({name})r" for name in extra)])
        arguments = (extra,) if extra else ()
        self._logging.log(_LEVELS[level], text, *arguments, exc_info=exc_info, extra=extra, stacklevel=_FRAMES)


def get_logger(name: str) -> Logger:
    """Return the logger of one part of the package, known to `logging` as `fluvio_sync.<name>`."""
    return Logger(f"{_ROOT}.{name}", {})
