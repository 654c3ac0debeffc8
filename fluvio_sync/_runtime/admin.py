# SPDX-License-Identifier: Apache-2.0
"""Administrative calls: create, delete and list topics.

Each call has a connection of its own, in the caller's thread: the SC (Streaming Controller) serves a connection one
request at a time, and creating a topic can take long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from fluvio_sync._base.text import printable
from fluvio_sync._core.topic import only_codec
from fluvio_sync._net import blocking
from fluvio_sync._runtime import shortage
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.errors import ConfigError, ProtocolError, RequestTimeoutError, ServerError, TopicNotFoundError
from fluvio_sync.protocol.admin import AdminStatus, CreateTopicRequest, DeleteTopicRequest
from fluvio_sync.protocol.error_code import Code
from fluvio_sync.protocol.metadata import AssignedReplicas, ComputedReplicas, TopicCompression, TopicObject, TopicSpec
from fluvio_sync.protocol.skimming import skim_list
from fluvio_sync.protocol.versions import ScApi
from fluvio_sync.protocol.watch import ListRequest
from fluvio_sync.topics import TopicDescription

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._net.peer import Peer
    from fluvio_sync.protocol.metadata import MetadataObject
    from fluvio_sync.protocol.primitives import Reader

    R = TypeVar("R")


def check_topic(name: str, partitions: int, replication: int) -> None:
    """Raise ConfigError for a topic that no SC would create."""
    check_topic_name(name)
    for setting, value in (("partitions", partitions), ("replication", replication)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 0x7FFFFFFF:
            raise ConfigError(f"{setting} is a number of at least 1, not {value!r}")


class Admin:
    """Makes calls to the SC; each may take `connect_timeout` + `request_timeout` seconds."""

    def __init__(
        self,
        peer: Peer,
        *,
        connect_timeout: float,
        request_timeout: float,
        clock: Clock,
        created: Callable[[str], bool],
    ) -> None:
        """`created`: whether a topic and its partitions exist, as far as the client's metadata says."""
        self._created = created
        self._peer = peer
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._clock = clock

    def create_topic(
        self, name: str, *, partitions: int, replication: int, compression: TopicCompression, exist_ok: bool
    ) -> None:
        """Create a topic; raises `ServerError` if the SC rejects it."""
        check_topic(name, partitions, replication)
        spec = TopicSpec(replicas=ComputedReplicas(partitions, replication, ignore_rack=False), compression=compression)
        request = CreateTopicRequest(name=name, dry_run=False, timeout=None, spec=spec)
        # A real SC can carry the request out and never answer (seen while another topic was being deleted).
        is_done = (lambda: False) if self._created(name) else (lambda: self._created(name))
        status = self._call(ScApi.CREATE, request, AdminStatus.read, is_done)
        if status is None:
            return
        if status.error_code.code == Code.TOPIC_ALREADY_EXISTS and exist_ok:
            return
        if status.error_code.code == Code.TOPIC_NOT_PROVISIONED:
            hint = f"are there as many SPUs online as its replication ({replication})? If not, delete it"
            self._check(status, f"topic {name!r} was created, and its partitions are not ready", hint)
        self._check(status, f"the SC did not create topic {name!r}")

    def delete_topic(self, name: str) -> None:
        """Delete a topic; raises `TopicNotFoundError`, or `ServerError` if the SC rejects the call."""
        check_topic_name(name)
        status = self._call(ScApi.DELETE, DeleteTopicRequest(name, force=False), AdminStatus.read)
        assert status is not None
        if status.error_code.code == Code.TOPIC_NOT_FOUND:
            raise TopicNotFoundError(f"the cluster at {self._peer.endpoint} has no topic {name!r}", topic=name)
        self._check(status, f"the SC did not delete topic {name!r}")

    def topics(self) -> list[TopicDescription]:
        """Return the topics, sorted by name, without Fluvio's own."""
        found = self._call(ScApi.LIST, ListRequest(TopicObject.LABEL), self._read_topics)
        assert found is not None
        return sorted(found, key=lambda topic: topic.name)

    def _read_topics(self, reader: Reader, version: int) -> list[TopicDescription]:
        """Return the topics of an answer, which may be long; raises `RequestTimeoutError`, `ProtocolError`."""
        deadline = self._clock.monotonic() + self._request_timeout
        parts = skim_list(reader, version, _description)
        while True:
            try:
                next(parts)
            except StopIteration as end:
                found: list[TopicDescription] = end.value
                return found
            if self._clock.monotonic() >= deadline:
                raise RequestTimeoutError(
                    f"the list of topics is so long that it took {self._request_timeout} s to read"
                )

    def _call(
        self, api: ScApi, request: Any, read: Callable[[Reader, int], R], is_done: Callable[[], bool] = lambda: False
    ) -> R | None:
        """Return the answer, None if `is_done()` made it unnecessary."""
        with shortage.explained(self._peer.unreachable):
            return self._ask(api, request, read, is_done)

    def _ask(self, api: ScApi, request: Any, read: Callable[[Reader, int], R], is_done: Callable[[], bool]) -> R | None:
        connection = blocking.connect(self._peer, self._connect_timeout, self._clock)
        try:
            answer = blocking.call(connection, api, request, self._request_timeout, self._clock, is_done)
            if answer is None:
                return None
            try:
                return read(*answer)
            except ProtocolError as error:
                raise connection.protocol_error(error) from error
        finally:
            connection.close()

    def _check(self, status: AdminStatus, outcome: str, hint: str = "") -> None:
        code = status.error_code
        if code.code:
            why = printable(status.error_message or "") or code.text
            text = f"{outcome}: {why} ({code.name}, {code.code})"
            raise ServerError(f"{text}; {hint}" if hint else text, code=code.code, name=code.name, hint=hint)


def _description(item: MetadataObject) -> TopicDescription:
    if not isinstance(item, TopicObject):
        raise ProtocolError("it lists objects of another kind than topics")
    return describe(item)


def describe(topic: TopicObject) -> TopicDescription:
    """Return a topic of the SC as the description that callers get."""
    replicas = topic.spec.replicas
    replication = None
    if isinstance(replicas, ComputedReplicas):
        replication = replicas.replication_factor
    elif isinstance(replicas, AssignedReplicas):
        replication = max((len(item.replicas) for item in replicas.maps), default=0)
    return TopicDescription(topic.name, topic.spec.partition_count, replication, only_codec(topic))
