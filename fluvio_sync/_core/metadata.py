# SPDX-License-Identifier: Apache-2.0
"""The metadata cache: topics, partitions and their leaders, SPUs and their addresses.

Pure; filled from the SC's Watch pushes, guarded by the client's lock.  Pushes repeat objects freely (a partition is
sent again after every write, because its status holds the log end), so `apply` returns the real changes.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fluvio_sync._base.text import shown
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    Deduplication,
    IngressAddr,
    IngressPort,
    PartitionObject,
    PartitionResolution,
    PartitionSpec,
    PartitionStatus,
    SpuObject,
    SpuResolution,
    SpuSpec,
    TopicObject,
    TopicStatus,
    partition_key,
    split_partition_key,
)
from fluvio_sync.protocol.metadata import Endpoint as WireEndpoint
from fluvio_sync.protocol.skimming import MAX_OBJECTS, MAX_SPUS
from fluvio_sync.protocol.watch import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fluvio_sync.protocol.metadata import MetadataObject, TopicResolution, TopicSpec
    from fluvio_sync.protocol.watch import WatchUpdate

# Constants, because looking a member of an enum up takes as long as a call.
_SPU_OFFLINE: Final = SpuResolution.OFFLINE
_OFFLINE: Final = PartitionResolution.OFFLINE
_LEADER_OFFLINE: Final = PartitionResolution.LEADER_OFFLINE
_PART: Final = 64  # changes of an update in a part
LABELS: Final = (SpuObject.LABEL, PartitionObject.LABEL, TopicObject.LABEL)


class Route(NamedTuple):
    """The destination of a partition's records: the leader's id, or None and the reason why there is none now.

    `gone`: neither topic nor partition will come back by waiting.
    `fallback`: the leader of a partition that is said to be offline, although the leader itself is online: a real SC
    can leave a partition like that until it is written to.
    """

    spu: int | None
    reason: str = ""
    gone: bool = False
    fallback: int | None = None


class PartitionState(NamedTuple):
    """The leader of a partition, by the SPU's id, and whether records can be sent to it."""

    leader: int
    resolution: PartitionResolution


@lru_cache(maxsize=1024)
def _route_to(leader: int) -> Route:
    return Route(leader)


@dataclass
class MetadataDiff:
    """The changes of an update: topics by name, partitions, SPU ids.

    * `moved`: the SPUs that have another address.
    * `watch_changed`: the watch ended, or is complete now, so that unknown and offline objects count otherwise.
    """

    topics: set[str] = field(default_factory=set)
    partitions: set[tuple[str, int]] = field(default_factory=set)
    spus: set[int] = field(default_factory=set)
    moved: set[int] = field(default_factory=set)
    watch_changed: bool = False

    def __bool__(self) -> bool:
        return bool(self.topics or self.partitions or self.spus or self.watch_changed)

    def add(self, other: MetadataDiff) -> None:
        """Add the changes of another update."""
        self.topics |= other.topics
        self.partitions |= other.partitions
        self.spus |= other.spus
        self.moved |= other.moved
        self.watch_changed |= other.watch_changed


class Metadata:
    """The metadata cache.

    * `live`: the SC's pushes arrive; otherwise the cache is as old as the last of them.
    * `topics_version`: counts the topics that were added, changed or removed.
    * `is_partial`: the cache lacks a part of the updates that the watch has received, so that an object may be missing.
    * `surplus`: the objects that were not taken, because there are `MAX_OBJECTS` of their kind, or `MAX_SPUS`.
    """

    def __init__(self, *, use_local_address: bool = False) -> None:
        self.live = False
        self.topics_version = 0
        self.topics: dict[str, TopicObject] = {}
        self.partitions: dict[tuple[str, int], PartitionState] = {}
        self.spus: dict[int, SpuObject] = {}
        self.surplus = 0
        self.is_partial = False
        self._online: dict[str, list[int]] = {}  # by topic: the partitions that are online, ascending
        self._known: dict[str, int] = {}  # by topic: how many partitions are in the cache
        self._use_local_address = use_local_address
        self._fresh: set[str] = set()  # labels of which this watch has pushed something

    @property
    def complete(self) -> bool:
        """Whether all three kinds were received since the watch began: an object that is not here does not exist."""
        return self.live and not self.is_partial and self._fresh.issuperset(LABELS)

    def begin(self) -> None:
        """Begin a new watch; the cache keeps its content until the first pushes replace it."""
        self._fresh.clear()
        self.live = True

    def lose(self) -> MetadataDiff:
        """End the watch; the cache keeps its content."""
        self.live = False
        return MetadataDiff(watch_changed=True)

    def apply(self, update: WatchUpdate) -> MetadataDiff:
        """Take an update over at once and return its changes."""
        diff = MetadataDiff()
        for _, part in self.apply_in_parts(update):
            diff.add(part)
        return diff

    def apply_in_parts(self, update: WatchUpdate) -> Iterator[tuple[int, MetadataDiff]]:
        """Take an update over in parts of some 0.2 ms; yield the number of objects of each part, and its changes."""
        first = update.label not in self._fresh
        if first and not update.all and not update.changes and self._by_key(update.label):
            # An SC that just started has not loaded its store yet: its empty list deletes no objects.
            return
        replaces = bool(update.all) or first
        upserts = chain((Change(delete=False, content=item) for item in update.all), update.changes)
        changes = (change for change in upserts if not (replaces and change.delete))
        listed: set[str | int] = set()
        while part := list(islice(changes, _PART)):
            diff = MetadataDiff()
            for change in part:
                listed.add(_listed_as(change.content))
                self._change(change.content, diff, delete=change.delete)
            yield len(part), diff
        if replaces:
            yield from self._delete_others(update.label, listed)
        was_complete = self.complete
        self._fresh.add(update.label)
        yield 1, MetadataDiff(watch_changed=self.complete and not was_complete)

    def _delete_others(self, label: str, listed: set[str | int]) -> Iterator[tuple[int, MetadataDiff]]:
        """Delete the objects of a kind whose keys are not listed, in parts."""
        keys = iter([*self._by_key(label)])
        while part := list(islice(keys, _PART)):
            diff = MetadataDiff()
            for key in part:
                if (partition_key(*key) if label == PartitionObject.LABEL else key) not in listed:
                    self._delete(label, key, diff)
            yield len(part), diff

    def _by_key(self, label: str) -> Mapping[Any, object]:
        kinds: dict[str, Mapping[Any, object]] = {
            TopicObject.LABEL: self.topics,
            PartitionObject.LABEL: self.partitions,
            SpuObject.LABEL: self.spus,
        }
        return kinds[label]

    def _delete(self, label: str, key: Any, diff: MetadataDiff) -> None:
        if self._by_key(label).get(key) is None:
            return
        if label == TopicObject.LABEL:
            del self.topics[key]
            self.topics_version += 1
            diff.topics.add(key)
        elif label == PartitionObject.LABEL:
            del self.partitions[key]
            self._count(key, known=-1, is_online=False)
            diff.partitions.add(key)
        else:
            del self.spus[key]
            diff.spus.add(key)

    def _change(self, item: MetadataObject, diff: MetadataDiff, *, delete: bool) -> None:
        if delete:
            self._delete(item.LABEL, _key(item), diff)
        elif isinstance(item, TopicObject):
            self._change_topic(item, diff)
        elif isinstance(item, PartitionObject):
            self._change_partition(item, diff)
        else:
            self._change_spu(item, diff)

    def _has_room(self, objects: Mapping[Any, object], limit: int) -> bool:
        """Whether another object is taken; an SC may push new ones without end."""
        if len(objects) < limit:
            return True
        self.surplus += 1
        return False

    def _change_topic(self, item: TopicObject, diff: MetadataDiff) -> None:
        known = self.topics.get(item.name)
        if known is None and not self._has_room(self.topics, MAX_OBJECTS):
            return
        self.topics[item.name] = item
        if known is None or known.spec != item.spec:
            self.topics_version += 1
            diff.topics.add(item.name)

    def _change_partition(self, item: PartitionObject, diff: MetadataDiff) -> None:
        key = _key(item)
        known = self.partitions.get(key)
        if known is None and not self._has_room(self.partitions, MAX_OBJECTS):
            return
        state = _state(item.spec.leader, item.status.resolution)
        if known != state:
            self.partitions[key] = state
            self._count(key, known=known is None, is_online=state.resolution is PartitionResolution.ONLINE)
            diff.partitions.add(key)

    def _count(self, key: tuple[str, int], *, known: int, is_online: bool) -> None:
        """Keep what `available` and `known_partitions` return, so that neither goes over a topic's partitions."""
        topic, index = key
        if known:
            self._known[topic] = self._known.get(topic, 0) + known
            if not self._known[topic]:
                del self._known[topic]
        online = self._online.get(topic, [])
        place = bisect_left(online, index)
        was_online = place < len(online) and online[place] == index
        if is_online and not was_online:
            self._online.setdefault(topic, online).insert(place, index)
        elif was_online and not is_online:
            del online[place]
            if not online:
                del self._online[topic]

    def _change_spu(self, item: SpuObject, diff: MetadataDiff) -> None:
        spu = item.spec.id
        known, address = self.spus.get(spu), self.advertised(spu)
        if known is None and not self._has_room(self.spus, MAX_SPUS):
            return
        self.spus[spu] = item
        if known != item:
            diff.spus.add(spu)
        if known is not None and address != self.advertised(spu):
            diff.moved.add(spu)

    # Questions.

    def partition_count(self, topic: str) -> int:
        """Return the topic's number of partitions, 0 for an unknown topic."""
        item = self.topics.get(topic)
        return 0 if item is None else item.spec.partition_count

    def available(self, topic: str) -> tuple[int, ...]:
        """Return the partitions that are online now, ascending."""
        online = self._online.get(topic, ())
        return tuple(online[: bisect_left(online, self.partition_count(topic))])

    def known_partitions(self, topic: str) -> int:
        """Return how many of a topic's partitions the SC has sent, however many it says that there are."""
        return self._known.get(topic, 0)

    def spu_online(self, spu: int) -> bool:
        """Whether the SPU is known and not said to be offline; an SC that just started has not heard of it yet."""
        item = self.spus.get(spu)
        return item is not None and item.status.resolution is not _SPU_OFFLINE

    def route(self, topic: str, partition: int) -> Route:
        """Find the partition's leader.

        While the SC is away, its last report that a leader is offline is not trusted: the leader is tried.
        """
        item = self.partitions.get((topic, partition))
        if topic not in self.topics or item is None:
            return self._no_partition(topic, partition)
        leader, resolution = item
        waits = resolution is _OFFLINE or resolution is _LEADER_OFFLINE
        if self.live and waits:
            why = f"partition {partition} of topic {shown(topic)}: {_words(resolution)} (SPU {leader})"
            return Route(None, why, fallback=leader if self.spu_online(leader) else None)
        if leader not in self.spus:
            return Route(None, f"the SC has not sent the address of SPU {leader}, the partition's leader, yet")
        if self.live and not self.spu_online(leader):
            return Route(None, f"SPU {leader}, the leader of partition {partition} of topic {shown(topic)}, is offline")
        return _route_to(leader)

    def _no_partition(self, topic: str, partition: int) -> Route:
        if topic not in self.topics:
            if self.complete:
                return Route(None, f"the cluster has no topic {shown(topic)}", gone=True)
            return Route(None, f"the SC has not sent topic {shown(topic)} yet")
        if self.complete and partition >= self.partition_count(topic):
            return Route(None, f"topic {shown(topic)} has no partition {partition}", gone=True)
        return Route(None, f"partition {partition} of topic {shown(topic)} does not exist yet")

    def spu_name(self, spu: int) -> str:
        """Return the SPU object's name, the prefix of its TLS server name."""
        item = self.spus.get(spu)
        return f"custom-spu-{spu}" if item is None else item.name

    def advertised(self, spu: int) -> Endpoint | None:
        """Return the address that the SC gives for an SPU; None if it gives none to connect to."""
        item = self.spus.get(spu)
        if item is None:
            return None
        local = item.spec.public_endpoint_local
        if local is not None and self.is_local(spu):
            return Endpoint(local.host, local.port)
        host = _public_host(item)
        return Endpoint(host, item.spec.public_endpoint.port) if host else None

    def is_local(self, spu: int) -> bool:
        """Whether `advertised` returns the SPU's address inside the cluster's network."""
        item = self.spus.get(spu)
        if item is None or item.spec.public_endpoint_local is None:
            return False
        return self._use_local_address or not _public_host(item)


def kept(item: MetadataObject) -> MetadataObject:
    """Return an object with those parts alone that the cache is asked for; equal parts are one object.

    Raises `ProtocolError` for the name of a partition that is none.
    """
    if isinstance(item, TopicObject):
        return TopicObject(item.name, _kept_topic(item.spec), _topic_status(item.status.resolution))
    if isinstance(item, PartitionObject):
        split_partition_key(item.name)
        return PartitionObject(item.name, _leader(item.spec.leader), _partition_status(item.status.resolution))
    return SpuObject(item.name, _kept_spu(item.spec), item.status)


def _kept_spu(spec: SpuSpec) -> SpuSpec:
    """Return the spec with the addresses that clients may use; raises `ProtocolError` for one that no host has."""
    public, local = spec.public_endpoint, spec.public_endpoint_local
    hosts = tuple(IngressAddr(_host(one.hostname or one.ip or "")) for one in public.ingress[:1])
    kept_local = None if local is None else WireEndpoint(local.port, _host(local.host))
    return SpuSpec(spec.id, spec.spu_type, IngressPort(public.port, hosts), _NOWHERE, None, kept_local)


def _host(name: str) -> str:
    if len(name) > _LONGEST_HOST:
        raise ProtocolError(f"an SPU has an address of {len(name)} characters; names of hosts have {_LONGEST_HOST}")
    return name


def _kept_topic(spec: TopicSpec) -> TopicSpec:
    """Return the spec with the number of the partitions, wherever they are."""
    if not isinstance(spec.replicas, ComputedReplicas):
        spec = spec.replace(replicas=ComputedReplicas(spec.partition_count))
    if spec.deduplication is not None:
        return spec.replace(deduplication=_DEDUPLICATED)
    return _same_spec(spec)


_LONGEST_HOST: Final = 253
_NOWHERE: Final = WireEndpoint(0, "")
_DEDUPLICATED: Final = Deduplication(0, None, "")


@lru_cache(maxsize=256)
def _same_spec(spec: TopicSpec) -> TopicSpec:
    return spec


@lru_cache(maxsize=256)
def _leader(spu: int) -> PartitionSpec:
    return PartitionSpec(spu, ())


@lru_cache(maxsize=1024)
def _state(leader: int, resolution: PartitionResolution) -> PartitionState:
    return PartitionState(leader, resolution)


@cache
def _topic_status(resolution: TopicResolution) -> TopicStatus:
    return TopicStatus(resolution)


@cache
def _partition_status(resolution: PartitionResolution) -> PartitionStatus:
    return PartitionStatus(resolution)


def _key(item: MetadataObject) -> Any:
    """Return the key of an object in the cache."""
    if isinstance(item, PartitionObject):
        topic, index = split_partition_key(item.name)
        return sys.intern(topic), index  # a topic may have many partitions
    return item.spec.id if isinstance(item, SpuObject) else item.name


def _listed_as(item: MetadataObject) -> str | int:
    """Return what an object that a push lists is known by: less than its key, of which a long push has many."""
    return item.spec.id if isinstance(item, SpuObject) else item.name


def _public_host(spu: SpuObject) -> str:
    addresses = spu.spec.public_endpoint.ingress
    return (addresses[0].hostname or addresses[0].ip or "") if addresses else ""


def _words(resolution: PartitionResolution) -> str:
    return resolution.name.lower().replace("_", " ")
