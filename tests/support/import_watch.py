# SPDX-License-Identifier: Apache-2.0
"""Which modules are imported by other threads than the main one; for scripts in processes of their own."""

from __future__ import annotations

import sys
import threading


class _Watch:
    """Finds no module, and remembers who looked for which."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.seen.append((threading.current_thread().name, name))


def watch_imports() -> list[tuple[str, str]]:
    """Watch from now on; return the list that the names of threads and modules are added to."""
    watch = _Watch()
    sys.meta_path.insert(0, watch)
    return watch.seen
