# SPDX-License-Identifier: Apache-2.0
"""Connecting to one of a server's addresses, staggered as RFC 8305 ("Happy Eyeballs") describes.

The families take turns, and the address that worked last is the first.  The next address is tried when an attempt
fails, or 250 ms after the last attempt began; the first connection wins, and the other sockets are closed.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import selectors
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._net.tls import is_tls_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync._settings.endpoint import Endpoint

# Seconds between the beginnings of two attempts (RFC 8305, section 8: the recommended Connection Attempt Delay).
_STAGGER = 0.25
_MAX_REMEMBERED = 256
_SELECTABLE = 1024  # FD_SETSIZE of C libraries on POSIX; Windows limits the number of sockets instead
_MAX_SHOWN = 6

AddressInfo = tuple[Any, ...]
"""As `socket.getaddrinfo` returns it: family, type, protocol, name, address."""

_worked: dict[Endpoint, Any] = {}  # the address that worked last, the latest endpoint at the end


class _Attempt(NamedTuple):
    sock: socket.socket
    info: AddressInfo
    began: float


class Dialling:
    """Attempts to connect to a server.  Owns their sockets; an exception of a signal handler loses none."""

    def __init__(
        self,
        endpoint: Endpoint,
        addresses: Iterable[AddressInfo],
        *,
        deadline: float,
        prepare: Callable[[socket.socket], None],
    ) -> None:
        """`deadline`: monotonic seconds; `prepare`: sets the options of a new socket."""
        self._endpoint = endpoint
        self._waiting = deque(in_order(addresses, _worked.get(endpoint)))
        self._has_name = any(self._shown(info) for info in self._waiting)
        self._attempts: list[_Attempt] = []
        self._next_at = -math.inf
        self._failures: list[str] = []
        self._deadline = deadline
        self._prepare = prepare

    def has_failed(self) -> bool:
        """Whether no attempt is left."""
        return not self._attempts and not self._waiting

    def next_timer(self) -> float:
        """Return when the next address is tried, in monotonic seconds."""
        return self._next_at if self._waiting else math.inf

    def sockets(self) -> list[socket.socket]:
        """Return the sockets to poll: they get writable."""
        return [attempt.sock for attempt in self._attempts]

    def advance(self, now: float) -> socket.socket | None:
        """Begin the attempts that are due; return the socket of one that succeeded, which the caller then owns too."""
        for attempt in list(self._attempts):
            if self._is_connected(attempt, now):
                for other in self._attempts:
                    if other is not attempt:
                        other.sock.close()
                _remember(self._endpoint, attempt.info[4])
                return attempt.sock
        while self._waiting and (now >= self._next_at or not self._attempts):
            self._begin(now)
        return None

    def close(self) -> None:
        """Close the sockets."""
        for attempt in self._attempts:
            attempt.sock.close()

    def failures(self, now: float) -> str:
        """Say which addresses were tried, and why each failed."""
        silent = [
            f"{self._shown(attempt.info)}no answer within {now - attempt.began:.1f} s" for attempt in self._attempts
        ]
        texts = [*self._failures, *silent, *(f"{self._shown(info)}not tried" for info in self._waiting)]
        unique = list(dict.fromkeys(texts)) or ["its name has no address"]
        more = [f"{len(unique) - _MAX_SHOWN} more addresses"] if len(unique) > _MAX_SHOWN else []
        return "; ".join(unique[:_MAX_SHOWN] + more)

    def progress(self, now: float) -> str:
        """Say which addresses were tried, "" if the endpoint itself is the only one."""
        return self.failures(now) if self._has_name else ""

    def _begin(self, now: float) -> None:
        """Begin with the next address, on a new socket."""
        info = self._waiting.popleft()
        family, kind, protocol, _, address = info
        # A short connect_timeout is shared out, so that each address has its turn.
        self._next_at = now + min(_STAGGER, max(0.0, self._deadline - now) / (len(self._waiting) + 1))
        try:
            self._attempts.append(_Attempt(socket.socket(family, kind, protocol), info, now))
        except OSError as error:
            self._failed(info, error, now)
            return
        attempt = self._attempts[-1]
        try:
            refuse_unpollable(attempt.sock)
            attempt.sock.setblocking(False)
            self._prepare(attempt.sock)
            code = attempt.sock.connect_ex(address)
        except OSError as error:
            self._drop(attempt)
            self._failed(info, error, now)
            return
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._drop(attempt)
            self._failed(info, error_of(code), now)

    def _is_connected(self, attempt: _Attempt, now: float) -> bool:
        """Whether an attempt has succeeded; one that failed is removed."""
        code = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not code:
            try:
                peer = attempt.sock.getpeername()
            except OSError:
                return False  # still connecting
            if peer != attempt.sock.getsockname():
                return True
            code = errno.ECONNREFUSED  # the attempt to connect to a free port has met its own source port
        self._drop(attempt)
        self._failed(attempt.info, error_of(code), now)
        return False

    def _drop(self, attempt: _Attempt) -> None:
        attempt.sock.close()
        self._attempts.remove(attempt)

    def _failed(self, info: AddressInfo, error: OSError, now: float) -> None:
        if is_of_application(error):
            raise error
        self._failures.append(f"{self._shown(info)}{error.strerror or error}")
        self._next_at = now

    def _shown(self, info: AddressInfo) -> str:
        """Return an address for messages, "" if it is the endpoint's own text."""
        host = info[4][0]
        return "" if host == self._endpoint.host else f"{host}: "


def in_order(addresses: Iterable[AddressInfo], first: Any) -> list[AddressInfo]:
    """Return the addresses, each once, so that their families take turns; `first` is the address to begin with."""
    families: dict[Any, list[AddressInfo]] = {}
    for info in dict.fromkeys(addresses):
        families.setdefault(info[0], []).append(info)
    turns = itertools.zip_longest(*families.values())
    return sorted((info for turn in turns for info in turn if info is not None), key=lambda info: info[4] != first)


def _remember(endpoint: Endpoint, address: Any) -> None:
    # Several threads may do this at once; each call on the dict is atomic.
    _worked.pop(endpoint, None)
    _worked[endpoint] = address
    if len(_worked) > _MAX_REMEMBERED:
        for oldest in list(_worked)[:-_MAX_REMEMBERED]:
            _worked.pop(oldest, None)


def is_of_application(error: OSError) -> bool:
    """Whether a signal handler raised it, such as a `TimeoutError`: an error of the system has a number."""
    return error.errno is None and not is_tls_error(error)


def error_of(code: int) -> OSError:
    """Return the error for a socket's error number; `os.strerror` does not know those of Windows."""
    texts: dict[int, str] = getattr(socket, "errorTab", {})  # on Windows alone
    return OSError(code, texts.get(code) or os.strerror(code))


def refuse_unpollable(sock: socket.socket) -> None:
    """Raise `OSError` for a socket that cannot be polled where there is no poller but `select`."""
    descriptor = sock.fileno()
    if descriptor >= _SELECTABLE and not _has_poll() and os.name == "posix":
        message = f"the process has {_SELECTABLE} files open, and this Python has only select, which takes no more"
        raise OSError(errno.EMFILE, message)


def _has_poll() -> bool:
    poller: type[object] = selectors.DefaultSelector
    return poller is not selectors.SelectSelector
