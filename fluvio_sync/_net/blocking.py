# SPDX-License-Identifier: Apache-2.0
"""One connection in the caller's thread, under one deadline, interruptible by Ctrl-C."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Any

from fluvio_sync._net.connection import Connection
from fluvio_sync._net.tls import NO_TLS
from fluvio_sync._net.transport import SocketTransport, Stage
from fluvio_sync.errors import ConnectTimeoutError, RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._net.transport import Peer
    from fluvio_sync.protocol.primitives import Reader

# Seconds of one poll; pollers reject very long ones.
_LONGEST_POLL = 3600.0
_SILENT = "a server accepts connections there and does not answer: check the port and the server's log"


def connect(peer: Peer, timeout: float, clock: Clock) -> Connection:
    """Connect within `timeout` seconds; raises `ConnectError`, `ConnectTimeoutError`, `ProtocolError`."""
    connection = Connection(peer, SocketTransport, timeout=timeout, now=clock.monotonic(), notify=lambda: None)
    try:
        if not drive(connection, lambda: connection.stage is Stage.READY, connection.deadline, clock):
            raise connect_timed_out(connection, timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_timed_out(connection: Connection, timeout: float, then: str = "") -> ConnectTimeoutError:
    """Return the error of a peer that did not complete a connection in time, or the request after it: `then`."""
    address = str(connection.peer.endpoint)
    failure = f"cannot connect to the {connection.peer}"
    if connection.stage in (Stage.RESOLVING, Stage.CONNECTING):
        message = f"{failure}: still {connection.stage.value} after {timeout} s (connect_timeout)"
        return ConnectTimeoutError(message, address=address)
    missing = connection.stage.value if connection.stage is not Stage.READY else then
    return ConnectTimeoutError(
        f"{failure}: connected, but got no answer to {missing} within {timeout} s (connect_timeout)",
        address=address,
        hint=NO_TLS if connection.stage is Stage.HANDSHAKE else _SILENT,
    )


def call(
    connection: Connection, api: Any, message: Any, timeout: float, clock: Clock, is_done: Callable[[], bool]
) -> tuple[Reader, int] | None:
    """Send a request and return its reply and the version in force.

    `is_done()` is called once a second while there is none; if it returns True, the reply is None.
    """
    version = connection.version(api)
    deadline = clock.monotonic() + timeout
    correlation = connection.request(api, message)

    def answered() -> bool:
        while connection.inbox and connection.inbox[0][0] != correlation:
            connection.inbox.popleft()  # the reply to an earlier request, which timed out
        return bool(connection.inbox)

    while not drive(connection, answered, min(deadline, clock.monotonic() + 1.0), clock):
        if is_done():
            return None
        if clock.monotonic() >= deadline:
            raise RequestTimeoutError(
                f"the {connection.peer} did not answer the request {api.name} within {timeout} s; "
                "it may still be carried out"
            )
    return connection.inbox.popleft()[1], version


def drive(connection: Connection, until: Callable[[], bool], deadline: float, clock: Clock) -> bool:
    """Poll the connection until `until()` or the deadline (monotonic seconds); False if the deadline came first.

    Errors of the connection are not caught.
    """
    with selectors.DefaultSelector() as selector:
        registered = (-1, 0)
        while True:
            now = clock.monotonic()
            connection.advance(0, now)
            if until():
                return True
            if now >= deadline:
                return False
            wait = min(max(0.0, min(deadline, connection.next_timer()) - now), _LONGEST_POLL)
            wanted = (connection.fileno(), connection.events())
            if wanted[0] < 0:
                connection.transport.wait_resolved(wait)
                continue
            if registered != wanted:
                if registered[0] >= 0:
                    selector.unregister(registered[0])
                selector.register(*wanted)
                registered = wanted
            for _, events in selector.select(wait):
                connection.advance(events, clock.monotonic())
