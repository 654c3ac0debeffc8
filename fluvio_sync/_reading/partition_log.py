# SPDX-License-Identifier: Apache-2.0
"""The log of one partition, read from its leader in chunks: memory does not grow with the log.

The caller's thread drives the connections.  Records that are not replicated yet are read, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._reading.nodes import check, offsets
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.batch import BATCH_HEADER, decode_batch, iter_batches, iter_headers
from fluvio_sync.protocol.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from fluvio_sync.protocol.versions import SpuApi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync._reading.nodes import Nodes
    from fluvio_sync.protocol.batch import BatchHeader, BatchIdentity
    from fluvio_sync.protocol.metadata import PartitionObject

_CHUNK = 1024 * 1024
"""Bytes of the records in one answer, which an SPU cuts at this size, in the middle of a batch."""

_LARGEST_BATCH = 40 * 1024 * 1024
"""Bytes; an SPU takes no batch of more than 32 MiB."""

MAX_FRAME = _LARGEST_BATCH + 64 * 1024
"""Bytes of one answer: an SPU that ignores the size that it is asked for does not speak the protocol."""

MAX_HEADERS_FRAME = _CHUNK + 64 * 1024
"""The same where headers alone are read: then a batch may be cut short."""


class StoredRecord(NamedTuple):
    """A record as it is in the log.

    * `timestamp`: milliseconds since the epoch, -1 if there is none.
    * `key`: None is no key.
    * `identity`: that of its batch; None if it was not asked for, or if the batch has none.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    identity: BatchIdentity | None = None


class PartitionLog:
    """The log of one partition as its leader has it.

    * `number`: the partition's.
    * `first`, `end`: the offsets of its first record, and behind its last, when it was looked at.
    """

    def __init__(self, nodes: Nodes, topic: str, number: int, partition: PartitionObject) -> None:
        """Look at the log; raises `ConnectError`, `ServerError`."""
        self.number = number
        self._topic = topic
        self._spu = nodes.leader(partition)
        self.first, replicated = offsets(self._spu, topic, number)
        self.end = max(replicated, partition.status.leader.leo)

    def headers(self, start: int) -> Iterator[BatchHeader]:
        """Yield the header of every batch from the one with offset `start` on, until an answer has none."""
        offset = start
        while records := self._fetch(offset, _CHUNK):
            began = offset
            for header in iter_headers(records):
                yield header
                offset = header.next_offset
            self._check_progress(began, offset)

    def batches(self, start: int, *, identity: bool = False) -> Iterator[tuple[list[StoredRecord], int]]:
        """Yield the records of each batch from offset `start` on, and the offset behind it, until an answer has none.

        A batch may have fewer records than offsets.
        """
        offset = start
        while chunk := self._whole_batches(offset):
            began = offset
            for header, batch in iter_batches(chunk):
                decoded = decode_batch(batch).records
                told = header.identity if identity else None
                behind = decoded[max(0, offset - header.base_offset) :]
                records = [StoredRecord(at, timestamp, key, value, told) for key, value, timestamp, at in behind]
                offset = header.next_offset
                yield records, offset
            self._check_progress(began, offset)

    def records(self, start: int, end: int, *, identity: bool = False) -> Iterator[StoredRecord]:
        """Yield the records from offset `start` up to `end`; raises `ProtocolError` if the log ends before."""
        offset = start
        if start < end:
            for records, offset in self.batches(start, identity=identity):
                for record in records:
                    if record.offset >= end:
                        return
                    yield record
                if offset >= end:
                    return
            raise ProtocolError(f"the log of partition {self.number} ends at offset {offset}, and not at {end}")

    def _check_progress(self, began: int, reached: int) -> None:
        if reached <= began:
            raise ProtocolError(f"the answer about partition {self.number} has no batch behind offset {began}")

    def first_at(self, timestamp: int) -> int:
        """Return the offset of a batch before which, if times ascend, no record is from `timestamp` (ms) or later."""
        low, high = self.first, self.end
        while low < high:
            middle = (low + high) // 2
            header = next(iter_headers(self._fetch(middle, BATCH_HEADER)), None)
            if header is None:
                raise ProtocolError(f"the answer about partition {self.number} has no batch at offset {middle}")
            if header.max_time_stamp < timestamp:
                low = max(header.next_offset, middle + 1)
            else:
                high = min(header.base_offset, middle)
        return low

    def _whole_batches(self, offset: int) -> memoryview:
        """Return the batches from the one with this offset on, as many as fit into an answer, but one at least."""
        records = self._fetch(offset, _CHUNK)
        whole = _whole_length(records)
        if records and not whole:
            header = next(iter_headers(records), None)
            if header is None or header.size > _LARGEST_BATCH:
                raise ProtocolError(f"the answer about partition {self.number} has no batch at offset {offset}")
            records = self._fetch(offset, header.size)
            whole = _whole_length(records)
            if not whole:
                raise ProtocolError(f"the answer about partition {self.number} has no whole batch at offset {offset}")
        return memoryview(records)[:whole]

    def _fetch(self, offset: int, size: int) -> bytes:
        wanted = (FetchTopic(self._topic, (FetchPartition(self.number, offset, size),)),)
        response = self._spu.ask(SpuApi.FETCH, FetchRequest(wanted, max_bytes=size), FetchResponse.read)
        check(response.error_code)
        found = [item for entry in response.topics for item in entry.partitions]
        if len(found) != 1:
            raise ProtocolError(f"the records of one partition were asked for, those of {len(found)} came")
        check(found[0].error_code)
        return found[0].records


def _whole_length(records: bytes) -> int:
    """Return the bytes of the batches that are there as a whole: the last one may be cut short."""
    position = 0
    for header in iter_headers(records):
        if position + header.size > len(records):
            break
        position += header.size
    return position
