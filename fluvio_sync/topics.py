# SPDX-License-Identifier: Apache-2.0
"""Descriptions of a cluster's topics.

Pure: values only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fluvio_sync.config import Compression


class TopicDescription(NamedTuple):
    """A topic as the SC (Streaming Controller) lists it; made by `Fluvio.describe_topics`.

    * `name`: the topic's name.
    * `partitions`: the number of its partitions.
    * `replication`: the number of replicas of a partition; None for a mirror.
    * `compression`: the only codec that the topic accepts; None for any.
    """

    name: str
    partitions: int
    replication: int | None
    compression: Compression | None
