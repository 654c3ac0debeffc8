# SPDX-License-Identifier: Apache-2.0
"""An asyncio loop in a daemon thread, for servers that run beside a test.  Any thread may call."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds within which a call has to be made, and the thread has to end."""


class LoopThread:
    """Runs `main()`, and ends with it."""

    def __init__(self, main: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        self._main = main
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=name, daemon=True)
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

        return asyncio.run_coroutine_threadsafe(call(), self._loop.result()).result(TIMEOUT)

    def end(self, stop: Callable[[], None]) -> None:
        """Call `stop`, which makes `main()` return, and wait for the thread; nothing happens if it has ended."""
        if self.is_alive():
            self._loop.result().call_soon_threadsafe(stop)
            self._thread.join(TIMEOUT)
