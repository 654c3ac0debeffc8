# SPDX-License-Identifier: Apache-2.0
"""A cluster that answers as it should, and writes into every text what would do something to a terminal or a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync.protocol.admin import AdminStatus
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.metadata import (
    Deduplication,
    Endpoint,
    IngressAddr,
    IngressPort,
    PartitionObject,
    PartitionResolution,
    RemotePartition,
    SpuObject,
    TopicObject,
)
from fluvio_sync.protocol.offsets import FetchOffsetsResponse
from fluvio_sync.protocol.produce import PartitionResult, ProduceRequest, ProduceResponse, TopicResult
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    SC_CLIENT_RANGES,
    SPU_CLIENT_RANGES,
    ApiVersionKey,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
)
from fluvio_sync.protocol.watch import ListRequest, ListResponse, WatchRequest, WatchUpdate
from tests.support.hostile import Server
from tests.support.servers import partition, spu, topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from tests.support.hostile import Talk

FORGED = "ok    fake line"
TEXT = f"\x1b]0;PWNED\x07\x1b[2J\x9b\x7f\u202e\u2066\u2028evil\r\n{FORGED}\r" + "x" * 30_000
NAME = TEXT[:100]  # of an object; longer ones are refused
ESCAPED = r"\x1b]0;PWNED\x07\x1b[2J\x9b\x7f\u202e\u2066\u2028evil\r\nok    fake line\rx"
OTHER = ErrorCode(2, (TEXT,))
SPU, AWAY = 5001, 5002  # the one that answers, and the one whose address is no address


def assert_harmless(text: str) -> None:
    """It has no control character but the line feeds that end its lines, which are short and its own."""
    for line in text.split("\n"):
        assert line.isprintable(), line[:500]
        assert len(line) <= 4000, line[:500]
        assert not line.startswith(FORGED)


def ranges(table: Mapping[int, tuple[int, int]]) -> tuple[ApiVersionKey, ...]:
    return tuple(ApiVersionKey(int(key), *versions) for key, versions in table.items())


class Scribbler:
    """The SC and an SPU.  The topics are `t`, which the SPU leads, and one whose name is `NAME`.

    * `answer`: to each record; `refusal`: to the SC's question for versions.
    * `sc_keys`, `spu_keys`: the versions that they offer.
    * `label`, `topic`: in answers, instead of those that were asked for.
    """

    def __init__(self) -> None:
        self.answer = OTHER
        self.refusal = ErrorCode.NONE
        self.sc_keys = ranges(SC_CLIENT_RANGES)
        self.spu_keys = ranges(SPU_CLIENT_RANGES)
        self.label = ""
        self.topic = ""
        self._spu = Server(self._be_spu)
        self._sc = Server(self._be_sc)
        self.endpoint = self._sc.endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sc.close()
        self._spu.close()

    def _be_spu(self, talk: Talk) -> None:
        while True:
            header, reader = talk.request()
            if header.api_key == API_VERSIONS:
                talk.reply(header, ApiVersionsResponse(ErrorCode.NONE, self.spu_keys, TEXT))
            elif header.api_key == SpuApi.PRODUCE:
                talk.reply(header, self._stored(ProduceRequest.read(reader, header.api_version)))
            else:
                talk.reply(header, FetchOffsetsResponse(()))

    def _be_sc(self, talk: Talk) -> None:
        while True:
            header, reader = talk.request()
            version = header.api_version
            if header.api_key == API_VERSIONS:
                talk.reply(header, ApiVersionsResponse(self.refusal, self.sc_keys, TEXT))
            elif header.api_key == ScApi.WATCH:
                label = WatchRequest.read(reader, version).label
                talk.reply(header, WatchUpdate(self.label or label, 1, (), self._objects(label)))
            elif header.api_key == ScApi.LIST:
                label = ListRequest.read(reader, version).label
                talk.reply(header, ListResponse(self.label or label, self._objects(label)))
            else:
                talk.reply(header, AdminStatus(TEXT, OTHER, TEXT))

    def _stored(self, request: ProduceRequest) -> ProduceResponse:
        return ProduceResponse(
            tuple(
                TopicResult(
                    self.topic or topic.name,
                    tuple(PartitionResult(entry.partition, self.answer, 0) for entry in topic.partitions),
                )
                for topic in request.topics
            )
        )

    def _objects(self, label: str) -> tuple[Any, ...]:
        if label == SpuObject.LABEL:
            port = int(self._spu.endpoint.rpartition(":")[2])
            return hostile_spu(SPU, "127.0.0.1", port), hostile_spu(AWAY, NAME, 7)
        if label == PartitionObject.LABEL:
            offline = PartitionResolution.LEADER_OFFLINE
            return (
                hostile_partition("t-0", SPU),
                hostile_partition(f"{NAME}-0", AWAY),
                hostile_partition(f"{NAME}-1", SPU, offline),
            )
        return hostile_topic("t", 1), hostile_topic(NAME, 3)


def hostile_spu(number: int, host: str, port: int) -> SpuObject:
    plain = spu(number, port=port, rack=TEXT)
    spec = plain.spec.replace(
        public_endpoint=IngressPort(port, (IngressAddr(host, TEXT),)),
        private_endpoint=Endpoint(1, TEXT),
        public_endpoint_local=Endpoint(1, NAME),
    )
    return plain.replace(name=NAME, spec=spec)


def hostile_partition(
    name: str, leader: int, resolution: PartitionResolution = PartitionResolution.ONLINE
) -> PartitionObject:
    plain = partition(name, leader, resolution)
    return plain.replace(spec=plain.spec.replace(mirror=RemotePartition(TEXT, TEXT, 1, TEXT)))


def hostile_topic(name: str, partitions: int) -> TopicObject:
    plain = topic(name, partitions)
    deduplication = Deduplication(1, None, TEXT, {"name": "value"})
    return plain.replace(spec=plain.spec.replace(deduplication=deduplication), status=plain.status.replace(reason=TEXT))
