# SPDX-License-Identifier: Apache-2.0
"""The clusters that tests run against.

`where` is a cluster for tests that leave it as they found it: a development cluster in a process of its own, or a
real one.  Each test that uses it gets the mark `cluster`.  `own` and `pair` are for tests that break their cluster:
each gets a fresh one, with one SPU and with two SPUs (Stream Processing Units).

The environment chooses.  A development cluster: FLUVIO_SYNC_TEST_TLS (`plain`, `tls` or `mutual`; default: plain),
FLUVIO_SYNC_TEST_SPUS (how many; 2), FLUVIO_SYNC_TEST_SPU_VERSION (the highest that they speak; 25).  A real one:
FLUVIO_SYNC_TEST_ENDPOINT, and for TLS the domain and the paths FLUVIO_SYNC_TEST_TLS_DOMAIN, _TLS_CA_CERT, _TLS_CERT
and _TLS_KEY, of which the last two are for clusters that demand a certificate.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio, TlsConfig
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.certificates import KINDS, Certificates, make_certificates
from tests.support.cluster import Where

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "FLUVIO_SYNC_TEST_"
ENDPOINT = os.environ.get(f"{VARIABLE}ENDPOINT")
KIND = os.environ.get(f"{VARIABLE}TLS", "plain")
SPUS = int(os.environ.get(f"{VARIABLE}SPUS", "2"))
SPU_VERSION = int(os.environ.get(f"{VARIABLE}SPU_VERSION", "25"))
assert KIND in KINDS, f"{VARIABLE}TLS is one of {KINDS}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "where" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def session_cluster(certificates: Certificates) -> Iterator[LocalCluster | None]:
    """A development cluster for the whole run; None if the tests run against another one."""
    if ENDPOINT:
        yield None
        return
    with LocalCluster(SPUS, spu_version=SPU_VERSION, **certificates.of_cluster(KIND)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_where(session_cluster: LocalCluster | None, certificates: Certificates) -> Iterator[Where]:
    if session_cluster is None:
        endpoint, tls = ENDPOINT or "", given_tls()
    else:
        endpoint, tls = session_cluster.endpoint, certificates.of_client(KIND)
    with Fluvio.connect(endpoint, tls=tls, client_id="tests-admin") as admin:
        where = Where(endpoint, admin, tls)
        yield where
        # Not after each test: a real SC that has just deleted a busy topic may never answer the next creation.
        where.delete_topics()


def given_tls() -> TlsConfig:
    """Return the TLS of the real cluster."""
    names = ("domain", "ca_cert", "cert", "key")
    settings = {name: value for name in names if (value := os.environ.get(f"{VARIABLE}TLS_{name.upper()}"))}
    return TlsConfig.verified(**settings) if settings else TlsConfig.disabled()


@pytest.fixture
def where(
    session_where: Where, session_cluster: LocalCluster | None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Where]:
    """A cluster to be left as it was found."""
    for variable, value in session_where.environment.items():
        monkeypatch.setenv(variable, value)
    known = [] if session_cluster is None else session_cluster.violations()
    yield session_where
    if session_cluster is not None:
        assert session_cluster.violations() == known, "the client broke the protocol"


@pytest.fixture
def client(where: Where) -> Iterator[Fluvio]:
    """A client of `where`."""
    with where.connect() as fluvio:
        yield fluvio


@pytest.fixture
def own() -> Iterator[LocalCluster]:
    """A cluster with one SPU, 5001, for the test to break."""
    with LocalCluster(in_process=True) as cluster:
        yield cluster
        assert cluster.violations() == [], "the client broke the protocol"


@pytest.fixture
def pair() -> Iterator[LocalCluster]:
    """A cluster with two SPUs, 5001 and 5002, for the test to break."""
    with LocalCluster(spus=2, in_process=True) as cluster:
        yield cluster
        assert cluster.violations() == [], "the client broke the protocol"
