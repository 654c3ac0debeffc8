# SPDX-License-Identifier: Apache-2.0
"""Routing: finds the leader of a partition queue in the metadata cache, and remembers which partitions have none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fluvio_sync._core.metadata import Route
from fluvio_sync._core.partition import OFFLINE_PATIENCE
from fluvio_sync._core.pipeline import pipeline_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.metadata import Metadata
    from fluvio_sync._core.partition import PartitionQueue


class Router:
    """Finds leaders; `report` logs that a partition with records has none, and that it has one again."""

    def __init__(self, metadata: Metadata, report: Callable[..., None]) -> None:
        self._metadata = metadata
        self._report = report
        self._leaderless: dict[tuple[str, int], float] = {}  # since when the metadata names no leader that is online
        self._reported: set[tuple[str, int]] = set()

    def route(self, queue: PartitionQueue, now: float) -> Route:
        """Return the queue's leader; that of an offline partition is tried all the same after `OFFLINE_PATIENCE`."""
        route = self._metadata.route(queue.topic, queue.partition)
        if route.spu is None:
            return self._without_leader(queue, route, now)
        if self._leaderless and self._metadata.live:  # else the leader is tried without knowing
            self._elected((queue.topic, queue.partition), route.spu, now)
        return route

    def _without_leader(self, queue: PartitionQueue, route: Route, now: float) -> Route:
        key = queue.topic, queue.partition
        if route.gone:
            self._leaderless.pop(key, None)
            self._reported.discard(key)
            return route
        since = self._leaderless.setdefault(key, now)
        if queue.unresolved and key not in self._reported and key in self._metadata.partitions:
            self._reported.add(key)
            where = {"topic": queue.topic, "partition": queue.partition}
            self._report("warning", "partition.leaderless", **where, error=route.reason)
        if route.fallback is not None and now >= since + OFFLINE_PATIENCE:
            return Route(route.fallback)
        return route

    def _elected(self, key: tuple[str, int], spu: int, now: float) -> None:
        since = self._leaderless.pop(key, now)
        if key in self._reported:
            self._reported.discard(key)
            topic, partition = key
            seconds = round(now - since, 3)
            self._report("info", "partition.leader_elected", topic=topic, partition=partition, spu=spu, seconds=seconds)

    def leaderless_since(self, queue: PartitionQueue, now: float) -> float:
        """Return since when the metadata has named no leader that is online."""
        return self._leaderless.get((queue.topic, queue.partition), now)

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

    def reason(self, queue: PartitionQueue, now: float) -> str:
        """Return why there is no leader to send to, and for how long."""
        seconds = now - self.leaderless_since(queue, now)
        why = self._metadata.route(queue.topic, queue.partition).reason
        return f"partition {queue.partition} of topic {queue.topic!r} has had no leader for {seconds:.1f} s: {why}"
