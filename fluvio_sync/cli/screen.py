# SPDX-License-Identifier: Apache-2.0
"""Standard error as a person sees it: whole lines, and below them at most a prompt or a progress bar.

Any thread may write; a lock keeps lines whole, and a line is never written into a prompt or a bar.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from typing import TYPE_CHECKING, TextIO

from fluvio_sync._base.text import LONGEST_LINE, printable

if TYPE_CHECKING:
    from collections.abc import Callable

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
        """Write a line that begins with the command's name."""
        self.line(f"fluvio-sync: {message}")

    def line(self, text: str) -> None:
        """Write one line, with the text's line breaks escaped; the screen repeats an unanswered prompt below it."""
        text = printable(text, LONGEST_LINE)
        with self._lock:
            self._write(f"\n{text}\n{PROMPT}" if self._prompted else f"{text}\n")

    def prompt(self) -> None:
        """Ask for the next line."""
        with self._lock:
            self._prompted = True
            self._write(PROMPT)

    def answered(self) -> None:
        """Forget the prompt: the terminal has ended its line with the answer."""
        with self._lock:
            self._prompted = False

    def leave_prompt(self) -> None:
        """Begin a new line if there is an unanswered prompt, and forget the prompt."""
        with self._lock:
            if self._prompted:
                self._write("\n")
            self._prompted = False

    def draw(self, bar: Callable[[], bool | None]) -> None:
        """Let `bar` draw a progress bar, which the next line replaces; it returns whether it drew one."""
        with self._lock:
            self._drawn = bool(bar()) or self._drawn

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError):  # standard error is closed: no other place is left to report to
            self._stream.write(_ERASE + text if self._drawn else text)
            self._stream.flush()
        self._drawn = False


class _Warnings(logging.Handler):
    """Shows the library's warnings, such as a lost connection; failed records are reported with their lines instead."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        if not str(record.msg).startswith("records."):
            self._screen.say(in_words(record))


def show_warnings(screen: Screen) -> None:
    """Write the library's warnings to the screen, and to no other handler."""
    logger = logging.getLogger("fluvio_sync")
    logger.addHandler(_Warnings(screen))
    logger.propagate = False


def in_words(record: logging.LogRecord) -> str:
    """Return a log event as a sentence: `sc.disconnected` with its fields becomes "SC disconnected: the reason"."""
    event = str(record.msg).partition(" ")[0]
    words = ["SC" if word == "sc" else word for word in re.split(r"[._]", event)]
    fields = dict(record.args) if isinstance(record.args, dict) else {}
    fields.pop("client_id", None)
    reason = fields.get("error") or fields.get("reason")
    details = reason or ", ".join(f"{name} {value}" for name, value in fields.items())
    return f"{' '.join(words)}: {details}".removesuffix(": ")
