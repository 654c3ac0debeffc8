# SPDX-License-Identifier: Apache-2.0
"""Create, Delete and Update for topics, and their answer.

Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from fluvio_sync.protocol.envelope import Enveloped, TypeBuffer
from fluvio_sync.protocol.error_code import ERROR_CODE
from fluvio_sync.protocol.layout import BOOL, STRING, U32, option
from fluvio_sync.protocol.message import Message, apart, nested, one_of, wire
from fluvio_sync.protocol.metadata import TopicObject, TopicSpec

if TYPE_CHECKING:
    from typing_extensions import Self

    from fluvio_sync.protocol.error_code import ErrorCode
    from fluvio_sync.protocol.layout import Layout


class TopicRequest(Enveloped):
    """A change of the topic `name`.

    Read off a request for another kind of object, `label` and `inner` (its message, undecoded) are all that means
    anything.
    """

    label: str = apart(default=TopicObject.LABEL, kw_only=True)
    inner: bytes = apart(default=b"", kw_only=True, repr=False)
    name: str = wire(STRING)

    def sealed(self, version: int) -> TypeBuffer:
        """Return its envelope."""
        if self.label != TopicObject.LABEL:
            return TypeBuffer(self.label, self.inner)
        return super().sealed(version)

    @classmethod
    def opened(cls, envelope: TypeBuffer, version: int) -> Self:
        """Return the content of an envelope."""
        if envelope.label != TopicObject.LABEL:
            return cls("", label=envelope.label, inner=envelope.inner)
        return super().opened(envelope, version)


class CreateTopicRequest(TopicRequest):
    """Creates a topic.  `timeout`: milliseconds; the SC ignores it."""

    dry_run: bool = wire(BOOL, default=False)
    timeout: int | None = wire(option(U32), default=None)
    spec: TopicSpec = wire(nested(TopicSpec), default=TopicSpec())


class DeleteTopicRequest(TopicRequest):
    """Deletes a topic.  `force`: also a system topic."""

    force: bool = wire(BOOL, default=False, since=13)


class AddPartitions(Message):
    """Adds a number of partitions to a topic."""

    count: int = wire(U32)


class AddMirror(Message):
    """Adds a remote cluster to a mirror topic."""

    remote_cluster: str = wire(STRING)
    home_to_mirror: bool = wire(BOOL, default=False)


UpdateTopicAction: TypeAlias = "AddPartitions | AddMirror"

_UPDATE_TOPIC_ACTION: Layout[UpdateTopicAction] = one_of("kind of update", {0: AddPartitions, 1: AddMirror})


class UpdateTopicRequest(TopicRequest):
    """Changes a topic."""

    action: UpdateTopicAction = wire(_UPDATE_TOPIC_ACTION, default=AddPartitions(0))


class AdminStatus(Message):
    """The answer to Create, Delete and Update; it has no envelope."""

    name: str = wire(STRING)
    error_code: ErrorCode = wire(ERROR_CODE)
    error_message: str | None = wire(option(STRING), default=None)
