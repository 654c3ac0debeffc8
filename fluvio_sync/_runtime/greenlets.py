# SPDX-License-Identifier: Apache-2.0
"""gevent and eventlet: detects that they have replaced threads and not selectors, or the reverse.

With gevent 26.9 the sender then never wakes, or its wait blocks all greenlets.  eventlet 0.41 fails only if selectors
are left out, since each of its threads has a loop of its own.
"""

from __future__ import annotations

import sys
from typing import Any

from fluvio_sync.errors import ConfigError


def refuse_partly_patched() -> None:
    """Raise `ConfigError` where a client would wait for ever."""
    # Not imported here: an application that is patched has imported them.
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None:
        threads, selectors = monkey.is_module_patched("threading"), monkey.is_module_patched("selectors")
        if threads != selectors:
            raise _error("gevent", "gevent.monkey.patch_all()", threads=threads)
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread") and not patcher.is_monkey_patched("select"):
        raise _error("eventlet", "eventlet.monkey_patch()", threads=True)


def _error(library: str, remedy: str, *, threads: bool) -> ConfigError:
    done, left = ("threads", "selectors") if threads else ("selectors", "threads")
    return ConfigError(
        f"{library} has patched {done} and not {left}, so that the client would wait for ever: call {remedy} without "
        f"arguments that leave out modules, before the application is imported"
    )
