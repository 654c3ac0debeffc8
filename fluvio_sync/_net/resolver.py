# SPDX-License-Identifier: Apache-2.0
"""Name look-ups, each on a daemon thread of its own: `getaddrinfo` has no timeout."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.threads import started

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._settings.endpoint import Endpoint


# Look-ups that may run at once in this process: a resolver that hangs keeps its thread, and an SC may send new names
# without end.
_MOST = 512
_running: set[Resolution] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_running.clear)  # their threads are not there


class Resolution:
    """One look-up.  `done` is set once `addresses`, or `error`, are there; a numeric address needs no thread."""

    def __init__(self, endpoint: Endpoint, notify: Callable[[], None]) -> None:
        self.done = threading.Event()
        self.addresses: list[tuple[Any, ...]] = []
        self.error: OSError | None = None
        self._endpoint = endpoint
        self._notify = notify
        try:
            self.addresses = _addresses(endpoint, socket.AI_NUMERICHOST)
            self.done.set()
        except UnicodeError as error:  # a name that cannot be written in DNS
            self.error = OSError(str(error))
            self.done.set()
        except OSError:
            if len(_running) >= _MOST:
                self.error = OSError(f"{_MOST} look-ups are running, the most at a time: the resolver does not answer")
                self.done.set()
                return
            _running.add(self)
            if started(self._look_up, "fluvio-sync-resolver") is None:
                self._look_up()

    def _look_up(self) -> None:
        try:
            self.addresses = _addresses(self._endpoint, 0)
        except OSError as error:
            self.error = error
        finally:
            _running.discard(self)
        self.done.set()
        self._notify()


def _addresses(endpoint: Endpoint, flags: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=flags))
