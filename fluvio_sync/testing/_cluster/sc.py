# SPDX-License-Identifier: Apache-2.0
"""A connection to the development cluster's SC: versions, Watch, List, Create, Delete, Update.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.admin import (
    AddMirror,
    AdminStatus,
    CreateTopicRequest,
    DeleteTopicRequest,
    UpdateTopicRequest,
)
from fluvio_sync.protocol.error_code import Code, ErrorCode
from fluvio_sync.protocol.metadata import PartitionObject, SpuObject, TopicObject
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    ApiVersionKey,
    ApiVersionsRequest,
    ApiVersionsResponse,
    ScApi,
)
from fluvio_sync.protocol.watch import Change, ListRequest, ListResponse, WatchRequest, WatchUpdate
from fluvio_sync.testing._cluster.model import SC
from fluvio_sync.testing._cluster.session import ServerSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fluvio_sync.protocol.frames import RequestHeader
    from fluvio_sync.protocol.metadata import MetadataObject
    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.testing._cluster.core import ClusterCore

_SEMVER = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")

_WATCHABLE = (TopicObject.LABEL, PartitionObject.LABEL, SpuObject.LABEL, "SmartModule")

_MIN_VERSIONS = {
    ScApi.CREATE: 9,
    ScApi.DELETE: 1,
    ScApi.LIST: 15,
    ScApi.WATCH: 15,
    ScApi.MIRRORING: 14,
    ScApi.UPDATE: 1,
}


@dataclass(frozen=True, slots=True)
class _Watch:
    correlation_id: int
    version: int
    label: str


class ScSession(ServerSession):
    """A connection to the SC."""

    def __init__(self, core: ClusterCore) -> None:
        super().__init__(core, SC)
        self._watches: list[_Watch] = []

    def _handler_table(self) -> Mapping[int, Callable[[RequestHeader, Reader], None]]:
        return {
            API_VERSIONS: self._api_versions,
            ScApi.WATCH: self._watch,
            ScApi.LIST: self._list,
            ScApi.CREATE: self._create,
            ScApi.DELETE: self._delete,
            ScApi.UPDATE: self._update,
        }

    @property
    def wakeup_at(self) -> float | None:
        """See `ServerSession`: changes that writes made to partitions are gathered for a while."""
        watching = any(watch.label == PartitionObject.LABEL for watch in self._watches)
        return self._core.status_due if watching else None

    def on_time(self, now: float) -> None:
        """See `ServerSession`."""
        super().on_time(now)
        self._core.publish_statuses()

    def push_changes(self, label: str, epoch: int, changes: Sequence[Change]) -> None:
        """Tell every Watch of this kind of object of its changes."""
        for watch in self._watches:
            if watch.label == label:
                update = WatchUpdate(label, epoch, tuple(changes))
                self.push(watch.correlation_id, watch.version, update)

    def _api_versions(self, header: RequestHeader, reader: Reader) -> None:
        request = ApiVersionsRequest.read(reader, header.api_version)
        if not _SEMVER.fullmatch(request.client_version):
            raise ProtocolError(f"client version {request.client_version!r} is not semantic")
        highest = self._core.sc_version
        keys = tuple(ApiVersionKey(key, min(low, highest), highest) for key, low in _MIN_VERSIONS.items())
        answer = ApiVersionsResponse(ErrorCode.NONE, keys, self._core.platform)
        self.push(header.correlation_id, header.api_version, answer)

    def _watch(self, header: RequestHeader, reader: Reader) -> None:
        label = WatchRequest.read(reader, header.api_version).label
        if label not in _WATCHABLE:
            raise ProtocolError(f"objects of the kind {label!r} cannot be watched")
        watch = _Watch(header.correlation_id, header.api_version, label)
        self._watches.append(watch)
        update = WatchUpdate(label, self._core.epoch(label), all=self._objects(label))
        self.push(watch.correlation_id, watch.version, update)

    def _objects(self, label: str) -> tuple[MetadataObject, ...]:
        if label == TopicObject.LABEL:
            return tuple(topic.object() for topic in self._core.topics.values())
        if label == PartitionObject.LABEL:
            topics = self._core.topics.values()
            return tuple(item.object() for topic in topics for item in topic.partitions)
        if label == SpuObject.LABEL:
            return tuple(spu.object() for spu in self._core.spus.values())
        return ()

    def _list(self, header: RequestHeader, reader: Reader) -> None:
        request = ListRequest.read(reader, header.api_version)
        items = [item for item in self._objects(request.label) if _is_listed(item, request)]
        answer = ListResponse(request.label, tuple(items))
        self.push(header.correlation_id, header.api_version, answer)

    def _create(self, header: RequestHeader, reader: Reader) -> None:
        request = CreateTopicRequest.read(reader, header.api_version)
        if request.label != TopicObject.LABEL:
            answer = _unsupported("creating", request.label)
        else:
            answer = self._core.create_topic(request.name, request.spec, dry_run=request.dry_run)
        self.push(header.correlation_id, header.api_version, answer)

    def _delete(self, header: RequestHeader, reader: Reader) -> None:
        request = DeleteTopicRequest.read(reader, header.api_version)
        if request.label != TopicObject.LABEL:
            answer = _unsupported("deleting", request.label)
        else:
            answer = self._core.delete_topic(request.name, force=request.force)
        self.push(header.correlation_id, header.api_version, answer)

    def _update(self, header: RequestHeader, reader: Reader) -> None:
        request = UpdateTopicRequest.read(reader, header.api_version)
        if request.label != TopicObject.LABEL:
            answer = _unsupported("updating", request.label)
        elif isinstance(request.action, AddMirror):
            answer = AdminStatus(request.name, ErrorCode(Code.MIRROR_NOT_FOUND), "not found")
        else:
            answer = self._core.add_partitions(request.name, request.action.count)
        self.push(header.correlation_id, header.api_version, answer)


def _is_listed(item: MetadataObject, request: ListRequest) -> bool:
    if isinstance(item, TopicObject):
        wanted = request.name_filters
        named = not wanted or any(text in item.name for text in wanted)
        return named and item.spec.system == request.system
    if isinstance(item, PartitionObject):
        return item.spec.system == request.system
    return True


def _unsupported(action: str, label: str) -> AdminStatus:
    text = f"the development cluster does not know {action} a {label:.40}"
    return AdminStatus("", ErrorCode(Code.OTHER, (text,)), text)
