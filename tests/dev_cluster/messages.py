# SPDX-License-Identifier: Apache-2.0
"""Requests and batches for the tests of the development cluster, and sessions that answer them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.protocol.checksum import crc32c
from fluvio_sync.protocol.compression import compressor
from fluvio_sync.protocol.frames import RequestHeader, encode_request, split_response
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import PartitionData, ProduceRequest, ProduceResponse, TopicData
from fluvio_sync.protocol.versions import ScApi, SpuApi

if TYPE_CHECKING:
    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.testing._cluster.core import ServerSession

START = 1_700_000_000_000


def batch(*values: bytes, codec: int = 0) -> bytes:
    """Return a batch of these values, their keys counted from `k0`."""
    builder = BatchBuilder(START)
    for number, value in enumerate(values):
        builder.append(b"k%d" % number, value, START + number)
    buffers = builder.build(codec, compressor(codec)) if codec else builder.build()
    return b"".join(bytes(buffer) for buffer in buffers)


def identified(batch: bytes, producer_id: int, first_sequence: int, producer_epoch: int = 0) -> bytes:
    """Return a batch with an identity in its header, and with the checksum that belongs to it."""
    checked = batch[21:43] + struct.pack(">qhi", producer_id, producer_epoch, first_sequence) + batch[57:]
    return batch[:17] + struct.pack(">I", crc32c(checked)) + checked


def produce(
    topic: str,
    *entries: tuple[int, bytes],
    committed: bool = False,
    timeout_ms: int = 1000,
    smartmodules: tuple[Any, ...] = (),
) -> ProduceRequest:
    """Return a produce request for one topic; the entries are (partition, record set)."""
    data = tuple(PartitionData(partition, records) for partition, records in entries)
    return ProduceRequest(-1 if committed else 1, timeout_ms, (TopicData(topic, data),), smartmodules)


def request_frame(api: int, message: Any, *, version: int = 0, correlation_id: int = 7) -> bytes:
    """Return a whole request frame, by default in the latest version."""
    writer = Writer()
    version = version or (19 if isinstance(api, ScApi) else 25)
    message.write(writer, version)
    return encode_request(RequestHeader(api, version, correlation_id, "test"), writer.getvalue())


def sent(session: ServerSession) -> list[Reader]:
    """Return the bodies of all that a session has to send."""
    return [split_response(frame[4:])[1] for frame in session.outgoing()]


def tell(session: ServerSession, api: int, message: Any, *, version: int = 0, now: float = 0.0) -> list[Reader]:
    """Hand a session a request; returns the bodies of all that it has to send then."""
    session.receive(request_frame(api, message, version=version)[4:], now)
    return sent(session)


def codes(body: Reader) -> list[tuple[int, int]]:
    """Return (error code, base offset) of every entry of a produce response."""
    topics = ProduceResponse.read(body, 25).topics
    return [(entry.error_code.code, entry.base_offset) for topic in topics for entry in topic.partitions]


def outcome(session: ServerSession, request: ProduceRequest, *, now: float = 0.0) -> list[tuple[int, int]]:
    """Send a produce request; returns (error code, base offset) of every entry."""
    (body,) = tell(session, SpuApi.PRODUCE, request, now=now)
    return codes(body)
