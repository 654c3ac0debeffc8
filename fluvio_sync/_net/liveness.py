# SPDX-License-Identifier: Apache-2.0
"""The signs of life of a TCP connection: options that make the system notice its end, and how much has arrived."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys

try:
    import fcntl
    import termios
except ImportError:  # Windows, which does not tell either
    fcntl = termios = None  # type: ignore[assignment]

# Servers never close an idle connection, and a watch on the SC may be silent for days.  After these seconds of silence
# the system asks the peer, so often and in this interval, until it gives the connection up.
_IDLE, _INTERVAL, _PROBES = 10, 5, 3
_SO_NWRITE = 0x1024  # macOS's, which the socket module does not name
_LEAST_PATIENCE = 1.0
_LONGEST_PATIENCE = 24 * 3600.0
_OPTIONS = (("TCP_KEEPIDLE", _IDLE), ("TCP_KEEPALIVE", _IDLE), ("TCP_KEEPINTVL", _INTERVAL), ("TCP_KEEPCNT", _PROBES))


def set_options(sock: socket.socket, patience: float) -> None:
    """Set the options of a new socket; `patience`: seconds after which bytes that are not acknowledged break it."""
    # Small requests must not wait for the acknowledgement of the one before (Nagle).
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    patience = min(max(patience, _LEAST_PATIENCE), _LONGEST_PATIENCE)
    # TCP_KEEPIDLE is called TCP_KEEPALIVE on macOS.  TCP_USER_TIMEOUT (RFC 5482) is Linux's.
    for option, value in (*_OPTIONS, ("TCP_USER_TIMEOUT", int(patience * 1000))):
        if hasattr(socket, option):
            # A connection without the option is better than none: kernels in sandboxes know few options.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    if sys.platform == "win32":
        with contextlib.suppress(OSError):  # older versions know this alone, in milliseconds
            sock.ioctl(socket.SIO_KEEPALIVE_VALS, (1, _IDLE * 1000, _INTERVAL * 1000))


def unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes the system holds that the peer's has not acknowledged; 0 where it does not tell.

    Systems take megabytes at once: on a slow connection they arrive long after they were taken.
    """
    with contextlib.suppress(OSError, ValueError):  # it is closed, or a sandbox knows no such call
        if sys.platform == "darwin":
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
        if sys.platform == "linux" and fcntl is not None and termios is not None:
            # SIOCOUTQ of tcp(7), which is TIOCOUTQ.
            return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
    return 0
