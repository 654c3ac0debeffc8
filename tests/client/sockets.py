# SPDX-License-Identifier: Apache-2.0
"""Plain sockets, as the tests of all sides use them."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fluvio_sync.protocol.frames import FrameReader

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 10.0


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def swallowing() -> Iterator[tuple[str, int]]:
    """Give an address where packets are dropped: the queue of a listener that never accepts is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()
        for filler in fillers:
            filler.close()


def connect(endpoint: str) -> socket.socket:
    """Return a connection to "host:port"."""
    host, _, port = endpoint.rpartition(":")
    sock = socket.create_connection((host, int(port)), TIMEOUT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def receive(sock: socket.socket, count: int) -> list[bytes]:
    """Return `count` frames, or fewer if the connection ends before."""
    frames: list[bytes] = []
    reader = FrameReader()
    while len(frames) < count:
        data = sock.recv(1 << 20)
        if not data:
            break
        frames += reader.feed(data)
    return frames
