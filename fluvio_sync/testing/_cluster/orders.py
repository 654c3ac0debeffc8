# SPDX-License-Identifier: Apache-2.0
"""The orders that a running development cluster takes from outside, by name.

Arguments and results are JSON values, so that orders travel over a control channel as well as
between threads.  Runs in the server's event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.protocol.metadata import (
    ComputedReplicas,
    Endpoint,
    TopicCompression,
    TopicSpec,
    TopicStorage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluvio_sync.protocol.admin import AdminStatus
    from fluvio_sync.testing._cluster.server import ClusterServer


def carry_out(server: ClusterServer, order: str, arguments: Mapping[str, Any]) -> Any:
    """Carry out an order; ValueError or TypeError if it makes no sense."""
    core = server.core
    table: Mapping[str, Callable[..., Any]] = {
        "kill_spu": server.kill_spu,
        "restart_spu": server.restart_spu,
        "kill_sc": server.kill_sc,
        "restart_sc": server.restart_sc,
        "move_leader": core.move_leader,
        "fail_next_produce": core.fail_next_produce,
        "hold_replies": core.hold_replies,
        "cut_next_produce": core.cut_next_produce,
        "advertise": lambda spu, public, local: core.advertise(spu, _endpoint(public), _endpoint(local)),
        "load_smartmodule": lambda name: core.smartmodules.update([name]),
        "violations": lambda: list(core.violations),
        "create_topic": lambda name, **settings: _outcome(core.create_topic(name, _spec(**settings))),
        "delete_topic": lambda name: _outcome(core.delete_topic(name)),
        "add_partitions": lambda name, count: _outcome(core.add_partitions(name, count)),
        "leader": lambda topic, partition: core.existing(topic, partition).leader,
    }
    with server.changing():
        return table[order](**arguments)


def _spec(partitions: int, replication: int, compression: str | None, segment_size: int | None) -> TopicSpec:
    codec = (compression or "any").upper()
    if codec not in TopicCompression.__members__:
        known = ", ".join(name.lower() for name in TopicCompression.__members__)
        raise ValueError(f"a topic's compression is one of {known}, not {compression!r}")
    return TopicSpec(
        ComputedReplicas(partitions, replication, ignore_rack=True),
        storage=None if segment_size is None else TopicStorage(segment_size),
        compression=TopicCompression[codec],
    )


def _endpoint(text: str | None) -> Endpoint | None:
    if text is None:
        return None
    host, port = parse_endpoint(text)
    return Endpoint(port, host)


def _outcome(status: AdminStatus) -> dict[str, object]:
    error = status.error_code
    return {"code": error.code, "name": error.name, "text": status.error_message or error.text}
