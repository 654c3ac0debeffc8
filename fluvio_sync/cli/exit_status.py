# SPDX-License-Identifier: Apache-2.0
"""How a command is stopped from outside: Ctrl-C, and SIGTERM in the same way."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is to end a command as Ctrl-C does."""


def catch_sigterm() -> None:
    """Have SIGTERM raise `Terminated` in the main thread."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def status_of(stop: KeyboardInterrupt) -> int:
    """Return the exit status that tells which signal it was."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
