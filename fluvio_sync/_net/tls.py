# SPDX-License-Identifier: Apache-2.0
"""What failed between TLS's first byte and the first of Fluvio's, in words that say what to do."""

from __future__ import annotations

import ssl

CLIENT_CERTIFICATE = "(TlsConfig.verified(cert=..., key=...))"
# What a server tells of the certificate that the client showed, in OpenSSL's words.
_REFUSALS = (
    "ACCESS_DENIED",
    "BAD_CERTIFICATE",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_UNKNOWN",
    "DECRYPT_ERROR",
    "UNKNOWN_CA",
    "UNSUPPORTED_CERTIFICATE",
)
# OpenSSL's codes for a chain that does not lead to an authority that is trusted.
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)


def describe(error: OSError) -> str:
    """Return what went wrong."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        if error.verify_code in _UNKNOWN_AUTHORITY:
            reason = f"the authority that is trusted did not sign it ({reason})"
        return f"its TLS certificate is not accepted: {reason}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return "it closed the connection in the TLS handshake; it may not speak TLS"
    alert = alert_of(error)
    if not alert:
        return f"the TLS handshake failed: {error}; it may not speak TLS"
    words = alert.lower().replace("_", " ")
    if alert == "CERTIFICATE_REQUIRED":
        return f"the server demands a certificate of the client, and none was given {CLIENT_CERTIFICATE}"
    if alert in _REFUSALS:
        return f"the server refuses the client's certificate {CLIENT_CERTIFICATE}: {words}"
    # With TLS 1.2, a handshake failure is also what a missing certificate is answered with.
    hint = f"; it may demand a certificate of the client {CLIENT_CERTIFICATE}" if alert == "HANDSHAKE_FAILURE" else ""
    return f"the server ended the TLS handshake: {words}{hint}"


def alert_of(error: OSError) -> str:
    """Return what a server said in TLS before it closed, in OpenSSL's words; empty if it said nothing."""
    return (getattr(error, "reason", None) or "").partition("_ALERT_")[2]
