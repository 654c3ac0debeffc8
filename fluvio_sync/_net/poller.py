# SPDX-License-Identifier: Apache-2.0
"""Waiting for the sockets: one set of connections that two threads may wait for, though only one at a time works.

The background thread sleeps on an epoll that holds the selector of the connections, itself an epoll.  A thread of the
application that does the sender's work while it waits *borrows* the connections: their selector is muted in the other,
so that an answer wakes the thread that wants it and no other.  That costs two system calls of half a microsecond;
having the background thread wake and hand over costs 40 us and more.  Where there is no epoll, nobody borrows.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
from typing import TYPE_CHECKING

from fluvio_sync._net.connection import READ, is_of_application

if TYPE_CHECKING:
    from fluvio_sync._net.connection import Connection


_EPOLL = getattr(selectors, "EpollSelector", ())


class Poller:
    """See the module's description.  `wake` and `ring` may be called by any thread, the rest with the turn held."""

    def __init__(self) -> None:
        self._waker = _Bell()
        self._bell = _Bell()
        self._make()
        self._borrowed = False
        self._sleep: select.epoll | None = None
        if isinstance(self._connections, _EPOLL):
            self._sleep = select.epoll()
            self._sleep.register(self._bell.reader, select.EPOLLIN)
            self._sleep.register(self._connections.fileno(), select.EPOLLIN)

    def _make(self) -> None:
        connections = selectors.DefaultSelector()
        connections.register(self._waker.reader, READ)
        self._known: dict[Connection, tuple[int, int]] = {}  # descriptor and events
        self._connections = connections

    # The connections.

    def update(self, connection: Connection) -> None:
        """Take note of what a connection waits for; to be called whenever that may have changed."""
        now = (connection.fileno(), connection.events())
        before = self._known.get(connection)
        if now == before:
            return
        if before is not None and before[0] != now[0]:
            self.forget(connection)
            before = None
        if now[0] < 0:
            return
        if before is None:
            self._connections.register(now[0], now[1], connection)
        else:
            self._connections.modify(now[0], now[1], connection)
        self._known[connection] = now

    def forget(self, connection: Connection) -> None:
        """A connection is about to be closed: its descriptor will be another's."""
        before = self._known.pop(connection, None)
        if before is not None:
            self._connections.unregister(before[0])

    def wait(self, timeout: float) -> list[tuple[Connection, int]]:
        """Wait at most `timeout` seconds; return the connections that can go on, and for what."""
        ready = []
        for key, events in self._connections.select(timeout):
            if key.data is None:
                self._waker.silence()
            else:
                ready.append((key.data, events))
        return ready

    def reset(self) -> None:
        """Forget all connections: they are closed, and an exception may have left this half done."""
        old = self._connections
        self._make()
        old.close()  # and so it is out of the other epoll
        if self._sleep is not None and isinstance(self._connections, _EPOLL):
            events = 0 if self._borrowed else select.EPOLLIN
            with contextlib.suppress(FileExistsError):
                self._sleep.register(self._connections.fileno(), events)
            self._sleep.modify(self._connections.fileno(), events)

    def close(self) -> None:
        """Close what is this object's own."""
        self._connections.close()
        if self._sleep is not None:
            self._sleep.close()
        self._waker.close()
        self._bell.close()

    # Two threads.

    @property
    def can_be_borrowed(self) -> bool:
        """Whether another thread than the background thread can wait for the connections."""
        return self._sleep is not None

    def borrow(self) -> None:
        """From here on the connections do not wake the background thread."""
        self._borrowed = True
        self._mute(0)

    def give_back(self) -> None:
        """From here on they do again."""
        if self._borrowed:
            self._mute(select.EPOLLIN)
            self._borrowed = False

    def _mute(self, events: int) -> None:
        if self._sleep is not None and isinstance(self._connections, _EPOLL):
            with contextlib.suppress(FileNotFoundError):  # an exception came into `reset`, which will be done again
                self._sleep.modify(self._connections.fileno(), events)

    def sleep(self, timeout: float) -> bool:
        """The background thread: wait at most `timeout` seconds for connections that are not borrowed, or a ring.

        Returns whether it is connections that can go on.
        """
        assert self._sleep is not None
        ready = False
        for descriptor, _ in self._sleep.poll(timeout):
            if descriptor == self._bell.reader.fileno():
                self._bell.silence()
            else:
                ready = True
        return ready

    def wake(self) -> None:
        """Have `wait` return, wherever it is called."""
        self._waker.ring()

    def ring(self) -> None:
        """Have `sleep` return though the connections may be borrowed."""
        self._bell.ring()


class _Bell:
    """A pair of sockets, of which one becomes readable when somebody rings."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def ring(self) -> None:
        try:
            self._writer.send(b"\0")
        except OSError as error:
            if is_of_application(error):
                raise
            # Full: it is heard anyway; closed: nobody is there.

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.reader.recv(4096)

    def close(self) -> None:
        self.reader.close()
        self._writer.close()
