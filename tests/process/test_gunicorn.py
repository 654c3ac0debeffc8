# SPDX-License-Identifier: Apache-2.0
"""gunicorn for real: preloaded, forked, recycled, reloaded and stopped under load."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.testing import LocalCluster
from tests.support.webapps import DJANGO, FLASK, PLAIN, App, assert_stored, load, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

pytest.importorskip("gunicorn", reason="gunicorn is not installed")
if not hasattr(os, "fork"):
    pytest.skip("gunicorn needs fork", allow_module_level=True)


def gunicorn(app: App, *options: str) -> Callable[[str], list[str]]:
    """Return how to run an application with two workers, forked from a process that imported it."""

    def command(address: str) -> list[str]:
        line = [sys.executable, "-m", "gunicorn", "--bind", address, "--preload", "--workers", "2"]
        return [*line, "--graceful-timeout", "10", "--log-level", "warning", *options, app.target]

    return command


@pytest.fixture(params=[PLAIN, DJANGO, FLASK], ids=lambda app: app.name)
def app(request: pytest.FixtureRequest) -> App:
    found: App = request.param
    pytest.importorskip(found.needs, reason=f"{found.needs} is not installed")
    return found


@pytest.fixture
def cluster(app: App) -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.create_topic(app.topic, partitions=2)
        yield cluster


@pytest.mark.parametrize("options", [(), ("--worker-class", "gthread", "--threads", "4")], ids=["sync", "gthread"])
def test_every_answered_request_is_stored_where_its_answer_says(
    app: App, cluster: LocalCluster, options: tuple[str, ...]
) -> None:
    with serving(app, cluster, gunicorn(app, *options)) as server:
        answers = load(server, 300, 8)
        output = server.stop()
    assert len(answers) == 300
    assert_stored(app, cluster, answers)
    assert "Traceback" not in output
    if app is PLAIN:
        assert len({place.worker for place in answers.values()}) == 2
        everything = [record.value for partition in range(2) for record in cluster.records(app.topic, partition)]
        imported = [value for value in everything if value.startswith(b"imported")]
        assert imported == [f"imported by {server.process.pid}".encode()]


def test_recycled_and_reloaded_workers_lose_nothing(app: App, cluster: LocalCluster) -> None:
    with serving(app, cluster, gunicorn(app, "--max-requests", "20")) as server:
        answers = load(server, 200, 4, at=50, event=lambda: server.process.send_signal(signal.SIGHUP))
        output = server.stop()
    assert len(answers) > 150
    assert_stored(app, cluster, answers)
    assert "Traceback" not in output
    if app is PLAIN:
        assert len({place.worker for place in answers.values()}) > 4


def test_sigterm_under_load_loses_nothing_that_was_answered(app: App, cluster: LocalCluster) -> None:
    with serving(app, cluster, gunicorn(app, "--worker-class", "gthread", "--threads", "4")) as server:
        answers = load(server, 400, 8, at=100, event=lambda: server.process.send_signal(signal.SIGTERM))
        server.process.wait(20)
        output = server.output()
    assert len(answers) > 100
    assert_stored(app, cluster, answers)
    assert "Traceback" not in output
