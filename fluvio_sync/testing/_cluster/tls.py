# SPDX-License-Identifier: Apache-2.0
"""The TLS context of the development cluster's servers.  It reads files, and is used in the server's thread."""

from __future__ import annotations

import ssl

from fluvio_sync.errors import ConfigError
from fluvio_sync.tls import present, source, trust

_REJECTIONS = frozenset(
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED", "UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER")
)
"""OpenSSL's reasons to reject clients that do speak TLS; other peers are cut off at once."""


class _AlertingObject(ssl.SSLObject):
    """TLS whose alert reaches a client that it rejects.

    asyncio drops the connection as soon as a handshake fails, and with it the alert that OpenSSL has just written.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Fail one call later than OpenSSL does: asyncio sends the bytes of a handshake that is to be continued."""
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            if error.reason not in _REJECTIONS:
                raise
            self._failure = error
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the alert is to be sent") from error


def server_context(cert: str | None, key: str | None, client_ca: str | None) -> ssl.SSLContext | None:
    """Return the context of the cluster's servers, None for plain TCP; ConfigError for files that cannot be used.

    `cert`, `key`: files of the certificate chain and its key, which may be in one file.
    `client_ca`: a file of the authority whose certificates clients must show.
    """
    if cert is None:
        for name, file in (("tls_key", key), ("tls_client_ca", client_ca)):
            if file is not None:
                raise ConfigError(f"{name} without tls_cert: the servers' certificate is missing")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = _AlertingObject
    context.options |= ssl.OP_NO_RENEGOTIATION
    # A client may end its half of the connection in TCP alone.  (Missing before OpenSSL 3.)
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    chain, its_key = source("tls_cert", cert), None if key is None else source("tls_key", key)
    present(context, chain, its_key, names=("tls_cert", "tls_key"))
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        trust(context, source("tls_client_ca", client_ca), name="tls_client_ca")
    return context
