# SPDX-License-Identifier: Apache-2.0
"""A program: imports the whole package, forks, and prints the locks, queues and thread-locals that it has by then.

gevent and eventlet replace these after that, where a server patches in the worker.
"""

from __future__ import annotations

import os
import pkgutil
import queue
import sys
import threading
import time
import weakref
from types import ModuleType
from typing import Any

import django
from django.conf import settings

import fluvio_sync

NAME = fluvio_sync.__name__
CONTAINERS = (list, tuple, set, frozenset, weakref.WeakSet)
KINDS = (
    *map(type, (threading.Lock(), threading.RLock(), queue.SimpleQueue())),
    *(threading.local, threading.Condition, threading.Event, threading.Semaphore, queue.Queue),
)
REPLACED = (threading.Lock, threading.RLock, threading.get_ident, time.sleep, *KINDS[2:])


def import_everything() -> None:
    apps = [f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages", "sessions")]
    own = [f"{NAME}.contrib.django", f"{NAME}.contrib.django.outbox"]
    settings.configure(INSTALLED_APPS=apps + own)
    django.setup()
    for found in pkgutil.walk_packages(fluvio_sync.__path__, f"{NAME}."):
        if not found.name.endswith("__main__"):
            __import__(found.name)


class Search:
    """Walks from the package's modules to all that they and their classes and objects refer to."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._seen: set[int] = set()

    def visit(self, value: Any, path: str) -> None:
        if isinstance(value, KINDS) or any(value is one for one in REPLACED):
            self.found.append(path)
        elif id(value) not in self._seen:
            self._seen.add(id(value))
            for name, inner in self._inside(value):
                self.visit(inner, f"{path}.{name}")

    @staticmethod
    def _inside(value: Any) -> list[tuple[object, Any]]:
        if isinstance(value, dict):
            return list(value.items())
        if isinstance(value, CONTAINERS):
            return list(enumerate(value))
        owner = value if isinstance(value, type) else type(value)
        if isinstance(value, ModuleType) or not str(owner.__module__).startswith(NAME):
            return []  # another module is searched itself if it is the package's
        return list(getattr(value, "__dict__", {}).items())


def main() -> None:
    import_everything()
    child = os.fork() if hasattr(os, "fork") else 0
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    search = Search()
    for name, module in list(sys.modules.items()):
        if name.startswith(NAME):
            search.visit(vars(module), name)
    sys.stdout.write(f"{search.found}\n")


if __name__ == "__main__":
    main()
