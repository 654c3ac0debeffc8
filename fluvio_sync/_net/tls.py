# SPDX-License-Identifier: Apache-2.0
"""Explains failures between the first byte of TLS and the first of Fluvio's protocol: the reason, and a hint.

`ssl` takes long to import, and most clients need it not: functions import it that are called with its errors alone.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from fluvio_sync._base.text import printable

CLIENT_CERTIFICATE = "(TlsConfig.verified(cert=..., key=...))"
# The alerts, in OpenSSL's words, by which a server rejects the client's certificate.
_REJECTIONS = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)
# OpenSSL's codes (X509_V_ERR_..., x509_vfy.h) for a chain that does not lead to an authority that is trusted.
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_NOT_YET_VALID, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64

NO_TLS = "use the cluster's TLS port, or leave TLS out"
_NAME = "domain has to be a name in the certificate; an SPU's is <name of the SPU>.<domain>"
_HINTS = {
    _EXPIRED: "renew the certificate, or set this machine's clock",
    _NOT_YET_VALID: "set this machine's clock",
    _OTHER_NAME: _NAME,
    _OTHER_ADDRESS: _NAME,
}
_OTHER_AUTHORITY = "ca_cert has to be the authority that signed the server's certificate"
NO_CERTIFICATE = "set cert and key, or --enable-client-cert, --client-cert and --client-key"
_OTHER_CERTIFICATE = "the client's certificate has to be valid, and signed by an authority that the cluster trusts"


class TlsFailure(NamedTuple):
    """The `reason` of a failure, for the text of an error, and the `hint` that the error carries."""

    reason: str
    hint: str = ""


def explain(error: OSError) -> TlsFailure:
    """Return the reason and the hint for an error of a TLS handshake, or of the first read after it."""
    import ssl  # noqa: PLC0415 - see the module's description

    if isinstance(error, ssl.SSLCertVerificationError):
        reason = printable(error.verify_message).rstrip(".")
        if error.verify_code in _UNKNOWN_AUTHORITY:
            reason = f"the authority that is trusted did not sign it ({reason})"
        hint = _HINTS.get(error.verify_code, _OTHER_AUTHORITY)
        return TlsFailure(f"its TLS certificate is not accepted: {reason}", hint)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return TlsFailure("it closed the connection in the TLS handshake; it may not speak TLS", NO_TLS)
    alert = alert_of(error)
    if not alert:
        return TlsFailure(f"the TLS handshake failed: {error}; it may not speak TLS", NO_TLS)
    return _explain_alert(alert)


def _explain_alert(alert: str) -> TlsFailure:
    text = alert.lower().replace("_", " ")
    if alert == "CERTIFICATE_REQUIRED":
        reason = f"the server demands a certificate of the client, and none was given {CLIENT_CERTIFICATE}"
        return TlsFailure(reason, NO_CERTIFICATE)
    if alert in _REJECTIONS:
        reason = f"the server rejects the client's certificate {CLIENT_CERTIFICATE}: {text}"
        return TlsFailure(reason, _OTHER_CERTIFICATE)
    ended = f"the server ended the TLS handshake: {text}"
    if alert == "HANDSHAKE_FAILURE":  # with TLS 1.2, servers also send it if the client shows no certificate
        return TlsFailure(f"{ended}; it may demand a certificate of the client {CLIENT_CERTIFICATE}", NO_CERTIFICATE)
    return TlsFailure(ended)


def is_tls_error(error: OSError) -> bool:
    """Whether it is an error of `ssl`, of which there is none before that is imported."""
    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(error, ssl.SSLError)


def alert_of(error: OSError) -> str:
    """Return the alert that a server sent before it closed, in OpenSSL's words; "" if it sent none."""
    return (getattr(error, "reason", None) or "").partition("_ALERT_")[2]


def check_name(name: str) -> None:
    """Raise ValueError for a server's name of which TLS can make none; `wrap_socket` would leave its socket open."""
    if not name or name.startswith(".") or "\0" in name:
        raise ValueError("it is empty, begins with a dot, or has a character of number 0")
    name.encode("idna")  # as the ssl module does; a UnicodeError is a ValueError
