# SPDX-License-Identifier: Apache-2.0
"""Routing: finds the leader of a partition queue in the metadata cache."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fluvio_sync._core.metadata import Route
from fluvio_sync._core.partition import OFFLINE_PATIENCE, Waiting
from fluvio_sync._core.pipeline import PipelineState, Queued, pipeline_of
from fluvio_sync.errors import ConnectError

if TYPE_CHECKING:
    from fluvio_sync._core.metadata import Metadata
    from fluvio_sync._core.partition import PartitionQueue
    from fluvio_sync.errors import FluvioError


class Router:
    """Finds leaders."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def route(self, queue: PartitionQueue, now: float) -> Route:
        """Return the queue's leader; that of an offline partition is tried all the same after `OFFLINE_PATIENCE`."""
        route = self._metadata.route(queue.topic, queue.partition)
        if route.spu is not None:
            queue.leaderless_since = None
        elif queue.leaderless_since is None:
            queue.leaderless_since = now
        elif route.fallback is not None and now >= queue.leaderless_since + OFFLINE_PATIENCE:
            return Route(route.fallback)
        return route

    def leader(self, queue: PartitionQueue) -> int | None:
        """Return the SPU that the metadata names, online or not."""
        item = self._metadata.partitions.get((queue.topic, queue.partition))
        return None if item is None else item.spec.leader

    def has_moved(self, queue: PartitionQueue) -> bool:
        """Whether the metadata names another leader, or address, than the one that the last attempt went to."""
        route = self._metadata.route(queue.topic, queue.partition)
        pipeline = pipeline_of(queue)
        if route.spu is None or pipeline is None:
            return False
        return route.spu != pipeline.spu or pipeline.retire_at < math.inf

    def reason(self, queue: PartitionQueue) -> str:
        """Return why there is no leader to send to."""
        return self._metadata.route(queue.topic, queue.partition).reason

    def obstacle(self, queue: PartitionQueue, now: float) -> FluvioError | None:
        """Return why the batches of a queue are not sent yet: no leader, or a connection that takes long."""
        state = queue.state
        if isinstance(state, Waiting):
            return ConnectError(self.reason(queue))
        if isinstance(state, Queued) and state.pipeline.state is PipelineState.CONNECTING:
            return None if state.pipeline.why_late is None else state.pipeline.why_late(now)
        return None
