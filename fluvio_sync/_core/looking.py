# SPDX-License-Identifier: Apache-2.0
"""Looking: finds batches by their identities in a partition's log, so that a retry stores nothing twice.

Pure; guarded by the client's lock.  Batches that may have been written are looked for before they are written again.

An SPU reads the log in chunks for the client, whose headers alone count.  The first chunks are small: the answers to
other partitions' requests stand behind them on the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._core.partition import State, lowered, settled_at
from fluvio_sync.errors import ProtocolError, RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from fluvio_sync._core.partition import Batch, EarlierBatch, PartitionQueue
    from fluvio_sync._core.pipeline import SpuPipeline
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.protocol.batch import BatchHeader

# Bytes that one look reads at most; other clients may have written much.
_MOST_READ = 64 * 1024 * 1024
# Bytes of the first chunk and of the largest one, and seconds within which an answer is quick, so that the next chunk
# has four times as many: other partitions wait for less than half a second, however slow the link is.
_FIRST_CHUNK = 4096
_LARGEST_CHUNK = 64 * 1024
_GROWTH = 4
_QUICK = 0.1
_LARGEST_OFFSET = 2**63 - 1
# Seconds between two times at which a look behind produce requests, whose answers have deadlines, is looked at.
_POLL_INTERVAL = 0.1


@mypyc_attr(allow_interpreted_subclasses=True)  # tests plant faults
class Look:
    """A look into a partition's log.

    * `sought`: under which the batches may stand there; none: the log's end alone is asked for.
    * `bound`: the offset before which none of them stands; None: unknown.
    * `start`, `position`: the offsets from which it reads, and reads on; None until the SPU has told how far the log
      goes.
    * `chunk`: bytes to ask for.
    * `found`: the offsets at which a sequence stands.
    * `complete`: everything was read.
    * `began`: when the SPU answered its first question, in monotonic seconds.
    """

    __slots__ = (
        "_end",
        "_first",
        "_is_trimmed",
        "_sent_to",
        "_sizes",
        "_until",
        "asked_at",
        "began",
        "bound",
        "chunk",
        "complete",
        "found",
        "pipeline",
        "position",
        "queue",
        "read",
        "start",
    )

    def __init__(
        self,
        queue: PartitionQueue,
        pipeline: SpuPipeline,
        sought: Iterable[EarlierBatch],
        bound: int | None,
        now: float,
        *,
        sent_to: Collection[int],
        end: int | None = None,
    ) -> None:
        """Make a look that has asked nothing yet.

        * `sent_to`: the SPUs that requests with the batches went to.
        * `end`: an offset behind which it looks no further than the log is replicated; None: up to the log's end.
        """
        self.queue = queue
        self.pipeline = pipeline
        self.bound = bound
        self._sent_to = sent_to
        self._end = end
        self._first = 0  # offset of the log
        self.start: int | None = None
        self.position: int | None = None
        self._until = _LARGEST_OFFSET
        self._is_trimmed = False
        self.chunk = _FIRST_CHUNK
        self.read = 0  # bytes
        self.found: dict[int, list[int]] = {}
        self.complete = False
        self.asked_at = self.began = now
        self._sizes = {item.sequence: item.records for item in sought}

    def __repr__(self) -> str:
        return f"<look for {len(self._sizes)} batches of {self.queue} from offset {self.position}>"

    @property
    def sought(self) -> bool:
        """Whether it looks for a batch."""
        return bool(self._sizes)

    def begin(self, first: int, high_watermark: int, now: float) -> None:
        """Take the first offset of the log, and one before or at its end."""
        self.began, self._first = now, first
        bound = first if self.bound is None else self.bound
        self.start = self.position = max(first, min(bound, high_watermark))
        self._is_trimmed = first > bound  # retention has removed a part of what is to be read
        if self._end is not None and high_watermark >= self._end:
            self._until = high_watermark

    def take(self, headers: Sequence[BatchHeader], size: int, now: float) -> bool:
        """Take the headers in a chunk of `size` bytes; return whether the look is over.  Raises `ProtocolError`."""
        assert self.position is not None
        for header in headers:
            if header.base_offset < 0:
                raise ProtocolError(f"a Fetch brought a batch with the offset {header.base_offset}")
            if header.producer_id == self.queue.producer_id and header.producer_epoch == 0:
                self._see(header)
        self.read += size
        if size:
            reached = headers[-1].next_offset if headers else self.position
            if not self.position < reached <= _LARGEST_OFFSET:
                raise ProtocolError(f"a Fetch from offset {self.position} brought {size} bytes and nothing new")
            self.position = reached
        is_at_end = not size or self.position >= self._until
        if is_at_end and self._has_shrunk():
            is_at_end, self.bound = False, None
            self.start = self.position = self._first
            self.found.clear()
        self.complete = is_at_end and not self._is_trimmed
        if now - self.asked_at < _QUICK:
            self.chunk = min(_GROWTH * self.chunk, _LARGEST_CHUNK)
        return is_at_end or self.read >= _MOST_READ or now >= self.began + self.queue.patience

    def _has_shrunk(self) -> bool:
        """Whether the log lost its end after the batches were sent to this SPU: they may stand before their bounds."""
        assert self.position is not None
        if self.bound is None or self.position >= self.bound or self.pipeline.spu not in self._sent_to:
            return False
        return self._end is not None or len(self.found) < len(self._sizes)  # whether more are to be found

    def lower_bound(self, spu: int, end: int) -> None:
        """Look from there on, or everywhere: an SPU's log ended there."""
        self.bound = lowered(self.bound, self._sent_to, spu, end)

    def _see(self, header: BatchHeader) -> None:
        if self._sizes.get(header.first_sequence) == header.record_count:
            self.found.setdefault(header.first_sequence, []).append(header.base_offset)

    def offsets(self, identities: Iterable[EarlierBatch]) -> list[int]:
        """Return where a batch's first record stands."""
        return sorted(offset + item.start for item in identities for offset in self.found.get(item.sequence, ()))

    def note_absent(self, batch: Batch) -> None:
        """Note that a batch is not in the log; not stored, if no request with it can be under way any more.

        One that is there behind another that is not stays in doubt: it is sent again, since order comes first.
        """
        if self.offsets(batch.identities()):
            return
        batch.bound, batch.looked_to = lowest([batch.bound, self.start]), self.position
        if self.began >= settled_at(self.queue.failed_at, batch.left_in):
            batch.maybe_written = False

    def due(self, now: float) -> float:
        """Return when its answer is late."""
        if self.pipeline.in_flight:
            return now + _POLL_INTERVAL
        return self.asked_at + self.queue.patience

    def overdue(self, now: float) -> FluvioError | None:
        """Return the error of an answer that is late; None if none is."""
        if self.pipeline.in_flight:
            self.asked_at = now  # the SPU has not come to the question
        if self.due(now) > now:
            return None
        waited = now - self.asked_at
        return RequestTimeoutError(
            f"{self.pipeline.name} has not answered for {waited:.1f} s what the partition's log holds"
        )


class Looking(State):
    """It looks into the log, before its first request on a connection or before it sends batches in doubt again."""

    __slots__ = ("look",)

    def __init__(self, look: Look) -> None:
        self.look = look

    def due(self, now: float) -> float:
        """Return when the answer is late."""
        return self.look.due(now)


def lowest(bounds: Iterable[int | None]) -> int | None:
    """Return the lowest of these bounds; None if one is unknown, or if there is none."""
    found: int | None = None
    for number, bound in enumerate(bounds):
        if bound is None:
            return None
        found = bound if number == 0 or found is None else min(found, bound)
    return found


class FirstOffsets(NamedTuple):
    """The question how far a partition goes, just before the first request with its records."""

    queue: PartitionQueue
    pipeline: SpuPipeline
