# SPDX-License-Identifier: Apache-2.0
"""Ends engines at the end of their process, and when their client is garbage-collected.

At the interpreter's exit each engine drains for at most its client's `exit_timeout`, and one line on stderr states the
number of lost records, however logging is configured.  `atexit` does not run in the children of `multiprocessing`; its
own finalizers do.  The engine of a garbage-collected client ends once it has delivered its records.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import TYPE_CHECKING

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.stderr import say
from fluvio_sync._base.text import counted
from fluvio_sync._runtime.log_thread import AT_END

if TYPE_CHECKING:
    from fluvio_sync._runtime.engine import Engine

_engines: set[Engine] = set()  # of this process, until they are closed
_drained_by: int | None = None  # the process in which the end of multiprocessing also drains


def add_engine(owner: object, engine: Engine) -> None:
    """Have an engine drained at exit, and stopped when its owner is garbage-collected."""
    # A copy, made in one call: while `has_ended` runs, other threads may add their engines.
    _engines.difference_update([known for known in list(_engines) if known.thread.has_ended()])
    _engines.add(engine)
    weakref.finalize(owner, engine.thread.stop_when_idle).atexit = False
    global _drained_by  # noqa: PLW0603 - a process drains once
    if "multiprocessing.util" in sys.modules and _drained_by != os.getpid():
        from multiprocessing import util  # noqa: PLC0415 - only where the application uses it

        util.Finalize(None, _drain, exitpriority=10)
        _drained_by = os.getpid()  # a child of multiprocessing forgets the finalizers of its parent


def remove_engine(engine: Engine) -> None:
    """Leave an engine out at exit, since it was closed."""
    _engines.discard(engine)


def forget_engines() -> None:
    """Forget the engines of the parent process, in the child of a fork."""
    _engines.clear()


def _drain() -> None:
    engines = list(_engines)
    _engines.clear()
    clock = SystemClock()
    started = clock.monotonic()
    lost = {}
    # All drain at once, on their own threads, so that many clients take no longer than one.
    for engine in engines:
        elapsed = clock.monotonic() - started
        lost[engine] = engine.drain(max(0.0, engine.config.exit_timeout - elapsed))
    for engine in engines:
        engine.thread.ask_to_stop()
    for engine in engines:
        engine.stop()
        if lost[engine]:
            say(
                f"{counted(lost[engine], 'record')} not acknowledged within {engine.config.exit_timeout} s "
                "(exit_timeout), and lost; call flush() or close() before the program ends, or raise exit_timeout"
            )
    until = clock.monotonic() + AT_END
    for engine in engines:
        engine.log_thread.close(max(0.0, until - clock.monotonic()))


atexit.register(_drain)
