# SPDX-License-Identifier: Apache-2.0
"""Channels: what all producer handles of one topic and equal settings share.

Guarded by the client's lock; `send()` reads `among` and `available` without it, which are replaced, never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core.batch import RECORD_CHARGE
from fluvio_sync.errors import PartitionNotFoundError, RecordTooLargeError
from fluvio_sync.protocol.batch import BATCH_OVERHEAD, LONE_OVERHEAD, record_size
from fluvio_sync.stats import Counters

if TYPE_CHECKING:
    from fluvio_sync._core.metadata import Metadata
    from fluvio_sync._core.partition import Lane
    from fluvio_sync.config import Compression, ProducerConfig
    from fluvio_sync.partitioner import Partitioner


class Channel:
    """A topic under one set of settings: what the producer handles with equal settings share."""

    def __init__(
        self,
        topic: str,
        config: ProducerConfig,
        compression: Compression,
    ) -> None:
        self.topic = topic
        self.config = config
        self.compression = compression
        self.lanes: dict[int, Lane] = {}
        self.counters = Counters()
        self.partition_count = 0
        self.available: tuple[int, ...] = ()
        # What keyless records go round.  Empty if `choose` has to look closer: none is online, or some fail.  Read once
        # a record, without the lock, so never changed in place.
        self.among: tuple[int, ...] = ()
        self.segment_size: int | None = None  # of the topic: what an SPU accepts as one batch
        self.filtered = bool(config.smartmodules)  # an SPU may drop records, and then nobody knows their offsets
        self.failing: set[int] = set()  # partitions whose last attempt failed
        self.largest = config.max_request_size - LONE_OVERHEAD  # bytes of a record that fits whatever its numbers are

    def refresh(self, metadata: Metadata) -> None:
        """Take over what the metadata says of the topic; the caller holds the lock."""
        count = metadata.partition_count(self.topic)
        if count:  # a deleted topic keeps its last shape: sends to it are answered by their futures
            self.partition_count = count
            storage = metadata.topics[self.topic].spec.storage
            self.segment_size = None if storage is None else storage.segment_size
            deduplicated = metadata.topics[self.topic].spec.deduplication is not None
            self.filtered = deduplicated or bool(self.config.smartmodules)
        self.available = metadata.available(self.topic)
        self.look_again()

    def look_again(self) -> None:
        """What is available, or what fails, changed; the caller holds the lock."""
        self.among = () if self.failing else self.available

    def choose(self, partitioner: Partitioner, key: bytes | None, value: bytes, quota: int) -> int:
        """Return the partition that the partitioner chooses; keyless records avoid failing partitions over `quota`."""
        if not self.partition_count:
            self.check_partition(0)
        available = self.available
        if key is None and self.failing:
            charge = len(value) + RECORD_CHARGE
            preferred = tuple(p for p in available if not self._would_be_over(p, charge, quota))
            available = preferred or available
        partition = partitioner.partition(key, value, self.partition_count, available)
        if type(partition) is not int or not 0 <= partition < self.partition_count:
            self.check_partition(partition)
        return partition

    def _would_be_over(self, partition: int, charge: int, quota: int) -> bool:
        lane = self.lanes.get(partition)
        return lane is not None and lane.is_over_share(charge, quota)

    def check_partition(self, partition: int) -> None:
        """Refuse a partition that the topic does not have."""
        if isinstance(partition, bool) or not isinstance(partition, int):
            raise TypeError(f"a partition is an int, not {type(partition).__name__}")
        if not 0 <= partition < self.partition_count:
            there = f"partitions 0 to {self.partition_count - 1}, not {partition}"
            raise PartitionNotFoundError(
                f"topic {self.topic!r} has {there if self.partition_count else 'no partition to send to'}",
                topic=self.topic,
                partition=partition,
            )


def check_size(key: bytes | None, value: bytes, limit: int) -> None:
    """Refuse a record whose batch would be larger than `limit` bytes."""
    size = BATCH_OVERHEAD + record_size(key, value, 0, 0)
    if size > limit:
        raise _too_large(len(value) + len(key or b""), size, limit)


def _too_large(payload: int, size: int, limit: int) -> RecordTooLargeError:
    return RecordTooLargeError(
        f"a record of {payload} bytes takes a batch of {size} bytes, more than max_request_size ({limit} bytes); "
        "raise that setting (an SPU accepts batches up to 33554432 bytes) or send less",
        size=size,
        limit=limit,
    )
