# SPDX-License-Identifier: Apache-2.0
"""A produce request in the development cluster's SPU, from its entries to its response.

Pure.  Runs in the one thread that drives the cluster.

Every entry is checked and written by itself, in the order of the request; a failed one does not
stop those behind it.  After all are written comes the wait for replication, if the request demands
it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.batch import iter_batches, verify_batch
from fluvio_sync.protocol.compression import Codec
from fluvio_sync.protocol.error_code import PLAIN_CODES, Code, ErrorCode
from fluvio_sync.protocol.produce import PartitionResult, ProduceResponse, TopicResult
from fluvio_sync.testing._cluster.modules import ModuleError, kept_batch

if TYPE_CHECKING:
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.protocol.produce import PartitionData, ProduceRequest
    from fluvio_sync.testing._cluster.core import ClusterCore
    from fluvio_sync.testing._cluster.model import Partition

_CODECS = frozenset(Codec)
_PRODUCE_KIND = 0  # in the payload of RequestTimedOut


@dataclass(slots=True)
class _Entry:
    """The outcome of one partition entry.

    `end`: the log's end when it was written; `losses`: those of the partition until then.
    """

    index: int
    error: ErrorCode = ErrorCode.NONE
    base_offset: int = 0
    partition: Partition | None = None
    end: int = 0
    losses: int = 0

    def is_replicated(self) -> bool:
        """Whether all replicas have it; never if the log lost batches since, because it may be among them."""
        assert self.partition is not None
        return self.partition.hw >= self.end and self.partition.losses == self.losses


class ProduceJob:
    """One produce request.  `deadline`: when the present wait ends, in monotonic seconds; None: there is none."""

    def __init__(self, core: ClusterCore, spu: int, request: ProduceRequest) -> None:
        self._core = core
        self._request = request
        self.deadline: float | None = None
        self._topics = [
            (topic.name, [self._write(spu, topic.name, data) for data in topic.partitions]) for topic in request.topics
        ]
        self._unreplicated: deque[_Entry] = deque()
        if request.isolation < 0:
            self._unreplicated.extend(entry for _, entries in self._topics for entry in entries if entry.partition)

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, spu: int, topic: str, data: PartitionData) -> _Entry:
        partition = self._core.led_by(spu, topic, data.partition)
        if partition is None:
            return _Entry(data.partition, PLAIN_CODES[Code.NOT_LEADER_FOR_PARTITION])
        ordered = self._core.faults.take_failure(topic)
        if ordered is not None:
            return _Entry(data.partition, ordered)
        try:
            batches = self._batches(data)
        except ModuleError as failure:
            return _Entry(data.partition, failure.error)
        if not any(header.record_count for header, _ in batches):
            return _Entry(data.partition)
        rejected = _rejection(partition, batches)
        if rejected is not None:
            return _Entry(data.partition, PLAIN_CODES[rejected])
        return self._append(partition, batches)

    def _batches(self, data: PartitionData) -> list[tuple[BatchHeader, memoryview]]:
        """Return the batches that are to be written; ModuleError if a SmartModule does not let it pass."""
        texts = self._core.texts_of(self._request.smartmodules)
        batches = list(iter_batches(data.records))
        if self._core.strict:
            for _, batch in batches:
                verify_batch(batch)
        elif any(header.has_schema for header, _ in batches):
            raise ProtocolError("a batch with a schema id makes an SPU panic")
        return kept_batch(data.records, texts) if texts and batches else batches

    def _append(self, partition: Partition, batches: list[tuple[BatchHeader, memoryview]]) -> _Entry:
        # An empty batch among others breaks the index of a real SPU: this write fails, and all after it.
        partition.failed = not all(header.record_count for header, _ in batches)
        base = 0
        if not partition.failed:
            try:
                base = self._core.append(partition, [(batch, header.record_count) for header, batch in batches])
            except OSError:
                partition.failed = True
        if partition.failed:
            return _Entry(partition.index, PLAIN_CODES[Code.STORAGE_ERROR])
        return _Entry(partition.index, ErrorCode.NONE, base, partition, partition.log.end_offset, partition.losses)

    # --- waiting for replication -----------------------------------------------------------------

    def is_done(self, now: float) -> bool:
        """Go on with the waits, one entry after another, each with the request's whole timeout."""
        while self._unreplicated:
            entry = self._unreplicated[0]
            if not entry.is_replicated():
                if self.deadline is None:
                    self.deadline = now + self._request.timeout_ms / 1000
                if now < self.deadline:
                    return False
                payload = (self._request.timeout_ms, _PRODUCE_KIND)
                entry.error = ErrorCode(Code.REQUEST_TIMED_OUT, payload)
            self._unreplicated.popleft()
            self.deadline = None
        return True

    def response(self) -> ProduceResponse:
        """Return the answer, entry by entry in the order of the request."""
        return ProduceResponse(
            tuple(
                TopicResult(
                    name,
                    tuple(PartitionResult(entry.index, entry.error, entry.base_offset, 0, 0) for entry in entries),
                )
                for name, entries in self._topics
            ),
            0,
        )


def _rejection(partition: Partition, batches: list[tuple[BatchHeader, memoryview]]) -> Code | None:
    for header, _ in batches:
        wanted = partition.codec
        if header.codec != wanted if wanted is not None else header.codec not in _CODECS:
            return Code.COMPRESSION_ERROR
    if any(header.size > partition.max_batch for header, _ in batches):
        return Code.MESSAGE_TOO_LARGE
    if partition.failed:
        return Code.PARTITION_SHORT_CIRCUITED
    return None
