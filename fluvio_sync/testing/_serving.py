# SPDX-License-Identifier: Apache-2.0
"""The parts of servers for tests: an asyncio loop in a daemon thread, and TCP ports.

`LoopThread` may be used by any thread.  The constructor of `Port` may run anywhere, its methods run in a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Begin = Callable[[socket.socket], Coroutine[object, object, object]]

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds within which a call to a loop has to be made, and its thread has to end."""

_BACKLOG = 1024


def run(main: Coroutine[object, object, None]) -> None:
    """Run a coroutine, as `asyncio.run` does, in the kind of loop that has `add_reader`: not Windows' usual one."""
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_finish(loop))
        loop.close()


async def _finish(loop: asyncio.AbstractEventLoop) -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


class LoopThread:
    """Runs `main()`, and ends with it."""

    def __init__(self, main: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        self._main = main
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: run(self._run()), name=name, daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        await self._main()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._thread.is_alive()

    def call(self, work: Callable[[], T]) -> T:
        """Call `work` in the loop, and return its result; sockets that it aborted are closed then."""
        if threading.current_thread() is self._thread:
            return work()

        async def call() -> T:
            result = work()
            await asyncio.sleep(0)  # asyncio closes aborted sockets in its next round
            return result

        return asyncio.run_coroutine_threadsafe(call(), self._loop.result(TIMEOUT)).result(TIMEOUT)

    def end(self, stop: Callable[[], None]) -> None:
        """Call `stop`, which makes `main()` return, and wait for the thread; nothing happens if it has ended."""
        if self.is_alive():
            with contextlib.suppress(RuntimeError):  # another thread ended it at this moment
                self._loop.result(TIMEOUT).call_soon_threadsafe(stop)
            self._thread.join(TIMEOUT)


class Port:
    """A port of `host` that accepts connections or refuses them; 0 is any free one; OSError if it is taken.

    While it refuses, it stays bound, so that no other program gets it.  `asyncio.Server` does not serve here: closing
    it leaks the sockets that it has accepted in the same round of the loop (CPython 3.11, `Server._attach`).

    `address`: the numeric one of `host`; `number`: the port; `is_open`: whether it accepts connections.
    """

    def __init__(self, host: str, port: int) -> None:
        """Listen: connections wait until `open()`."""
        self._host = host
        self._sock = self._bind(port)
        self._sock.listen(_BACKLOG)
        self.address: str
        self.number: int
        self.address, self.number = self._sock.getsockname()[:2]
        self.is_open = False
        self._beginning: set[asyncio.Task[None]] = set()

    def _bind(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        try:
            if os.name == "posix":  # on Windows it takes the port of another program
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
