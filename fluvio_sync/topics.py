# SPDX-License-Identifier: Apache-2.0
"""What a client is told of a cluster's topics.

Pure: values only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fluvio_sync.config import Compression


class TopicDescription(NamedTuple):
    """A topic as the SC lists it; made by `Fluvio.describe_topics`.

    `name`; `partitions`: how many; `replication`: replicas of a partition, None for a mirror; `compression`: the only
    codec that it takes, None for any.
    """

    name: str
    partitions: int
    replication: int | None
    compression: Compression | None
