# SPDX-License-Identifier: Apache-2.0
"""The socket class of this library's own TLS contexts; a module of its own, because it imports `ssl`."""

from __future__ import annotations

import ssl
from typing import Any


class ConnectedSocket(ssl.SSLSocket):
    """A socket that is wrapped once it is connected, and whose handshake fails if the peer has gone since.

    Before Python 3.13 `wrap_socket` asks for the peer's name, fails where there is none any more, and forgets to close.
    """

    def getpeername(self) -> Any:
        """Return the peer's address, an empty one if it has gone."""
        try:
            return super().getpeername()
        except OSError:
            return "", 0
