# SPDX-License-Identifier: Apache-2.0
"""Frames: a 4-byte length, a header, a body; requests one way, responses the other.

Pure.  A `FrameReader` belongs to the one thread that reads its connection.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from fluvio_sync.errors import ProtocolError
from fluvio_sync.protocol.primitives import MAX_STRING, Reader

if TYPE_CHECKING:
    from fluvio_sync.protocol.primitives import Buffer

MAX_FRAME: Final = 128 * 1024 * 1024
"""The longest frame accepted at all, in bytes.  The protocol has no limits of its own."""
MAX_METADATA: Final = 16 * 1024 * 1024
"""The longest frame of an SC: half more than it pushes of 100,000 partitions, which take some 105 bytes each."""
MAX_ANSWER: Final = 1024 * 1024
"""The longest answer of an SPU to a request for records of some 20,000 partitions, which take 34 bytes each."""
MAX_VERSIONS: Final = 64 * 1024
"""The longest answer to the API-versions request, which has some 500 bytes."""

_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">iHhiH")
_RESPONSE: Final = struct.Struct(">ii")
_REQUEST_FIXED: Final = 10


class RequestHeader(NamedTuple):
    """The header before a request's body.

    * `api_version`: the version in force for the body and for its response.
    * `correlation_id`: the server repeats it in every response to the request.
    """

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str


def request_prefix(header: RequestHeader, body_length: int) -> bytes:
    """Return a request frame's length and header, for a body of `body_length` bytes to follow.

    ValueError for a number that its field cannot hold and for a client id over 32767 bytes.
    """
    client_id = _encode_client_id(header.client_id)
    length = _REQUEST_FIXED + len(client_id) + body_length
    try:
        return (
            _REQUEST.pack(length, header.api_key, header.api_version, header.correlation_id, len(client_id)) + client_id
        )
    except struct.error as error:
        raise ValueError(f"{header} with {body_length} bytes is no frame: {error}") from None


@lru_cache(maxsize=64)
def _encode_client_id(client_id: str) -> bytes:
    encoded = client_id.encode()
    if len(encoded) > MAX_STRING:
        raise ValueError(f"a client id takes at most {MAX_STRING} bytes, not {len(encoded)}")
    return encoded


def encode_request(header: RequestHeader, body: bytes) -> bytes:
    """Return the whole request frame, its length included."""
    return request_prefix(header, len(body)) + body


def encode_response(correlation_id: int, body: bytes) -> bytes:
    """Return the whole response frame, its length included."""
    try:
        return _RESPONSE.pack(4 + len(body), correlation_id) + body
    except struct.error as error:
        raise ValueError(f"correlation id {correlation_id} is no i32: {error}") from None


def split_request(payload: Buffer) -> tuple[RequestHeader, Reader]:
    """Return the header of a request frame (without its length) and a reader at its body."""
    reader = Reader(payload)
    header = RequestHeader(reader.u16(), reader.i16(), reader.i32(), reader.string())
    return header, reader


def split_response(payload: Buffer) -> tuple[int, Reader]:
    """Return the correlation id of a response frame (without its length), a reader at its body."""
    reader = Reader(payload)
    return reader.i32(), reader


class FrameReader:
    """Cuts a stream of bytes, which may arrive in any pieces, into frames.

    * `max_frame`: the longest frame, in bytes, without its length; may be set at any time.
    * `has_more`: `feed` may return more frames without more bytes.

    It holds only the received bytes of an incomplete frame, however long that frame claims to be.
    """

    __slots__ = ("_broken", "_held", "_needed", "has_more", "max_frame")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self.max_frame = max_frame
        self._held = bytearray()
        self._needed = _LENGTH.size
        self._broken = ""
        self.has_more = False

    def feed(self, data: Buffer, most: int = MAX_FRAME) -> list[bytes]:
        """Add received bytes; return the frames that they completed, without their lengths, `most` of them at most.

        ProtocolError if a length is negative or above the limit, at once and at every later call: the stream cannot be
        read any further.
        """
        if self._broken:
            raise ProtocolError(self._broken)
        held = self._held
        if not held:
            size = len(data)
            if size >= _LENGTH.size and _LENGTH.unpack_from(data)[0] == size - _LENGTH.size <= self.max_frame:
                self.has_more = False
                return [bytes(data[_LENGTH.size :])]  # nearly always: one frame, whole
            frames, used = self._cut(data, most)
            held += memoryview(data)[used:]
            return frames
        held += data
        if len(held) < self._needed:
            return []
        frames, used = self._cut(held, most)
        del held[:used]
        return frames

    def _cut(self, data: Buffer, most: int) -> tuple[list[bytes], int]:
        frames: list[bytes] = []
        start, size = 0, len(data)
        with memoryview(data) as view:
            while True:
                self._needed = _LENGTH.size
                self.has_more = len(frames) == most
                if size - start < _LENGTH.size or self.has_more:
                    return frames, start
                (length,) = _LENGTH.unpack_from(view, start)
                if not 0 <= length <= self.max_frame:
                    self._broken = f"a frame claims {length} bytes; the limit is {self.max_frame}"
                    raise ProtocolError(self._broken)
                end = start + _LENGTH.size + length
                if end > size:
                    self._needed = end - start
                    return frames, start
                frames.append(bytes(view[start + _LENGTH.size : end]))
                start = end
