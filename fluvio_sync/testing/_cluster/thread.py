# SPDX-License-Identifier: Apache-2.0
"""A development cluster in a thread of this process.

The thread is a daemon and runs nothing but the server; orders are handed over to it.
"""

from __future__ import annotations

import threading
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
        self._thread = threading.Thread(target=server.run, name="dev-cluster", daemon=True)
        self._thread.start()

    def order(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Have an order carried out; raises what it raises."""
        if not self._thread.is_alive():
            raise RuntimeError("the development cluster has ended")
        future = self._server.call(lambda: carry_out(self._server, name, arguments))
        return future.result(ORDER_TIMEOUT)

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._server.stop()
        self._thread.join(ORDER_TIMEOUT)

    kill = stop
