# SPDX-License-Identifier: Apache-2.0
"""The clusters that tests run against.

`where` is a cluster for tests that leave it as they found it: a development cluster in a process of its own, or the
one that FLUVIO_SYNC_TEST_ENDPOINT names.  Whoever asks for it is marked `cluster`.  `own` and `pair` are for tests
that break their cluster: each gets a fresh one, with one and two SPUs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from kit import Where

from fluvio_sync import Fluvio
from fluvio_sync.testing.cluster import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "FLUVIO_SYNC_TEST_ENDPOINT"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "where" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[LocalCluster | None]:
    """A development cluster for the whole run; None if the tests run against another one."""
    if os.environ.get(VARIABLE):
        yield None
        return
    with LocalCluster(spus=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_where(session_cluster: LocalCluster | None) -> Iterator[Where]:
    endpoint = os.environ[VARIABLE] if session_cluster is None else session_cluster.endpoint
    with Fluvio.connect(endpoint, client_id="tests-admin") as admin:
        where = Where(endpoint, admin)
        yield where
        # Not after each test: a real SC that has just deleted a busy topic may never answer the next creation.
        where.delete_topics()


@pytest.fixture
def where(session_where: Where, session_cluster: LocalCluster | None) -> Iterator[Where]:
    """A cluster to be left as it was found."""
    known = [] if session_cluster is None else session_cluster.violations()
    yield session_where
    if session_cluster is not None:
        assert session_cluster.violations() == known, "the client broke the protocol"


@pytest.fixture
def client(where: Where) -> Iterator[Fluvio]:
    """A client of `where`."""
    with Fluvio.connect(where.endpoint) as fluvio:
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
