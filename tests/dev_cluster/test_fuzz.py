# SPDX-License-Identifier: Apache-2.0
"""A peer may send any bytes: its own connection is answered or closed, and the cluster lives on."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from fluvio_sync.protocol.metadata import ComputedReplicas, TopicSpec
from fluvio_sync.protocol.versions import API_VERSIONS, ScApi, SpuApi
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession
from tests.fuzz.inputs import BODIES

if TYPE_CHECKING:
    from fluvio_sync.testing._cluster.core import ServerSession

KEYS = sorted({API_VERSIONS, *map(int, ScApi), *map(int, SpuApi)})


def cluster() -> ClusterCore:
    core = ClusterCore([SpuAddress(1, "127.0.0.1", 9010), SpuAddress(2, "127.0.0.1", 9020)])
    core.create_topic("t", TopicSpec(ComputedReplicas(1, 2)))
    return core


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(KEYS), st.sampled_from([0, 2, 12, 19, 23, 25]), BODIES, st.sampled_from([0, 1]))
def test_any_bytes_are_answered_or_end_the_connection(key: int, version: int, body: bytes, node: int) -> None:
    core = cluster()
    session: ServerSession = SpuSession(core, node) if node else ScSession(core)
    session.receive(struct.pack(">Hhih", key, version, 1, 0) + body, 0.0)
    core.on_time(1e9)
    waits = isinstance(session, SpuSession) and session.streams
    assert session.closed or session.outgoing() or waits
    # The other node is none the worse.
    other = SpuSession(core, 2)
    other.receive(struct.pack(">Hhih", API_VERSIONS, 2, 1, 0) + b"\0\1x\0\0\0\0", 0.0)
    assert len(other.outgoing()) == 1
