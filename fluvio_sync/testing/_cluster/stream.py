# SPDX-License-Identifier: Apache-2.0
"""A consumer's stream of one partition: which records the development cluster's SPU sends, and when.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync.protocol.consume import StreamFetchResponse
from fluvio_sync.protocol.error_code import Code, ErrorCode
from fluvio_sync.protocol.fetch import FetchedPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.protocol.consume import StreamFetchRequest
    from fluvio_sync.testing._cluster.model import Partition

_READ_COMMITTED = 1


class Stream:
    """One StreamFetch of a session.

    After each response with records the consumer has to acknowledge (`advance`) before it gets
    more.  Only whole batches are sent, at least one, even if it is larger than the consumer's
    `max_bytes`: the official client loses the tail of a batch that it received half of.

    `key`: the topic and the partition that it reads; `consumer_id`: the consumer whose offset may be stored.
    """

    def __init__(self, send: Callable[[StreamFetchResponse], None], request: StreamFetchRequest, number: int) -> None:
        self.id = number
        self.key = request.topic, request.partition
        self.consumer_id = request.consumer_id
        self._respond = send
        self._request = request
        self._offset = request.fetch_offset
        self._acknowledged = True
        self._over = False

    def feed(self, partition: Partition) -> None:
        """Send the records that there are, unless the consumer has not acknowledged the ones before."""
        if self._over or not self._acknowledged:
            return
        end = visible_end(partition, self._request.isolation)
        pieces = partition.log.read(self._offset, end, self._request.max_bytes)
        if pieces:
            self._acknowledged = False
            self._send(partition.hw, ErrorCode.NONE, b"".join(pieces))

    def advance(self, offset: int, partition: Partition) -> None:
        """Note the offset that the consumer wants next, and send the records from there on."""
        self._offset = offset
        self._acknowledged = True
        self.feed(partition)

    def end(self, error: ErrorCode) -> None:
        """Tell the consumer why nothing more will come."""
        self._over = True
        self._send(0, error, b"")

    def _send(self, hw: int, error: ErrorCode, records: bytes) -> None:
        topic, partition = self.key
        fetched = FetchedPartition(partition, error, hw, records=records)
        self._respond(StreamFetchResponse(topic, self.id, fetched))


def visible_end(partition: Partition, isolation: int) -> int:
    """Return the offset behind the last record that a consumer of this isolation may see."""
    return partition.hw if isolation == _READ_COMMITTED else partition.log.end_offset


def rejection(partition: Partition, offset: int) -> ErrorCode | None:
    """Return why reading cannot start at `offset`, or None."""
    end = partition.log.end_offset
    if offset < 0:
        return ErrorCode(Code.OFFSET_EVICTED, (offset, 0))
    if offset > end:
        text = f"start offset: {offset} is greater than leo: {end}"
        return ErrorCode(Code.OTHER, (text,))
    return None
