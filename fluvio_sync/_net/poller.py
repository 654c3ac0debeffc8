# SPDX-License-Identifier: Apache-2.0
"""Polling the sockets: two threads may wait for the connections, and one at a time reads and writes them.

The background thread sleeps on an epoll that holds the selector of the connections, itself an epoll.  A thread of the
application that leads (see `sender_thread`) *borrows* the connections: their selector is muted in the other epoll, so
that an answer wakes only the thread that wants it.  That costs two system calls of half a microsecond; being woken by
the background thread costs 40 us and more.  Where there is no epoll, no thread borrows.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
from typing import TYPE_CHECKING, Final, Protocol

from fluvio_sync._base.compiling import mypyc_attr
from fluvio_sync._net.dialling import is_of_application, refuse_unpollable
from fluvio_sync._net.transport import READ

if TYPE_CHECKING:
    from fluvio_sync._net.connection import Connection
    from fluvio_sync._net.transport import Polls


_EPOLL: Final = getattr(selectors, "EpollSelector", ())


class Polling(Protocol):
    """The part of a poller that the sender uses; a simulation puts another one in its place."""

    def update(self, connection: Connection) -> None:
        """Poll for the events that a connection wants.  Called whenever these may have changed."""
        ...

    def forget(self, connection: Connection) -> None:
        """Stop polling a connection, which is about to be closed."""
        ...

    def wait(self, timeout: float) -> list[tuple[Connection, int]]:
        """Wait at most `timeout` seconds; return the connections that can go on, with their events."""
        ...

    def wake(self) -> None:
        """Have `wait` return, wherever it is called."""
        ...

    def wake_background(self) -> None:
        """Have the background thread look for work."""
        ...

    def reset(self) -> None:
        """Forget all connections: they are closed."""
        ...

    def close(self) -> None:
        """Close the poller itself."""
        ...


@mypyc_attr(allow_interpreted_subclasses=True)  # tests watch it
class Poller:
    """See the module's description.

    * `can_be_borrowed`: another thread than the background thread can wait for the connections.
    * `borrowed`: one does, or did a moment ago.
    * `led`: one does.

    Any thread may call `wake` and `wake_background`; the other methods are called with the step lock held.
    """

    def __init__(self) -> None:
        self.borrowed = False
        self.led = False
        self._sleep: select.epoll | None = None
        with contextlib.ExitStack() as made:  # the process may run out of descriptors in between
            self._wakeup = _Wakeup()  # of `wait`
            made.callback(self._wakeup.close)
            self._background_wakeup = _Wakeup()  # of `sleep`
            made.callback(self._background_wakeup.close)
            self._make()
            made.callback(self._connections.close)
            if isinstance(self._connections, _EPOLL):
                self._sleep = select.epoll()
                made.callback(self._sleep.close)
                self._sleep.register(self._background_wakeup.reader, select.EPOLLIN)
                self._sleep.register(self._descriptor, select.EPOLLIN)
            made.pop_all()
        self.can_be_borrowed = self._sleep is not None

    def _make(self) -> None:
        connections = selectors.DefaultSelector()
        connections.register(self._wakeup.reader, READ)
        self._known: dict[Connection, Polls] = {}
        self._connections = connections
        self._descriptor = connections.fileno() if isinstance(connections, _EPOLL) else -1

    # The connections.

    def update(self, connection: Connection) -> None:
        """Poll for the events that a connection wants.  Called whenever these may have changed."""
        now = connection.polls()
        before = self._known.get(connection, ())
        if now != before:
            register(self._connections, before, now, connection)
            self._known[connection] = now

    def forget(self, connection: Connection) -> None:
        """Stop polling a connection, which is about to be closed: another may get its descriptor."""
        register(self._connections, self._known.pop(connection, ()), (), connection)

    def wait(self, timeout: float) -> list[tuple[Connection, int]]:
        """Wait at most `timeout` seconds; return the connections that can go on, with their events."""
        ready = []
        for key, events in self._connections.select(timeout):
            if key.data is None:
                self._wakeup.clear()
            else:
                ready.append((key.data, events))
        return ready

    def reset(self) -> None:
        """Forget all connections: they are closed, and an exception may have left this object half changed."""
        old = self._connections
        self._make()
        old.close()  # which also removes it from the other epoll
        if self._sleep is not None and isinstance(self._connections, _EPOLL):
            events = 0 if self.borrowed else select.EPOLLIN
            with contextlib.suppress(FileExistsError):
                self._sleep.register(self._descriptor, events)
            self._sleep.modify(self._descriptor, events)

    def close(self) -> None:
        """Close the selectors and wake-up sockets."""
        sleep = () if self._sleep is None else (self._sleep,)
        for part in (self._connections, *sleep, self._wakeup, self._background_wakeup):
            # The child of a fork has no copy of a kqueue, and CPython before 3.12.1 closes it there all the same
            # (github.com/python/cpython, issue 110395).
            with contextlib.suppress(OSError):
                part.close()

    # Two threads.

    def borrow(self) -> None:
        """Have the connections no longer wake the background thread."""
        if not self.borrowed:
            self.borrowed = True
            if self._sleep is not None:
                self._listen(0)

    def give_back(self) -> None:
        """Have the connections wake the background thread again.  Called by the thread that has the step lock."""
        self.led = False  # an exception may have kept a leader from saying so
        if self.borrowed:
            if self._sleep is not None:
                self._listen(select.EPOLLIN)
            self.borrowed = False

    def _listen(self, events: int) -> None:
        assert self._sleep is not None
        try:  # noqa: SIM105 - it would take three more calls for every record that is sent alone
            self._sleep.modify(self._descriptor, events)
        except FileNotFoundError:
            pass  # an exception interrupted `reset`, which will be called again

    def sleep(self, timeout: float) -> bool:
        """Wait in the background thread for connections that are not borrowed, or a wake-up, at most `timeout` seconds.

        Returns whether connections can go on.
        """
        assert self._sleep is not None
        ready = False
        for descriptor, _ in self._sleep.poll(timeout):
            if descriptor == self._background_wakeup.reader.fileno():
                self._background_wakeup.clear()
            else:
                ready = True
        return ready

    def pause(self, timeout: float) -> bool:
        """Wait in the background thread as `sleep`, and leave what there is to it; return whether there is anything."""
        assert self._sleep is not None
        return bool(self._sleep.poll(timeout))

    def wake(self) -> None:
        """Have `wait` return, wherever it is called, or else have it called."""
        self._wakeup.notify()
        if self.borrowed and not self.led:
            self._background_wakeup.notify()

    def wake_background(self) -> None:
        """Have `sleep` return though the connections may be borrowed."""
        self._background_wakeup.notify()


def register(selector: selectors.BaseSelector, before: Polls, now: Polls, data: object) -> None:
    """Have a selector poll these sockets, instead of those before.

    Sockets that are closed meanwhile are found by their identity: another may have got the descriptor.
    """
    kept = dict(before)
    wanted = dict(now)
    for sock in kept:
        if sock not in wanted:
            selector.unregister(sock)
    for sock, events in wanted.items():
        if sock not in kept:
            selector.register(sock, events, data)
        elif kept[sock] != events:
            selector.modify(sock, events, data)


class _Wakeup:
    """A pair of sockets; `notify` makes `reader` readable."""

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        try:
            refuse_unpollable(self.reader)
        except OSError:
            self.close()
            raise
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def notify(self) -> None:
        try:
            self._writer.send(b"\0")
        except OSError as error:
            if is_of_application(error):
                raise
            # If the buffer is full, the reader wakes anyway; if the pair is closed, there is no reader.

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self.reader.recv(4096)

    def close(self) -> None:
        self.reader.close()
        self._writer.close()
