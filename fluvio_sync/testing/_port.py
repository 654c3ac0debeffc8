# SPDX-License-Identifier: Apache-2.0
"""A TCP port of a server for tests: it accepts connections or refuses them, and is never left to others.

The constructor may run in any thread; everything else runs in the event loop.  `asyncio.Server` does not serve here:
closing it leaks the sockets that it has accepted in the same round of the loop (CPython 3.11, `Server._attach`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Begin = Callable[[socket.socket], Coroutine[object, object, object]]

_BACKLOG = 1024


class Port:
    """A port of `host`; 0 is any free one; OSError if it is taken.

    `number`: the port; `is_open`: whether it accepts connections.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen: connections wait until `open()`."""
        self._host = host
        self._sock = self._bind(port)
        self._sock.listen(_BACKLOG)
        self.number: int = self._sock.getsockname()[1]
        self.is_open = False
        self._beginning: set[asyncio.Task[None]] = set()

    def _bind(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._host, port))
        except BaseException:
            sock.close()
            raise
        sock.setblocking(False)
        return sock

    def open(self, begin: Begin) -> None:
        """Accept connections from now on; `begin` is called with each socket and makes a transport of it."""
        self.is_open = True
        self._sock.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._sock, self._accept, self._sock, begin)

    def refuse(self) -> None:
        """Refuse connections from now on."""
        self.abandon()
        self._sock = self._bind(self.number)

    def abandon(self) -> None:
        """Close the listening socket."""
        if self.is_open:
            self.is_open = False
            asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()

    async def close(self) -> None:
        """Close the port, and wait until every socket that it accepted has its transport or is closed."""
        self.abandon()
        await asyncio.sleep(0)  # a task takes its socket over when it starts
        for task in self._beginning:
            task.cancel()
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _accept(self, listener: socket.socket, begin: Begin) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:  # its client has gone again
            return
        task = asyncio.get_running_loop().create_task(_take_over(sock, begin))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)


async def _take_over(sock: socket.socket, begin: Begin) -> None:
    with contextlib.suppress(OSError):  # a handshake that failed: asyncio has closed the socket
        await begin(sock)
