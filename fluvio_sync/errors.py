# SPDX-License-Identifier: Apache-2.0
"""Every exception of the package.

Pure: no socket, thread, clock or log.  All errors derive from `FluvioError`, compare by identity, hash, and pickle
(their state is their constructor's arguments).  Timeouts also derive from `TimeoutError` and
`concurrent.futures.TimeoutError`, which are two classes before Python 3.11.
"""

from __future__ import annotations

import concurrent.futures
import sys
from typing import Any

from fluvio_sync._base.text import LONGEST_LINE, printable

if sys.version_info >= (3, 11):  # where the two are one class

    class _OutOfTimeError(TimeoutError):
        pass

else:

    class _OutOfTimeError(concurrent.futures.TimeoutError, TimeoutError):
        pass


# Raised by `result(timeout)`: the plain class, of both kinds where there are two.
PlainTimeoutError: type[Exception] = TimeoutError if sys.version_info >= (3, 11) else _OutOfTimeError


def _rebuild(cls: type[FluvioError], message: str, fields: dict[str, Any]) -> FluvioError:
    return cls(message, **fields)


class FluvioError(Exception):
    """The base of every error of this package.

    `str(error)` is a whole sentence for a person, in one line that is safe for a terminal and a log whatever a server
    wrote: control characters are escaped as `repr` does, and a very long text is cut.  Attributes are for programs, and
    hold names as they are.

    * `hint`: the remedy alone, such as "upgrade the older side"; "" where the text says all there is to say.
    """

    hint: str = ""

    def __init__(self, message: str, *, hint: str = "", **fields: Any) -> None:
        super().__init__(printable(message, LONGEST_LINE))
        if hint:
            fields["hint"] = printable(hint, LONGEST_LINE)
        self._fields = fields
        for name, value in fields.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self._fields)


class ConfigError(FluvioError, ValueError):
    """Raised for a setting, an argument, a profile or an installation that cannot work; nothing was changed."""


class ClosedError(FluvioError):
    """Raised when the client or producer was closed, before the call or during it."""


class ConnectError(FluvioError, ConnectionError):
    """Raised when an SC or SPU has no usable connection: refused, unreachable, unresolvable, or broken.

    * `address`: the dialled address, `"host:port"`.
    """

    address: str

    def __init__(self, message: str, *, address: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint, address=address)


class ConnectTimeoutError(ConnectError, _OutOfTimeError):
    """Raised when the peer did not complete the connection within `connect_timeout`."""


class RequestTimeoutError(FluvioError, _OutOfTimeError):
    """Raised when a connected peer did not answer a request in time."""


class UnsupportedVersionError(FluvioError):
    """Raised when client and server share no version of a request.

    * `api`: the request's name.
    * `ours`: (lowest, highest) version of the client.
    * `theirs`: (lowest, highest) version of the server; None if it does not know the request.
    * `platform`: the platform version that the server reported.
    """

    hint = "upgrade the older side"
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
                f"the server (platform {printable(platform) or 'unknown'}) {offer}; {self.hint}"
            )
        super().__init__(message, api=api, ours=ours, theirs=theirs, platform=platform)


class ProtocolError(FluvioError):
    """Raised for bytes that are not Fluvio's protocol: garbage, a truncated or oversized frame, an unknown tag."""


class TopicNotFoundError(FluvioError, LookupError):
    """Raised when the cluster has no topic of that name.

    * `topic`: the name.
    """

    topic: str

    def __init__(self, message: str, *, topic: str, hint: str = "") -> None:
        super().__init__(message, hint=hint, topic=topic)


class PartitionNotFoundError(FluvioError, LookupError):
    """Raised when the topic has no partition of that number.

    * `topic`: its name.
    * `partition`: the number.
    """

    topic: str
    partition: int

    def __init__(self, message: str, *, topic: str, partition: int, hint: str = "") -> None:
        super().__init__(message, hint=hint, topic=topic, partition=partition)


class MetadataTimeoutError(FluvioError, _OutOfTimeError):
    """Raised when the SC could not be asked about a topic within `metadata_timeout`."""


class RecordTooLargeError(FluvioError, ValueError):
    """Raised for a record that does not fit in `max_request_size`.

    * `size`: bytes of a batch that holds this record alone, uncompressed.
    * `limit`: `max_request_size`, in bytes.
    """

    size: int
    limit: int

    def __init__(self, message: str, *, size: int, limit: int, hint: str = "") -> None:
        super().__init__(message, hint=hint, size=size, limit=limit)


class BufferFullError(FluvioError, _OutOfTimeError):
    """Raised when unresolved records fill `buffer_memory`, and `max_block` passed (or `on_full="raise"`)."""


class FlushTimeoutError(FluvioError, _OutOfTimeError):
    """Raised when `flush()` ran out of time.

    * `outstanding`: the number of records still unresolved.
    """

    outstanding: int

    def __init__(self, message: str, *, outstanding: int, hint: str = "") -> None:
        super().__init__(message, hint=hint, outstanding=outstanding)


class ForkedError(FluvioError):
    """Raised for a future of a fork's parent process; only the parent sends the record and learns its outcome."""


class ServerError(FluvioError):
    """Raised when the SC rejected an administrative call.

    * `code`: Fluvio's error code.
    * `name`: the code's name, such as `"TopicAlreadyExists"`.
    """

    code: int
    name: str

    def __init__(self, message: str, *, code: int, name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint, code=code, name=name)


class DeliveryError(FluvioError):
    """Raised by a future whose record was not acknowledged.  The failure behind it is the error's `__cause__`.

    * `topic`, `partition`: the record's destination.
    * `attempts`: the number of attempts to send it.
    * `elapsed`: seconds since its batch was ready to be sent.
    * `retriable`: whether sending it again may succeed.
    * `may_be_stored`: False only if each attempt was rejected by the server, or no byte of it was written, or a look
      into the log, at least one second after it failed, did not find the record.
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
    """Raised when the policy's `timeout` passed, or the next delay would have passed it."""


class RetriesExhaustedError(DeliveryError):
    """Raised when all attempts that the policy allows have failed."""


class RejectedError(DeliveryError):
    """Raised when the server rejected the record, and would again.

    * `code`: Fluvio's error code.
    * `name`: the code's name.
    """

    code: int
    name: str

    def __init__(self, message: str, *, code: int, name: str = "", **fields: Any) -> None:
        super().__init__(message, code=code, name=name, **fields)


class CommitTimeoutError(DeliveryError, _OutOfTimeError):
    """Raised when the leader stored a read-committed record, but the deadline passed before its replication.

    * `offset`: the record's offset in the leader's log; None where SmartModules or deduplication may drop records,
      which leaves it unknown.
    """

    offset: int | None

    def __init__(self, message: str, *, offset: int | None, **fields: Any) -> None:
        super().__init__(message, offset=offset, **fields)
