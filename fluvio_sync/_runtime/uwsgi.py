# SPDX-License-Identifier: Apache-2.0
"""uWSGI: detects whether it runs threads, and whether this is its master before the fork of the workers.

uWSGI forks in C and does not wait for the threads of Python: a worker can inherit the interpreter's lock from a thread
of the master that does not exist in the worker, and hang for ever.  (uWSGI 2.0.31: one of two workers hung.)  So a
client in the master waits for the fork, unless uWSGI is configured to fork as Python does.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

_FORKS_AS_PYTHON_DOES = "py-call-uwsgi-fork-hooks"
_LOADS_IN_WORKERS = ("lazy-apps", "lazy")


def refuse_without_threads() -> None:
    """Raise `ConfigError` in a uWSGI that runs no threads."""
    uwsgi = _module()
    if uwsgi is not None and not getattr(uwsgi, "has_threads", True):
        raise ConfigError(
            "uWSGI runs this application without threads, so that nothing would ever be sent: "
            "set enable-threads = true (or threads = N) in its configuration"
        )


def is_before_fork() -> bool:
    """Whether this is a master that loads the application for its workers, where no thread may be started."""
    uwsgi: Any = _module()
    if uwsgi is None or uwsgi.masterpid() != os.getpid() or uwsgi.worker_id() != 0:
        return False
    return not any(option in uwsgi.opt for option in (_FORKS_AS_PYTHON_DOES, *_LOADS_IN_WORKERS))


def refuse_before_fork() -> None:
    """Raise `ConfigError` in a master that loads the application for its workers."""
    if is_before_fork():
        raise ConfigError(
            "uWSGI's master cannot send: it loads the application before it forks the workers. Send in the workers, "
            f"or set lazy-apps = true, or {_FORKS_AS_PYTHON_DOES} = true, in uWSGI's configuration"
        )


def _module() -> ModuleType | None:
    # The module exists only inside uWSGI, which has imported it by then.  A fork by another thread could interrupt an
    # import here, and leave the child with an import lock that no thread there holds.
    return sys.modules.get("uwsgi")
