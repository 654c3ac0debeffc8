# SPDX-License-Identifier: Apache-2.0
"""The databases, the cluster and the fake of the Django tests; `tests.support.django_kit` sets Django up."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from fluvio_sync.testing import LocalCluster
from tests.support.django_kit import close_connections, empty, postgres_programs, running_postgres, use_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.testing import FakeFluvio

ENGINES = {"default": "sqlite", "postgres": "postgres"}


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The database "default" of the project: a file."""
    path = tmp_path_factory.mktemp("django") / "project.sqlite"
    yield from _migrated("default", "DJANGO_PROJECT_SQLITE", "NAME", str(path))


@pytest.fixture(scope="session")
def postgres() -> Iterator[None]:
    """The database "postgres" of the project: a server of its own."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgres(programs) as folder:
        yield from _migrated("postgres", "DJANGO_PROJECT_POSTGRES", "HOST", folder)


def _migrated(alias: str, variable: str, option: str, value: str) -> Iterator[None]:
    os.environ[variable] = value
    use_database(alias, **{option: value})
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
    yield
    close_connections()
    del os.environ[variable]


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each of the project's databases: its alias.  It is empty again afterwards."""
    yield from _emptied(request, request.param)


@pytest.fixture
def default_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The project's SQLite database."""
    yield from _emptied(request, "default")


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The project's PostgreSQL database."""
    yield from _emptied(request, "postgres")


def _emptied(request: pytest.FixtureRequest, alias: str) -> Iterator[str]:
    request.getfixturevalue(ENGINES[alias])
    yield alias
    empty(alias)
    close_connections()


@pytest.fixture
def django_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A cluster that the environment names, in a process of its own."""
    with LocalCluster() as cluster:
        monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", cluster.endpoint)
        yield cluster
        assert cluster.violations() == [], "the client broke the protocol"


@pytest.fixture
def fluvio() -> Iterator[FakeFluvio]:
    """The fake that takes the place of the Django client of "default"."""
    from fluvio_sync.contrib.django.testing import fake_fluvio

    with fake_fluvio() as fake:
        yield fake


@pytest.fixture
def forgotten_clients() -> Iterator[None]:
    """Closes the clients of Django afterwards, and sets the counters of `send_on_commit` back."""
    from fluvio_sync.contrib.django import _clients, _on_commit

    yield
    _clients.forget()
    _on_commit._failures.reset()
