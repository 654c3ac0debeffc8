# SPDX-License-Identifier: Apache-2.0
"""What happens to engines when their process ends, and when nobody holds their client any more.

At the interpreter's exit each engine drains for at most its client's `exit_timeout`, and one line on stderr says how
many records were lost, whatever logging is configured.  `atexit` does not run in the children of `multiprocessing`;
its own finalizers do.  A client that is garbage-collected leaves its engine behind, which ends once it has delivered
what it was given.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import TYPE_CHECKING

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._base.text import counted

if TYPE_CHECKING:
    from fluvio_sync._runtime.engine import Engine

_engines: set[Engine] = set()  # of this process, until they are closed
_drained_by: int | None = None  # the process in which multiprocessing's end drains, too


def add_engine(owner: object, engine: Engine) -> None:
    """Have an engine drained at exit, and ended when its owner is gone."""
    _engines.difference_update([known for known in _engines if known.thread.has_ended()])
    _engines.add(engine)
    weakref.finalize(owner, engine.thread.stop_when_idle).atexit = False
    global _drained_by  # noqa: PLW0603 - a process drains once
    if "multiprocessing.util" in sys.modules and _drained_by != os.getpid():
        from multiprocessing import util  # noqa: PLC0415 - only where the application uses it

        util.Finalize(None, _drain, exitpriority=10)
        _drained_by = os.getpid()  # a child of multiprocessing forgets the finalizers of its parent


def remove_engine(engine: Engine) -> None:
    """An engine was closed."""
    _engines.discard(engine)


def forget_engines() -> None:
    """They are another process's: this one is the child of a fork."""
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
        engine.thread.stop()
        if lost[engine]:
            print(  # noqa: T201 - the last chance to say it
                f"fluvio_sync: {counted(lost[engine], 'record')} not acknowledged within "
                f"{engine.config.exit_timeout} s (exit_timeout), and lost; call flush() or close() before the program "
                "ends, or raise exit_timeout",
                file=sys.stderr,
            )


atexit.register(_drain)
