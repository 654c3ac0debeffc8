# SPDX-License-Identifier: Apache-2.0
"""Takes away from Python on Linux or macOS much of the system that Windows does not have.

Python imports a `sitecustomize` on its path before anything else: `make test-portable` puts this folder on PYTHONPATH,
and child processes inherit it.  Neither epoll, kqueue and poll, nor fork, `sendmsg`, `fcntl`, `pread` and `sysconf` are
left; `msvcrt.locking` is there instead.  Processes, signals, paths and the texts of errors stay those of the system.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import select
import selectors
import socket
import subprocess
import sys
import types
from contextlib import suppress

assert subprocess  # it takes a system that has `msvcrt` for Windows when it is imported
with suppress(ImportError):  # where it is installed, pytest-randomly imports it, and it asks for the system's name
    importlib.import_module("numpy")


class _Absent:
    """An attribute that hides the one of a base class."""

    def __get__(self, *_: object) -> None:
        raise AttributeError


def _locking(descriptor: int, _mode: int, _count: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_POLLERS = ("epoll", "kqueue", "poll", "devpoll")
_SYSTEM = (
    "fork",
    "forkpty",
    "register_at_fork",
    "pread",
    "pwrite",
    "preadv",
    "pwritev",
    "sysconf",
    "uname",
    "O_CLOEXEC",
)

for _owner, _names in (
    (select, _POLLERS),
    (selectors, tuple(f"{_name.title()}Selector" for _name in _POLLERS)),
    (os, _SYSTEM),
):
    for _name in _names:
        with suppress(AttributeError):  # each system has other pollers
            delattr(_owner, _name)
selectors.DefaultSelector = selectors.SelectSelector  # type: ignore[assignment,misc]
for _name in ("sendmsg", "recvmsg", "recvmsg_into"):
    setattr(socket.socket, _name, _Absent())

_msvcrt = types.ModuleType("msvcrt")
_msvcrt.locking = _locking  # type: ignore[attr-defined]
_msvcrt.LK_NBLCK = 2  # type: ignore[attr-defined]
sys.modules.update({"fcntl": None, "resource": None, "msvcrt": _msvcrt})  # type: ignore[dict-item]
