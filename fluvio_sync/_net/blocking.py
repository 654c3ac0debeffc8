# SPDX-License-Identifier: Apache-2.0
"""One connection in the caller's thread, under one deadline, interruptible by Ctrl-C."""

from __future__ import annotations

import math
import selectors
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.threads import LONGEST_SLEEP
from fluvio_sync._net.connection import Connection
from fluvio_sync._net.poller import register
from fluvio_sync._net.transport import SocketTransport, Stage
from fluvio_sync.errors import RequestTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._base.clock import Clock
    from fluvio_sync._net.peer import Peer
    from fluvio_sync._net.transport import Polls
    from fluvio_sync.protocol.primitives import Reader


def connect(peer: Peer, timeout: float, clock: Clock) -> Connection:
    """Connect within `timeout` seconds; raises `ConnectError`, `ConnectTimeoutError`, `ProtocolError`."""
    connection = Connection(peer, SocketTransport, timeout=timeout, now=clock.monotonic(), notify=lambda: None)
    try:
        drive(connection, lambda: connection.stage is Stage.READY, math.inf, clock)
    except BaseException:
        connection.close()
        raise
    return connection


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
        polled: Polls = ()
        while True:
            now = clock.monotonic()
            connection.advance(0, now)
            if until():
                return True
            if now >= deadline:
                return False
            wait = min(max(0.0, min(deadline, connection.next_timer()) - now), LONGEST_SLEEP)
            polls = connection.polls()
            if not polls:
                connection.transport.wait_resolved(wait)
                continue
            register(selector, polled, polls, None)
            polled = polls
            for _, events in selector.select(wait):
                connection.advance(events, clock.monotonic())
