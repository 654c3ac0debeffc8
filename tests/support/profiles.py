# SPDX-License-Identifier: Apache-2.0
"""Profile files, as Fluvio's own tools write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync import TlsConfig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Identity


def write_profile(folder: Path, endpoint: str, tls: TlsConfig, identity: Identity) -> Path:
    """Write a profile file with one cluster.

    `identity`: of a client without one; the official parser demands it also for clusters that do not.
    """
    path = folder / "config"
    path.write_text(
        f"""
version = "2.0"
current_profile = "tests"

[profile.tests]
cluster = "tests"

[cluster.tests]
endpoint = "{endpoint}"

[cluster.tests.tls]
{_tls(tls, identity)}"""
    )
    return path


def _tls(tls: TlsConfig, identity: Identity) -> str:
    if tls == TlsConfig.disabled():
        return 'tls_policy = "disabled"\n'
    return f"""tls_policy = "verified"
tls_source = "files"

[cluster.tests.tls.certs]
domain = "{tls.domain}"
ca_cert = "{tls.ca_cert}"
cert = "{tls.cert or identity.cert}"
key = "{tls.key or identity.key}"
"""
