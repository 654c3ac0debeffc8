# SPDX-License-Identifier: Apache-2.0
"""How much of a TCP stream has arrived, by real sockets."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest

from fluvio_sync._net.liveness import unacknowledged
from tests.support.system import needs_fcntl
from tests.support.waiting import wait_until


@needs_fcntl
@pytest.mark.skipif(sys.platform not in {"linux", "darwin"}, reason="the system does not tell")
def test_bytes_that_the_peer_does_not_read_are_under_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(listener.getsockname()) as sock, listener.accept()[0] as peer:
            assert unacknowledged(sock) == 0
            sock.setblocking(False)
            taken = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    taken += sock.send(bytes(65536))
            under_way = unacknowledged(sock)
            assert 0 < under_way < taken  # the rest is in the peer's system
            while taken > 0:
                taken -= len(peer.recv(65536))
            wait_until(lambda: unacknowledged(sock) == 0, "the acknowledgement of all bytes")
    assert unacknowledged(sock) == 0  # closed
