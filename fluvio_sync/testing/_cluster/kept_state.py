# SPDX-License-Identifier: Apache-2.0
"""What the development cluster keeps of itself beside the records, as JSON values: topics and consumer offsets.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.metadata import TopicSpec
from fluvio_sync.protocol.primitives import Reader, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fluvio_sync.testing._cluster.model import Topic

    ConsumerOffsets = Mapping[tuple[str, str, int], tuple[int, int]]

_STATE_VERSION = 19
"""The version in which specifications are written to the kept state."""


class KeptTopic(NamedTuple):
    """A topic as it was kept; `partitions`: of each, the SPUs with its replicas and the one that led it."""

    name: str
    spec: TopicSpec
    partitions: list[tuple[list[int], int | None]]


def pack(topics: Iterable[Topic], offsets: ConsumerOffsets) -> dict[str, Any]:
    """Return the state to be kept."""
    return {
        "topics": [
            {
                "name": topic.name,
                "spec": _encoded(topic.spec),
                "partitions": [{"replicas": item.replicas, "leader": item.leader} for item in topic.partitions],
            }
            for topic in topics
        ],
        "consumer_offsets": [[*key, *value] for key, value in offsets.items()],
    }


def unpack(state: Mapping[str, Any], name: str) -> tuple[list[KeptTopic], ConsumerOffsets]:
    """Return the topics and the consumer offsets of a kept state; ValueError, which has the `name`, if it is none."""
    try:
        offsets = {
            (consumer, topic, partition): (offset, time)
            for consumer, topic, partition, offset, time in state["consumer_offsets"]
        }
        topics = [
            KeptTopic(
                kept["name"],
                _decoded(kept["spec"]),
                [(item["replicas"], item["leader"]) for item in kept["partitions"]],
            )
            for kept in state["topics"]
        ]
    except (KeyError, TypeError, ValueError, ProtocolError) as error:
        raise ValueError(
            f"the kept state of the cluster is damaged ({name}): {error!r}; "
            "move it away, or keep the data in another folder"
        ) from error
    return topics, offsets


def _encoded(spec: TopicSpec) -> str:
    writer = Writer()
    spec.write(writer, _STATE_VERSION)
    return writer.getvalue().hex()


def _decoded(text: str) -> TopicSpec:
    return TopicSpec.read(Reader(bytes.fromhex(text)), _STATE_VERSION)
