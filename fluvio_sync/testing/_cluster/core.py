# SPDX-License-Identifier: Apache-2.0
"""The development cluster without its sockets: an SC (Streaming Controller) and SPUs (Stream Processing Units).

Pure: no socket, thread, clock or randomness, so that a simulation can run it on its own time.
Everything runs in the one thread that drives the cluster; there are no locks.

Owns the topics, the SPUs, the stored consumer offsets and the open sessions.  Its driver makes a session for each
connection (`ScSession(core)`, `SpuSession(core, spu)`), brings request frames to it, sends the outgoing frames of the
sessions from `take_ready()`, and calls `on_time()` when `wakeup_at` is due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.admin import AdminStatus
from fluvio_sync.protocol.error_code import Code, ErrorCode
from fluvio_sync.protocol.metadata import (
    CleanupPolicy,
    ComputedReplicas,
    Endpoint,
    MetadataObject,
    PartitionObject,
    PartitionResolution,
    TopicResolution,
    TopicSpec,
    TopicStorage,
)
from fluvio_sync.protocol.primitives import Reader, Writer
from fluvio_sync.protocol.watch import Change
from fluvio_sync.testing._cluster.faults import Cut, Faults
from fluvio_sync.testing._cluster.model import (
    CONSUMER_OFFSET_TOPIC,
    SC,
    Partition,
    Spu,
    SpuAddress,
    Topic,
)
from fluvio_sync.testing._cluster.partition_log import LogStorage
from fluvio_sync.testing._cluster.topics import MAX_PARTITIONS, grown, placement, rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluvio_sync.testing._cluster.stream import Stream

STATUS_INTERVAL = 0.25
"""Seconds for which the SC gathers the changes that writes make to partitions before it tells the watchers."""

_STATE_VERSION = 19
"""The version in which specifications are written to the kept state."""

_SYSTEM_SPEC = TopicSpec(
    ComputedReplicas(1, 1, ignore_rack=True),
    CleanupPolicy(604_800),
    TopicStorage(512_000_000, 2_048_000_000),
    system=True,
)


class Peer(Protocol):
    """The cluster's side of a connection, as the core and its driver see it; see `session`."""

    @property
    def node(self) -> int:
        """The node that it is to."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the connection is to be closed once `outgoing` is sent."""
        ...

    def receive(self, payload: bytes, now: float) -> None:
        """Take one request frame, without its length, at this time in monotonic seconds."""

    def outgoing(self) -> list[bytes]:
        """Return the frames to be sent, and forget them."""
        ...

    @property
    def wakeup_at(self) -> float | None:
        """When `on_time` has to be called, in monotonic seconds."""
        ...

    def on_time(self, now: float) -> None:
        """Carry out the waits that end now."""

    def push_changes(self, label: str, epoch: int, changes: Sequence[Change]) -> None:
        """Tell the watchers of this kind of object."""

    def serve_queue(self) -> None:
        """Take up requests until one has to wait."""

    def disconnect(self) -> None:
        """Forget it: its connection is gone."""


class ClusterCore:
    """An SC and its SPUs.

    `spus`: the addresses where the SPUs listen.
    `storage`: keeps logs and state; default: in memory.
    `strict`: reject batches that a real SPU would take but no correct producer sends; the reason goes to `violations`
    and the connection is closed.
    `platform`: the version that the SC claims; `sc_version`, `spu_version`: the highest version of requests.
    `wall_clock`: seconds since the epoch, for the times of consumer offsets.

    `now`: monotonic seconds, the latest that the driver brought; set it before ordering a fault.
    `online`: the ids of the SPUs that run.
    `violations`: the errors of peers, one text each.
    `smartmodules`: the names of those that are loaded; each is the same filter, see `modules`.
    """

    def __init__(
        self,
        spus: Sequence[SpuAddress],
        storage: LogStorage | None = None,
        *,
        strict: bool = True,
        platform: str = "0.18.1",
        sc_version: int = 19,
        spu_version: int = 25,
        wall_clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        if not spus or any(spu.id <= SC for spu in spus):
            raise ValueError("a cluster has at least one SPU, and SPUs have ids above 0")
        self.strict = strict
        self.platform = platform
        self.sc_version = sc_version
        self.spu_version = spu_version
        self.wall_clock = wall_clock
        self.now = 0.0
        self.violations: list[str] = []
        self.smartmodules: set[str] = set()
        self.faults = Faults()
        self.spus = {spu.id: Spu(spu) for spu in spus}
        self.online = set(self.spus)
        self.topics: dict[str, Topic] = {}
        self.consumer_offsets: dict[tuple[str, str, int], tuple[int, int]] = {}
        self.status_due: float | None = None
        self._storage = storage or LogStorage()
        self._epochs: dict[str, int] = {}
        self._stale: dict[str, Partition] = {}
        self._sessions: dict[Peer, None] = {}
        self._ready: dict[Peer, None] = {}
        self._waiting: dict[Peer, None] = {}
        self._streams: dict[tuple[str, int], list[Stream]] = {}
        self._load()
        if CONSUMER_OFFSET_TOPIC not in self.topics:
            self._add_topic(CONSUMER_OFFSET_TOPIC, _SYSTEM_SPEC)

    # --- driving it ------------------------------------------------------------------------------

    def take_ready(self) -> list[Peer]:
        """Return the sessions that have something to send, or are closed, since the last call."""
        ready, self._ready = list(self._ready), {}
        return ready

    @property
    def wakeup_at(self) -> float | None:
        """When `on_time` is due, in monotonic seconds."""
        due = [session.wakeup_at for session in self._waiting]
        return min((time for time in (*due, self.status_due) if time is not None), default=None)

    def on_time(self, now: float) -> None:
        """Carry out the waits that end by `now`."""
        self.now = max(now, self.now)
        for session in list(self._waiting):
            session.on_time(self.now)
        self.publish_statuses()

    def close(self) -> None:
        """Close all logs and their storage."""
        for partition in self._partitions():
            partition.log.close()
        self._storage.close()

    # --- called by sessions ----------------------------------------------------------------------

    def add(self, session: Peer) -> None:
        """Take a new session, for a node that exists (KeyError)."""
        if session.node != SC:
            self.spus[session.node]
        self._sessions[session] = None

    def partition(self, topic: str, index: int) -> Partition | None:
        """Return a partition, if it exists."""
        found = self.topics.get(topic)
        if found is None or not 0 <= index < len(found.partitions):
            return None
        return found.partitions[index]

    def led_by(self, spu: int, topic: str, index: int) -> Partition | None:
        """Return a partition, if it exists and this SPU leads it."""
        partition = self.partition(topic, index)
        return partition if partition is not None and partition.leader == spu else None

    def append(self, partition: Partition, batches: Sequence[tuple[memoryview, int]]) -> int:
        """Write to a partition and tell its watchers and consumers; returns the first record's offset."""
        base = partition.append(batches, self.online)
        self._stale[partition.name] = partition
        if self.status_due is None:
            self.status_due = self.now + STATUS_INTERVAL
        self._feed_streams(partition)
        return base

    def epoch(self, label: str) -> int:
        """Return the number of the last change to this kind of object."""
        return self._epochs.get(label, 0)

    def mark_ready(self, session: Peer) -> None:
        """Note that a session has something to send, or is closed."""
        self._ready[session] = None

    def mark_waiting(self, session: Peer, *, waiting: bool) -> None:
        """Note that a session waits for replication, or no longer does."""
        if waiting:
            self._waiting[session] = None
        else:
            self._waiting.pop(session, None)

    def add_stream(self, stream: Stream) -> None:
        """Feed a stream from now on."""
        self._streams.setdefault((stream.topic, stream.partition), []).append(stream)

    def end_stream(self, stream: Stream) -> None:
        """Feed a stream no longer."""
        streams = self._streams.get((stream.topic, stream.partition), [])
        if stream in streams:
            streams.remove(stream)

    def forget(self, session: Peer) -> None:
        """Drop a session whose connection is gone."""
        self._sessions.pop(session, None)
        self._ready.pop(session, None)
        self._waiting.pop(session, None)

    def store_consumer_offset(self, key: tuple[str, str, int], offset: int | None) -> None:
        """Set (or delete) the offset of (consumer, topic, partition)."""
        if offset is None:
            self.consumer_offsets.pop(key, None)
        else:
            self.consumer_offsets[key] = (offset, int(self.wall_clock()))
        self._save()

    # --- topics ----------------------------------------------------------------------------------

    def create_topic(self, name: str, spec: TopicSpec, *, dry_run: bool = False) -> AdminStatus:
        """Create a topic; the checks and their order are those of a real SC."""
        rejected = rejection(name, spec, self.topics, self.spus)
        if rejected is not None or dry_run:
            return rejected or AdminStatus(name, ErrorCode.NONE)
        topic = self._add_topic(name, spec)
        ready = sum(item.resolution == PartitionResolution.ONLINE for item in topic.partitions)
        if ready == spec.partition_count:
            return AdminStatus(name, ErrorCode.NONE)
        text = f"only {ready} out of {spec.partition_count} provisioned"
        return AdminStatus(name, ErrorCode(Code.TOPIC_NOT_PROVISIONED), text)

    def delete_topic(self, name: str, *, force: bool = False) -> AdminStatus:
        """Delete a topic and all its records."""
        topic = self.topics.get(name)
        if topic is None:
            return AdminStatus(name, ErrorCode(Code.TOPIC_NOT_FOUND), "not found")
        if topic.spec.system and not force:
            return AdminStatus(name, ErrorCode(Code.SYSTEM_SPEC_DELETION_ATTEMPT, ("topic", name)))
        del self.topics[name]
        for partition in topic.partitions:
            self._stale.pop(partition.name, None)
            self._publish(partition.object(), delete=True)
            self._end_streams(partition, ErrorCode(Code.TOPIC_DELETED))
            partition.log.close()
            self._storage.remove_log(name, partition.index)
        self._publish(topic.object(), delete=True)
        self._save()
        return AdminStatus(name, ErrorCode.NONE)

    def add_partitions(self, name: str, count: int) -> AdminStatus:
        """Add `count` partitions to a topic that the SC places."""
        topic = self.topics.get(name)
        if topic is None:
            return AdminStatus(name, ErrorCode(Code.TOPIC_NOT_FOUND), "not found")
        if topic.spec.system:
            return AdminStatus(name, ErrorCode(Code.SYSTEM_SPEC_UPDATING_ATTEMPT, ("topic", name)))
        spec = grown(topic.spec, count)
        if spec is None:
            error = ErrorCode(Code.TOPIC_INVALID_REPLICA_TYPE)
            return AdminStatus(name, error, "invalid replica type")
        if spec.partition_count > MAX_PARTITIONS:
            text = f"the development cluster allows {MAX_PARTITIONS} partitions a topic"
            return AdminStatus(name, ErrorCode(Code.TOPIC_ERROR), text)
        topic.spec = spec
        self._publish(topic.object())
        self._provision(topic)
        self._save()
        return AdminStatus(name, ErrorCode.NONE)

    def _add_topic(self, name: str, spec: TopicSpec) -> Topic:
        topic = self.topics[name] = Topic(name, spec)
        self._publish(topic.object())
        self._provision(topic)
        self._save()
        return topic

    def _provision(self, topic: Topic) -> None:
        """Place the partitions that a topic lacks, if there are SPUs enough, and start them."""
        online = sorted(self.online)
        while len(topic.partitions) < topic.spec.partition_count:
            index = len(topic.partitions)
            replicas = placement(topic.spec, index, online)
            if replicas is None:
                topic.resolution = TopicResolution.INSUFFICIENT_RESOURCES
                topic.reason = "need more live SPUs"
                break
            topic.partitions.append(self._open(topic, index, replicas))
        else:
            topic.resolution = TopicResolution.PROVISIONED
            topic.reason = ""
        self._publish(topic.object())
        for partition in topic.partitions:
            if partition.resolution == PartitionResolution.OFFLINE:
                self._publish(partition.unborn())
                self._choose_leader(partition)

    def _open(self, topic: Topic, index: int, replicas: Sequence[int]) -> Partition:
        log = self._storage.open_log(topic.name, index)
        return Partition(topic.name, index, topic.spec, replicas, log)

    def _choose_leader(self, partition: Partition) -> None:
        """Give a partition the leader that it can have now, let replicas catch up, and tell."""
        leader = partition.candidate(self.online)
        if leader is None:
            if partition.resolution == PartitionResolution.ONLINE:
                partition.resolution = PartitionResolution.OFFLINE
                self._publish(partition.object())
            partition.resolution = PartitionResolution.LEADER_OFFLINE
            self._publish(partition.object())
            return
        if leader != partition.leader:
            self._end_streams(partition, ErrorCode(Code.NOT_LEADER_FOR_PARTITION))
            partition.lead(leader)
            self._save()
        partition.resolution = PartitionResolution.ONLINE
        self._catch_up(partition)

    def _catch_up(self, partition: Partition) -> None:
        moved = partition.replicate(self.online)
        self._publish(partition.object())
        if moved:
            self._feed_streams(partition)
            for session in list(self._waiting):
                session.on_time(self.now)

    # --- watchers and streams --------------------------------------------------------------------

    def _publish(self, item: MetadataObject, *, delete: bool = False) -> None:
        label = item.LABEL
        self._epochs[label] = self.epoch(label) + 1
        for session in self._sessions:
            session.push_changes(label, self.epoch(label), [Change(delete, item)])

    def publish_statuses(self) -> None:
        """Tell watchers of the changes that writes made to partitions, if it is time."""
        if self.status_due is None or self.now < self.status_due:
            return
        changes = [Change(delete=False, content=item.object()) for item in self._stale.values()]
        self._stale.clear()
        self.status_due = None
        label = PartitionObject.LABEL
        self._epochs[label] = self.epoch(label) + 1
        for session in self._sessions if changes else ():
            session.push_changes(label, self.epoch(label), changes)

    def _feed_streams(self, partition: Partition) -> None:
        for stream in self._streams.get((partition.topic, partition.index), ()):
            stream.feed(partition)

    def _end_streams(self, partition: Partition, error: ErrorCode) -> None:
        for stream in self._streams.pop((partition.topic, partition.index), ()):
            stream.end(error)

    # --- faults ----------------------------------------------------------------------------------

    def kill_spu(self, spu: int) -> None:
        """Take an SPU down: its connections break, and other replicas lead its partitions."""
        self._require(spu, online=True)
        self.spus[spu].online = False
        self.online.discard(spu)
        self.faults.held.discard(spu)
        for session in [item for item in self._sessions if item.node == spu]:
            session.disconnect()
            self.mark_ready(session)
        self._publish(self.spus[spu].object())
        for partition in self._partitions():
            if partition.leader == spu:
                self._choose_leader(partition)
            elif spu in partition.replicas:
                self._publish(partition.object())

    def restart_spu(self, spu: int) -> None:
        """Bring a killed SPU back: it catches up, and leads the partitions that no other SPU could."""
        self._require(spu, online=False)
        self.spus[spu].online = True
        self.online.add(spu)
        self._publish(self.spus[spu].object())
        for topic in self.topics.values():
            if topic.resolution == TopicResolution.INSUFFICIENT_RESOURCES:
                self._provision(topic)
                self._save()
        for partition in self._partitions():
            if spu in partition.replicas:
                partition.failed = partition.failed and partition.leader != spu
                self._choose_leader(partition)

    def advertise(self, spu: int, public: Endpoint | None, local: Endpoint | None) -> None:
        """Tell clients that an SPU is somewhere else; see `Spu`."""
        self._require(spu, online=spu in self.online)
        self.spus[spu].public = public
        self.spus[spu].local = local
        self._publish(self.spus[spu].object())

    def load_smartmodule(self, name: str) -> None:
        """Have a SmartModule: a filter, see `modules`."""
        self.smartmodules.add(name)

    def move_leader(self, topic: str, partition: int, spu: int) -> None:
        """Let another online SPU lead a partition.

        One that holds no replica of it takes the present leader's place, with all its records.
        """
        self._require(spu, online=True)
        found = self.partition(topic, partition)
        if found is None:
            raise ValueError(f"there is no partition {partition} of a topic {topic!r}")
        if found.leader != spu:
            self._end_streams(found, ErrorCode(Code.NOT_LEADER_FOR_PARTITION))
            found.lead(spu)
            found.resolution = PartitionResolution.ONLINE
            self._save()
            self._catch_up(found)

    def fail_next_produce(
        self,
        code: int,
        count: int = 1,
        topic: str | None = None,
        payload: Sequence[object] = (),
    ) -> None:
        """Answer the next `count` partition entries (of `topic`) with an error; nothing is written.

        ValueError for an unknown code, or if `payload` does not fit the code.
        """
        self.faults.fail_produce(ErrorCode(code, tuple(payload)), count, topic)

    def hold_replies(self, node: int, *, on: bool) -> None:
        """Let a node (an SPU; 0: the SC) stall: it carries out one request a connection, mutely.

        Its pushes are held back too.  With `on=False` everything held is sent.
        """
        if on:
            self.faults.held.add(node)
            return
        self.faults.held.discard(node)
        for session in [item for item in self._sessions if item.node == node]:
            self.mark_ready(session)
            session.serve_queue()

    def cut_next_produce(self, spu: int, when: Cut = "after", count: int = 1) -> None:
        """Break the connections of the next `count` produce requests to an SPU.

        `"before"`: nothing is written; `"after"`: all of it is, and the reply is lost.
        """
        if when not in ("before", "after"):
            raise ValueError(f"a connection is cut 'before' or 'after', not {when!r}")
        self._require(spu, online=None)
        self.faults.cut(spu, when, count)

    def _require(self, spu: int, *, online: bool | None) -> None:
        if spu not in self.spus:
            raise ValueError(f"there is no SPU {spu}; there are {sorted(self.spus)}")
        if online is not None and self.spus[spu].online != online:
            raise ValueError(f"SPU {spu} is {'down' if online else 'running'}")

    def _partitions(self) -> list[Partition]:
        return [item for topic in self.topics.values() for item in topic.partitions]

    # --- kept state ------------------------------------------------------------------------------

    def _save(self) -> None:
        topics = [
            {
                "name": topic.name,
                "spec": _encoded(topic.spec),
                "partitions": [{"replicas": item.replicas, "leader": item.leader} for item in topic.partitions],
            }
            for topic in self.topics.values()
        ]
        offsets = [[*key, *value] for key, value in self.consumer_offsets.items()]
        self._storage.save_state({"topics": topics, "consumer_offsets": offsets})

    def _load(self) -> None:
        state = self._storage.load_state()
        if state is None:
            return
        try:
            for consumer, topic, partition, offset, time in state["consumer_offsets"]:
                self.consumer_offsets[consumer, topic, partition] = (offset, time)
            for kept in state["topics"]:
                self._load_topic(kept)
        except (KeyError, TypeError, ProtocolError) as error:
            raise ValueError(f"the kept state of the cluster is damaged: {error!r}") from error

    def _load_topic(self, kept: dict[str, Any]) -> None:
        name = kept["name"]
        topic = self.topics[name] = Topic(name, _decoded(kept["spec"]))
        for index, item in enumerate(kept["partitions"]):
            # The cluster may have been started with fewer SPUs than the last time.
            replicas = [spu for spu in item["replicas"] if spu in self.spus] or [min(self.spus)]
            partition = self._open(topic, index, replicas)
            if item["leader"] in replicas:
                partition.leader = item["leader"]
            topic.partitions.append(partition)
        self._provision(topic)


def _encoded(spec: TopicSpec) -> str:
    writer = Writer()
    spec.write(writer, _STATE_VERSION)
    return writer.getvalue().hex()


def _decoded(text: str) -> TopicSpec:
    return TopicSpec.read(Reader(bytes.fromhex(text)), _STATE_VERSION)
