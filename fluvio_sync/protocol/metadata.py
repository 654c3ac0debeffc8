# SPDX-License-Identifier: Apache-2.0
"""The SC's objects: topics, partitions and SPUs, each a name, its wanted state (spec) and its state (status).

Pure.  The layouts are those of versions 12 to 19; older ones differ, see `envelope`.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from fluvio_sync._base.text import shown
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.layout import (
    BOOL,
    DURATION,
    I32,
    I32S,
    I64,
    STRING,
    U16,
    U32,
    U64,
    enumeration,
    mapping,
    option,
    vec,
)
from fluvio_sync.protocol.message import Message, nested, one_of, wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluvio_sync.protocol.layout import Layout
    from fluvio_sync.protocol.primitives import Duration, Reader

_MIRROR_MAP_SINCE = 14  # versions of topics that may be mirrors

# --- limits --------------------------------------------------------------------------------------

MAX_PARTITIONS = 65535
"""The most partitions of a topic that are listed one by one: its status counts them in 16 bits."""
MAX_REPLICAS = 1024
"""The most replicas of a partition: more than a cluster has SPUs."""
MAX_ADDRESSES = 64
"""The most addresses of an SPU, of which clients use the first."""

# --- names of partitions -------------------------------------------------------------------------


def partition_key(topic: str, partition: int) -> str:
    """Return the name of a partition's object, e.g. `"orders-0"`."""
    return f"{topic}-{partition}"


def split_partition_key(name: str) -> tuple[str, int]:
    """Return topic and partition of a partition's name, which is cut at its last `-`.

    ProtocolError if it is no such name.
    """
    topic, dash, number = name.rpartition("-")
    if not (dash and topic and number.isascii() and number.isdigit()):
        raise ProtocolError(f"{shown(name)} is not the name of a partition")
    # More digits than a u32 has would make int() slow for no use, and a partition has one name.
    if len(number) > 10 or (number[0] == "0" and number != "0"):
        raise ProtocolError(f"{shown(name)} is not the name of a partition")
    return topic, int(number)


# --- settings that topics and partitions share ---------------------------------------------------


class TopicCompression(enum.IntEnum):
    """The codec that a topic asks for.  These are not the numbers that batches use for codecs."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ANY = 4
    ZSTD = 5


class CleanupPolicy(Message):
    """Segments older than this many seconds are removed."""

    time_in_seconds: int = wire(U32)


class TopicStorage(Message):
    """Sizes in bytes; None leaves them to the cluster (a segment: 1 GiB)."""

    segment_size: int | None = wire(option(U32), default=None)
    max_partition_size: int | None = wire(option(U64), default=None)


class Deduplication(Message):
    """A topic's deduplication: the last `count` records, not older than `age`, and its filter."""

    count: int = wire(U64)
    age: Duration | None = wire(option(DURATION))
    uses: str = wire(STRING)
    parameters: Mapping[str, str] = wire(mapping(STRING, STRING), default=MappingProxyType({}))


_CLEANUP_POLICY = option(one_of("clean-up policy", {0: CleanupPolicy}))
_STORAGE = option(nested(TopicStorage))
_COMPRESSION = enumeration(TopicCompression)
_DEDUPLICATION = option(nested(Deduplication))

# --- mirrors -------------------------------------------------------------------------------------


class RemotePartition(Message):
    """A partition that mirrors one of a home cluster."""

    home_cluster: str = wire(STRING)
    home_spu_key: str = wire(STRING)
    home_spu_id: int = wire(I32)
    home_spu_endpoint: str = wire(STRING)
    target: bool = wire(BOOL, default=False, since=18)


class HomePartition(Message):
    """A partition that a remote cluster mirrors."""

    remote_cluster: str = wire(STRING)
    remote_replica: str = wire(STRING)
    source: bool = wire(BOOL, default=False, since=18)


PartitionMirror: TypeAlias = "RemotePartition | HomePartition"

_PARTITION_MIRROR: Layout[PartitionMirror] = one_of("kind of mirror", {0: RemotePartition, 1: HomePartition})


class HomeSpu(Message):
    """An SPU of the home cluster."""

    id: int = wire(I32)
    key: str = wire(STRING)
    endpoint: str = wire(STRING)


class RemoteMirror(Message):
    """The remote side of a mirror topic."""

    home_cluster: str = wire(STRING)
    home_spus: tuple[HomeSpu, ...] = wire(vec(nested(HomeSpu), MAX_PARTITIONS))
    target: bool = wire(BOOL, default=False, since=18)


class HomeMirror(Message):
    """The home side of a mirror topic."""

    partitions: tuple[HomePartition, ...] = wire(vec(nested(HomePartition), MAX_PARTITIONS))
    source: bool = wire(BOOL, default=False, since=18)


TopicMirror: TypeAlias = "RemoteMirror | HomeMirror"

_TOPIC_MIRROR: Layout[TopicMirror] = one_of("kind of mirror", {0: RemoteMirror, 1: HomeMirror})

# --- how a topic's partitions are placed ---------------------------------------------------------


class PartitionMap(Message):
    """The SPUs of one partition's replicas, the leader first."""

    id: int = wire(U32)
    replicas: tuple[int, ...] = wire(I32S)
    mirror: PartitionMirror | None = wire(option(_PARTITION_MIRROR), default=None, since=14)


class AssignedReplicas(Message):
    """Placed by the creator of the topic."""

    maps: tuple[PartitionMap, ...] = wire(vec(nested(PartitionMap), MAX_PARTITIONS))


class ComputedReplicas(Message):
    """Placed by the SC."""

    partitions: int = wire(U32)
    replication_factor: int = wire(U32, default=1)
    ignore_rack: bool = wire(BOOL, default=False)


class MirrorReplicas(Message):
    """Placed as another cluster's topic is."""

    mirror: TopicMirror = wire(_TOPIC_MIRROR)


Replicas: TypeAlias = "AssignedReplicas | ComputedReplicas | MirrorReplicas"

_REPLICAS: Layout[Replicas] = one_of("kind of replicas", {0: AssignedReplicas, 1: ComputedReplicas, 2: MirrorReplicas})


def _skim_replicas(r: Reader, version: int) -> Replicas:
    start = r.position
    if r.u8() == 0:
        count = r.i32()
        if 0 < count <= MAX_PARTITIONS:
            length = r.skip_even_vectors(count, 4, 4, zeros=version >= _MIRROR_MAP_SINCE)
            if length is not None:
                return ComputedReplicas(count, length)
    r.position = start
    return _REPLICAS.read(r, version)


# --- topics --------------------------------------------------------------------------------------


class TopicSpec(Message):
    """The wanted state of a topic."""

    replicas: Replicas = wire(_REPLICAS, default=ComputedReplicas(1))
    cleanup_policy: CleanupPolicy | None = wire(_CLEANUP_POLICY, default=None)
    storage: TopicStorage | None = wire(_STORAGE, default=None)
    compression: TopicCompression = wire(_COMPRESSION, default=TopicCompression.ANY)
    deduplication: Deduplication | None = wire(_DEDUPLICATION, default=None)
    system: bool = wire(BOOL, default=False, since=13)

    @classmethod
    def skim(cls, r: Reader, version: int) -> TopicSpec:
        """Read one, in which replicas that were assigned, as many to each partition, count as computed ones."""
        replicas = _skim_replicas(r, version)
        others = [
            read(r, version) if since <= version <= until else default
            for _, read, since, until, default in cls._reads[1:]
        ]
        return cls(replicas, *others)

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        replicas = self.replicas
        if isinstance(replicas, ComputedReplicas):
            return replicas.partitions
        if isinstance(replicas, AssignedReplicas):
            return len(replicas.maps)
        mirror = replicas.mirror
        return len(mirror.home_spus if isinstance(mirror, RemoteMirror) else mirror.partitions)


class TopicResolution(enum.IntEnum):
    """The progress of a topic's creation."""

    INIT = 0
    PENDING = 1
    INSUFFICIENT_RESOURCES = 2
    INVALID_CONFIG = 3
    PROVISIONED = 4
    DELETING = 5


_TOPIC_RESOLUTION = enumeration(TopicResolution)
_MIRROR_MAP = mapping(U32, _PARTITION_MIRROR)


class TopicStatus(Message):
    """The state of a topic: partition -> SPUs of its replicas, partition -> its mirror."""

    resolution: TopicResolution = wire(_TOPIC_RESOLUTION)
    replica_map: Mapping[int, tuple[int, ...]] = wire(mapping(U32, I32S), default=MappingProxyType({}))
    mirror_map: Mapping[int, PartitionMirror] = wire(_MIRROR_MAP, default=MappingProxyType({}), since=_MIRROR_MAP_SINCE)
    reason: str = wire(STRING, default="")

    @classmethod
    def skim(cls, r: Reader, version: int) -> TopicStatus:
        """Read one without its maps and its reason: a topic may have tens of thousands of partitions."""
        resolution = _TOPIC_RESOLUTION.read(r, version)
        r.skip_vectors(4, 4)
        if version >= _MIRROR_MAP_SINCE:
            _MIRROR_MAP.read(r, version)
        r.string()
        return cls(resolution)


class TopicObject(Message):
    """A topic; `name` is the topic's."""

    name: str = wire(STRING)
    spec: TopicSpec = wire(nested(TopicSpec))
    status: TopicStatus = wire(nested(TopicStatus))

    LABEL: ClassVar[str] = "Topic"

    @classmethod
    def skim(cls, r: Reader, version: int) -> TopicObject:
        """Read one, its status by `TopicStatus.skim`."""
        return cls(r.string(), TopicSpec.skim(r, version), TopicStatus.skim(r, version))


# --- partitions ----------------------------------------------------------------------------------


class PartitionSpec(Message):
    """The leader and the replicas of a partition; `leader`, `replicas`: ids of SPUs."""

    leader: int = wire(I32)
    replicas: tuple[int, ...] = wire(I32S)
    cleanup_policy: CleanupPolicy | None = wire(_CLEANUP_POLICY, default=None)
    storage: TopicStorage | None = wire(_STORAGE, default=None)
    compression: TopicCompression = wire(_COMPRESSION, default=TopicCompression.ANY)
    deduplication: Deduplication | None = wire(_DEDUPLICATION, default=None)
    system: bool = wire(BOOL, default=False, since=13)
    mirror: PartitionMirror | None = wire(option(_PARTITION_MIRROR), default=None, since=14)


class PartitionResolution(enum.IntEnum):
    """Whether a partition can be used; only ONLINE can be produced to."""

    OFFLINE = 0
    ONLINE = 1
    LEADER_OFFLINE = 2
    ELECTION_LEADER_FOUND = 3
    OUT_OF_STORAGE = 4


class ReplicaStatus(Message):
    """How far one replica is: high watermark and log end, offsets; all -1 while unknown."""

    spu: int = wire(I32, default=-1)
    hw: int = wire(I64, default=-1)
    leo: int = wire(I64, default=-1)


class PartitionStatus(Message):
    """The state of a partition.

    `lsr`: the number of live replicas (0 is normal for a single one); `replicas`: followers only; `size`: bytes, -1 on
    error, -2 unknown.
    """

    resolution: PartitionResolution = wire(enumeration(PartitionResolution))
    leader: ReplicaStatus = wire(nested(ReplicaStatus), default=ReplicaStatus())
    lsr: int = wire(U32, default=0)
    replicas: tuple[ReplicaStatus, ...] = wire(vec(nested(ReplicaStatus), MAX_REPLICAS), default=())
    size: int = wire(I64, default=-2)
    is_being_deleted: bool = wire(BOOL, default=False)
    base_offset: int = wire(I64, default=0, since=16)


class PartitionObject(Message):
    """A partition; `name` is `"<topic>-<partition>"` (see `split_partition_key`)."""

    name: str = wire(STRING)
    spec: PartitionSpec = wire(nested(PartitionSpec))
    status: PartitionStatus = wire(nested(PartitionStatus))

    LABEL: ClassVar[str] = "Partition"


# --- SPUs ----------------------------------------------------------------------------------------


class SpuType(enum.IntEnum):
    """The manager of an SPU: Kubernetes or another one."""

    MANAGED = 0
    CUSTOM = 1


class Encryption(enum.IntEnum):
    """The encryption that an endpoint claims; clients go by their own settings."""

    PLAINTEXT = 0
    SSL = 1


_ENCRYPTION = enumeration(Encryption)


class IngressAddr(Message):
    """One address of an SPU: a host name, or an IP address, as text."""

    hostname: str | None = wire(option(STRING), default=None)
    ip: str | None = wire(option(STRING), default=None)


class IngressPort(Message):
    """The endpoint at which clients reach an SPU: the first address, and the port."""

    port: int = wire(U16)
    ingress: tuple[IngressAddr, ...] = wire(vec(nested(IngressAddr), MAX_ADDRESSES))
    encryption: Encryption = wire(_ENCRYPTION, default=Encryption.PLAINTEXT)


class Endpoint(Message):
    """A host and a port."""

    port: int = wire(U16)
    host: str = wire(STRING)
    encryption: Encryption = wire(_ENCRYPTION, default=Encryption.PLAINTEXT)


class SpuSpec(Message):
    """An SPU's id and addresses."""

    id: int = wire(I32)
    spu_type: SpuType = wire(enumeration(SpuType))
    public_endpoint: IngressPort = wire(nested(IngressPort))
    private_endpoint: Endpoint = wire(nested(Endpoint))
    rack: str | None = wire(option(STRING), default=None)
    public_endpoint_local: Endpoint | None = wire(option(nested(Endpoint)), default=None)


class SpuResolution(enum.IntEnum):
    """Whether an SPU is there; 0 is online."""

    ONLINE = 0
    OFFLINE = 1
    INIT = 2


class SpuStatus(Message):
    """The state of an SPU."""

    resolution: SpuResolution = wire(enumeration(SpuResolution))


class SpuObject(Message):
    """An SPU; `name` is the one that TLS host names begin with, e.g. `"custom-spu-5001"`."""

    name: str = wire(STRING)
    spec: SpuSpec = wire(nested(SpuSpec))
    status: SpuStatus = wire(nested(SpuStatus))

    LABEL: ClassVar[str] = "SPU"


MetadataObject: TypeAlias = "TopicObject | PartitionObject | SpuObject"
