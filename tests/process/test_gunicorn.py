# SPDX-License-Identifier: Apache-2.0
"""gunicorn for real: preloaded, forked, recycled, reloaded and stopped under load."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.testing import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("gunicorn", reason="gunicorn is not installed")
if not hasattr(os, "fork"):
    pytest.skip("gunicorn needs fork", allow_module_level=True)

TOPIC = "views"
PATIENCE = 30.0


class Server:
    """A gunicorn whose workers are forked from a process that imported the application."""

    def __init__(self, endpoint: str, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--preload", "--workers", "2"]
        command += ["--graceful-timeout", "10", "--log-level", "warning", *options, "wsgi_app:application"]
        environment = os.environ | {"FLUVIO_SYNC_ENDPOINT": endpoint, "TOPIC": TOPIC}
        self.process = subprocess.Popen(
            command, cwd=Path(__file__).parent, env=environment, stderr=subprocess.PIPE, text=True
        )
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            assert time.monotonic() < end, "gunicorn does not answer"

    def _answers(self) -> bool:
        try:
            self.get("/first")
        except (OSError, urllib.error.URLError):
            threading.Event().wait(0.05)
            return False
        return True

    def get(self, path: str) -> tuple[int, int, int]:
        """Return worker, partition and offset of what a view produced."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
            worker, partition, offset = json.load(answer)
            return worker, partition, offset

    def stop(self) -> str:
        """End it as an operator does; returns what it wrote to standard error."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return str(errors)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.create_topic(TOPIC, partitions=2)
        yield cluster


@contextlib.contextmanager
def serving(cluster: LocalCluster, *options: str) -> Iterator[Server]:
    server = Server(cluster.endpoint, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def logs(cluster: LocalCluster) -> list[list[bytes]]:
    return [[record.value for record in cluster.records(TOPIC, partition)] for partition in range(2)]


@pytest.mark.parametrize("options", [(), ("--worker-class", "gthread", "--threads", "4")], ids=["sync", "gthread"])
def test_every_answered_request_is_stored_where_its_answer_says(
    cluster: LocalCluster, options: tuple[str, ...]
) -> None:
    with serving(cluster, *options) as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            paths = [f"/{number}" for number in range(300)]
            answers = list(pool.map(server.get, paths))
        errors = server.stop()
    stored = logs(cluster)
    for path, (_, partition, offset) in zip(paths, answers, strict=True):
        assert stored[partition][offset] == path.encode()
    assert len({worker for worker, _, _ in answers}) == 2
    everything = [value for log in stored for value in log]
    assert [value for value in everything if value.startswith(b"imported")] == [
        f"imported by {server.process.pid}".encode()
    ]
    assert "Traceback" not in errors


def test_recycled_and_reloaded_workers_lose_nothing(cluster: LocalCluster) -> None:
    with serving(cluster, "--max-requests", "20") as server:
        answers: dict[str, tuple[int, int, int]] = {}

        def ask(number: int) -> None:
            # A worker that is being replaced may not answer; what it answered has to be there.
            with contextlib.suppress(OSError, urllib.error.URLError):
                answers[f"/{number}"] = server.get(f"/{number}")

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask, number) for number in range(200)]
            asked[50].result(PATIENCE)
            server.process.send_signal(signal.SIGHUP)
            concurrent.futures.wait(asked, PATIENCE)
        errors = server.stop()
    stored = logs(cluster)
    assert len(answers) > 150
    assert all(stored[partition][offset] == path.encode() for path, (_, partition, offset) in answers.items())
    assert len({worker for worker, _, _ in answers.values()}) > 4
    assert "Traceback" not in errors
