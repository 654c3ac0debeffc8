# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002, ARG003 - `version` is a parameter of every write and read, gates or not
"""The SC's objects (topics, partitions, SPUs) and the requests that watch, list and change them.

Pure.  The layouts are those of versions 12 to 19, both directions.  Older ones differ and are
refused.

Every request, and the responses to Watch and List, stand in an envelope: a label that names the
kind of object, a length, then the message proper.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.primitives import Duration, Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIN_VERSION = 12
"""The oldest version whose layouts this module has."""

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
        raise ProtocolError(f"{name!r} is not the name of a partition")
    # More digits than a u32 has would make int() slow for no use.
    if len(number) > 10:
        raise ProtocolError(f"{name!r} is not the name of a partition")
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


@dataclass(frozen=True, slots=True)
class CleanupPolicy:
    """Segments older than this many seconds are removed."""

    time_in_seconds: int

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(0)
        w.u32(self.time_in_seconds)

    @classmethod
    def read(cls, r: Reader, version: int) -> CleanupPolicy:
        """Read one."""
        tag = r.u8()
        if tag != 0:
            raise ProtocolError(f"unknown clean-up policy {tag}")
        return cls(r.u32())


@dataclass(frozen=True, slots=True)
class TopicStorage:
    """Sizes in bytes; None leaves them to the cluster (a segment: 1 GiB)."""

    segment_size: int | None = None
    max_partition_size: int | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.option(self.segment_size, w.u32)
        w.option(self.max_partition_size, w.u64)

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicStorage:
        """Read one."""
        return cls(r.option(r.u32), r.option(r.u64))


@dataclass(frozen=True, slots=True)
class Deduplication:
    """A topic's deduplication: the last `count` records, not older than `age`, and its filter."""

    count: int
    age: Duration | None
    uses: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u64(self.count)
        w.option(self.age, w.duration)
        w.string(self.uses)
        w.mapping(self.parameters)

    @classmethod
    def read(cls, r: Reader, version: int) -> Deduplication:
        """Read one."""
        return cls(r.u64(), r.option(r.duration), r.string(), r.mapping())


# --- mirrors -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RemotePartition:
    """A partition that mirrors one of a home cluster.  `target` exists from version 18."""

    home_cluster: str
    home_spu_key: str
    home_spu_id: int
    home_spu_endpoint: str
    target: bool = False

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.home_cluster)
        w.string(self.home_spu_key)
        w.i32(self.home_spu_id)
        w.string(self.home_spu_endpoint)
        if version >= 18:
            w.boolean(self.target)

    @classmethod
    def read(cls, r: Reader, version: int) -> RemotePartition:
        """Read one."""
        return cls(r.string(), r.string(), r.i32(), r.string(), r.boolean() if version >= 18 else False)


@dataclass(frozen=True, slots=True)
class HomePartition:
    """A partition that a remote cluster mirrors.  `source` exists from version 18."""

    remote_cluster: str
    remote_replica: str
    source: bool = False

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.remote_cluster)
        w.string(self.remote_replica)
        if version >= 18:
            w.boolean(self.source)

    @classmethod
    def read(cls, r: Reader, version: int) -> HomePartition:
        """Read one."""
        return cls(r.string(), r.string(), r.boolean() if version >= 18 else False)


PartitionMirror: TypeAlias = "RemotePartition | HomePartition"


def _write_partition_mirror(mirror: PartitionMirror, w: Writer, version: int) -> None:
    w.u8(0 if isinstance(mirror, RemotePartition) else 1)
    mirror.write(w, version)


def _read_partition_mirror(r: Reader, version: int) -> PartitionMirror:
    tag = r.u8()
    if tag == 0:
        return RemotePartition.read(r, version)
    if tag == 1:
        return HomePartition.read(r, version)
    raise ProtocolError(f"unknown kind of mirror {tag}")


def _write_optional_mirror(mirror: PartitionMirror | None, w: Writer, version: int) -> None:
    if version < 14:
        return
    w.boolean(mirror is not None)
    if mirror is not None:
        _write_partition_mirror(mirror, w, version)


def _read_optional_mirror(r: Reader, version: int) -> PartitionMirror | None:
    if version < 14:
        return None
    return r.option(lambda: _read_partition_mirror(r, version))


@dataclass(frozen=True, slots=True)
class HomeSpu:
    """An SPU of the home cluster."""

    id: int
    key: str
    endpoint: str

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i32(self.id)
        w.string(self.key)
        w.string(self.endpoint)

    @classmethod
    def read(cls, r: Reader, version: int) -> HomeSpu:
        """Read one."""
        return cls(r.i32(), r.string(), r.string())


@dataclass(frozen=True, slots=True)
class RemoteMirror:
    """The remote side of a mirror topic.  `target` exists from version 18."""

    home_cluster: str
    home_spus: tuple[HomeSpu, ...]
    target: bool = False

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.home_cluster)
        w.vec(self.home_spus, lambda spu: spu.write(w, version))
        if version >= 18:
            w.boolean(self.target)

    @classmethod
    def read(cls, r: Reader, version: int) -> RemoteMirror:
        """Read one."""
        return cls(
            r.string(),
            r.vec(lambda: HomeSpu.read(r, version), 8),
            r.boolean() if version >= 18 else False,
        )


@dataclass(frozen=True, slots=True)
class HomeMirror:
    """The home side of a mirror topic.  `source` exists from version 18."""

    partitions: tuple[HomePartition, ...]
    source: bool = False

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.vec(self.partitions, lambda partition: partition.write(w, version))
        if version >= 18:
            w.boolean(self.source)

    @classmethod
    def read(cls, r: Reader, version: int) -> HomeMirror:
        """Read one."""
        return cls(
            r.vec(lambda: HomePartition.read(r, version), 4),
            r.boolean() if version >= 18 else False,
        )


# --- how a topic's partitions are placed ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartitionMap:
    """Where one partition's replicas are, the leader first.  `mirror` exists from version 14."""

    id: int
    replicas: tuple[int, ...]
    mirror: PartitionMirror | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u32(self.id)
        w.vec(self.replicas, w.i32)
        _write_optional_mirror(self.mirror, w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionMap:
        """Read one."""
        return cls(r.u32(), r.vec(r.i32, 4), _read_optional_mirror(r, version))


@dataclass(frozen=True, slots=True)
class AssignedReplicas:
    """Placed by whoever created the topic."""

    maps: tuple[PartitionMap, ...]

    TAG: ClassVar[int] = 0

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        return len(self.maps)

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.vec(self.maps, lambda item: item.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> AssignedReplicas:
        """Read one."""
        return cls(r.vec(lambda: PartitionMap.read(r, version), 8))


@dataclass(frozen=True, slots=True)
class ComputedReplicas:
    """Placed by the SC."""

    partitions: int
    replication_factor: int = 1
    ignore_rack: bool = False

    TAG: ClassVar[int] = 1

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        return self.partitions

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u32(self.partitions)
        w.u32(self.replication_factor)
        w.boolean(self.ignore_rack)

    @classmethod
    def read(cls, r: Reader, version: int) -> ComputedReplicas:
        """Read one."""
        return cls(r.u32(), r.u32(), r.boolean())


@dataclass(frozen=True, slots=True)
class MirrorReplicas:
    """Placed as another cluster's topic is."""

    mirror: RemoteMirror | HomeMirror

    TAG: ClassVar[int] = 2

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        if isinstance(self.mirror, RemoteMirror):
            return len(self.mirror.home_spus)
        return len(self.mirror.partitions)

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(0 if isinstance(self.mirror, RemoteMirror) else 1)
        self.mirror.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> MirrorReplicas:
        """Read one."""
        tag = r.u8()
        if tag == 0:
            return cls(RemoteMirror.read(r, version))
        if tag == 1:
            return cls(HomeMirror.read(r, version))
        raise ProtocolError(f"unknown kind of mirror {tag}")


Replicas: TypeAlias = "AssignedReplicas | ComputedReplicas | MirrorReplicas"

_REPLICAS: Mapping[int, Callable[[Reader, int], Replicas]] = {
    AssignedReplicas.TAG: AssignedReplicas.read,
    ComputedReplicas.TAG: ComputedReplicas.read,
    MirrorReplicas.TAG: MirrorReplicas.read,
}


def _read_replicas(r: Reader, version: int) -> Replicas:
    tag = r.u8()
    read = _REPLICAS.get(tag)
    if read is None:
        raise ProtocolError(f"unknown kind of replicas {tag}")
    return read(r, version)


# --- topics --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """What a topic should be.  `system` exists from version 13."""

    replicas: Replicas = ComputedReplicas(1)
    cleanup_policy: CleanupPolicy | None = None
    storage: TopicStorage | None = None
    compression: TopicCompression = TopicCompression.ANY
    deduplication: Deduplication | None = None
    system: bool = False

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        return self.replicas.partition_count

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(self.replicas.TAG)
        self.replicas.write(w, version)
        w.option(self.cleanup_policy, lambda policy: policy.write(w, version))
        w.option(self.storage, lambda storage: storage.write(w, version))
        w.u8(self.compression)
        w.option(self.deduplication, lambda item: item.write(w, version))
        if version >= 13:
            w.boolean(self.system)

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicSpec:
        """Read one."""
        return cls(
            _read_replicas(r, version),
            r.option(lambda: CleanupPolicy.read(r, version)),
            r.option(lambda: TopicStorage.read(r, version)),
            r.enumeration(TopicCompression),
            r.option(lambda: Deduplication.read(r, version)),
            r.boolean() if version >= 13 else False,
        )


class TopicResolution(enum.IntEnum):
    """How far a topic is."""

    INIT = 0
    PENDING = 1
    INSUFFICIENT_RESOURCES = 2
    INVALID_CONFIG = 3
    PROVISIONED = 4
    DELETING = 5


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """What a topic is: partition -> SPUs of its replicas.  `mirror_map` exists from version 14."""

    resolution: TopicResolution
    replica_map: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    mirror_map: Mapping[int, PartitionMirror] = field(default_factory=dict)
    reason: str = ""

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(self.resolution)
        w.mapping_of(self.replica_map, w.u32, lambda spus: w.vec(spus, w.i32))
        if version >= 14:
            w.mapping_of(
                self.mirror_map,
                w.u32,
                lambda mirror: _write_partition_mirror(mirror, w, version),
            )
        w.string(self.reason)

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicStatus:
        """Read one."""
        resolution = r.enumeration(TopicResolution)
        replica_map = r.mapping_of(r.u32, lambda: r.vec(r.i32, 4), 8)
        mirror_map: dict[int, PartitionMirror] = {}
        if version >= 14:
            mirror_map = r.mapping_of(r.u32, lambda: _read_partition_mirror(r, version), 9)
        return cls(resolution, replica_map, mirror_map, r.string())


@dataclass(frozen=True, slots=True)
class TopicObject:
    """A topic; `name` is the topic's."""

    name: str
    spec: TopicSpec
    status: TopicStatus

    LABEL: ClassVar[str] = "Topic"
    MIN_SIZE: ClassVar[int] = 14

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        self.spec.write(w, version)
        self.status.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> TopicObject:
        """Read one."""
        return cls(r.string(), TopicSpec.read(r, version), TopicStatus.read(r, version))


# --- partitions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartitionSpec:
    """Who leads a partition and who replicates it.

    `leader`, `replicas`: ids of SPUs.  `system` exists from version 13, `mirror` from 14.
    """

    leader: int
    replicas: tuple[int, ...]
    cleanup_policy: CleanupPolicy | None = None
    storage: TopicStorage | None = None
    compression: TopicCompression = TopicCompression.ANY
    deduplication: Deduplication | None = None
    system: bool = False
    mirror: PartitionMirror | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i32(self.leader)
        w.vec(self.replicas, w.i32)
        w.option(self.cleanup_policy, lambda policy: policy.write(w, version))
        w.option(self.storage, lambda storage: storage.write(w, version))
        w.u8(self.compression)
        w.option(self.deduplication, lambda item: item.write(w, version))
        if version >= 13:
            w.boolean(self.system)
        _write_optional_mirror(self.mirror, w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionSpec:
        """Read one."""
        return cls(
            r.i32(),
            r.vec(r.i32, 4),
            r.option(lambda: CleanupPolicy.read(r, version)),
            r.option(lambda: TopicStorage.read(r, version)),
            r.enumeration(TopicCompression),
            r.option(lambda: Deduplication.read(r, version)),
            r.boolean() if version >= 13 else False,
            _read_optional_mirror(r, version),
        )


class PartitionResolution(enum.IntEnum):
    """Whether a partition can be used; only ONLINE can be produced to."""

    OFFLINE = 0
    ONLINE = 1
    LEADER_OFFLINE = 2
    ELECTION_LEADER_FOUND = 3
    OUT_OF_STORAGE = 4


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """How far one replica is: high watermark and log end, offsets; all -1 while unknown."""

    spu: int = -1
    hw: int = -1
    leo: int = -1

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i32(self.spu)
        w.i64(self.hw)
        w.i64(self.leo)

    @classmethod
    def read(cls, r: Reader, version: int) -> ReplicaStatus:
        """Read one."""
        return cls(r.i32(), r.i64(), r.i64())


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """How a partition is.

    `lsr`: the number of live replicas (0 is normal for a single one); `replicas`: followers only;
    `size`: bytes, -1 on error, -2 unknown; `base_offset` exists from version 16.
    """

    resolution: PartitionResolution
    leader: ReplicaStatus = ReplicaStatus()
    lsr: int = 0
    replicas: tuple[ReplicaStatus, ...] = ()
    size: int = -2
    is_being_deleted: bool = False
    base_offset: int = 0

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(self.resolution)
        self.leader.write(w, version)
        w.u32(self.lsr)
        w.vec(self.replicas, lambda replica: replica.write(w, version))
        w.i64(self.size)
        w.boolean(self.is_being_deleted)
        if version >= 16:
            w.i64(self.base_offset)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionStatus:
        """Read one."""
        return cls(
            r.enumeration(PartitionResolution),
            ReplicaStatus.read(r, version),
            r.u32(),
            r.vec(lambda: ReplicaStatus.read(r, version), 20),
            r.i64(),
            r.boolean(),
            r.i64() if version >= 16 else 0,
        )


@dataclass(frozen=True, slots=True)
class PartitionObject:
    """A partition; `name` is `"<topic>-<partition>"` (see `split_partition_key`)."""

    name: str
    spec: PartitionSpec
    status: PartitionStatus

    LABEL: ClassVar[str] = "Partition"
    MIN_SIZE: ClassVar[int] = 52

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        self.spec.write(w, version)
        self.status.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> PartitionObject:
        """Read one."""
        return cls(r.string(), PartitionSpec.read(r, version), PartitionStatus.read(r, version))


# --- SPUs ----------------------------------------------------------------------------------------


class SpuType(enum.IntEnum):
    """Who runs an SPU: Kubernetes or somebody else."""

    MANAGED = 0
    CUSTOM = 1


class Encryption(enum.IntEnum):
    """What an endpoint claims; clients go by their own settings."""

    PLAINTEXT = 0
    SSL = 1


@dataclass(frozen=True, slots=True)
class IngressAddr:
    """One address of an SPU: a host name, or an IP address, as text."""

    hostname: str | None = None
    ip: str | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.option(self.hostname, w.string)
        w.option(self.ip, w.string)

    @classmethod
    def read(cls, r: Reader, version: int) -> IngressAddr:
        """Read one."""
        return cls(r.option(r.string), r.option(r.string))


@dataclass(frozen=True, slots=True)
class IngressPort:
    """Where clients reach an SPU: the first address, and the port."""

    port: int
    ingress: tuple[IngressAddr, ...]
    encryption: Encryption = Encryption.PLAINTEXT

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u16(self.port)
        w.vec(self.ingress, lambda address: address.write(w, version))
        w.u8(self.encryption)

    @classmethod
    def read(cls, r: Reader, version: int) -> IngressPort:
        """Read one."""
        return cls(
            r.u16(),
            r.vec(lambda: IngressAddr.read(r, version), 2),
            r.enumeration(Encryption),
        )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port."""

    port: int
    host: str
    encryption: Encryption = Encryption.PLAINTEXT

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u16(self.port)
        w.string(self.host)
        w.u8(self.encryption)

    @classmethod
    def read(cls, r: Reader, version: int) -> Endpoint:
        """Read one."""
        return cls(r.u16(), r.string(), r.enumeration(Encryption))


@dataclass(frozen=True, slots=True)
class SpuSpec:
    """An SPU's id and addresses."""

    id: int
    spu_type: SpuType
    public_endpoint: IngressPort
    private_endpoint: Endpoint
    rack: str | None = None
    public_endpoint_local: Endpoint | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.i32(self.id)
        w.u8(self.spu_type)
        self.public_endpoint.write(w, version)
        self.private_endpoint.write(w, version)
        w.option(self.rack, w.string)
        w.option(self.public_endpoint_local, lambda endpoint: endpoint.write(w, version))

    @classmethod
    def read(cls, r: Reader, version: int) -> SpuSpec:
        """Read one."""
        return cls(
            r.i32(),
            r.enumeration(SpuType),
            IngressPort.read(r, version),
            Endpoint.read(r, version),
            r.option(r.string),
            r.option(lambda: Endpoint.read(r, version)),
        )


class SpuResolution(enum.IntEnum):
    """Whether an SPU is there; 0 is online."""

    ONLINE = 0
    OFFLINE = 1
    INIT = 2


@dataclass(frozen=True, slots=True)
class SpuStatus:
    """How an SPU is."""

    resolution: SpuResolution

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(self.resolution)

    @classmethod
    def read(cls, r: Reader, version: int) -> SpuStatus:
        """Read one."""
        return cls(r.enumeration(SpuResolution))


@dataclass(frozen=True, slots=True)
class SpuObject:
    """An SPU; `name` is the one that TLS host names begin with, e.g. `"custom-spu-5001"`."""

    name: str
    spec: SpuSpec
    status: SpuStatus

    LABEL: ClassVar[str] = "SPU"
    MIN_SIZE: ClassVar[int] = 22

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        self.spec.write(w, version)
        self.status.write(w, version)

    @classmethod
    def read(cls, r: Reader, version: int) -> SpuObject:
        """Read one."""
        return cls(r.string(), SpuSpec.read(r, version), SpuStatus.read(r, version))


MetadataObject: TypeAlias = "TopicObject | PartitionObject | SpuObject"

_OBJECTS: Mapping[str, type[MetadataObject]] = {
    TopicObject.LABEL: TopicObject,
    PartitionObject.LABEL: PartitionObject,
    SpuObject.LABEL: SpuObject,
}


# --- the envelope --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TypeBuffer:
    """The envelope: the kind of object, and the message as bytes."""

    label: str
    inner: bytes

    def write(self, w: Writer, version: int) -> None:
        """Append it; ValueError for a version below 12."""
        if version < MIN_VERSION:
            raise ValueError(f"version {version} of an SC request is older than {MIN_VERSION}")
        w.string(self.label)
        w.byte_string(self.inner)

    @classmethod
    def read(cls, r: Reader, version: int) -> TypeBuffer:
        """Read one; ProtocolError for a version below 12."""
        if version < MIN_VERSION:
            raise ProtocolError(f"version {version} of an SC request is older than {MIN_VERSION}")
        return cls(r.string(), r.byte_string())


def _write_envelope(label: str, w: Writer, version: int, write: Callable[[Writer], None]) -> None:
    inner = Writer()
    write(inner)
    TypeBuffer(label, inner.getvalue()).write(w, version)


def _object_class(label: str) -> type[MetadataObject]:
    found = _OBJECTS.get(label)
    if found is None:
        raise ProtocolError(f"objects of the kind {label!r} are not known here")
    return found


def _read_objects(label: str, r: Reader, version: int) -> tuple[MetadataObject, ...]:
    kind = _OBJECTS.get(label)
    if kind is not None:
        return r.vec(lambda: kind.read(r, version), kind.MIN_SIZE)
    # Of a kind unknown here an empty vector can be read, and only that.
    return r.vec(lambda: _object_class(label).read(r, version))


# --- Watch ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Asks for one kind of object: all now, then what changes, until the connection ends.

    `summary` only means something for SmartModules; the SC ignores `epoch`.
    """

    label: str
    summary: bool = False
    epoch: int = 0

    def write(self, w: Writer, version: int) -> None:
        """Append it."""

        def write(inner: Writer) -> None:
            inner.i64(self.epoch)
            inner.boolean(self.summary)

        _write_envelope(self.label, w, version, write)

    @classmethod
    def read(cls, r: Reader, version: int) -> WatchRequest:
        """Read one, of any label."""
        envelope = TypeBuffer.read(r, version)
        inner = Reader(envelope.inner)
        epoch = inner.i64()
        return cls(envelope.label, inner.boolean(), epoch)


@dataclass(frozen=True, slots=True)
class Change:
    """One object that was made or changed, or deleted: then only its name means something."""

    delete: bool
    content: MetadataObject

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.u8(1 if self.delete else 0)
        self.content.write(w, version)


def _read_changes(label: str, r: Reader, version: int) -> tuple[Change, ...]:
    def read() -> Change:
        kind = r.u8()
        if kind > 1:
            raise ProtocolError(f"unknown kind of change {kind}")
        return Change(kind == 1, _object_class(label).read(r, version))

    return r.vec(read, 15)


@dataclass(frozen=True, slots=True)
class WatchUpdate:
    """One push of a Watch.

    A non-empty `all` replaces everything known of this kind; otherwise `changes` apply in their
    order.  Both may be empty.  `epoch` counts for the server only.
    """

    label: str
    epoch: int
    changes: tuple[Change, ...] = ()
    all: tuple[MetadataObject, ...] = ()

    def write(self, w: Writer, version: int) -> None:
        """Append it."""

        def write(inner: Writer) -> None:
            inner.i64(self.epoch)
            inner.vec(self.changes, lambda change: change.write(inner, version))
            inner.vec(self.all, lambda item: item.write(inner, version))

        _write_envelope(self.label, w, version, write)

    @classmethod
    def read(cls, r: Reader, version: int) -> WatchUpdate:
        """Read one; ProtocolError for objects of a kind that this module does not know."""
        envelope = TypeBuffer.read(r, version)
        label, inner = envelope.label, Reader(envelope.inner)
        return cls(
            label,
            inner.i64(),
            _read_changes(label, inner, version),
            _read_objects(label, inner, version),
        )


# --- List ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Asks for the objects of one kind, once.

    `name_filters`: topics whose name contains one of them (none: all); partitions ignore it.
    `system` (from version 13): the system's topics instead of the users'.
    """

    label: str
    name_filters: tuple[str, ...] = ()
    summary: bool = False
    system: bool = False

    def write(self, w: Writer, version: int) -> None:
        """Append it."""

        def write(inner: Writer) -> None:
            inner.vec(self.name_filters, inner.string)
            inner.boolean(self.summary)
            if version >= 13:
                inner.boolean(self.system)

        _write_envelope(self.label, w, version, write)

    @classmethod
    def read(cls, r: Reader, version: int) -> ListRequest:
        """Read one, of any label."""
        envelope = TypeBuffer.read(r, version)
        inner = Reader(envelope.inner)
        return cls(
            envelope.label,
            inner.vec(inner.string, 2),
            inner.boolean(),
            inner.boolean() if version >= 13 else False,
        )


@dataclass(frozen=True, slots=True)
class ListResponse:
    """The objects."""

    label: str
    items: tuple[MetadataObject, ...] = ()

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        _write_envelope(
            self.label,
            w,
            version,
            lambda inner: inner.vec(self.items, lambda item: item.write(inner, version)),
        )

    @classmethod
    def read(cls, r: Reader, version: int) -> ListResponse:
        """Read one; ProtocolError for objects of a kind that this module does not know."""
        envelope = TypeBuffer.read(r, version)
        inner = Reader(envelope.inner)
        return cls(envelope.label, _read_objects(envelope.label, inner, version))


# --- Create, Delete, Update ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CreateTopicRequest:
    """Creates a topic.  `timeout`: milliseconds; the SC ignores it.

    Read off a request for another kind of object, `label` and `inner` (its message, undecoded) are
    all that means anything.
    """

    name: str
    dry_run: bool = False
    timeout: int | None = None
    spec: TopicSpec = TopicSpec()
    label: str = TopicObject.LABEL
    inner: bytes = b""

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if self.label != TopicObject.LABEL:
            TypeBuffer(self.label, self.inner).write(w, version)
            return

        def write(inner: Writer) -> None:
            inner.string(self.name)
            inner.boolean(self.dry_run)
            inner.option(self.timeout, inner.u32)
            self.spec.write(inner, version)

        _write_envelope(self.label, w, version, write)

    @classmethod
    def read(cls, r: Reader, version: int) -> CreateTopicRequest:
        """Read one, of any label."""
        envelope = TypeBuffer.read(r, version)
        if envelope.label != TopicObject.LABEL:
            return cls("", label=envelope.label, inner=envelope.inner)
        inner = Reader(envelope.inner)
        return cls(
            inner.string(),
            inner.boolean(),
            inner.option(inner.u32),
            TopicSpec.read(inner, version),
        )


@dataclass(frozen=True, slots=True)
class DeleteTopicRequest:
    """Deletes a topic.  `force` (from version 13): a system topic too.

    Read off a request for another kind of object, `label` and `inner` (its message, undecoded) are
    all that means anything.
    """

    name: str
    force: bool = False
    label: str = TopicObject.LABEL
    inner: bytes = b""

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if self.label != TopicObject.LABEL:
            TypeBuffer(self.label, self.inner).write(w, version)
            return

        def write(inner: Writer) -> None:
            inner.string(self.name)
            if version >= 13:
                inner.boolean(self.force)

        _write_envelope(self.label, w, version, write)

    @classmethod
    def read(cls, r: Reader, version: int) -> DeleteTopicRequest:
        """Read one, of any label."""
        envelope = TypeBuffer.read(r, version)
        if envelope.label != TopicObject.LABEL:
            return cls("", label=envelope.label, inner=envelope.inner)
        inner = Reader(envelope.inner)
        return cls(inner.string(), inner.boolean() if version >= 13 else False)


@dataclass(frozen=True, slots=True)
class AddMirror:
    """Adds a remote cluster to a mirror topic."""

    remote_cluster: str
    home_to_mirror: bool = False

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.remote_cluster)
        w.boolean(self.home_to_mirror)

    @classmethod
    def read(cls, r: Reader, version: int) -> AddMirror:
        """Read one."""
        return cls(r.string(), r.boolean())


@dataclass(frozen=True, slots=True)
class UpdateTopicRequest:
    """Adds `add_partitions` partitions to a topic, or, if `add_mirror` is given, a mirror.

    Read off a request for another kind of object, `label` and `inner` (its message, undecoded) are
    all that means anything.
    """

    name: str
    add_partitions: int = 0
    add_mirror: AddMirror | None = None
    label: str = TopicObject.LABEL
    inner: bytes = b""

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        if self.label != TopicObject.LABEL:
            TypeBuffer(self.label, self.inner).write(w, version)
            return

        def write(inner: Writer) -> None:
            inner.string(self.name)
            if self.add_mirror is None:
                inner.u8(0)
                inner.u32(self.add_partitions)
            else:
                inner.u8(1)
                self.add_mirror.write(inner, version)

        _write_envelope(self.label, w, version, write)

    @classmethod
    def read(cls, r: Reader, version: int) -> UpdateTopicRequest:
        """Read one, of any label."""
        envelope = TypeBuffer.read(r, version)
        if envelope.label != TopicObject.LABEL:
            return cls("", label=envelope.label, inner=envelope.inner)
        inner = Reader(envelope.inner)
        name, action = inner.string(), inner.u8()
        if action == 0:
            return cls(name, inner.u32())
        if action == 1:
            return cls(name, add_mirror=AddMirror.read(inner, version))
        raise ProtocolError(f"unknown kind of update {action}")


@dataclass(frozen=True, slots=True)
class AdminStatus:
    """The answer to Create, Delete and Update; it has no envelope."""

    name: str
    error_code: ErrorCode
    error_message: str | None = None

    def write(self, w: Writer, version: int) -> None:
        """Append it."""
        w.string(self.name)
        self.error_code.write(w, version)
        w.option(self.error_message, w.string)

    @classmethod
    def read(cls, r: Reader, version: int) -> AdminStatus:
        """Read one."""
        return cls(r.string(), ErrorCode.read(r, version), r.option(r.string))
