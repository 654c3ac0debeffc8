# SPDX-License-Identifier: Apache-2.0
"""Name look-ups, each on a daemon thread of its own: `getaddrinfo` has no timeout."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.threads import started

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._settings.endpoint import Endpoint


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
            if started(self._look_up, "fluvio-sync-resolver") is None:
                self._look_up()

    def _look_up(self) -> None:
        try:
            self.addresses = _addresses(self._endpoint, 0)
        except OSError as error:
            self.error = error
        self.done.set()
        self._notify()


def _addresses(endpoint: Endpoint, flags: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=flags))
