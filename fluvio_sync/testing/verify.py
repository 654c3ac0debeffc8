# SPDX-License-Identifier: Apache-2.0
"""Reads the headers of all batches of a topic, and finds those that were stored twice.

It works with any Fluvio cluster, in memory that has a limit however large the topic is: nothing is decompressed, and an
answer has 1 MiB at most.  A call uses connections of its own and drives them in its thread, so any thread may call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._reading.nodes import nodes_of
from fluvio_sync._reading.partition_log import MAX_HEADERS_FRAME, PartitionLog
from fluvio_sync.testing._duplicates import DuplicateSearch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.testing._duplicates import PartitionCheck


def verify_topic(topic: str, partition: int | None = None, **settings: Any) -> Iterator[PartitionCheck]:
    """Yield the result for each partition of a topic, as soon as the partition is read to its end.

    `topic`: its name.
    `partition`: the only partition to read; default: all, in order.
    `settings`: those of `Fluvio.connect`; without any, the environment or the current profile names the cluster.

    A batch is recognised by its identity (`BatchIdentity`), which producers that write none do without.  Records that
    are not replicated yet are read, too.

    Raises `ConfigError`, `TopicNotFoundError`, `PartitionNotFoundError`, `ConnectError`, `RequestTimeoutError`,
    `ProtocolError`, `UnsupportedVersionError`, or `ServerError` if a leader refuses.
    """
    with nodes_of(settings, max_frame=MAX_HEADERS_FRAME) as nodes:
        found = nodes.partitions(topic) if partition is None else {partition: nodes.partition(topic, partition)}
        for number, item in found.items():
            search, log = DuplicateSearch(number), PartitionLog(nodes, topic, number, item)
            for header in log.headers(log.first):
                search.add(header)
            yield search.found
