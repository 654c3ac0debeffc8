# SPDX-License-Identifier: Apache-2.0
"""Which topics an SC accepts, and on which SPUs it places their partitions.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fluvio_sync.protocol.admin import AdminStatus
from fluvio_sync.protocol.error_code import Code, ErrorCode
from fluvio_sync.protocol.metadata import AssignedReplicas, ComputedReplicas, TopicSpec
from fluvio_sync.testing._cluster.model import DEFAULT_SEGMENT

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from fluvio_sync.protocol.metadata import TopicStorage

MAX_NAME = 63
MIN_RETENTION = 10  # seconds
MIN_SEGMENT = 1024  # bytes
MIN_PARTITION_SIZE = 2048  # bytes

MAX_PARTITIONS = 10_000
"""A limit of the development cluster alone: one request must not fill the machine's memory."""

_SHOWN = 256  # characters of a name in a text, which has a limit on the wire
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def rejection(name: str, spec: TopicSpec, existing: Container[str], spus: Container[int]) -> AdminStatus | None:
    """Return why a topic cannot be created, or None; a real SC checks in this order."""
    reason = _bad_name(name)
    if reason is not None:
        text = f"Invalid topic name: '{name:.{_SHOWN}}'. {reason}"
        return AdminStatus(name, ErrorCode(Code.TOPIC_INVALID_NAME), text)
    if name in existing:
        code = ErrorCode(Code.TOPIC_ALREADY_EXISTS)
        return AdminStatus(name, code, f"Topic '{name}' already exists")
    reason = _bad_config(spec)
    if reason is not None:
        return AdminStatus(name, ErrorCode(Code.TOPIC_INVALID_CONFIGURATION), reason)
    if spec.deduplication is not None:
        code = ErrorCode(Code.DEDUPLICATION_SMART_MODULE_NOT_LOADED)
        return AdminStatus(spec.deduplication.uses, code, "there are no SmartModules")
    reason = _bad_replicas(spec, spus)
    if reason is not None:
        return AdminStatus(name, ErrorCode(Code.TOPIC_ERROR), reason)
    return None


def unstorable(name: str, error: OSError) -> AdminStatus:
    """Return the answer for a topic, or for its new partitions, whose files cannot be had."""
    where = f" ({error.filename})" if error.filename else ""
    text = f"the development cluster cannot store topic '{name}': {error.strerror}{where}"
    return AdminStatus(name, ErrorCode(Code.TOPIC_ERROR), text)


def _bad_name(name: str) -> str | None:
    if len(name) > MAX_NAME:
        return f"Name exceeds max characters allowed {MAX_NAME}"
    if not _NAME.fullmatch(name):
        return "Contain only lowercase alphanumeric characters or '-'"
    return None


def _bad_config(spec: TopicSpec) -> str | None:
    if spec.cleanup_policy is not None and spec.cleanup_policy.time_in_seconds < MIN_RETENTION:
        seconds = spec.cleanup_policy.time_in_seconds
        return f"retention_secs {seconds} is less than minimum {MIN_RETENTION}"
    return _bad_storage(spec.storage) if spec.storage is not None else None


def _bad_storage(storage: TopicStorage) -> str | None:
    segment, partition = storage.segment_size, storage.max_partition_size
    if segment is not None and segment < MIN_SEGMENT:
        return f"segment_size {segment} is less than minimum {MIN_SEGMENT}"
    if partition is None:
        return None
    if partition < MIN_PARTITION_SIZE:
        return f"max_partition_size {partition} is less than minimum {MIN_PARTITION_SIZE}"
    segment = DEFAULT_SEGMENT if segment is None else segment
    if partition < segment:
        return f"max_partition_size {partition} is less than segment size {segment}"
    return None


def _bad_replicas(spec: TopicSpec, spus: Container[int]) -> str | None:
    replicas = spec.replicas
    if spec.partition_count < 1:
        return "partition must be greater than 0"
    if spec.partition_count > MAX_PARTITIONS:
        return f"the development cluster allows {MAX_PARTITIONS} partitions a topic"
    if isinstance(replicas, ComputedReplicas):
        enough = replicas.replication_factor > 0
        return None if enough else "replication factor must be greater than 0"
    if not isinstance(replicas, AssignedReplicas):
        return "the development cluster has no mirrors"
    return _bad_assignment(replicas, spus)


def _bad_assignment(replicas: AssignedReplicas, spus: Container[int]) -> str | None:
    for index, item in enumerate(replicas.maps):
        if item.id != index:
            return "assigned partitions must start with id 0 and be in sequence"
        if not item.replicas or len(item.replicas) != len(replicas.maps[0].replicas):
            return "all partitions must have the same number of replicas, at least one"
        if len(set(item.replicas)) != len(item.replicas):
            return "a partition has a duplicate replica"
        unknown = [spu for spu in item.replicas if spu not in spus]
        if unknown:
            return f"invalid spu id: {unknown[0]}"
    return None


def placement(spec: TopicSpec, index: int, online: Sequence[int]) -> list[int] | None:
    """Return the SPUs of a partition's replicas, the leader first, or None if there are too few.

    Leaders go round the SPUs partition by partition, so that tests can foretell them (a real SC
    starts at a random SPU).
    """
    replicas = spec.replicas
    if isinstance(replicas, AssignedReplicas):
        return list(replicas.maps[index].replicas)
    if not isinstance(replicas, ComputedReplicas) or replicas.replication_factor > len(online):
        return None
    places = range(index, index + replicas.replication_factor)
    return [online[place % len(online)] for place in places]


def grown(spec: TopicSpec, count: int) -> TopicSpec | None:
    """Return a specification with `count` more partitions; None if it does not allow that."""
    replicas = spec.replicas
    if not isinstance(replicas, ComputedReplicas):
        return None
    return spec.replace(replicas=replicas.replace(partitions=replicas.partitions + count))
