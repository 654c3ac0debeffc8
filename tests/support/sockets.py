# SPDX-License-Identifier: Apache-2.0
"""Plain sockets, as the tests of all sides use them."""

from __future__ import annotations

import errno
import random
import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from fluvio_sync.protocol.frames import FrameReader

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 10.0


_LOWEST_PORT, _HIGHEST_PORT = 10_000, 32_000


def free_port(following: int = 0) -> int:
    """Return a port that is free, as are the `following` ones after it.

    It is none that the kernel gives to outgoing connections (32768 and up on Linux), of which thousands stay for a
    minute after their end: a server could not take it then, though nobody answers there.
    """
    while True:
        first = random.SystemRandom().randint(_LOWEST_PORT, _HIGHEST_PORT)
        try:
            with ExitStack() as listeners:
                for port in range(first, first + following + 1):
                    listeners.enter_context(socket.create_server(("127.0.0.1", port)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return first


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
