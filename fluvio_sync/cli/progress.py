# SPDX-License-Identifier: Apache-2.0
"""The progress of `produce` on a terminal: a bar drawn by tqdm, or, where tqdm is not installed, a line now and then.

A thread shows it, because the main thread may be waiting for input, for memory or for the last acknowledgements.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tqdm import tqdm

    from fluvio_sync.cli.input import Chunks
    from fluvio_sync.cli.screen import Screen

_FIRST = 0.5  # seconds until the bar appears: a shorter run needs none
_BAR_PAUSE = 0.25  # seconds between two drawings of the bar
_LINE_PAUSE = 5.0  # seconds between two lines


class Progress:
    """Shows the progress until the `with` block is left.

    `chunks`: the input, whose bytes the bar counts.
    `text`: returns the number of records in words; called by the thread that shows the progress.
    """

    def __init__(self, screen: Screen, chunks: Chunks, text: Callable[[], str]) -> None:
        self._screen = screen
        self._chunks = chunks
        self._text = text
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="fluvio-sync-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        bar = _bar(self._chunks.size)
        if bar is None:
            while not self._over.wait(_LINE_PAUSE):
                self._screen.say(self._text())
            return
        while not self._over.wait(_BAR_PAUSE):
            bar.set_postfix_str(self._text(), refresh=False)
            self._screen.draw(lambda: bar.update(self._chunks.taken - bar.n))
        self._screen.draw(bar.close)


def _bar(size: int | None) -> tqdm[Any] | None:
    """Return a bar of bytes; `size`: how many are expected, None if unknown.  None where no bar can be drawn."""
    if os.environ.get("TERM", "dumb") == "dumb":  # its lines cannot be replaced
        return None
    try:
        from tqdm import tqdm  # noqa: PLC0415 - only a terminal needs it, and it is optional
    except ImportError:
        return None
    tqdm.set_lock(threading.RLock())  # its default is a lock of several processes, which is more than is needed here
    tqdm.monitor_interval = 0  # no second thread that draws
    return tqdm(
        total=size,
        unit="B",
        unit_scale=True,
        leave=False,
        dynamic_ncols=True,
        delay=_FIRST,
        mininterval=0,
        miniters=0,
        file=sys.stderr,
    )
