# SPDX-License-Identifier: Apache-2.0
"""TLS of the development cluster's ports: the servers' context, and their ends of connections.

Runs in the one thread that drives the cluster; nothing in here waits.
"""

from __future__ import annotations

import contextlib
import selectors
import ssl
from typing import TYPE_CHECKING

from fluvio_sync._tls_config import present, trust
from fluvio_sync._tls_socket import ConnectedSocket
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

_LONGEST_RECORD = 16 * 1024


def server_context(cert: str | None, key: str | None, client_ca: str | None) -> ssl.SSLContext | None:
    """Return the context of the cluster's servers, None for plain TCP; ConfigError for what cannot be used.

    `cert`, `key`: files of the certificate chain and its key, which may be in one.  `client_ca`: a file of the
    authority whose certificates clients must show.
    """
    if cert is None:
        for name, file in (("tls_key", key), ("tls_client_ca", client_ca)):
            if file is not None:
                raise ConfigError(f"{name} without tls_cert: the servers' certificate is missing")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = ConnectedSocket
    context.options |= ssl.OP_NO_RENEGOTIATION  # with it, reading and writing never wait for each other
    # A client that sends no more and says so to TCP alone gets its replies all the same.  (Missing before OpenSSL 3.)
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    present(context, cert, key, names=("tls_cert", "tls_key"))
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trust(context, client_ca, name="tls_client_ca")
    return context


class TlsSocket:
    """The server's end of a connection, with those calls of a non-blocking socket that the server makes.

    A call that cannot go on yet raises BlockingIOError, and OSError says that the connection is of no use, also
    where the handshake failed: the first reads carry it out.  `reads_on`: the event at which reading goes on.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Take `sock` over."""
        self.reads_on = selectors.EVENT_READ
        self._open = False
        self._sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close it, without the TLS goodbye."""
        self._sock.close()

    def recv_into(self, buffer: bytearray) -> int:
        """Read what there is; 0 at the end.

        Whole records only: a rest that is decrypted already would show in no poll.
        """
        space = memoryview(buffer)
        count = more = self._read(space)
        with contextlib.suppress(OSError):  # the next call meets it again
            while more and len(space) - count >= _LONGEST_RECORD:
                more = self._read(space[count:])
                count += more
        return count

    def _read(self, space: memoryview) -> int:
        try:
            if not self._open:
                self._sock.do_handshake()
                self._open = True
            return self._sock.recv_into(space)
        except ssl.SSLWantReadError:
            self.reads_on = selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            self.reads_on = selectors.EVENT_WRITE
        raise BlockingIOError

    def sendmsg(self, buffers: Sequence[memoryview]) -> int:
        """Send some of the first buffer: what TLS did not take, it wants to be given again as it was."""
        try:
            return self._sock.send(buffers[0])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
