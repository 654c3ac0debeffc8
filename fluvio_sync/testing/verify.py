# SPDX-License-Identifier: Apache-2.0
"""Reads the headers of all batches of a topic, and finds those that were stored twice.

It works with any Fluvio cluster, in memory that has a limit however large the topic is: nothing is decompressed, and an
answer has 1 MiB at most.  A call uses connections of its own and drives them in its thread, so any thread may call.
"""

from __future__ import annotations

from functools import partial as bound
from typing import TYPE_CHECKING, Any

from fluvio_sync._settings.endpoint import Endpoint, overridden
from fluvio_sync.client import checked_config
from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.batch import iter_headers
from fluvio_sync.protocol.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.testing._duplicates import DuplicateSearch
from fluvio_sync.testing._nodes import Limits, Nodes, check, offsets, public_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync._runtime.engine import ClientConfig
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.protocol.metadata import SpuObject
    from fluvio_sync.testing._duplicates import PartitionCheck
    from fluvio_sync.testing._nodes import Node

_MAX_BYTES = 1024 * 1024
"""Of the records in one answer, which an SPU (Stream Processing Unit) cuts at this size, in the middle of a batch."""

_MAX_FRAME = _MAX_BYTES + 64 * 1024
"""Of one answer: an SPU that ignores the size above does not speak the protocol."""


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
    config = checked_config(settings)
    limits = Limits(lambda: config.connect_timeout, lambda: config.request_timeout)
    address = bound(_address, config)
    with Nodes(config.endpoint, config.tls, config.client_id, limits, address=address, max_frame=_MAX_FRAME) as nodes:
        found = nodes.partitions(topic) if partition is None else {partition: nodes.partition(topic, partition)}
        for number, item in found.items():
            search = DuplicateSearch(number)
            for header in _headers(nodes.leader(item), topic, number):
                search.add(header)
            yield search.found


def _address(config: ClientConfig, spu: SpuObject) -> Endpoint | None:
    """Return the address of an SPU that a client of these settings uses."""
    public, local = public_address(spu), spu.spec.public_endpoint_local
    if local is not None and (config.use_spu_local_address or public is None):
        public = Endpoint(local.host, local.port)
    return overridden(config.spu_address_override, spu.spec.id, public) or public


def _headers(spu: Node, topic: str, partition: int) -> Iterator[BatchHeader]:
    """Yield the header of every batch of a partition, until an answer has none."""
    offset, _ = offsets(spu, topic, partition)
    while records := _fetch(spu, topic, partition, offset):
        began = offset
        for header in iter_headers(records):
            yield header
            offset = header.next_offset
        if offset <= began:
            raise ProtocolError(f"the answer about partition {partition} has no batch behind offset {began}")


def _fetch(spu: Node, topic: str, partition: int, offset: int) -> bytes:
    wanted = (FetchTopic(topic, (FetchPartition(partition, offset, _MAX_BYTES),)),)
    response = spu.ask(SpuApi.FETCH, FetchRequest(wanted, max_bytes=_MAX_BYTES), FetchResponse.read)
    check(response.error_code)
    found = [item for entry in response.topics for item in entry.partitions]
    if len(found) != 1:
        raise ProtocolError(f"the records of one partition were asked for, those of {len(found)} came")
    check(found[0].error_code)
    return found[0].records
