# SPDX-License-Identifier: Apache-2.0
"""Reads a whole partition back, off any Fluvio cluster.

For tests and examples.  Every call uses connections of its own and drives them in its thread, so any thread may call.
"""

from __future__ import annotations

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._reading.nodes import Limits, Nodes
from fluvio_sync._reading.partition_log import PartitionLog, StoredRecord
from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.errors import ConnectTimeoutError, RequestTimeoutError
from fluvio_sync.tls import TlsConfig

_CLOCK = SystemClock()


def read_partition(
    endpoint: str,
    topic: str,
    partition: int = 0,
    *,
    timeout: float = 10.0,
    tls: TlsConfig | None = None,
    identity: bool = False,
) -> list[StoredRecord]:
    """Return all records that a partition has at the time of the call, from the first on.

    `endpoint`: the `"host:port"` of the SC (Streaming Controller).
    `topic`, `partition`: the partition to read.
    `timeout`: seconds for the whole call.
    `tls`: as for `Fluvio.connect`; default: plain TCP.
    `identity`: tell the identity of each record's batch, which another batch has only if it is the same one, stored
    again.

    Raises `TopicNotFoundError`, `PartitionNotFoundError`, `ConnectError`, `RequestTimeoutError`, `ProtocolError`,
    `UnsupportedVersionError`, `ConfigError` for a malformed endpoint, or `ServerError` if the leader refuses.
    """
    limits = Limits.until(_CLOCK.monotonic() + timeout)
    try:
        with Nodes(parse_endpoint(endpoint), tls or TlsConfig.disabled(), "fluvio-sync-testing", limits) as nodes:
            return _read_partition(nodes, topic, partition, identity=identity)
    except (ConnectTimeoutError, RequestTimeoutError) as error:
        raise RequestTimeoutError(f"reading partition {partition} of {topic!r} took longer than {timeout} s") from error


def _read_partition(nodes: Nodes, topic: str, partition: int, *, identity: bool) -> list[StoredRecord]:
    log = PartitionLog(nodes, topic, partition, nodes.partition(topic, partition))
    return list(log.records(log.first, log.end, identity=identity))
