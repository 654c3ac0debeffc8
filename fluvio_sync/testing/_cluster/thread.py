# SPDX-License-Identifier: Apache-2.0
"""A development cluster in a thread of this process.  Orders may come from any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync.testing._cluster.orders import carry_out
from fluvio_sync.testing._serving import LoopThread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluvio_sync.testing._cluster.server import ClusterServer


class ClusterThread:
    """A server and its thread."""

    def __init__(self, server: ClusterServer) -> None:
        self.endpoint = server.endpoint
        self.spu_endpoints = server.spu_endpoints
        self._server = server
        self._thread = LoopThread(server.serve, "dev-cluster")

    def order(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Have an order carried out; raises its error."""
        if not self._thread.is_alive():
            raise RuntimeError("the development cluster has ended")
        return self._thread.call(lambda: carry_out(self._server, name, arguments))

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._thread.end(self._server.stop)

    kill = stop
