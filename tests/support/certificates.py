# SPDX-License-Identifier: Apache-2.0
"""Certificates for clusters and clients, as files, made anew for each run of the tests."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import trustme

from fluvio_sync import TlsConfig

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = "cluster.test"
LONG_AGO = datetime(2001, 1, 1, tzinfo=timezone.utc)

KINDS = ("plain", "tls", "mutual")
"""Of clusters: plain TCP, TLS, and TLS that demands a certificate of the client."""


class Identity(NamedTuple):
    """The paths of a certificate and its key."""

    cert: str
    key: str


class Certificates(NamedTuple):
    """The paths of authorities, and of the certificates that they signed.

    `server` and `expired` are for `cluster.test` and `*.cluster.test`, which is one level deep; `stranger`: a client
    that `other_ca` signed.
    """

    ca: str
    other_ca: str
    server: Identity
    expired: Identity
    client: Identity
    stranger: Identity

    def of_cluster(self, kind: str) -> dict[str, Any]:
        """Return the settings of a `LocalCluster` of a kind."""
        if kind == "plain":
            return {}
        settings = {"tls_cert": self.server.cert, "tls_key": self.server.key}
        return settings if kind == "tls" else settings | {"tls_client_ca": self.ca}

    def of_client(self, kind: str) -> TlsConfig:
        """Return how a client reaches such a cluster."""
        if kind == "plain":
            return TlsConfig.disabled()
        return self.verified() if kind == "tls" else self.verified(**self.client._asdict())

    def verified(self, **changed: Any) -> TlsConfig:
        """Return the TlsConfig that accepts `server`."""
        return TlsConfig.verified(**({"domain": DOMAIN, "ca_cert": self.ca} | changed))


def make_certificates(folder: Path) -> Certificates:
    """Write them into a folder."""
    ca, other_ca = trustme.CA(), trustme.CA()

    def authority(name: str, made: trustme.CA) -> str:
        path = str(folder / f"{name}.crt")
        made.cert_pem.write_to_path(path)
        return path

    def identity(name: str, made: trustme.LeafCert) -> Identity:
        paths = Identity(str(folder / f"{name}.crt"), str(folder / f"{name}.key"))
        made.private_key_pem.write_to_path(paths.key)
        for certificate in made.cert_chain_pems:
            certificate.write_to_path(paths.cert, append=True)
        return paths

    names = (DOMAIN, f"*.{DOMAIN}")
    return Certificates(
        ca=authority("ca", ca),
        other_ca=authority("other-ca", other_ca),
        server=identity("server", ca.issue_cert(*names)),
        expired=identity("expired", ca.issue_cert(*names, not_after=LONG_AGO)),
        client=identity("client", ca.issue_cert("client@cluster.test")),
        stranger=identity("stranger", other_ca.issue_cert("stranger@cluster.test")),
    )
