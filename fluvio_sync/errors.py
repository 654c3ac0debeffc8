# SPDX-License-Identifier: Apache-2.0
"""Every exception of the package.

Pure: no socket, thread, clock or log.  All errors derive from `FluvioError`, compare by identity, hash, and
pickle (their state is their constructor's arguments).  Those that mean "out of time" are also `TimeoutError` and
`concurrent.futures.TimeoutError`, which are two classes before Python 3.11.
"""

from __future__ import annotations

import concurrent.futures
import sys
from typing import Any

if sys.version_info >= (3, 11):  # where the two are one class

    class _OutOfTimeError(TimeoutError):
        pass

else:

    class _OutOfTimeError(concurrent.futures.TimeoutError, TimeoutError):
        pass


# What `result(timeout)` raises: the plain class, of both kinds where there are two.
PlainTimeoutError: type[Exception] = TimeoutError if sys.version_info >= (3, 11) else _OutOfTimeError


def _rebuild(cls: type[FluvioError], message: str, fields: dict[str, Any]) -> FluvioError:
    return cls(message, **fields)


class FluvioError(Exception):
    """The base of every error of this package.

    `str(error)` is a whole sentence for a person; what a program needs is in attributes.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self._fields = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self._fields)


class ConfigError(FluvioError, ValueError):
    """A setting, an argument, a profile or an installation that cannot work; nothing was changed."""


class ClosedError(FluvioError):
    """The client or producer was closed, before or while the call was under way."""


class ConnectError(FluvioError, ConnectionError):
    """No usable connection to an SC or SPU: refused, unreachable, unresolvable, or lost before it was ready.

    `address`: what was dialled, `"host:port"`.
    """

    address: str

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message, address=address)


class ConnectTimeoutError(ConnectError, _OutOfTimeError):
    """The peer did not complete the connection within `connect_timeout`."""


class RequestTimeoutError(FluvioError, _OutOfTimeError):
    """A connected peer did not answer a request in time."""


class UnsupportedVersionError(FluvioError):
    """Client and server share no version of a request.

    `api`: its name; `ours`, `theirs`: (lowest, highest), `theirs` is None where the server does not know the
    request at all; `platform`: the platform version that the server reported.
    """

    api: str
    ours: tuple[int, int]
    theirs: tuple[int, int] | None
    platform: str

    def __init__(
        self,
        message: str = "",
        *,
        api: str,
        ours: tuple[int, int],
        theirs: tuple[int, int] | None,
        platform: str,
    ) -> None:
        if not message:
            offer = "does not know it" if theirs is None else f"offers versions {theirs[0]} to {theirs[1]}"
            message = (
                f"no common version of the request {api}: this client speaks versions {ours[0]} to {ours[1]}, "
                f"the server (platform {platform or 'unknown'}) {offer}; upgrade the older side"
            )
        super().__init__(message, api=api, ours=ours, theirs=theirs, platform=platform)


class ProtocolError(FluvioError):
    """Bytes that are not Fluvio's protocol: garbage, a truncated or oversized frame, an unknown tag."""


class TopicNotFoundError(FluvioError, LookupError):
    """The cluster has no topic of that name.  `topic`: the name."""

    topic: str

    def __init__(self, message: str, *, topic: str) -> None:
        super().__init__(message, topic=topic)


class PartitionNotFoundError(FluvioError, LookupError):
    """The topic has no partition of that number.  `topic`, `partition`."""

    topic: str
    partition: int

    def __init__(self, message: str, *, topic: str, partition: int) -> None:
        super().__init__(message, topic=topic, partition=partition)


class MetadataTimeoutError(FluvioError, _OutOfTimeError):
    """The SC could not be asked about a topic within `metadata_timeout`."""


class RecordTooLargeError(FluvioError, ValueError):
    """A record does not fit in `max_request_size`.

    `size`: what a batch of this record alone takes, in bytes, uncompressed; `limit`: `max_request_size`.
    """

    size: int
    limit: int

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message, size=size, limit=limit)


class BufferFullError(FluvioError, _OutOfTimeError):
    """`buffer_memory` is taken up by unresolved records, and `max_block` passed (or `on_full="raise"`)."""


class FlushTimeoutError(FluvioError, _OutOfTimeError):
    """`flush()` or `close()` ran out of time.  `outstanding`: records still unresolved."""

    outstanding: int

    def __init__(self, message: str, *, outstanding: int) -> None:
        super().__init__(message, outstanding=outstanding)


class ForkedError(FluvioError):
    """The future belongs to the parent process of a fork; only the parent sends it and learns its outcome."""


class ServerError(FluvioError):
    """The SC refused an administrative call.

    `code`: Fluvio's error code; `name`: its name, e.g. `"TopicAlreadyExists"`.
    """

    code: int
    name: str

    def __init__(self, message: str, *, code: int, name: str = "") -> None:
        super().__init__(message, code=code, name=name)


class DeliveryError(FluvioError):
    """A record accepted by `send()` was not acknowledged.

    `topic`, `partition`; `attempts`: how often it was tried; `elapsed`: seconds since its batch was ready to be
    sent; `retriable`: whether sending it again may succeed; `may_be_stored`: False only if no byte of any attempt
    was written, or the server refused every one.  The reason is the error's `__cause__`.
    """

    topic: str
    partition: int
    attempts: int
    elapsed: float
    retriable: bool
    may_be_stored: bool

    def __init__(
        self,
        message: str,
        *,
        topic: str,
        partition: int,
        attempts: int = 0,
        elapsed: float = 0.0,
        retriable: bool = False,
        may_be_stored: bool = False,
        **fields: Any,
    ) -> None:
        super().__init__(
            message,
            topic=topic,
            partition=partition,
            attempts=attempts,
            elapsed=elapsed,
            retriable=retriable,
            may_be_stored=may_be_stored,
            **fields,
        )


class DeliveryTimeoutError(DeliveryError, _OutOfTimeError):
    """The policy's `timeout` passed (or the next delay would have passed it)."""


class RetriesExhaustedError(DeliveryError):
    """The last of the policy's attempts failed."""


class RejectedError(DeliveryError):
    """The server refused the record, and would again.  `code`: Fluvio's error code; `name`: its name."""

    code: int
    name: str

    def __init__(self, message: str, *, code: int, name: str = "", **fields: Any) -> None:
        super().__init__(message, code=code, name=name, **fields)


class CommitTimeoutError(DeliveryError, _OutOfTimeError):
    """Read-committed: the leader stored the record, but its replication was not confirmed by the deadline.

    `offset`: where the record is in the leader's log; None where SmartModules or deduplication may drop records, which
    leaves it unknown.
    """

    offset: int | None

    def __init__(self, message: str, *, offset: int | None, **fields: Any) -> None:
        super().__init__(message, offset=offset, **fields)
