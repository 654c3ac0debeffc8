# SPDX-License-Identifier: Apache-2.0
"""Errors of a process that is short of descriptors, memory or threads, as this package's own."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync.errors import FluvioError

_HINTS = {
    errno.EMFILE: "close files, or raise the limit of this process (ulimit -n)",
    errno.ENFILE: "the whole system has no descriptor left",
    errno.ENOBUFS: "the system has no memory left for sockets",
    errno.ENOMEM: "the system has no memory left",
}
_NO_THREAD = "raise the limit of threads (ulimit -u, or the pids limit of the container), or of memory"


@contextlib.contextmanager
def explained(unreachable: Callable[[str, str], FluvioError]) -> Iterator[None]:
    """Raise a `FluvioError` for a shortage; `unreachable`: makes one of a reason and a hint."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        if hint is None:
            raise
        raise unreachable(f"{error.strerror}; {hint}", hint) from error


def start(thread_start: Callable[[], None], unreachable: Callable[[str, str], FluvioError]) -> None:
    """Start a thread; `unreachable`, as in `explained`, makes the error if the system has none left."""
    try:
        thread_start()
    except RuntimeError as error:
        raise unreachable(f"its thread cannot be started: {error}; {_NO_THREAD}", _NO_THREAD) from error
