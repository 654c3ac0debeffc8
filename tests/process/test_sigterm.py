# SPDX-License-Identifier: Apache-2.0
"""Servers that SIGTERM ends without the interpreter's exit functions: their queued records are delivered."""

from __future__ import annotations

import os
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.testing import LocalCluster
from tests.support.webapps import App, serving

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

if os.name != "posix":
    pytest.skip("SIGTERM ends a process at once there", allow_module_level=True)


def app(target: str, needs: str, **settings: str) -> App:
    return App(
        needs,
        "tests/process",
        f"queueing_app:{target}",
        "views",
        needs,
        settings,
        lambda url, value: urllib.request.Request(f"{url}/{value}"),
    )


def uvicorn(*options: str) -> Callable[[str], list[str]]:
    def command(address: str) -> list[str]:
        host, _, port = address.partition(":")
        return [sys.executable, "-m", "uvicorn", "--host", host, "--port", port, *options, "queueing_app:asgi"]

    return command


def gunicorn(address: str) -> list[str]:
    line = [sys.executable, "-m", "gunicorn", "--bind", address, "-k", "uvicorn_worker.UvicornWorker"]
    return [*line, "queueing_app:asgi"]


def hypercorn(address: str) -> list[str]:
    return [sys.executable, "-m", "hypercorn", "--bind", address, "queueing_app:asgi"]


def waitress(address: str) -> list[str]:
    return [sys.executable, "-m", "waitress", "--listen", address, "queueing_app:wsgi"]


@pytest.mark.parametrize(
    ("server", "command"),
    [
        (app("asgi", "uvicorn"), uvicorn()),
        (app("asgi", "uvicorn"), uvicorn("--workers", "2")),
        (app("asgi", "uvicorn_worker"), gunicorn),
        (app("asgi", "hypercorn"), hypercorn),
        (app("wsgi", "waitress", EXIT_ON_SIGTERM="1"), waitress),
    ],
    ids=["uvicorn", "uvicorn-workers", "gunicorn-uvicorn", "hypercorn", "waitress"],
)
def test_records_that_are_queued_at_sigterm_are_delivered(server: App, command: Callable[[str], list[str]]) -> None:
    pytest.importorskip(server.needs, reason=f"{server.needs} is not installed")
    with LocalCluster() as cluster:
        cluster.create_topic(server.topic)
        with serving(server, cluster, command) as running:
            for number in range(10):
                running.get(str(number))
            output = running.stop()
        stored = [record.value.decode() for record in cluster.records(server.topic)]
    assert sorted(set(stored)) == sorted([*map(str, range(10)), "first"]), output
    assert "Traceback" not in output
