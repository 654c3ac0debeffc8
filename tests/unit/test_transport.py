# SPDX-License-Identifier: Apache-2.0
"""The two ends of a TCP connection of ours, by real sockets."""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque

import pytest

from fluvio_sync._net.peer import Peer
from fluvio_sync._net.transport import READ, WRITE, SocketTransport, Stage
from fluvio_sync._settings.endpoint import Endpoint
from tests.support.waiting import wait_until


@pytest.mark.parametrize("given_up", [False, True])
def test_what_the_system_holds_goes_out_unless_the_connection_is_given_up(*, given_up: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer = Peer("SC", Endpoint(*listener.getsockname()), {}, "test")
        transport = SocketTransport(peer, deadline=math.inf, now=0.0, notify=lambda: None)

        def connected() -> bool:
            transport.advance(READ | WRITE, 0.0)
            return transport.stage is Stage.VERSIONS

        wait_until(connected, "the connection")
        with listener.accept()[0] as server:
            taken = 0
            while size := transport.send(deque([memoryview(bytes(65536))])):
                taken += size
            if given_up:
                transport.abort()
            else:
                transport.close()
            assert transport.stage is Stage.CLOSED
            arrived = 0
            with contextlib.suppress(ConnectionResetError):
                while data := server.recv(65536):
                    arrived += len(data)
    assert taken > 100_000
    assert (arrived < taken / 2) if given_up else (arrived == taken)
    transport.abort()  # once more
