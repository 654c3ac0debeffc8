# SPDX-License-Identifier: Apache-2.0
"""Fork and exit: what happens to clients when their process multiplies or ends.

Fork: the child's copies of the parent's sockets are closed and each client forgets its engine; it makes another when
it is used.  The hook takes no lock, since the thread that holds one may not exist in the child.  Exit: each client
drains for at most its `exit_timeout`, and one line on stderr says how many records were lost, whatever logging is
configured.  `atexit` does not run in the children of `multiprocessing`; its own finalizers do.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import TYPE_CHECKING

from fluvio_sync.futures import forget_parent

if TYPE_CHECKING:
    from fluvio_sync.client import Fluvio

_clients: weakref.WeakSet[Fluvio] = weakref.WeakSet()


def register(client: Fluvio) -> None:
    """Have a client take part."""
    _clients.add(client)
    if "multiprocessing.util" in sys.modules:
        from multiprocessing import util  # noqa: PLC0415 - only where the application uses it

        util.Finalize(None, _drain, exitpriority=10)


def _after_fork_in_child() -> None:
    forget_parent()
    for client in list(_clients):
        client._forget_engine()  # noqa: SLF001 - the two are one mechanism


def _drain() -> None:
    for client in list(_clients):
        lost = client._drain_at_exit()  # noqa: SLF001
        if lost:
            print(  # noqa: T201 - the last chance to say it
                f"fluvio_sync: {lost} records were not acknowledged within exit_timeout and are lost; "
                "call flush() or close() before the program ends, or raise exit_timeout",
                file=sys.stderr,
            )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_drain)
