# SPDX-License-Identifier: Apache-2.0
"""The state of a topic under one set of settings, which all producer handles with equal settings share.

Guarded by the client's lock; `send()` reads `rotation` and `available` without it, which are replaced, never changed.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

from fluvio_sync._outcomes.counters import Counters
from fluvio_sync.config import Compression
from fluvio_sync.errors import ConfigError, PartitionNotFoundError, RecordTooLargeError
from fluvio_sync.protocol.batch import BATCH_OVERHEAD, LONE_OVERHEAD, record_size
from fluvio_sync.protocol.compression import compressor
from fluvio_sync.protocol.metadata import TopicCompression

if TYPE_CHECKING:
    from fluvio_sync._core.metadata import Metadata
    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.protocol.metadata import TopicObject


class TopicState:
    """A topic under one set of settings.

    * `available`: the partitions that are online, ascending.
    * `rotation`: the partitions that keyless records go round; empty if none is online or some fail, so that the
      accumulator chooses.
    * `segment_size`: of the topic, in bytes; an SPU accepts no larger batch.
    * `may_drop_records`: an SPU may drop records, so that the offsets of the others are not known.
    * `failing`: the partitions whose last attempt failed.
    * `largest`: bytes of a record that fits at any timestamp and offset.
    * `handles`: weak references to the producers that use it.
    """

    def __init__(self, topic: str, config: ProducerConfig) -> None:
        self.topic = topic
        self.config = config
        self.compression = config.compression or Compression.NONE
        self.counters = Counters()
        self.partition_count = 0
        self.available: tuple[int, ...] = ()
        self.rotation: tuple[int, ...] = ()
        self.segment_size: int | None = None
        self.may_drop_records = bool(config.smartmodules)
        self.failing: set[int] = set()
        self.largest = config.max_request_size - LONE_OVERHEAD
        self.handles: set[weakref.ref[object]] = set()

    def add_handle(self, handle: object) -> None:
        """Have the state stay as long as this producer exists."""
        self.handles.add(weakref.ref(handle, self.handles.discard))

    def refresh(self, metadata: Metadata) -> None:
        """Take over the metadata of the topic.  Called with the lock held."""
        count = metadata.partition_count(self.topic)
        if count:  # a deleted topic keeps its last shape; the futures of its records say that it is gone
            topic = metadata.topics[self.topic]
            self.partition_count = count
            self.segment_size = None if topic.spec.storage is None else topic.spec.storage.segment_size
            self.may_drop_records = topic.spec.deduplication is not None or bool(self.config.smartmodules)
            # The topic may have been deleted and created again with another codec.  One that the producer must not or
            # cannot use is for the SPU to reject: here no caller is there to be told.
            with contextlib.suppress(ConfigError):
                self.compression = agreed_compression(topic, self.config)
        self.available = metadata.available(self.topic)
        self.refresh_rotation()

    def refresh_rotation(self) -> None:
        """Derive `rotation` after the available or the failing partitions changed.  Called with the lock held."""
        self.rotation = () if self.failing else self.available

    def check_partition(self, partition: object) -> int:
        """Return a partition; raises `PartitionNotFoundError` if the topic lacks it, TypeError if it is not an int."""
        if isinstance(partition, bool) or not isinstance(partition, int):
            raise TypeError(f"a partition is an int, not {type(partition).__name__}")
        if not 0 <= partition < self.partition_count:
            there = f"partitions 0 to {self.partition_count - 1}, not {partition}"
            raise PartitionNotFoundError(
                f"topic {self.topic!r} has {there if self.partition_count else 'no partition to send to'}",
                topic=self.topic,
                partition=partition,
            )
        return partition


def only_codec(topic: TopicObject) -> Compression | None:
    """Return the only codec that a topic takes, None if it takes any."""
    setting = topic.spec.compression
    return None if setting is TopicCompression.ANY else Compression[setting.name]


def agreed_compression(topic: TopicObject, config: ProducerConfig) -> Compression:
    """Return the codec that topic and producer agree on; the SPU would reject every batch with another.

    Raises `ConfigError` if they do not agree, or if the codec's library is missing.
    """
    fixed = only_codec(topic)
    if fixed is None:
        return config.compression or Compression.NONE
    if config.compression is not None and config.compression is not fixed:
        raise ConfigError(
            f"topic {topic.name!r} takes compression {fixed.value!r} only, and the producer is set to "
            f"{config.compression.value!r}: leave the setting out to use the topic's"
        )
    compressor(fixed.codec, None)
    return fixed


def check_size(key: bytes | None, value: bytes, limit: int) -> None:
    """Raise `RecordTooLargeError` for a record whose batch would be larger than `limit` bytes."""
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
