# SPDX-License-Identifier: Apache-2.0
"""One connection of the library's own to an SC or SPU, driven in the test's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._net import blocking
from fluvio_sync._net.peer import Peer
from fluvio_sync._settings.endpoint import parse_endpoint

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from typing_extensions import Self

    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.protocol.versions import ScApi, SpuApi

_CLOCK = SystemClock()


class Asked:
    """A connected node that answers requests; each has `timeout` seconds."""

    def __init__(
        self,
        endpoint: str,
        ranges: Mapping[int, tuple[int, int]],
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        peer = Peer("node", parse_endpoint(endpoint), ranges, "fluvio-sync-tests", tls=tls, server_name=server_name)
        self._timeout = timeout
        self._connection = blocking.connect(peer, timeout, _CLOCK)

    def version(self, api: ScApi | SpuApi) -> int:
        """Return the version of a request that is spoken here."""
        return self._connection.version(api)

    def ask(self, api: ScApi | SpuApi, message: Any) -> Reader:
        """Send a request and return the body of its response."""
        return self.receive(self.send(api, message))

    def send(self, api: ScApi | SpuApi, message: Any) -> int:
        """Send a request and return its correlation id."""
        return self._connection.request(api, message)

    def receive(self, correlation: int) -> Reader:
        """Return the body of the next response to a request; those to others are dropped."""
        inbox = self._connection.inbox

        def answered() -> bool:
            while inbox and inbox[0][0] != correlation:
                inbox.popleft()
            return bool(inbox)

        assert blocking.drive(self._connection, answered, _CLOCK.monotonic() + self._timeout, _CLOCK), "no response"
        return inbox.popleft()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
