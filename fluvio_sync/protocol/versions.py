# SPDX-License-Identifier: Apache-2.0
"""API keys, the ApiVersions handshake, and the choice of a version.

Pure.  Keys 1001 to 1006 mean different things on an SC and on an SPU, so every table here comes
twice.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from fluvio_sync.errors import UnsupportedVersionError
from fluvio_sync.protocol.error_code import ERROR_CODE
from fluvio_sync.protocol.layout import I16, STRING, vec
from fluvio_sync.protocol.message import Message, nested, wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluvio_sync.protocol.error_code import ErrorCode

API_VERSIONS = 18
"""The key of ApiVersions, on an SC and on an SPU; neither lists it."""

API_VERSIONS_VERSION = 2
"""The version of ApiVersions that is sent; older ones lack the client's version, and an SC then closes the connection.
"""


class ScApi(enum.IntEnum):
    """The keys of an SC."""

    CREATE = 1001
    DELETE = 1002
    LIST = 1003
    WATCH = 1004
    MIRRORING = 1005
    UPDATE = 1006


class SpuApi(enum.IntEnum):
    """The keys of an SPU.  The three of consumer offsets are served, but never listed."""

    PRODUCE = 0
    FETCH = 1
    FETCH_OFFSETS = 1002
    STREAM_FETCH = 1003
    UPDATE_OFFSETS = 1005
    UPDATE_CONSUMER_OFFSET = 1006
    DELETE_CONSUMER_OFFSET = 1007
    FETCH_CONSUMER_OFFSETS = 1008


SC_CLIENT_RANGES: Mapping[int, tuple[int, int]] = {
    ScApi.CREATE: (12, 19),
    ScApi.DELETE: (12, 19),
    ScApi.LIST: (12, 19),
    ScApi.WATCH: (12, 19),
    ScApi.UPDATE: (12, 19),
}
"""The versions (lowest, highest) of an SC's requests that this package speaks, by key."""

SPU_CLIENT_RANGES: Mapping[int, tuple[int, int]] = {
    SpuApi.PRODUCE: (8, 25),
    SpuApi.FETCH: (11, 25),
    SpuApi.FETCH_OFFSETS: (22, 25),
    SpuApi.STREAM_FETCH: (22, 25),
    SpuApi.UPDATE_OFFSETS: (0, 0),
    SpuApi.UPDATE_CONSUMER_OFFSET: (24, 25),
    SpuApi.DELETE_CONSUMER_OFFSET: (24, 25),
    SpuApi.FETCH_CONSUMER_OFFSETS: (24, 25),
}
"""The versions (lowest, highest) of an SPU's requests that this package speaks, by key."""


MAX_KEYS = 1024
"""The most requests that a server may offer; Fluvio's offer some twenty."""


class ApiVersionsRequest(Message):
    """The first message on every connection.

    `client_version` has to be a semantic version (an SC closes the connection otherwise).
    """

    client_version: str = wire(STRING, default="", since=1)
    client_os: str = wire(STRING, default="", since=1)
    client_arch: str = wire(STRING, default="", since=1)


class ApiVersionKey(Message):
    """The versions that a server offers of one request."""

    api_key: int = wire(I16)
    min_version: int = wire(I16)
    max_version: int = wire(I16)


class ApiVersionsResponse(Message):
    """The versions that a server offers, by request.

    `platform_version`: the SC's is the platform's, an SPU's is `"0.0.0"`.
    """

    error_code: ErrorCode = wire(ERROR_CODE)
    api_keys: tuple[ApiVersionKey, ...] = wire(vec(nested(ApiVersionKey), MAX_KEYS))
    platform_version: str = wire(STRING)

    def offered(self, api_key: int) -> tuple[int, int] | None:
        """Return the lowest and highest version of a request, or None if it is not listed."""
        for key in self.api_keys:
            if key.api_key == api_key:
                return key.min_version, key.max_version
        return None

    def is_of_spu(self) -> bool:
        """Return whether an SPU answered, as far as can be told."""
        return self.offered(SpuApi.PRODUCE) is not None and self.offered(ScApi.WATCH) is None

    def is_of_sc(self) -> bool:
        """Return whether an SC answered, as far as can be told."""
        return self.offered(ScApi.WATCH) is not None and self.offered(SpuApi.PRODUCE) is None


def negotiate(api_name: str, api_key: int, ours: tuple[int, int], server: ApiVersionsResponse) -> int:
    """Return the version to use of a request: the lower of the two highest, if the ranges overlap.

    UnsupportedVersionError if they do not, or if the server does not list the request.
    """
    theirs = server.offered(api_key)
    if theirs is None or theirs[1] < ours[0] or theirs[0] > ours[1]:
        raise UnsupportedVersionError(api=api_name, ours=ours, theirs=theirs, platform=server.platform_version)
    return min(ours[1], theirs[1])
