# SPDX-License-Identifier: Apache-2.0
"""A connection to the development cluster's SC: versions, Watch, List, Create, Delete, Update.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

import re
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
from fluvio_sync.testing._cluster.core import ServerSession
from fluvio_sync.testing._cluster.model import SC, located

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluvio_sync.protocol.frames import RequestHeader
    from fluvio_sync.protocol.metadata import MetadataObject
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


class ScSession(ServerSession):
    """A connection to the SC.

    `reached`: the address by which the client reached it, which it is told for SPUs that listen at all addresses.
    """

    def __init__(self, core: ClusterCore, reached: str = "") -> None:
        super().__init__(core, SC)
        self._reached = reached
        self._watches: list[tuple[str, RequestHeader]] = []
        self.requests = {
            API_VERSIONS: (ApiVersionsRequest, self._api_versions),
            ScApi.WATCH: (WatchRequest, self._watch),
            ScApi.LIST: (ListRequest, self._list),
            ScApi.CREATE: (CreateTopicRequest, self._create),
            ScApi.DELETE: (DeleteTopicRequest, self._delete),
            ScApi.UPDATE: (UpdateTopicRequest, self._update),
        }

    @property
    def wakeup_at(self) -> float | None:
        """See `ServerSession`: changes that writes made to partitions are gathered for a while."""
        watching = any(label == PartitionObject.LABEL for label, _ in self._watches)
        return self._core.status_due if watching else None

    def on_time(self, now: float) -> None:
        """See `ServerSession`."""
        super().on_time(now)
        self._core.publish_statuses()

    def push_changes(self, label: str, epoch: int, changes: Sequence[Change]) -> None:
        """Tell every Watch of this kind of object of its changes."""
        seen = tuple(Change(change.delete, located(change.content, self._reached)) for change in changes)
        for watched, header in self._watches:
            if watched == label:
                self.push(header, WatchUpdate(label, epoch, seen))

    def _api_versions(self, request: ApiVersionsRequest) -> ApiVersionsResponse:
        if not _SEMVER.fullmatch(request.client_version):
            raise ProtocolError(f"client version {request.client_version!r} is not semantic")
        highest = self._core.sc_version
        keys = tuple(ApiVersionKey(key, min(low, highest), highest) for key, low in _MIN_VERSIONS.items())
        return ApiVersionsResponse(ErrorCode.NONE, keys, self._core.platform)

    def _watch(self, request: WatchRequest) -> WatchUpdate:
        label = request.label
        if label not in _WATCHABLE:
            raise ProtocolError(f"objects of the kind {label!r} cannot be watched")
        self._watches.append((label, self.header))
        return WatchUpdate(label, self._core.epochs[label], all=self._objects(label))

    def _objects(self, label: str) -> tuple[MetadataObject, ...]:
        if label == TopicObject.LABEL:
            return tuple(topic.object() for topic in self._core.topics.values())
        if label == PartitionObject.LABEL:
            topics = self._core.topics.values()
            return tuple(item.object() for topic in topics for item in topic.partitions)
        if label == SpuObject.LABEL:
            return tuple(located(spu.object(), self._reached) for spu in self._core.spus.values())
        return ()

    def _list(self, request: ListRequest) -> ListResponse:
        items = [item for item in self._objects(request.label) if _is_listed(item, request)]
        return ListResponse(request.label, tuple(items))

    def _create(self, request: CreateTopicRequest) -> AdminStatus:
        if request.label != TopicObject.LABEL:
            return _unsupported("creating", request.label)
        return self._core.create_topic(request.name, request.spec, dry_run=request.dry_run)

    def _delete(self, request: DeleteTopicRequest) -> AdminStatus:
        if request.label != TopicObject.LABEL:
            return _unsupported("deleting", request.label)
        return self._core.delete_topic(request.name, force=request.force)

    def _update(self, request: UpdateTopicRequest) -> AdminStatus:
        if request.label != TopicObject.LABEL:
            return _unsupported("updating", request.label)
        if isinstance(request.action, AddMirror):
            return AdminStatus(request.name, ErrorCode(Code.MIRROR_NOT_FOUND), "not found")
        return self._core.add_partitions(request.name, request.action.count)


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
