# SPDX-License-Identifier: Apache-2.0
"""Finds the batches of a partition's log whose identity stands in it before: each was stored twice.

Pure.  `DuplicateSearch` takes the headers of batches and keeps a result; its memory has a limit, however long the log
is.  A search belongs to one thread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync.protocol.batch import MAX_SEQUENCE

if TYPE_CHECKING:
    from fluvio_sync.protocol.batch import BatchHeader, BatchIdentity

SHOWN = 20
"""The most duplicates of a partition that are described; the others are counted."""

MAX_OFFSETS = 1 << 16
"""The most identities whose offsets are remembered: the latest ones."""

MAX_RANGES = 1 << 16
"""The most ranges of sequences that are remembered; an orderly log has one for each producer."""

_ROUND = MAX_SEQUENCE + 1


class DuplicateBatch(NamedTuple):
    """A batch that stands in the log for the second time, or a further time.

    * `identity`: that of both batches.
    * `offset`: the offset of its first record.
    * `first_offset`: that of the batch's first occurrence; None: it was not kept, because that was long before.
    * `records`: how many records it has.
    """

    identity: BatchIdentity
    offset: int
    first_offset: int | None
    records: int


@dataclass(slots=True)
class PartitionCheck:
    """The result for a partition.

    * `batches`, `records`: those of the log.
    * `unidentified_batches`, `unidentified_records`: those among them that have no identity.
    * `duplicates`: how many batches stand there for the second time, or a further time.
    * `examples`: the first of these.
    * `forgotten`: how many ranges of sequences were forgotten, because there were too many to remember all; duplicates
      of batches in them are not found.
    """

    partition: int
    batches: int = 0
    records: int = 0
    unidentified_batches: int = 0
    unidentified_records: int = 0
    duplicates: int = 0
    examples: list[DuplicateBatch] = field(default_factory=list)
    forgotten: int = 0


class DuplicateSearch:
    """Looks for duplicates among the batches of one partition, which are added in the order of the log.

    `found`: the result so far.
    """

    def __init__(self, partition: int, *, max_offsets: int = MAX_OFFSETS, max_ranges: int = MAX_RANGES) -> None:
        self.found = PartitionCheck(partition)
        self._max_offsets = max_offsets
        self._max_ranges = max_ranges
        self._offsets: OrderedDict[BatchIdentity, int] = OrderedDict()  # of first occurrences
        self._producers: OrderedDict[tuple[int, int], _Sequences] = OrderedDict()  # the latest one is the last
        self._ranges = 0

    def add(self, header: BatchHeader) -> None:
        """Take the next batch."""
        self.found.batches += 1
        self.found.records += header.record_count
        identity = header.identity
        if identity is None:
            self.found.unidentified_batches += 1
            self.found.unidentified_records += header.record_count
        elif self._is_new(identity):
            self._offsets[identity] = header.base_offset
            if len(self._offsets) > self._max_offsets:
                self._offsets.popitem(last=False)
        else:
            self._add_duplicate(identity, header)

    def _add_duplicate(self, identity: BatchIdentity, header: BatchHeader) -> None:
        self.found.duplicates += 1
        if len(self.found.examples) < SHOWN:
            first = self._offsets.get(identity)
            self.found.examples.append(DuplicateBatch(identity, header.base_offset, first, header.record_count))

    def _is_new(self, identity: BatchIdentity) -> bool:
        producer = identity.producer_id, identity.producer_epoch
        sequences = self._producers.get(producer)
        if sequences is None:
            sequences = self._producers[producer] = _Sequences()
        self._producers.move_to_end(producer)
        before = len(sequences)
        is_new = sequences.add(identity.first_sequence)
        self._ranges += len(sequences) - before
        if self._ranges > self._max_ranges:
            self._forget()
        return is_new

    def _forget(self) -> None:
        """Forget the producer that has been silent for longest; of the only one, the older half of its ranges."""
        if len(self._producers) > 1:
            _, sequences = self._producers.popitem(last=False)
            forgotten = len(sequences)
        else:
            (sequences,) = self._producers.values()
            forgotten = sequences.forget_half()
        self._ranges -= forgotten
        self.found.forgotten += forgotten


class _Sequences:
    """The sequences of a producer that were seen, as ranges.

    A sequence is kept as a position, which goes on counting where sequences begin anew, so that the batch that follows
    2^31 - 1 is not taken for the first one.  It is the position next to the highest one so far: a batch is recognised
    if fewer than 2^30 others came between.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # behind the last position of each range

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, sequence: int) -> bool:
        """Add a sequence; False if it was there."""
        position = self._position(sequence)
        behind = bisect_right(self._starts, position)  # the first range behind the position
        if behind and position < self._ends[behind - 1]:
            return False
        follows = bool(behind) and self._ends[behind - 1] == position
        precedes = behind < len(self) and self._starts[behind] == position + 1
        if follows and precedes:
            del self._starts[behind], self._ends[behind - 1]
        elif follows:
            self._ends[behind - 1] = position + 1
        elif precedes:
            self._starts[behind] = position
        else:
            self._starts.insert(behind, position)
            self._ends.insert(behind, position + 1)
        return True

    def _position(self, sequence: int) -> int:
        if not self._ends:
            return sequence
        highest = self._ends[-1] - 1
        return highest + (sequence - highest + _ROUND // 2) % _ROUND - _ROUND // 2

    def forget_half(self) -> int:
        """Forget the lower half of the ranges, and return how many these were."""
        half = len(self) // 2
        del self._starts[:half], self._ends[:half]
        return half
