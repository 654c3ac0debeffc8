# SPDX-License-Identifier: Apache-2.0
"""The server at the other end of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.text import shown
from fluvio_sync.errors import ConnectError
from fluvio_sync.protocol.frames import MAX_METADATA

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from fluvio_sync._net.tls_files import TlsFiles
    from fluvio_sync._settings.endpoint import Endpoint


class Peer(NamedTuple):
    """The server to connect to, and how.

    * `name`: for messages, `"SC"` or `"SPU 5001"`.
    * `ranges`: the versions of each API that this client speaks, lowest and highest.
    * `server_name`: the name that its certificate has to carry.
    * `authority`: for messages, the authority that its certificate is checked by, empty if it is not checked.
    * `origin`: for messages, where the address came from.
    * `remedy`: for messages, advice for an address that does not work.
    * `patience`: seconds after which the system gives a connection up whose bytes are not acknowledged.
    * `max_frame`: bytes of its longest answer.
    """

    name: str
    endpoint: Endpoint
    ranges: Mapping[int, tuple[int, int]]
    client_id: str
    tls: ssl.SSLContext | TlsFiles | None = None
    server_name: str | None = None
    authority: str = ""
    origin: str = ""
    remedy: str = ""
    patience: float = 30.0
    max_frame: int = MAX_METADATA

    def __str__(self) -> str:
        return f"{self.name} at {self.endpoint}" + (f" ({self.origin})" if self.origin else "")

    @property
    def check(self) -> str:
        """How its certificate is checked, for messages."""
        if not self.authority:
            return "the server's certificate is not checked"
        name = f"be for {shown(self.server_name, 255)} and " if self.tls is not None and self.tls.check_hostname else ""
        return f"the server's certificate must {name}be signed by {self.authority}"

    def unreachable(self, why: str, hint: str = "") -> ConnectError:
        """Return the error of a server that cannot be connected to."""
        return ConnectError(f"cannot connect to the {self}: {why}", address=str(self.endpoint), hint=hint)
