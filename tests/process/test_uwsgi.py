# SPDX-License-Identifier: Apache-2.0
"""uWSGI for real: forked in C, with threads and without, recycled and stopped under load."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
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

UWSGI = shutil.which("uwsgi", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
if UWSGI is None:
    pytest.skip("uWSGI is not installed", allow_module_level=True)

TOPIC = "views"
PATIENCE = 30.0


class Server:
    """A uWSGI with a master, which imports the application, and two workers."""

    def __init__(self, endpoint: str, *options: str, send_in_master: bool = False) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        assert UWSGI is not None
        command = [UWSGI, "--http-socket", f"127.0.0.1:{self.port}", "--master", "--processes", "2", "--die-on-term"]
        command += ["--virtualenv", sys.prefix, "--wsgi-file", "uwsgi_app.py", "--need-app", *options]
        environment = os.environ | {"FLUVIO_SYNC_ENDPOINT": endpoint, "TOPIC": TOPIC}
        if send_in_master:
            environment["SEND_IN_MASTER"] = "1"
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        # A pipe could fill up, and outlives the master with its workers.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self.process = subprocess.Popen(
            command, cwd=Path(__file__).parent, env=environment, stderr=self._log, start_new_session=True
        )

    def wait_until_it_answers(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, self.errors()
            assert time.monotonic() < end, self.errors()

    def _answers(self) -> bool:
        try:
            self.get("/first")
        except (OSError, urllib.error.URLError):
            threading.Event().wait(0.05)
            return False
        return True

    def get(self, path: str) -> tuple[int, int, int, str]:
        """Return worker, partition and offset of what a view produced, and why the master could not send."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
            worker, partition, offset, refused = json.load(answer)
            return worker, partition, offset, refused

    def stop(self) -> str:
        """End it as an operator does; returns what it wrote to standard error."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return self.errors()

    def errors(self) -> str:
        """Return what it wrote to standard error."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def kill(self) -> None:
        """End it with its workers, if they are still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.create_topic(TOPIC, partitions=2)
        yield cluster


@contextlib.contextmanager
def serving(cluster: LocalCluster, *options: str, send_in_master: bool = False) -> Iterator[Server]:
    server = Server(cluster.endpoint, *options, send_in_master=send_in_master)
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        server.kill()


def assert_stored(cluster: LocalCluster, paths: list[str], answers: list[tuple[int, int, int, str]]) -> None:
    logs = [[record.value for record in cluster.records(TOPIC, partition)] for partition in range(2)]
    for path, (_, partition, offset, _) in zip(paths, answers, strict=True):
        assert logs[partition][offset] == path.encode()


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
    with serving(cluster, *options) as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            paths = [f"/{number}" for number in range(200)]
            answers = list(pool.map(server.get, paths))
        errors = server.stop()
    assert_stored(cluster, paths, answers)
    assert len({worker for worker, _, _, _ in answers}) == 2
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", ["--lazy-apps", "--py-call-uwsgi-fork-hooks", None])
def test_sending_while_the_application_is_loaded(cluster: LocalCluster, option: str | None) -> None:
    """The master cannot, unless it forks as Python does: a worker could inherit a lock that nobody releases."""
    with serving(cluster, "--enable-threads", *[option] if option else [], send_in_master=True) as server:
        _, _, _, refused = server.get("/x")
        server.stop()
    records = [record.value for partition in range(2) for record in cluster.records(TOPIC, partition)]
    sent = [value for value in records if value.startswith(b"imported")]
    if option:
        assert refused == ""
        assert len(sent) == len(set(sent))
        assert len(sent) in ((1, 2) if option == "--lazy-apps" else (1,))  # a worker may have been stopped before
    else:
        assert "lazy-apps = true" in refused
        assert "py-call-uwsgi-fork-hooks = true" in refused
        assert sent == []


def test_recycled_workers_lose_nothing(cluster: LocalCluster) -> None:
    recycling = ("--max-requests", "20", "--min-worker-lifetime", "0")
    with serving(cluster, "--enable-threads", *recycling) as server:
        paths = [f"/{number}" for number in range(200)]
        answers = [server.get(path) for path in paths]
        errors = server.stop()
    assert_stored(cluster, paths, answers)
    assert len({worker for worker, _, _, _ in answers}) > 2
    assert "Traceback" not in errors
