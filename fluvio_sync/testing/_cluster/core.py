# SPDX-License-Identifier: Apache-2.0
"""The development cluster without its sockets: an SC (Streaming Controller) and SPUs (Stream Processing Units).

Pure: no socket, thread, clock or randomness, so that a simulation can run it on its own time.
Everything runs in the one thread that drives the cluster; there are no locks.

`ClusterCore` owns the topics, the SPUs, the stored consumer offsets and the open sessions.  Its driver makes a session
for each connection (`ScSession(core)`, `SpuSession(core, spu)`), brings request frames to it, sends the outgoing frames
of the sessions from `take_ready()`, and calls `on_time()` when `wakeup_at` is due.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.admin import AdminStatus
from fluvio_sync.protocol.error_code import Code, ErrorCode
from fluvio_sync.protocol.frames import encode_response, split_request
from fluvio_sync.protocol.metadata import (
    CleanupPolicy,
    ComputedReplicas,
    Endpoint,
    MetadataObject,
    PartitionResolution,
    TopicResolution,
    TopicSpec,
    TopicStorage,
)
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.watch import Change
from fluvio_sync.testing._cluster.faults import Cut, Faults, When
from fluvio_sync.testing._cluster.kept_state import pack, unpack
from fluvio_sync.testing._cluster.model import (
    CONSUMER_OFFSET_TOPIC,
    SC,
    Partition,
    Spu,
    SpuAddress,
    Topic,
)
from fluvio_sync.testing._cluster.modules import texts_of
from fluvio_sync.testing._cluster.partition_log import LogStorage
from fluvio_sync.testing._cluster.topics import MAX_PARTITIONS, grown, placement, rejection, unstorable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluvio_sync.protocol.frames import RequestHeader
    from fluvio_sync.protocol.smartmodules import SmartModuleInvocation
    from fluvio_sync.testing._cluster.kept_state import KeptTopic
    from fluvio_sync.testing._cluster.stream import Stream

STATUS_INTERVAL = 0.25
"""Seconds for which the SC gathers the changes that writes make to partitions before it tells the watchers."""

_SYSTEM_SPEC = TopicSpec(
    ComputedReplicas(1, 1, ignore_rack=True),
    CleanupPolicy(604_800),
    TopicStorage(512_000_000, 2_048_000_000),
    system=True,
)


class _Late(NamedTuple):
    """Work of an SPU whose connection is cut already; `due`: monotonic seconds."""

    due: float
    spu: int
    work: Callable[[], object]


class ServerSession:
    """A connection to a node, as bytes in and bytes out: the common part of `ScSession` and `SpuSession`.

    It is strictly serial, like a real server's: a request is taken up only when the one before it has been answered.
    Only the pushes of a Watch or a StreamFetch come in between.

    `closed`: the connection is to be closed once `outgoing()` is sent.
    `backlog`: bytes of requests that wait for the one before them.
    `node`: the SPU's id, 0 for the SC.
    `header`: that of the request that was taken up last.
    `requests`: the requests that it knows, by API key: the class and the method that returns the answer; None: later.
    """

    header: RequestHeader
    requests: Mapping[int, tuple[Any, Callable[[Any], Any]]]

    def __init__(self, core: ClusterCore, node: int) -> None:
        self.closed = False
        self.backlog = 0
        self.node = node
        self._core = core
        self._queue: deque[bytes] = deque()
        self._out: list[bytes] = []
        core.add(self)

    # --- called by its driver --------------------------------------------------------------------

    def receive(self, payload: bytes, now: float) -> None:
        """Take one request frame, without its length.  `now`: monotonic seconds."""
        if self.closed:
            return
        self._core.now = max(now, self._core.now)
        self._queue.append(payload)
        self.backlog += len(payload)
        self.serve_queue()

    def outgoing(self) -> list[bytes]:
        """Return the frames to be sent, in order; they are forgotten here."""
        if not self._out or self.node in self._core.faults.held:
            return []
        frames, self._out = self._out, []
        return frames

    @property
    def wakeup_at(self) -> float | None:
        """When `on_time` has to be called, in monotonic seconds, if nothing happens before."""
        return None

    def on_time(self, now: float) -> None:
        """Carry out the waits that end by `now`."""
        self._core.now = max(now, self._core.now)

    def disconnect(self) -> None:
        """Forget the session: its connection is gone."""
        self.closed = True
        self._queue.clear()
        self._out.clear()
        for sessions in (self._core.sessions, self._core.ready, self._core.waiting):
            sessions.pop(self, None)

    # --- inside the cluster ----------------------------------------------------------------------

    def push_changes(self, label: str, epoch: int, changes: Sequence[Change]) -> None:
        """Tell the watchers of this kind of object; only the SC's sessions have any."""

    @property
    def is_blocked(self) -> bool:
        """Whether a reply is not ready to be sent yet."""
        return bool(self._out) and self.node in self._core.faults.held

    def serve_queue(self) -> None:
        """Take up requests until one has to wait."""
        while self._queue and not self.closed and not self.is_blocked:
            payload = self._queue.popleft()
            self.backlog -= len(payload)
            try:
                self._handle(payload)
            except ProtocolError as error:
                self._core.violations.append(f"node {self.node}: {error}")
                self.close()

    def _handle(self, payload: bytes) -> None:
        self.header, reader = split_request(payload)
        if self.header.api_key not in self.requests:
            raise ProtocolError(f"unknown request {self.header.api_key}")
        kind, handler = self.requests[self.header.api_key]
        answer = handler(kind.read(reader, self.header.api_version))
        if answer is not None:
            self.push(self.header, answer)

    def close(self) -> None:
        """End the connection once the outgoing frames are sent."""
        self.closed = True
        self._queue.clear()
        self._core.ready[self] = None

    def push(self, header: RequestHeader, message: Any) -> None:
        """Send a response to a request, or one of several."""
        writer = Writer()
        message.write(writer, header.api_version)
        self._out.append(encode_response(header.correlation_id, writer.getvalue()))
        self._core.ready[self] = None


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
    `epochs`: the number of the last change to each kind of object.
    `sessions`: the open ones; `ready`: those with something to send, or closed; `waiting`: those that wait for
    replication.
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
        self.epochs: Counter[str] = Counter()
        self._stale: dict[str, Partition] = {}
        self.sessions: dict[ServerSession, None] = {}
        self.ready: dict[ServerSession, None] = {}
        self.waiting: dict[ServerSession, None] = {}
        self._streams: dict[tuple[str, int], list[Stream]] = {}
        self._late: list[_Late] = []  # sorted by time
        try:
            self._load()
            if CONSUMER_OFFSET_TOPIC not in self.topics:
                self._add_topic(CONSUMER_OFFSET_TOPIC, _SYSTEM_SPEC)
        except BaseException:
            self._close_logs()
            raise

    # --- driving it ------------------------------------------------------------------------------

    def take_ready(self) -> list[ServerSession]:
        """Return the sessions that have something to send, or are closed, since the last call."""
        ready, self.ready = list(self.ready), {}
        return ready

    @property
    def wakeup_at(self) -> float | None:
        """When `on_time` is due, in monotonic seconds."""
        due = [session.wakeup_at for session in self.waiting] + [work.due for work in self._late]
        return min((time for time in (*due, self.status_due) if time is not None), default=None)

    def on_time(self, now: float) -> None:
        """Carry out the waits that end by `now`."""
        self.now = max(now, self.now)
        self._carry_out_late()
        for session in list(self.waiting):
            session.on_time(self.now)
        self.publish_statuses()

    def _carry_out_late(self) -> None:
        while self._late and self._late[0].due <= self.now:
            late = self._late.pop(0)
            try:
                late.work()
            except ProtocolError as error:
                self.violations.append(f"node {late.spu}: {error}")

    def close(self) -> None:
        """Close all logs and their storage."""
        self._close_logs()
        self._storage.close()

    def _close_logs(self) -> None:
        for partition in self._partitions():
            partition.log.close()

    # --- called by sessions ----------------------------------------------------------------------

    def add(self, session: ServerSession) -> None:
        """Take a new session, for a node that exists (KeyError)."""
        if session.node != SC:
            self.spus[session.node]
        self.sessions[session] = None

    def partition(self, topic: str, index: int) -> Partition | None:
        """Return a partition, if it exists."""
        found = self.topics.get(topic)
        if found is None or not 0 <= index < len(found.partitions):
            return None
        return found.partitions[index]

    def existing(self, topic: str, partition: int) -> Partition:
        """Return a partition; `ValueError` if it does not exist."""
        found = self.partition(topic, partition)
        if found is None:
            raise ValueError(f"there is no partition {partition} of a topic {topic!r}")
        return found

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

    def carry_out_later(self, spu: int, delay: float, work: Callable[[], object]) -> None:
        """Have an SPU do something `delay` seconds from now, if it still runs then and has not been down meanwhile."""
        self._late.append(_Late(self.now + delay, spu, work))
        self._late.sort(key=lambda late: late.due)  # those of one time keep their order

    def add_stream(self, stream: Stream) -> None:
        """Feed a stream from now on."""
        self._streams.setdefault(stream.key, []).append(stream)

    def end_stream(self, stream: Stream) -> None:
        """Feed a stream no longer."""
        streams = self._streams.get(stream.key, [])
        if stream in streams:
            streams.remove(stream)

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
        try:
            topic = self._add_topic(name, spec)
        except OSError as error:
            self._give_up(self.topics[name], 0)
            self._publish(self.topics.pop(name).object(), delete=True)
            return unstorable(name, error)
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
        before, had, topic.spec = topic.spec, len(topic.partitions), spec
        try:
            self._publish(topic.object())
            self._provision(topic)
            self._save()
        except OSError as error:
            topic.spec = before
            self._give_up(topic, had)
            self._publish(topic.object())
            return unstorable(name, error)
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

    def _give_up(self, topic: Topic, kept: int) -> None:
        """Close the partitions of a topic that follow the first `kept`: they could not all be stored."""
        given_up = topic.partitions[kept:]
        del topic.partitions[kept:]
        for partition in given_up:
            self._publish(partition.object(), delete=True)
            partition.log.close()
            if not partition.log.size:
                self._storage.remove_log(topic.name, partition.index)

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
            for session in list(self.waiting):
                session.on_time(self.now)

    # --- watchers and streams --------------------------------------------------------------------

    def _publish(self, *items: MetadataObject, delete: bool = False) -> None:
        if items:
            label = items[0].LABEL
            self.epochs[label] += 1
            for session in self.sessions:
                session.push_changes(label, self.epochs[label], [Change(delete, item) for item in items])

    def publish_statuses(self) -> None:
        """Tell watchers of the changes that writes made to partitions, if it is time."""
        if self.status_due is not None and self.now >= self.status_due:
            self.status_due = None
            self._publish(*[item.object() for item in self._stale.values()])
            self._stale.clear()

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
        self._late = [late for late in self._late if late.spu != spu]
        for session in [item for item in self.sessions if item.node == spu]:
            session.disconnect()
            self.ready[session] = None
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

    def texts_of(self, invocations: Sequence[SmartModuleInvocation]) -> list[str]:
        """Return the texts that records need to pass the SmartModules of a request; raises `ModuleError`."""
        return texts_of(invocations, self.smartmodules)

    def move_leader(self, topic: str, partition: int, spu: int, lost: int = 0) -> None:
        """Let another online SPU lead a partition.

        One that holds no replica of it takes the present leader's place, with all its records.
        `lost`: how many of the log's last batches the new leader lacks: they are gone.
        """
        self._require(spu, online=True)
        found = self.existing(topic, partition)
        if lost < 0 or (lost and found.leader == spu):
            raise ValueError(f"SPU {spu} cannot become the leader without {lost} batches")
        if found.leader != spu:
            self._end_streams(found, ErrorCode(Code.NOT_LEADER_FOR_PARTITION))
            if lost:
                found.lose(lost)
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
        for session in [item for item in self.sessions if item.node == node]:
            self.ready[session] = None
            session.serve_queue()

    def cut_next_produce(self, spu: int, when: When = "after", count: int = 1, delay: float = 0.3) -> None:
        """Break the connections of the next `count` produce requests to an SPU.

        `"before"`: nothing is written; `"after"`: all of it is, and the reply is lost; `"late"`: all of it is, `delay`
        seconds after the connection was cut.
        """
        if when not in ("before", "after", "late"):
            raise ValueError(f"a connection is cut 'before', 'after' or 'late', not {when!r}")
        self._require(spu, online=None)
        self.faults.cut(spu, Cut(when, delay), count)

    def _require(self, spu: int, *, online: bool | None) -> None:
        if spu not in self.spus:
            raise ValueError(f"there is no SPU {spu}; there are {sorted(self.spus)}")
        if online is not None and self.spus[spu].online != online:
            raise ValueError(f"SPU {spu} is {'down' if online else 'running'}")

    def _partitions(self) -> list[Partition]:
        return [item for topic in self.topics.values() for item in topic.partitions]

    # --- kept state ------------------------------------------------------------------------------

    def _save(self) -> None:
        self._storage.save_state(pack(self.topics.values(), self.consumer_offsets))

    def _load(self) -> None:
        state = self._storage.load_state()
        if state is None:
            return
        topics, offsets = unpack(state, self._storage.state_name)
        self.consumer_offsets.update(offsets)
        for kept in topics:
            self._load_topic(kept)

    def _load_topic(self, kept: KeptTopic) -> None:
        topic = self.topics[kept.name] = Topic(kept.name, kept.spec)
        for index, (kept_replicas, leader) in enumerate(kept.partitions):
            # The cluster may have been started with fewer SPUs than the last time.
            replicas = [spu for spu in kept_replicas if spu in self.spus] or [min(self.spus)]
            partition = self._open(topic, index, replicas)
            if leader in replicas:
                partition.leader = leader
            topic.partitions.append(partition)
        self._provision(topic)
