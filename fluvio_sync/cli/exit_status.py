# SPDX-License-Identifier: Apache-2.0
"""The exit statuses of a command, and the signals that end it: Ctrl-C, and SIGTERM in the same way.

A module of its own because the commands need it as well as `command`, which imports them.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

OK, FAILED, USAGE = 0, 1, 2
"""Beside these, 128 and the number of the signal that ended the command."""


def statuses(failed: str) -> str:
    """Return the part of a help text about exit statuses; `failed`: the meaning of 1."""
    return f"exit status:\n  0         done\n  1         {failed}\n  2         wrong usage\n  130, 143  Ctrl-C, SIGTERM"


class Terminated(KeyboardInterrupt):
    """Raised in the main thread by SIGTERM, so that it ends a command as Ctrl-C does."""


def catch_sigterm() -> None:
    """Have SIGTERM raise `Terminated` in the main thread."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def status_of(stop: KeyboardInterrupt) -> int:
    """Return the exit status for the signal that ended a command."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
