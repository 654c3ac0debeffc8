# SPDX-License-Identifier: Apache-2.0
"""The socket class of this library's own TLS contexts; a module of its own, because it imports `ssl`."""

from __future__ import annotations

import ssl
from typing import Any


class ConnectedSocket(ssl.SSLSocket):
    """A TLS socket around a connected one; if the peer has disconnected since, the handshake fails, not the wrapping.

    Before Python 3.13 `wrap_socket` asks for the peer's address, fails if there is none any more, and leaves the socket
    open.
    """

    def getpeername(self) -> Any:
        """Return the peer's address; an empty one if it has disconnected."""
        try:
            return super().getpeername()
        except OSError:
            return "", 0
