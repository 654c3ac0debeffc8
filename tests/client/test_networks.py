# SPDX-License-Identifier: Apache-2.0
"""Networks that forget connections."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from fluvio_sync._net.transport import SocketTransport

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.alone


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
@pytest.mark.parametrize(("request_timeout", "milliseconds"), [(30.0, 30_000), (0.2, 1000), (1e9, 86_400_000)])
def test_the_system_gives_up_connections_that_nothing_acknowledges(
    own: LocalCluster, request_timeout: float, milliseconds: int
) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, request_timeout=request_timeout) as fluvio:
        fluvio.topic_producer("t").send(b"x").result(5)
        engine = fluvio._holder.engine
        assert engine is not None
        connections = engine.sender._all_connections()
        assert [connection.peer.name for connection in connections] == ["SPU 5001", "SC"]
        for connection in connections:
            assert isinstance(connection.transport, SocketTransport)
            sock = connection.transport.sock
            assert sock is not None
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
