# SPDX-License-Identifier: Apache-2.0
"""uWSGI for real: forked in C, with threads and without, recycled, reloaded and stopped under load."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.testing import LocalCluster
from tests.support.waiting import wait_until
from tests.support.webapps import DJANGO, FLASK, PATIENCE, PLAIN, App, assert_stored, load, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

UWSGI = shutil.which("uwsgi", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
if UWSGI is None:
    pytest.skip("uWSGI is not installed", allow_module_level=True)

SIMPLE = PLAIN._replace(settings={})


def uwsgi(app: App, *options: str) -> Callable[[str], list[str]]:
    """Return how to run an application, which the master loads, with two workers."""

    def command(address: str) -> list[str]:
        assert UWSGI is not None
        line = [UWSGI, "--http-socket", address, "--master", "--processes", "2", "--die-on-term", "--need-app"]
        return [*line, "--virtualenv", sys.prefix, "--module", app.target, *options]

    return command


@pytest.fixture(params=[SIMPLE, DJANGO, FLASK], ids=lambda app: app.name)
def app(request: pytest.FixtureRequest) -> App:
    found: App = request.param
    pytest.importorskip(found.needs, reason=f"{found.needs} is not installed")
    return found


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        for topic in {SIMPLE.topic, DJANGO.topic, FLASK.topic}:
            cluster.create_topic(topic, partitions=2)
        yield cluster


def everything(cluster: LocalCluster) -> list[bytes]:
    return [record.value for partition in range(2) for record in cluster.records(SIMPLE.topic, partition)]


@pytest.mark.parametrize(
    "options",
    [
        ("--enable-threads",),
        ("--enable-threads", "--lazy-apps"),
        ("--threads", "4"),
        ("--enable-threads", "--py-call-uwsgi-fork-hooks"),
        ("--enable-threads", "--py-call-osafterfork"),
    ],
    ids=" ".join,
)
def test_every_answered_request_is_stored_where_its_answer_says(
    cluster: LocalCluster, options: tuple[str, ...]
) -> None:
    with serving(SIMPLE, cluster, uwsgi(SIMPLE, *options)) as server:
        answers = load(server, 200, 8)
        output = server.stop()
    assert len(answers) == 200
    assert_stored(SIMPLE, cluster, answers)
    assert len({place.worker for place in answers.values()}) == 2
    assert "Traceback" not in output


@pytest.mark.parametrize("option", ["--lazy-apps", "--py-call-uwsgi-fork-hooks", None])
def test_sending_while_the_application_is_loaded(cluster: LocalCluster, option: str | None) -> None:
    """The master cannot, unless it forks as Python does: a worker could inherit a lock that is never released."""
    with serving(PLAIN, cluster, uwsgi(PLAIN, "--enable-threads", *[option] if option else [])) as server:
        refused = server.get("x").note
        # Until its application is loaded, a worker of uWSGI's hears no signal: it would be killed after a minute.
        loads = 2 if option == "--lazy-apps" else 1
        wait_until(lambda: server.output().count("WSGI app 0") >= loads, "the application is loaded", PATIENCE)
        server.stop()
    sent = [value for value in everything(cluster) if value.startswith(b"imported")]
    if option:
        assert refused == ""
        assert len(sent) == len(set(sent))
        assert len(sent) == (2 if option == "--lazy-apps" else 1)
    else:
        assert "lazy-apps = true" in refused
        assert "py-call-uwsgi-fork-hooks = true" in refused
        assert sent == []


def test_recycled_workers_lose_nothing(cluster: LocalCluster) -> None:
    recycling = ("--max-requests", "20", "--min-worker-lifetime", "0")
    with serving(SIMPLE, cluster, uwsgi(SIMPLE, "--enable-threads", *recycling)) as server:
        answers = load(server, 100, 1)
        output = server.stop()
    assert_stored(SIMPLE, cluster, answers)
    assert len(answers) > 80
    assert len({place.worker for place in answers.values()}) > 2
    assert "Traceback" not in output


def test_the_examples_are_reloaded_and_stopped_under_load(app: App, cluster: LocalCluster) -> None:
    with serving(app, cluster, uwsgi(app, "--threads", "4")) as server:
        answers = load(server, 300, 8, at=100, event=lambda: server.process.send_signal(signal.SIGHUP))
        assert_stored(app, cluster, answers)
        assert len(answers) > 150
    with serving(app, cluster, uwsgi(app, "--threads", "4")) as server:
        answers = load(server, 300, 8, at=100, event=lambda: server.process.send_signal(signal.SIGTERM))
        server.process.wait(20)
        assert "Traceback" not in server.output()
    assert len(answers) >= 100
    assert_stored(app, cluster, answers)
