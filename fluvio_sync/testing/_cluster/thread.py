# SPDX-License-Identifier: Apache-2.0
"""A development cluster in a thread of this process.

The thread is a daemon and runs the server's event loop.  Orders may come from any thread and are carried out in the
loop, one at a time.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fluvio_sync.testing._cluster.orders import carry_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluvio_sync.testing._cluster.server import ClusterServer

ORDER_TIMEOUT = 10.0
"""Seconds within which an order has to be carried out."""


class ClusterThread:
    """A server and its thread."""

    def __init__(self, server: ClusterServer) -> None:
        self.endpoint = server.endpoint
        self.spu_endpoints = server.spu_endpoints
        self._server = server
        self._lock = threading.Lock()
        self._loop: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="dev-cluster", daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        self._loop.set_result(asyncio.get_running_loop())
        await self._server.serve()

    def order(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Have an order carried out; raises its error."""
        with self._lock:
            if not self._thread.is_alive():
                raise RuntimeError("the development cluster has ended")

            async def order() -> Any:
                return carry_out(self._server, name, arguments)

            return asyncio.run_coroutine_threadsafe(order(), self._loop.result()).result(ORDER_TIMEOUT)

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._lock:
            if self._thread.is_alive():
                self._loop.result().call_soon_threadsafe(self._server.stop)
                self._thread.join(ORDER_TIMEOUT)

    kill = stop
