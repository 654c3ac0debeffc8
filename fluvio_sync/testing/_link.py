# SPDX-License-Identifier: Apache-2.0
"""A plain blocking connection to a node of a Fluvio cluster, for reading back and for tests.

One thread uses a link at a time.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from fluvio_sync.errors import ConnectError, RequestTimeoutError
from fluvio_sync.protocol.frames import (
    FrameReader,
    RequestHeader,
    encode_request,
    split_response,
)
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    ApiVersionsRequest,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
    negotiate,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from typing_extensions import Self

    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.testing._cluster.session import Message

_CLIENT_ID = "fluvio-sync-testing"
_CLIENT = ApiVersionsRequest("0.50.2", "linux", "x86_64")
_RECEIVE = 1024 * 1024


class Link:
    """A blocking connection with a deadline for everything that happens on it.

    `tls`: a context of clients, None for plain TCP; `server_name`: what it verifies.
    """

    def __init__(
        self,
        endpoint: str,
        deadline: float,
        ranges: Mapping[int, tuple[int, int]],
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._deadline = deadline
        self._ranges = ranges
        self._frames = FrameReader()
        self._arrived: list[bytes] = []
        self._buffer = bytearray(_RECEIVE)
        try:
            self._sock = self._connect(tls, server_name)
        except OSError as error:
            raise ConnectError(f"cannot connect to {endpoint}: {error}", address=endpoint) from error

    def _connect(self, tls: ssl.SSLContext | None, server_name: str | None) -> socket.socket:
        host, _, port = self._endpoint.rpartition(":")
        sock = socket.create_connection((host.strip("[]"), int(port)), self._left())
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock if tls is None else tls.wrap_socket(sock, server_hostname=server_name)
        except BaseException:
            sock.close()
            raise

    def shake_hands(self) -> None:
        self._send(API_VERSIONS, API_VERSIONS_VERSION, 0, _CLIENT)
        self._offer = ApiVersionsResponse.read(self.receive(0), API_VERSIONS_VERSION)

    def version(self, api: ScApi | SpuApi) -> int:
        """Return the version in which this request is spoken here."""
        return negotiate(api.name, api, self._ranges[api], self._offer)

    def send(self, api: ScApi | SpuApi, correlation_id: int, message: Message) -> None:
        """Send a request."""
        self._send(api, self.version(api), correlation_id, message)

    def _send(self, key: int, version: int, correlation_id: int, message: Message) -> None:
        writer = Writer()
        message.write(writer, version)
        header = RequestHeader(key, version, correlation_id, _CLIENT_ID)
        self._sock.settimeout(self._left())
        try:
            self._sock.sendall(encode_request(header, writer.getvalue()))
        except TimeoutError:
            raise self._late() from None
        except OSError as error:
            raise self._lost(str(error)) from error

    def receive(self, correlation_id: int) -> Reader:
        """Return the next response to a request; those to others are dropped."""
        while True:
            while self._arrived:
                answered, reader = split_response(self._arrived.pop(0))
                if answered == correlation_id:
                    return reader
            self._sock.settimeout(self._left())
            try:
                count = self._sock.recv_into(self._buffer)
            except TimeoutError:
                raise self._late() from None
            except OSError as error:
                raise self._lost(str(error)) from error
            if not count:
                raise self._lost("it was closed")
            self._arrived += self._frames.feed(memoryview(self._buffer)[:count])

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> RequestTimeoutError:
        return RequestTimeoutError(f"reading from {self._endpoint} took too long")

    def _lost(self, reason: str) -> ConnectError:
        return ConnectError(f"the connection to {self._endpoint} was lost: {reason}", address=self._endpoint)

    def __enter__(self) -> Self:
        try:
            self.shake_hands()
        except BaseException:
            self._sock.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()
