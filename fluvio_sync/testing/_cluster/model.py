# SPDX-License-Identifier: Apache-2.0
"""The development cluster's things: SPUs, topics, partitions, and the rules of replication.

Pure.  Runs in the one thread that drives the cluster.

All replicas of a partition share one log, so replication is a rule instead of a copy: a replica is
described by how far it has come (its log end), an online follower has always come as far as its
leader, and the high watermark is the end of the records that every replica has, online or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fluvio_sync.protocol.compression import Codec
from fluvio_sync.protocol.metadata import (
    Endpoint,
    IngressAddr,
    IngressPort,
    PartitionObject,
    PartitionResolution,
    PartitionSpec,
    PartitionStatus,
    ReplicaStatus,
    SpuObject,
    SpuResolution,
    SpuSpec,
    SpuStatus,
    SpuType,
    TopicCompression,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStatus,
    partition_key,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fluvio_sync.protocol.metadata import MetadataObject
    from fluvio_sync.testing._cluster.partition_log import PartitionLog

SC = 0
"""The node number of the SC; SPUs have theirs from 1 on."""

CONSUMER_OFFSET_TOPIC = "consumer-offset"
"""The system topic that every cluster has; its partition 0 is where consumers look for offsets."""

MAX_BATCH = 33_554_432
"""The largest batch, in bytes, that an SPU takes, even if its topic allows more."""

DEFAULT_SEGMENT = 1 << 30
"""The segment size, in bytes, of a topic that does not set one."""

TOPIC_CODECS = {
    TopicCompression.NONE: Codec.NONE,
    TopicCompression.GZIP: Codec.GZIP,
    TopicCompression.SNAPPY: Codec.SNAPPY,
    TopicCompression.LZ4: Codec.LZ4,
    TopicCompression.ZSTD: Codec.ZSTD,
}
"""The codec of batches that each setting of a topic demands; `ANY` is not here."""


@dataclass(frozen=True, slots=True)
class SpuAddress:
    """Where an SPU listens: its id (above 0), host and port; no host: at all addresses of the machine."""

    id: int
    host: str
    port: int


@dataclass(slots=True)
class Spu:
    """An SPU, running or not.

    `public`, `local`: where clients are told to find it, and where those inside the cluster's network are; by default
    its own address, and no other.
    """

    address: SpuAddress
    online: bool = True
    public: Endpoint | None = None
    local: Endpoint | None = None

    def object(self) -> SpuObject:
        """Return it as the SC shows it."""
        own = Endpoint(self.address.port, self.address.host)
        public = self.public or own
        return SpuObject(
            f"custom-spu-{self.address.id}",
            SpuSpec(
                self.address.id,
                SpuType.CUSTOM,
                IngressPort(public.port, (IngressAddr(hostname=public.host),)),
                own,
                public_endpoint_local=self.local,
            ),
            SpuStatus(SpuResolution.ONLINE if self.online else SpuResolution.OFFLINE),
        )


def located(item: MetadataObject, reached: str) -> MetadataObject:
    """Return an object for a client that reached the SC at an address.

    An SPU that listens at all addresses is to be found at that one.
    """
    if not isinstance(item, SpuObject) or item.spec.private_endpoint.host:
        return item
    own = item.spec.private_endpoint.replace(host=reached)
    public = item.spec.public_endpoint
    if not public.ingress[0].hostname:
        public = public.replace(ingress=(IngressAddr(hostname=reached),))
    return item.replace(spec=item.spec.replace(public_endpoint=public, private_endpoint=own))


class Partition:
    """One partition: its leader, the positions of its replicas, and its log.

    `leo`: log end of every replica, by SPU; `hw`: the high watermark.
    `failed`: a write failed, and all others are rejected until the leader restarts or moves.
    `losses`: how often the log lost batches at its end.
    `codec`: the only codec that batches may have, or None; `max_batch`: bytes.
    """

    def __init__(
        self,
        topic: str,
        index: int,
        spec: TopicSpec,
        replicas: Sequence[int],
        log: PartitionLog,
    ) -> None:
        self.topic = topic
        self.index = index
        self.spec = spec
        self.replicas = list(replicas)
        self.leader = self.replicas[0]
        self.log = log
        self.leo = dict.fromkeys(self.replicas, log.end_offset)
        self.hw = log.end_offset
        self.resolution = PartitionResolution.OFFLINE
        self.failed = False
        self.losses = 0
        self.codec = TOPIC_CODECS.get(spec.compression)
        segment = spec.storage.segment_size if spec.storage else None
        self.max_batch = min(segment or DEFAULT_SEGMENT, MAX_BATCH)

    @property
    def name(self) -> str:
        """The name of its object."""
        return partition_key(self.topic, self.index)

    def append(self, batches: Sequence[tuple[memoryview, int]], online: Collection[int]) -> int:
        """Write whole batches, each with its number of records; returns the first one's offset."""
        base = self.log.append(batches)
        self.replicate(online)
        return base

    def replicate(self, online: Collection[int]) -> bool:
        """Let every online replica catch up with the leader; True if the high watermark moved."""
        if self.leader not in online:
            return False
        for spu in self.replicas:
            if spu in online:
                self.leo[spu] = self.log.end_offset
        hw = min(self.leo.values())
        moved = hw > self.hw
        self.hw = max(hw, self.hw)
        return moved

    def lose(self, count: int) -> None:
        """Remove the last `count` batches from the log, as if no replica had ever had them."""
        self.log.truncate(count)
        self.losses += 1
        self.leo = {spu: min(end, self.log.end_offset) for spu, end in self.leo.items()}
        self.hw = min(self.hw, self.log.end_offset)

    def candidate(self, online: Collection[int]) -> int | None:
        """Return the online replica to lead it: the present leader, else the first complete one.

        A replica that lacks records never leads (a real SC tolerates a lag of three records).
        """
        ranked = [self.leader, *(spu for spu in self.replicas if spu != self.leader)]
        end = self.log.end_offset
        return next((spu for spu in ranked if spu in online and self.leo[spu] == end), None)

    def lead(self, spu: int) -> None:
        """Make `spu` the leader; one that holds no replica takes the present leader's place."""
        if spu not in self.replicas:
            self.replicas[self.replicas.index(self.leader)] = spu
            self.leo[spu] = self.leo.pop(self.leader)
        self.leader = spu
        self.failed = False

    def object(self) -> PartitionObject:
        """Return it as the SC shows it."""
        return PartitionObject(
            self.name,
            PartitionSpec(
                self.leader,
                tuple(self.replicas),
                self.spec.cleanup_policy,
                self.spec.storage,
                self.spec.compression,
                self.spec.deduplication,
                self.spec.system,
            ),
            self._status(),
        )

    def _status(self) -> PartitionStatus:
        followers = tuple(
            ReplicaStatus(spu, min(self.hw, self.leo[spu]), self.leo[spu])
            for spu in self.replicas
            if spu != self.leader
        )
        return PartitionStatus(
            self.resolution,
            ReplicaStatus(self.leader, self.hw, self.leo[self.leader]),
            lsr=sum(status.leo == self.log.end_offset for status in followers),
            replicas=followers,
            size=self.log.size,
        )

    def unborn(self) -> PartitionObject:
        """Return it as the SC shows it before its leader has reported anything."""
        return PartitionObject(self.name, self.object().spec, PartitionStatus(PartitionResolution.OFFLINE))


@dataclass(slots=True)
class Topic:
    """A topic and those of its partitions that exist."""

    name: str
    spec: TopicSpec
    resolution: TopicResolution = TopicResolution.PENDING
    reason: str = ""
    partitions: list[Partition] = field(default_factory=list)

    def object(self) -> TopicObject:
        """Return it as the SC shows it."""
        return TopicObject(
            self.name,
            self.spec,
            TopicStatus(
                self.resolution,
                {partition.index: tuple(partition.replicas) for partition in self.partitions},
                reason=self.reason,
            ),
        )
