# SPDX-License-Identifier: Apache-2.0
"""Servers that misbehave, on raw sockets, in the role of an SC or SPU.

Every connection is served by a thread of its own; `close()` ends them all and raises what went wrong in them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.frames import FrameReader, encode_response, split_request
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import PartitionResult, ProduceRequest, ProduceResponse, TopicResult
from fluvio_sync.protocol.versions import (
    API_VERSIONS,
    API_VERSIONS_VERSION,
    ApiVersionKey,
    ApiVersionsResponse,
    ScApi,
    SpuApi,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from fluvio_sync.protocol.frames import RequestHeader
    from fluvio_sync.protocol.primitives import Reader

SC_KEYS = tuple(ApiVersionKey(key, 12, 19) for key in (ScApi.CREATE, ScApi.DELETE, ScApi.LIST, ScApi.WATCH))
SPU_KEYS = (ApiVersionKey(SpuApi.PRODUCE, 0, 25), ApiVersionKey(SpuApi.FETCH_OFFSETS, 25, 25))


class Message(Protocol):
    def write(self, w: Writer, version: int) -> None: ...


class Gone(Exception):  # noqa: N818 - not an error
    """The client closed the connection: the end of every conversation."""


class Talk:
    """The server's side of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._frames = FrameReader()
        self._arrived: list[bytes] = []

    def request(self) -> tuple[RequestHeader, Reader]:
        """Return the next request."""
        while not self._arrived:
            self._arrived += self._frames.feed(self.receive())
        return split_request(self._arrived.pop(0))

    def receive(self) -> bytes:
        """Return some bytes."""
        try:
            data = self.sock.recv(65536)
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        return data

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone from None

    def reply(self, header: RequestHeader, message: Message) -> None:
        self.send(reply_to(header, message))

    def shake_hands(self, keys: tuple[ApiVersionKey, ...]) -> None:
        """Answer the question for API versions."""
        header, _ = self.request()
        assert header.api_key == API_VERSIONS
        self.reply(header, ApiVersionsResponse(ErrorCode.NONE, keys, "0.18.1"))

    def produce_request(self) -> tuple[RequestHeader, ProduceRequest]:
        """Return the next request, which has to be a produce request."""
        header, reader = self.request()
        assert header.api_key == SpuApi.PRODUCE
        return header, ProduceRequest.read(reader, header.api_version)

    def wait_for_end(self) -> None:
        """Read until the client closes the connection."""
        while True:
            self.receive()


def reply_to(header: RequestHeader, message: Message) -> bytes:
    """Return the frame of an answer."""
    writer = Writer()
    version = API_VERSIONS_VERSION if header.api_key == API_VERSIONS else header.api_version
    message.write(writer, version)
    return encode_response(header.correlation_id, writer.getvalue())


def acknowledgement(request: ProduceRequest, base_offset: int = 0) -> ProduceResponse:
    """Return the answer of an SPU that stored everything."""
    return ProduceResponse(
        tuple(
            TopicResult(
                topic.name,
                tuple(PartitionResult(entry.partition, ErrorCode.NONE, base_offset) for entry in topic.partitions),
            )
            for topic in request.topics
        )
    )


class Server:
    """Listens on loopback and hands every connection to `behave`, in a thread.

    `connections`: how many were accepted so far.
    """

    def __init__(self, behave: Callable[[Talk], object]) -> None:
        self.behave = behave
        self.connections = 0
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = "127.0.0.1:{1}".format(*self._listener.getsockname())
        self._start(self._accept)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._socks.append(sock)
            self._start(lambda sock=sock: self._serve(sock))  # type: ignore[misc]

    def _serve(self, sock: socket.socket) -> None:
        try:
            self.behave(Talk(sock))
        except Gone:
            pass
        except BaseException as error:  # noqa: BLE001 - raised in close()
            self._errors.append(error)
        finally:
            sock.close()

    def close(self) -> None:
        """End all conversations."""
        shut(self._listener)
        self._threads[0].join(5)
        for sock in self._socks:
            shut(sock)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def shut(sock: socket.socket) -> None:
    """Close a socket, and wake the thread that waits on it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def pass_on(target: str, talk: Talk) -> None:
    """Pass bytes on between a client and the server at `target`; those from the server in a thread."""
    host, _, port = target.rpartition(":")
    try:
        server = socket.create_connection((host, int(port)))
    except OSError:
        return
    thread = threading.Thread(target=copy, args=(server, talk.sock), daemon=True)
    thread.start()
    try:
        while True:
            server.sendall(talk.receive())
    except OSError:
        pass
    finally:
        shut(server)
        thread.join(5)


def copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    shut(sink)
