# SPDX-License-Identifier: Apache-2.0
"""Standard output of the commands, which may take no more: its reader has ended, such as `head`, or its disk is full.

Effects: writes to standard output; any thread.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class OutputError(Exception):
    """Standard output takes no more.  `closed`: its reader has ended."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        self.closed: bool = isinstance(error, BrokenPipeError)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(error) from error


def write(text: str) -> None:
    """Write a text, unless standard output is closed (`sys.stdout` is None); raises `OutputError`."""
    if sys.stdout is not None:
        with _writing():
            sys.stdout.write(text)


def write_bytes(parts: Iterable[bytes]) -> None:
    """Write bytes; raises as `write`."""
    with _writing():
        sys.stdout.buffer.writelines(parts)


def flush() -> None:
    """Write the buffered bytes to the file; raises as `write`."""
    if sys.stdout is not None:
        with _writing():
            sys.stdout.flush()


def discard() -> None:
    """Send all further output, and the buffered bytes, nowhere: the interpreter flushes them once more at its exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
