# SPDX-License-Identifier: Apache-2.0
"""What to do about an error that keeps a client from its cluster.

Pure.  By the kind of the error and by what TLS and the system say, which have no kinds.
"""

from __future__ import annotations

from fluvio_sync.errors import (
    ConfigError,
    DeliveryError,
    FluvioError,
    MetadataTimeoutError,
    ProtocolError,
    TopicNotFoundError,
    UnsupportedVersionError,
)

SC_UNREACHABLE = "is a cluster running there? Check address, port and firewalls (fluvio-sync dev-cluster runs one here)"
SPU_UNREACHABLE = (
    "is it running, and does the address work from here? If not (containers, NAT), set spu_address_override or "
    "$FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE={spu}=host:port{local}"
)

_BY_KIND: tuple[tuple[type[FluvioError], str], ...] = (
    (UnsupportedVersionError, "upgrade the older side"),
    (ProtocolError, "this is no Fluvio SC or SPU, or one that speaks TLS: check the port and the TLS settings"),
    (ConfigError, "correct that, or name the cluster: endpoint, --cluster or $FLUVIO_SYNC_ENDPOINT"),
    (MetadataTimeoutError, "look at the SC's log"),
    (DeliveryError, "look at the steps above, and at the log of the partition's leader"),
)

_BY_TEXT = (
    ("demands a certificate of the client", "cert and key, or --enable-client-cert and what goes with it"),
    ("refuses the client's certificate", "it has to be valid, and signed by an authority that the cluster trusts"),
    ("hostname mismatch", "domain has to be a name in the certificate; an SPU's is <name of the SPU>.<domain>"),
    ("certificate has expired", "renew the certificate, or set this machine's clock"),
    ("certificate is not yet valid", "set this machine's clock"),
    ("its tls certificate is not accepted", "ca_cert has to be the authority that signed the server's certificate"),
    ("it may not speak tls", "use the cluster's TLS port, or leave TLS out"),
    (
        "it accepts connections",
        "something listens there and does not answer: is it the right port, and what does its log say?",
    ),
    ("it may want tls", "set tls, or --tls and what goes with it, if the cluster wants TLS; else check the port"),
)


def advice_for(error: FluvioError) -> str:
    """Return what to do, empty if the address is all that can be wrong."""
    if isinstance(error, TopicNotFoundError):
        return f"create it: fluvio-sync topics create {error.topic}"
    text = str(error).lower()
    for sign, advice in _BY_TEXT:
        if sign in text:
            return advice
    for kind, advice in _BY_KIND:
        if isinstance(error, kind):
            return advice
    return ""
