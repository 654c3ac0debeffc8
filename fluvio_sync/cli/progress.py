# SPDX-License-Identifier: Apache-2.0
"""How far `produce` is, on the last line of a terminal.

Drawn by a thread of its own: the main thread may be waiting for space or for the last records.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from fluvio_sync.cli.screen import Screen

_FIRST = 0.5  # seconds before there is anything to see: what is done by then needs no progress
_PAUSE = 0.25
_WINDOW = 8  # drawings over which the rate is taken


class Counts(NamedTuple):
    """Records read, their bytes with keys, and what became of records so far."""

    read: int
    size: int
    acked: int
    failed: int


def progress_line(counts: Counts, rate: float, width: int) -> str:
    """Return the text to show, shortened to a terminal's width."""
    parts = [
        f"{counts.read:,} records read ({_size(counts.size)})",
        f"{counts.acked:,} acknowledged",
        f"{rate:,.0f}/s",
        f"{counts.failed:,} failed",
    ]
    return ", ".join(parts)[: max(0, width - 1)]


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.1f} {unit}" if unit != "B" else f"{size:.0f} B"
        size /= 1000
    return f"{size:.1f} TB"


class Progress:
    """Draws what `count()` says until the `with` block is left, several times a second at most."""

    def __init__(self, screen: Screen, count: Callable[[], Counts]) -> None:
        self._screen = screen
        self._count = count
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fluvio-sync-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._screen.end()

    def _run(self) -> None:
        samples = deque([(time.monotonic(), 0)], maxlen=_WINDOW)
        pause = _FIRST
        while not self._over.wait(pause):
            pause = _PAUSE
            counts = self._count()
            samples.append((time.monotonic(), counts.acked))
            (since, before), (now, after) = samples[0], samples[-1]
            self._screen.draw(progress_line(counts, (after - before) / (now - since), _width()))


def can_be_drawn() -> bool:
    """Whether standard error is a terminal on which a line can be replaced."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
