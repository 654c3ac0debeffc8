# SPDX-License-Identifier: Apache-2.0
"""Routing: finds the leader of a partition queue in the metadata cache, and remembers which partitions have none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fluvio_sync._core.looking import Looking
from fluvio_sync._core.metadata import Route
from fluvio_sync._core.partition import OFFLINE_PATIENCE
from fluvio_sync._core.pipeline import AwaitingCommit, InFlight, Queued

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.metadata import Metadata
    from fluvio_sync._core.partition import PartitionQueue
    from fluvio_sync._core.pipeline import SpuPipeline


class Router:
    """Finds leaders; `report` logs that a partition with records has none, and that it has one again."""

    def __init__(self, metadata: Metadata, report: Callable[..., None]) -> None:
        self._metadata = metadata
        self.report = report
        self._leaderless: dict[tuple[str, int], float] = {}  # since when the metadata names no leader that is online
        self._reported: set[tuple[str, int]] = set()

    def route(self, queue: PartitionQueue, now: float) -> Route:
        """Return the queue's leader; that of an offline partition is tried all the same after `OFFLINE_PATIENCE`."""
        route = self._metadata.route(queue.topic, queue.partition)
        if route.spu is not None or route.gone:
            return route
        key = queue.topic, queue.partition
        since = self._leaderless.setdefault(key, now)
        if queue.unresolved and key not in self._reported and key in self._metadata.partitions:
            self._reported.add(key)
            self.report("warning", "partition.leaderless", **_place(key), error=route.reason)
        if route.fallback is not None and now >= since + OFFLINE_PATIENCE:
            return Route(route.fallback)
        return route

    def metadata_changed(self, now: float) -> None:
        """Forget the partitions that have a leader again, or do not exist any more."""
        for key, since in list(self._leaderless.items()):
            route = self._metadata.route(*key)
            # Without the SC a leader is tried, and it is not known whether it is one.
            if route.gone or (route.spu is not None and self._metadata.live):
                del self._leaderless[key]
                if key in self._reported and route.spu is not None:
                    after = round(now - since, 3)
                    self.report("info", "partition.leader_elected", **_place(key), spu=route.spu, seconds=after)
                self._reported.discard(key)

    def leaderless_since(self, queue: PartitionQueue, now: float) -> float:
        """Return since when the metadata has named no leader that is online."""
        return self._leaderless.get((queue.topic, queue.partition), now)

    def leader(self, queue: PartitionQueue) -> int | None:
        """Return the SPU that the metadata names, online or not."""
        item = self._metadata.partitions.get((queue.topic, queue.partition))
        return None if item is None else item.leader

    def has_moved(self, queue: PartitionQueue) -> bool:
        """Whether the metadata names another leader, or address, than the one that the last attempt went to."""
        route = self._metadata.route(queue.topic, queue.partition)
        pipeline = pipeline_of(queue)
        if route.spu is None or pipeline is None:
            return False
        return route.spu != pipeline.spu or pipeline.retire_at < math.inf

    def reason(self, queue: PartitionQueue, now: float) -> str:
        """Return why there is no leader to send to, and for how long."""
        seconds = now - self.leaderless_since(queue, now)
        why = self._metadata.route(queue.topic, queue.partition).reason
        return f"partition {queue.partition} of topic {queue.topic!r} has had no leader for {seconds:.1f} s: {why}"


def _place(key: tuple[str, int]) -> dict[str, object]:
    return {"topic": key[0], "partition": key[1]}


def pipeline_of(queue: PartitionQueue) -> SpuPipeline | None:
    """Return where a queue waits to be sent, or where its request or its look went."""
    state = queue.state
    if isinstance(state, Queued):
        return state.pipeline
    if isinstance(state, InFlight):
        return state.request.pipeline
    if isinstance(state, Looking):
        return state.look.pipeline
    return state.wait.pipeline if isinstance(state, AwaitingCommit) else None
