# SPDX-License-Identifier: Apache-2.0
"""Connections to a cluster's nodes for those that read logs back: SC (Streaming Controller) and SPUs.

The caller's thread drives them.  SPU: Stream Processing Unit.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._net import blocking
from fluvio_sync._net.peer import Peer
from fluvio_sync._settings.endpoint import Endpoint, overridden
from fluvio_sync.client import checked_config
from fluvio_sync.errors import (
    ConnectError,
    PartitionNotFoundError,
    ProtocolError,
    ServerError,
    TopicNotFoundError,
)
from fluvio_sync.protocol.frames import MAX_FRAME
from fluvio_sync.protocol.metadata import PartitionObject, SpuObject
from fluvio_sync.protocol.offsets import FetchOffsetsRequest, FetchOffsetsResponse, FetchOffsetsTopic
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, SPU_CLIENT_RANGES, ScApi, SpuApi
from fluvio_sync.protocol.watch import ListRequest, ListResponse
from fluvio_sync.tls import TlsConfig, authority

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from typing_extensions import Self

    from fluvio_sync._runtime.engine import ClientConfig
    from fluvio_sync.protocol.error_code import ErrorCode
    from fluvio_sync.protocol.primitives import Reader

    Object = TypeVar("Object", PartitionObject, SpuObject)
    Answer = TypeVar("Answer")

_CLOCK = SystemClock()


class Limits(NamedTuple):
    """The time limits: each is called when a connection or a request begins, and returns its seconds."""

    connect: Callable[[], float]
    request: Callable[[], float]

    @classmethod
    def until(cls, deadline: float) -> Limits:
        """Return limits that end together, at a monotonic time."""

        def left() -> float:
            return max(0.0, deadline - _CLOCK.monotonic())

        return cls(left, left)


def nodes_of(settings: dict[str, Any], *, max_frame: int) -> Nodes:
    """Return the nodes of the cluster that a client of these settings connects to; raises `ConfigError`.

    * `settings`: those of `Fluvio.connect`; without any, the environment or the current profile names the cluster.
    * `max_frame`: the longest answer of an SPU, in bytes.
    """
    config = checked_config(settings)
    limits = Limits(lambda: config.connect_timeout, lambda: config.request_timeout)
    address = partial(_address, config)
    return Nodes(config.endpoint, config.tls, config.client_id, limits, address=address, max_frame=max_frame)


def _address(config: ClientConfig, spu: SpuObject) -> Endpoint | None:
    """Return the address of an SPU that a client of these settings uses."""
    public, local = public_address(spu), spu.spec.public_endpoint_local
    if local is not None and (config.use_spu_local_address or public is None):
        public = Endpoint(local.host, local.port)
    return overridden(config.spu_address_override, spu.spec.id, public) or public


class Node:
    """A connected SC or SPU."""

    def __init__(self, peer: Peer, limits: Limits) -> None:
        self._limits = limits
        self._connection = blocking.connect(peer, limits.connect(), _CLOCK)

    def ask(self, api: ScApi | SpuApi, message: Any, read: Callable[[Reader, int], Answer]) -> Answer:
        """Send a request and return its response."""
        answer = blocking.call(self._connection, api, message, self._limits.request(), _CLOCK, is_done=lambda: False)
        assert answer is not None  # it is only where `is_done` returns True
        return read(*answer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def public_address(spu: SpuObject) -> Endpoint | None:
    """Return the address of an SPU for clients outside the cluster's network; None if it has none."""
    ingress = spu.spec.public_endpoint.ingress
    if not ingress:
        return None
    return Endpoint(ingress[0].hostname or ingress[0].ip or "", spu.spec.public_endpoint.port)


class Nodes:
    """The nodes of a cluster, each connected to when it is needed first, until `close()` or the end of a `with`.

    `endpoint`: that of the SC.
    `limits`: see `Limits`.
    `address`: returns where an SPU is to be reached; None: nowhere.
    `max_frame`: the longest answer of an SPU, in bytes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        tls: TlsConfig | ssl.SSLContext,
        client_id: str,
        limits: Limits,
        *,
        address: Callable[[SpuObject], Endpoint | None] = public_address,
        max_frame: int = MAX_FRAME,
    ) -> None:
        self._tls = tls
        self._limits = limits
        self._address = address
        self._max_frame = max_frame
        self._sc_peer = Peer(
            "SC",
            endpoint,
            SC_CLIENT_RANGES,
            client_id,
            tls=tls.ssl_context() if isinstance(tls, TlsConfig) else tls,
            server_name=self._server_name(None, endpoint),
            authority=authority(tls),
        )
        self._sc: Node | None = None
        self._leaders: dict[int, Node] = {}
        self._spus: dict[int, SpuObject] = {}

    def partitions(self, topic: str) -> dict[int, PartitionObject]:
        """Return the partitions of a topic by their numbers; `TopicNotFoundError` if there are none."""
        found = {}
        for item in self._list(PartitionObject):
            name, _, number = item.name.rpartition("-")
            if name == topic and number.isdecimal():
                found[int(number)] = item
        if not found:
            raise TopicNotFoundError(f"there is no topic {topic!r}", topic=topic)
        return dict(sorted(found.items()))

    def partition(self, topic: str, number: int) -> PartitionObject:
        """Return a partition of a topic; `TopicNotFoundError` or `PartitionNotFoundError` if there is none."""
        found = self.partitions(topic).get(number)
        if found is None:
            raise PartitionNotFoundError(f"topic {topic!r} has no partition {number}", topic=topic, partition=number)
        return found

    def leader(self, partition: PartitionObject) -> Node:
        """Return the SPU that leads a partition; `ConnectError` if it cannot be reached."""
        number = partition.spec.leader
        if number not in self._leaders:
            self._leaders[number] = Node(self._spu_peer(number), self._limits)
        return self._leaders[number]

    def _spu_peer(self, number: int) -> Peer:
        if not self._spus:
            self._spus = {spu.spec.id: spu for spu in self._list(SpuObject)}
        spu = self._spus.get(number)
        endpoint = None if spu is None else self._address(spu)
        if spu is None or endpoint is None:
            raise ConnectError(f"the leader, SPU {number}, has no address", address="")
        return self._sc_peer._replace(
            name=f"SPU {number}",
            endpoint=endpoint,
            ranges=SPU_CLIENT_RANGES,
            server_name=self._server_name(spu.name, endpoint),
            max_frame=self._max_frame,
        )

    def _server_name(self, spu: str | None, endpoint: Endpoint) -> str | None:
        return self._tls.server_name(spu) if isinstance(self._tls, TlsConfig) else endpoint.host

    def _list(self, kind: type[Object]) -> list[Object]:
        if self._sc is None:
            self._sc = Node(self._sc_peer, self._limits)
        response = self._sc.ask(ScApi.LIST, ListRequest(kind.LABEL), ListResponse.read)
        return [item for item in response.items if isinstance(item, kind)]

    def close(self) -> None:
        """Close all connections."""
        for node in (self._sc, *self._leaders.values()):
            if node is not None:
                node.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def offsets(spu: Node, topic: str, partition: int) -> tuple[int, int]:
    """Return a partition's first offset and its high watermark; `ServerError` if the SPU refuses."""
    request = FetchOffsetsRequest((FetchOffsetsTopic(topic, (partition,)),))
    response = spu.ask(SpuApi.FETCH_OFFSETS, request, FetchOffsetsResponse.read)
    found = [item for entry in response.topics for item in entry.partitions]
    if len(found) != 1:
        raise ProtocolError(f"one partition's offsets were asked for, {len(found)} came")
    check(found[0].error_code)
    return found[0].start_offset, found[0].last_stable_offset


def check(error: ErrorCode) -> None:
    """Raise `ServerError` for an error code."""
    if error.code:
        raise ServerError(error.text, code=error.code, name=error.name)
