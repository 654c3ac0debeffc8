# SPDX-License-Identifier: Apache-2.0
"""A log record as a line of JSON.  Pure, except that formatting calls the application's own objects."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Makes a JSON object of a log record, in ASCII and without a line break.

    Its fields are `timestamp` (ISO 8601, UTC, microseconds), `level`, `logger`, `message`; `exception` and `stack`, the
    texts of tracebacks, where there are such; and those of `extra` that JSON can hold.  A field of `extra` with the
    name of another gets a `_` at its end.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object's text."""
        own = self._own(record)
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        fields = own | {f"{name}_" if name in own else name: value for name, value in extra.items()}
        try:
            return _to_json(fields)
        except (TypeError, ValueError, RecursionError):
            return _to_json(own | {name: value for name, value in fields.items() if _fits(value)})

    def _own(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return fields


def _to_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, allow_nan=False, separators=(",", ":"))


def _fits(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
