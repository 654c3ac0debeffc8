# SPDX-License-Identifier: Apache-2.0
"""Daemon threads, as long as the interpreter starts any."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def started(target: Callable[..., None], name: str, *arguments: object) -> threading.Thread | None:
    """Return a thread that runs `target`; None if the interpreter is shutting down and starts no thread any more."""
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return None
    return thread
