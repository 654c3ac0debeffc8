# SPDX-License-Identifier: Apache-2.0
"""Pipelines: the requests to one SPU for one isolation level.

Guarded by the client's lock.  An SPU serves a connection strictly in order, so a read-committed wait would delay all
requests behind it.  Hence there is one pipeline, and one connection, for each isolation level.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Final

from fluvio_sync._base.text import shown
from fluvio_sync._core.partition import Ending, State
from fluvio_sync._core.patience import Allowance, Progress
from fluvio_sync.delivery import Isolation
from fluvio_sync.errors import ConnectError, ConnectTimeoutError, FluvioError, RequestTimeoutError
from fluvio_sync.protocol.batch import MAX_SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fluvio_sync._core.partition import Batch, PartitionQueue
    from fluvio_sync.protocol.produce import PartitionResult

_READ_COMMITTED: Final = Isolation.READ_COMMITTED  # a constant: to look a member of an enum up takes as long as a call
# Requests in flight on one pipeline.  They carry different partitions, so order does not suffer; with one alone, a busy
# producer of many partitions would wait a round trip for each.
MAX_IN_FLIGHT: Final = 5
# Looks for batches under way on one pipeline, whose answers begin with a few KiB each.
MAX_LOOKS: Final = 16
# Answers of at-most-once requests that may be missing before no more are written.
MAX_UNREAD: Final = 1000
# Seconds between two questions whether a read-committed batch has been replicated.
COMMIT_POLL_INTERVAL: Final = 0.1


class PipelineState(enum.Enum):
    """The state of a pipeline's connection."""

    DOWN = "no connection"
    CONNECTING = "being made"
    UP = "ready for requests"

    # Enum's own is written in Python, and the pipeline's state is looked at several times a record.
    __hash__ = object.__hash__


class SpuPipeline:
    """The requests to one SPU for one isolation level; it survives its connections.

    * `allowance`: how much one request may hold, after late answers.
    * `progress`: of the requests in flight.
    * `name`: the server in messages, with its address once that is known.
    * `connect_by`: monotonic seconds, while the connection is being made.
    * `generation`: counts the connections, so that events of an old one are recognised.
    * `why_late`: says why the connection that is being made is not ready yet; the sender's.
    * `looks`: the number of looks for batches that are under way.
    * `cannot_look`: the SPU has no requests with which to look into a log.
    * `session`: stands for the connection; the queues of which it is theirs have asked how far their partitions go.
    * `ready`: the partition queues with batches to send, and some that have moved on since; see `has_queued`.
    * `unlooked`: the partition queues that have to look first, and wait for others to have looked.
    * `retire_at`: when it ends, because the SPU has another address; infinite if it has not.
    """

    __slots__ = (
        "allowance",
        "cannot_look",
        "connect_by",
        "connect_timeout",
        "generation",
        "in_flight",
        "isolation",
        "last_error",
        "looks",
        "name",
        "progress",
        "queued",
        "ready",
        "retire_at",
        "session",
        "spu",
        "state",
        "timer",
        "unlooked",
        "was_up",
        "why_late",
    )

    def __init__(self, spu: int, isolation: Isolation, *, connect_timeout: float) -> None:
        """`connect_timeout`: seconds until a connection is late."""
        self.spu = spu
        self.isolation = isolation
        self.connect_timeout = connect_timeout
        self.allowance = Allowance()
        self.progress = Progress()
        self.name = f"SPU {spu}"
        self.state = PipelineState.DOWN
        self.generation = 0
        self.queued = Queued(self)  # the state of its queues, of which one object is enough
        self.ready: deque[PartitionQueue] = deque()
        self.unlooked: deque[PartitionQueue] = deque()
        self.in_flight: deque[Request] = deque()
        self.looks = 0
        self.cannot_look = False
        self.session: object = None
        self.connect_by = 0.0
        self.retire_at = math.inf
        self.timer: float | None = None
        self.was_up = False
        self.why_late: Callable[[float], FluvioError] | None = None
        self.last_error: FluvioError | None = None

    def __repr__(self) -> str:
        return f"SPU {self.spu} ({self.isolation.value})"

    def reset(self, now: float) -> None:
        """Forget its connection and all requests and queues on it."""
        self.state = PipelineState.DOWN
        self.take_queues()
        for request in self.in_flight:
            request.lost = True
            request.note_end(now)
        self.in_flight.clear()
        self.looks = 0
        self.timer = None

    def has_queued(self, queue: PartitionQueue) -> bool:
        """Whether this queue waits here to be sent."""
        return queue.state is self.queued

    def queues(self) -> list[PartitionQueue]:
        """Return the queues that wait here, each once, in order."""
        waiting = dict.fromkeys([*self.ready, *self.unlooked])
        return [queue for queue in waiting if queue.state is self.queued]

    def take_queues(self) -> list[PartitionQueue]:
        """Remove and return the queues that wait here."""
        queues = self.queues()
        self.ready.clear()
        self.unlooked.clear()
        return queues

    def accepts_request(self) -> bool:
        """Whether another request may be written."""
        if self.state is not PipelineState.UP:
            return False
        if not self.in_flight:
            return True
        unanswered = sum(1 for request in self.in_flight if request.acked or not request.written)
        return unanswered < MAX_IN_FLIGHT and len(self.in_flight) < MAX_UNREAD

    def next_batches(self, most: int) -> list[Batch]:
        """Return batches of the partitions in flight that the next requests will carry, of about `most` bytes."""
        found: list[Batch] = []
        for request in self.in_flight:
            for queue, _ in request.entries:
                for batch in queue.sealed:
                    if batch is queue.open:  # an exception interrupted its sealing
                        break
                    found.append(batch)
                    most -= batch.builder.size
                    if most <= 0:
                        return found
        return found

    def next_request(self, now: float) -> tuple[Request | None, list[PartitionQueue]]:
        """Take as many ready batches as one request may hold.

        Returns the request, None without a batch, and the queues whose ready batches have all expired since.
        """
        entries: list[tuple[PartitionQueue, list[Batch]]] = []
        emptied: list[PartitionQueue] = []
        partitions: set[tuple[str, int]] = set()
        left_over: list[PartitionQueue] = []
        room = 0
        while self.ready:
            queue = self.ready.popleft()
            if queue.state is not self.queued or queue in left_over or queue in emptied:
                continue
            if not entries:
                limit = self.allowance.limit
                room = queue.max_request_size if limit is None else min(queue.max_request_size, limit)
            elif not _may_share(queue, entries[0][0]) or (queue.topic, queue.partition) in partitions:
                left_over.append(queue)
                continue
            batches = queue.take(room, now, at_least_one=not entries)
            if batches:
                for batch in batches:
                    room -= batch.builder.size
                partitions.add((queue.topic, queue.partition))
                entries.append((queue, batches))
            elif queue.sealed:
                left_over.append(queue)
                break  # the request is full
            else:
                emptied.append(queue)
        self.ready.extendleft(reversed(left_over))
        if not entries:
            return None, emptied
        if len(entries) > 1:
            entries.sort(key=lambda entry: entry[0].topic)  # a topic's partitions stand together in a request
        return Request(self, entries), emptied

    def has_to_look(self, queue: PartitionQueue) -> bool:
        """Whether a queue has to look before its next request here: at the log's end, or for batches in doubt."""
        if queue.session is not self.session:
            return True
        return bool(queue.sealed) and queue.sealed[0].maybe_written and not queue.looked

    def next_timer(self, now: float) -> float | None:
        """Return when the dispatcher has to look at it, None if never."""
        if self.state is PipelineState.CONNECTING:
            return min(self.connect_by, self.retire_at)
        due = math.inf
        if self.in_flight:
            # The connection of a lone request is worth nothing to batches whose deadlines have passed.
            expiry = self.in_flight[0].latest_deadline if len(self.in_flight) == 1 else math.inf
            due = min(self.progress.look_at, expiry)
        if self.retire_at < due and self.state is PipelineState.UP:
            due = self.retire_at
        return max(due, now) if due < math.inf else None

    def overdue(self, now: float) -> FluvioError | None:
        """Return the error of a late connection, or of a lone request whose batches have expired; None if none is.

        Also of a connection to an old address, whose moment is over.
        """
        if now >= self.retire_at and self.state is not PipelineState.DOWN:
            return ConnectError(f"{self.name} did not answer, and the SC reports that it has another address")
        if self.state is PipelineState.CONNECTING and now >= self.connect_by:
            return ConnectTimeoutError(
                f"{self.name} did not complete the connection within {self.connect_timeout} s (connect_timeout)"
            )
        if self.state is PipelineState.UP and len(self.in_flight) == 1 and now >= self.in_flight[0].latest_deadline:
            return self._late(now)
        return None

    def retire(self, at: float) -> list[PartitionQueue]:
        """Take no more batches, and end at `at`, or at once if it is not connected; return the queues that wait."""
        queues = self.take_queues()
        self.retire_at = at if self.state is PipelineState.UP else -math.inf
        return queues

    def needs_look(self, now: float) -> bool:
        """Whether to ask the connection how much has arrived; once, until the next look is due."""
        if self.state is not PipelineState.UP or not self.in_flight or self.progress.look_at > now:
            return False
        self.progress.asked(self.in_flight, now)
        return True

    def see(self, arrived: int, now: float) -> FluvioError | None:
        """Take the place in the connection's stream up to which it has arrived; return the error of a late answer."""
        late = bool(self.in_flight) and self.progress.see(arrived, self.in_flight, now)
        return self._late(now) if late else None

    def _late(self, now: float) -> FluvioError:
        if self.in_flight[0].entries:
            self.allowance.reduce(self.in_flight[0].size)
        return self._unanswered(now)

    def _unanswered(self, now: float) -> FluvioError:
        return RequestTimeoutError(f"{self.name} {self.progress.lateness(self.in_flight, now)}")

    def awaited(self, now: float) -> FluvioError | None:
        """Return the error that describes the event that its queues wait for."""
        if self.state is PipelineState.CONNECTING:
            if self.why_late is not None:
                return self.why_late(now)
            waited = now - (self.connect_by - self.connect_timeout)
            return ConnectTimeoutError(f"{self.name} has not completed the connection for {waited:.1f} s")
        return self._unanswered(now) if self.in_flight else self.last_error

    def begin_to_connect(self, now: float) -> None:
        """Count another connection, which is being made from now on."""
        self.state = PipelineState.CONNECTING
        self.generation += 1
        self.session, self.cannot_look = object(), False
        self.why_late = None
        self.connect_by = now + self.connect_timeout

    def answered(self, request: Request, now: float) -> None:
        """Remove an answered request; the SPU may work on the next one from now on."""
        self.in_flight.remove(request)
        if request.ending is not None:
            request.note_end(now)
        if self.allowance.limit is not None and request.entries:
            most = request.entries[0][0].max_request_size
            self.allowance.enlarge(request, most, now - self.progress.in_line_at)
        if self.in_flight:
            self.progress.follow(self.in_flight[0], now, first=True)


class Request:
    """A produce request: batches of some partition queues, in the order in which they stand in it.

    * `patience`, `shortest_patience`: seconds that its answer may take, by the policies of its batches.
    * `end`: the place of its last byte in the connection's stream; set when it is written.
    * `latest_deadline`: of the batches for which the answer counts.
    * `abandoned`: the queues that went to another leader meanwhile; the answer does not count for them.
    * `unread`: of a written at-most-once request, the queues and their numbers of records.
    * `lost`: its connection broke, and later events of it do not count.
    * `ending`: its end, where batches were left in it.
    """

    __slots__ = (
        "abandoned",
        "acked",
        "end",
        "ending",
        "entries",
        "latest_deadline",
        "lost",
        "patience",
        "pipeline",
        "shortest_patience",
        "unread",
        "written",
        "wrote_any",
    )

    def __init__(self, pipeline: SpuPipeline, entries: list[tuple[PartitionQueue, list[Batch]]]) -> None:
        self.pipeline = pipeline
        self.entries = entries
        self.acked = entries[0][0].acked
        self.abandoned: set[PartitionQueue] = set()
        self.patience = self.shortest_patience = entries[0][0].patience
        for queue, _ in entries:
            if queue.patience != self.patience:
                self.patience = max(self.patience, queue.patience)
                self.shortest_patience = min(self.shortest_patience, queue.patience)
        if self.acked and pipeline.isolation is _READ_COMMITTED:
            # The SPU waits for the replicas of one entry after the other, each for the whole time.
            self.patience += sum(queue.topic_state.config.server_timeout for queue, _ in entries)
        self.end = 0
        self.latest_deadline = 0.0
        self.note_latest_deadline()
        self.wrote_any = False
        self.written = False
        self.unread: list[tuple[PartitionQueue, int]] = []
        self.lost = False
        self.ending: Ending | None = None

    def __repr__(self) -> str:
        carried = ", ".join(f"{queue}: {sum(b.builder.count for b in batches)}" for queue, batches in self.entries)
        return f"<request to {self.pipeline} of {carried or 'nothing unanswered'}>"

    @property
    def size(self) -> int:
        """The bytes of its batches."""
        return sum(batch.builder.size for _, batches in self.entries for batch in batches)

    def note_latest_deadline(self) -> None:
        """Find the latest deadline of the batches whose answer counts."""
        latest = -math.inf
        for queue, batches in self.entries:
            if queue not in self.abandoned:
                for batch in batches:
                    latest = max(latest, batch.deadline)
        self.latest_deadline = latest if latest > -math.inf else math.inf

    def abandon(self, queue: PartitionQueue, batches: Iterable[Batch]) -> None:
        """Have the answer no longer count for this queue, which went to another leader with these batches."""
        self.abandoned.add(queue)
        self.ending = self.ending or Ending()
        for batch in batches:
            others = (ending for ending in batch.left_in if ending.at == math.inf)
            batch.left_in = (*others, self.ending)
        self.note_latest_deadline()

    def lose(self, now: float) -> None:
        """Note that its connection broke: batches of which a byte was sent may be stored."""
        self.lost = True
        self.note_end(now)
        if self.wrote_any:
            for batch in self.batches:
                batch.maybe_written = True

    def note_end(self, now: float) -> None:
        """Tell the batches that were left in it that it was answered or lost."""
        if self.ending is not None:
            self.ending.at = now

    def start(self) -> None:
        """Note another attempt of its batches."""
        spu = self.pipeline.spu
        for queue, batches in self.entries:
            queue.looked = False
            for batch in batches:
                batch.in_request = True
                if spu not in batch.sent_to:
                    batch.sent_to = (*batch.sent_to, spu)
                if batch.attempts:
                    queue.topic_state.counters.records_retried += batch.builder.count
                    batch.sent_in_doubt = batch.sent_in_doubt or batch.maybe_written
                batch.attempts += 1
                if batch.sequence < 0 and queue.acked:
                    batch.bound = queue.bound if batch.bound is None else batch.bound
                    batch.sequence = sequence = queue.sequences.get(queue.partition, 0)
                    queue.sequences[queue.partition] = 0 if sequence == MAX_SEQUENCE else sequence + 1

    def take_written(self) -> list[tuple[PartitionQueue, list[Batch]]]:
        """Remove and return the entries of a written at-most-once request; their deadlines do not bound its answer."""
        entries, self.entries = self.entries, []
        self.unread = [(queue, sum(batch.builder.count for batch in batches)) for queue, batches in entries]
        self.note_latest_deadline()
        return entries

    def flaw_of(self, results: list[tuple[str, PartitionResult]]) -> str:
        """Return why an answer (topics and results) cannot be that to this request; empty if it can."""
        matches = len(results) == len(self.entries)
        for (queue, _), (name, result) in zip(self.entries, results):  # noqa: B905 - `strict` takes longer
            matches = matches and result.partition == queue.partition and name == queue.topic
            if result.base_offset < 0 and matches:
                return "answered with a negative offset"
        if matches:
            return ""
        expected = [(queue.topic, queue.partition) for queue, _ in self.entries]
        got = [(name, result.partition) for name, result in results]
        return f"answered for {shown(got[:5], 500)} where {expected[:5]} was asked"

    @property
    def live_entries(self) -> list[tuple[PartitionQueue, list[Batch]]]:
        """The entries whose answer counts."""
        if not self.abandoned:
            return self.entries
        return [entry for entry in self.entries if entry[0] not in self.abandoned]

    @property
    def batches(self) -> Iterable[Batch]:
        """The batches of all live entries."""
        return itertools.chain.from_iterable(batches for _, batches in self.live_entries)


class CommitWait:
    """Read-committed batches that the leader stored at `offsets`, and that may not be replicated yet.

    `asked_at`: since when an answer is awaited, None between two questions; `next_ask`: when to ask again.
    """

    __slots__ = ("asked_at", "batches", "next_ask", "offsets", "pipeline", "queue")

    def __init__(
        self, queue: PartitionQueue, pipeline: SpuPipeline, batches: list[Batch], offsets: list[int], now: float
    ) -> None:
        self.queue = queue
        self.pipeline = pipeline
        self.batches = batches
        self.offsets = offsets
        self.asked_at: float | None = None
        self.next_ask = now

    def __repr__(self) -> str:
        return f"<commit wait of {self.queue} from offset {self.offsets[0]}>"

    @property
    def end_offset(self) -> int:
        """The high watermark at which they are replicated."""
        return self.offsets[-1] + self.batches[-1].builder.count

    def due(self, now: float) -> float:
        """Return when the leader has to be asked, or when its answer is late."""
        if self.asked_at is None:
            return self.next_ask
        if self.pipeline.in_flight:
            return now + COMMIT_POLL_INTERVAL  # it stands behind these requests, whose answers have deadlines
        return self.asked_at + self.queue.patience

    def overdue(self, now: float) -> FluvioError | None:
        """Return the error of an answer that is late; None if none is."""
        if self.asked_at is not None and self.pipeline.in_flight:
            self.asked_at = now  # the SPU has not come to the question
        if self.asked_at is None or self.due(now) > now:
            return None
        waited = now - self.asked_at
        return RequestTimeoutError(
            f"{self.pipeline.name} has not answered for {waited:.1f} s how far the partition is replicated"
        )


# States of a partition queue that belong to a pipeline.


class Queued(State):
    """It is among the queues that its leader's pipeline has to send."""

    __slots__ = ("pipeline",)

    def __init__(self, pipeline: SpuPipeline) -> None:
        self.pipeline = pipeline


class InFlight(State):
    """A request that is not answered yet carries its batches.

    `abandon_leader_at`: a replaced leader's last moment to answer, in monotonic seconds.
    """

    __slots__ = ("abandon_leader_at", "batches", "request")
    batches: Sequence[Batch]

    def __init__(self, request: Request, batches: list[Batch]) -> None:
        self.request = request
        self.batches = batches
        self.abandon_leader_at = math.inf

    def due(self, _now: float) -> float:
        """Return when a replaced leader is abandoned."""
        return self.abandon_leader_at


class AwaitingCommit(State):
    """The leader stored its batches, and their replication is to be confirmed."""

    __slots__ = ("batches", "wait")
    batches: Sequence[Batch]

    def __init__(self, wait: CommitWait) -> None:
        self.wait = wait
        self.batches = wait.batches

    def due(self, now: float) -> float:
        """Return when to ask the leader, or when its answer is late."""
        return self.wait.due(now)


def note_written(queue: PartitionQueue, *, will_be_sent: bool) -> None:
    """Note, before batches in flight fail, that they may be stored if a byte of their request was sent.

    `will_be_sent`: the rest will be written, because the connection stays.
    """
    state = queue.state
    if isinstance(state, InFlight) and (will_be_sent or state.request.wrote_any):
        for batch in state.batches:
            batch.maybe_written = True


def _may_share(queue: PartitionQueue, first: PartitionQueue) -> bool:
    """Whether two queues' batches may stand in one request: its header must hold for both."""
    one, other = queue.topic_state.config, first.topic_state.config
    return (
        queue.acked == first.acked
        and one.server_timeout == other.server_timeout
        and one.smartmodules == other.smartmodules
    )
