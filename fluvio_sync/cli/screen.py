# SPDX-License-Identifier: Apache-2.0
"""Standard error as a person sees it: whole lines, and at its end at most one that is not: a prompt, or the progress.

Any thread may write: lines are not mixed, and none is written into what stands open.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TextIO

PROMPT = "> "
_ERASE = "\r\x1b[K"


class Screen:
    """Standard error, or None where it is closed."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._prompted = False
        self._drawn = False

    def say(self, message: str) -> None:
        """Write a line that says who says it."""
        self.line(f"fluvio-sync: {message}")

    def line(self, text: str) -> None:
        """Write a line; a prompt that waits for its answer is shown again below it."""
        with self._lock:
            self._write(f"{self._leave()}{text}\n{PROMPT if self._prompted else ''}")

    def prompt(self) -> None:
        """Ask for the next line."""
        with self._lock:
            self._prompted = True
            self._write(PROMPT)

    def answered(self) -> None:
        """The prompt has been answered: the terminal has shown the end of the line."""
        with self._lock:
            self._prompted = False

    def draw(self, text: str) -> None:
        """Show the progress, in place of what was drawn before."""
        with self._lock:
            self._drawn = True
            self._write(_ERASE + text)

    def end(self) -> None:
        """Leave the cursor at the start of a line, with no prompt and no progress."""
        with self._lock:
            self._write(self._leave())
            self._prompted = False

    def _leave(self) -> str:
        """Return what leads to the start of an empty line."""
        if self._drawn:
            self._drawn = False
            return _ERASE
        return "\n" if self._prompted else ""

    def _write(self, text: str) -> None:
        if self._stream is not None and text:
            with contextlib.suppress(OSError, ValueError):  # nobody listens
                self._stream.write(text)
                self._stream.flush()


class _Warnings(logging.Handler):
    """Shows what the library warns of, such as a lost connection, as one line; records are reported by their lines."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        if not str(record.msg).startswith("records."):
            self._screen.say(in_words(record))


def show_warnings(screen: Screen) -> None:
    """Have the library's warnings written to the screen, and nowhere else."""
    logger = logging.getLogger("fluvio_sync")
    logger.addHandler(_Warnings(screen))
    logger.propagate = False


def in_words(record: logging.LogRecord) -> str:
    """Return an event for a person: `metadata.lost` with its fields becomes "metadata lost: why"."""
    event = str(record.msg).partition(" ")[0].replace(".", " ").replace("_", " ")
    fields = dict(record.args) if isinstance(record.args, dict) else {}
    fields.pop("client_id", None)
    why = fields.get("error") or fields.get("reason")
    return f"{event}: {why or ', '.join(f'{name} {value}' for name, value in fields.items())}".removesuffix(": ")
