# SPDX-License-Identifier: Apache-2.0
"""Servers in memory that do as a test says: the SC (Streaming Controller), and SPUs (Stream Processing Units)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from weakref import WeakSet

from fluvio_sync._net.transport import READ, WRITE
from fluvio_sync.protocol.batch import decode_record_set
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.frames import encode_response, split_request
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    IngressAddr,
    IngressPort,
    PartitionObject,
    PartitionResolution,
    PartitionSpec,
    PartitionStatus,
    SpuObject,
    SpuResolution,
    SpuSpec,
    SpuStatus,
    SpuType,
    TopicObject,
    TopicResolution,
    TopicSpec,
    TopicStatus,
    TopicStorage,
)
from fluvio_sync.protocol.metadata import Endpoint as WireEndpoint
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import PartitionResult, ProduceRequest, ProduceResponse, TopicResult
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    SC_CLIENT_RANGES,
    SPU_CLIENT_RANGES,
    ApiVersionKey,
    ApiVersionsResponse,
    SpuApi,
)
from fluvio_sync.protocol.watch import Change, WatchRequest, WatchUpdate
from fluvio_sync.testing._memory import MemoryTransport
from tests.support.interruption import paused

if TYPE_CHECKING:
    from collections import deque
    from typing import Any

    from fluvio_sync._core.pipeline import Request
    from fluvio_sync._net.peer import Peer
    from fluvio_sync.errors import FluvioError
    from fluvio_sync.protocol.frames import RequestHeader


# Metadata.


def topic(name: str, partitions: int, segment_size: int | None = None) -> TopicObject:
    storage = None if segment_size is None else TopicStorage(segment_size, None)
    spec = TopicSpec(replicas=ComputedReplicas(partitions), storage=storage)
    return TopicObject(name, spec, TopicStatus(TopicResolution.PROVISIONED))


def partition(name: str, leader: int, resolution: PartitionResolution = PartitionResolution.ONLINE) -> PartitionObject:
    return PartitionObject(name, PartitionSpec(leader, (leader,)), PartitionStatus(resolution))


def spu(
    number: int, resolution: SpuResolution = SpuResolution.ONLINE, port: int = 9010, rack: str | None = None
) -> SpuObject:
    endpoint = IngressPort(port, (IngressAddr(None, "127.0.0.1"),))
    spec = SpuSpec(number, SpuType.CUSTOM, endpoint, WireEndpoint(port + 1, "127.0.0.1"), rack)
    return SpuObject(f"custom-spu-{number}", spec, SpuStatus(resolution))


# The servers.


class SpuTransport(MemoryTransport):
    """A connection to an SPU.

    `room`: how many bytes it takes before it is full; `under_way`: how many of those that it took the SPU's machine has
    not acknowledged; `failure`: raised wherever the client looks at it next.
    """

    room = sys.maxsize
    under_way = 0
    failure: FluvioError | None = None

    def advance(self, events: int, now: float) -> None:
        if self.failure is not None:
            raise self.failure
        super().advance(events, now)

    def send(self, pending: deque[memoryview]) -> int:
        taken = pending[0][: self.room] if self.room else b""
        self.take_more(-len(taken))
        self._network.carry(self, bytes(taken))
        return len(taken)

    def unacknowledged(self) -> int:
        return self.under_way

    def take_more(self, size: int) -> None:
        self.room += size
        self.full = not self.room

    def receive_into(self, buffer: memoryview) -> int | None:
        if self.failure is not None:
            raise self.failure
        return super().receive_into(buffer)

    def ready(self) -> int:
        return super().ready() if self.failure is None else READ | WRITE


class Servers:
    """The SC, and the SPUs' side of the handshake.

    `objects`: the SC's, by label and name; `sc_online`, `spus_online`: they take connections, those to SPUs when the
    test says so; `sc_unreachable`: connections to the SC are never made; `sc_asked`: how often it was asked for its
    versions; `sc_silent`: it answers a Watch with
    nothing, until `tell` pushes; `spu_ranges`: the versions that SPUs offer, by API; `arrived`: the produce requests
    by connection and correlation id, in order; `transports`: those that something refers to.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {"SPU": {}, "Partition": {}, "Topic": {}}
        self.sc_online = True
        self.sc_unreachable = False
        self.sc_asked = 0
        self.spus_online = True
        self.sc_silent = False
        self.spu_ranges = dict(SPU_CLIENT_RANGES)
        self.arrived: dict[tuple[MemoryTransport, int], ProduceRequest] = {}
        self.transports: WeakSet[MemoryTransport] = WeakSet()
        self._streams: dict[str, tuple[MemoryTransport, RequestHeader]] = {}

    def connect(self, peer: Peer, **_times: object) -> MemoryTransport:
        network: Any = self
        transport = MemoryTransport(network, peer) if peer.name == "SC" else SpuTransport(network, peer)
        self.transports.add(transport)
        if isinstance(transport, SpuTransport):  # the test connects it
            transport.refusal = "" if self.spus_online else "Connection refused"
        elif self.sc_unreachable:
            pass
        elif self.sc_online:
            transport.session = network
        else:
            transport.refusal = "Connection refused"
        return transport

    def carry(self, transport: MemoryTransport, data: bytes) -> None:
        if transport.forgotten:
            return
        with paused():
            for payload in transport.frames.feed(memoryview(data)):
                header, reader = split_request(payload)
                if header.api_key == API_VERSIONS:
                    self.sc_asked += not isinstance(transport, SpuTransport)
                    self._answer_versions(transport, header)
                elif not isinstance(transport, SpuTransport):
                    self._watch(transport, header, WatchRequest.read(reader, header.api_version).label)
                elif header.api_key == SpuApi.PRODUCE:
                    request = ProduceRequest.read(reader, header.api_version)
                    self.arrived[transport, header.correlation_id] = request

    def closed(self, transport: MemoryTransport) -> None:
        self._streams = {label: stream for label, stream in self._streams.items() if stream[0] is not transport}

    def _answer_versions(self, transport: MemoryTransport, header: RequestHeader) -> None:
        ranges = self.spu_ranges if isinstance(transport, SpuTransport) else SC_CLIENT_RANGES
        keys = tuple(ApiVersionKey(key, *versions) for key, versions in ranges.items())
        transport.feed(_frame(header, ApiVersionsResponse(ErrorCode.NONE, keys, "0.0.0")))
        if isinstance(transport, SpuTransport):
            transport.take_more(-transport.room)

    def _watch(self, transport: MemoryTransport, header: RequestHeader, label: str) -> None:
        self._streams[label] = transport, header
        if not self.sc_silent:
            self.tell(label, everything=tuple(self.objects[label].values()))

    def tell(self, label: str, changes: tuple[Change, ...] = (), everything: tuple[Any, ...] = ()) -> None:
        """Have the SC push, if a client watches."""
        if label in self._streams:
            transport, header = self._streams[label]
            transport.feed(_frame(header, WatchUpdate(label, 0, changes, everything)))

    def forget_sc_connections(self) -> None:
        """Have a firewall forget the connections to the SC."""
        for transport, _ in self._streams.values():
            transport.forgotten = True

    def end_sc_connection(self) -> None:
        for transport, _ in self._streams.values():
            transport.ended = True


def _frame(header: RequestHeader, message: Any) -> bytes:
    writer = Writer()
    message.write(writer, header.api_version)
    return encode_response(header.correlation_id, writer.getvalue())


# Requests and answers.


def response(request: Request, *codes: int, base: int = 0) -> ProduceResponse:
    """Make an answer: one code for every entry, or one for all; entry n is stored from base + 100 n on."""
    payload: dict[int, tuple[object, ...]] = {7: (1500, 0), 72: ("t", 0), 2: ("why",), 6001: ("filter",)}
    all_codes = codes or (0,)
    topics: list[TopicResult] = []
    for index, (queue, _) in enumerate(request.entries):
        code = all_codes[index % len(all_codes)]
        result = PartitionResult(queue.partition, ErrorCode(code, payload.get(code, ())), base + 100 * index, 0, 0)
        topics.append(TopicResult(queue.topic, (result,)))
    return ProduceResponse(tuple(topics), 0)


def records(request: ProduceRequest) -> dict[int, list[bytes]]:
    """Return the records of a request by partition."""
    with paused():
        return {
            data.partition: [record.value for batch in decode_record_set(data.records) for record in batch.records]
            for topic_data in request.topics
            for data in topic_data.partitions
        }
