# SPDX-License-Identifier: Apache-2.0
"""The applications that real servers run in the tests, each with a view that answers where its record is."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.support.sockets import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fluvio_sync.testing import LocalCluster

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds that a server may take for anything."""


class Place(NamedTuple):
    """The place of a record, as a view states it; the plain views add their process and a note."""

    partition: int
    offset: int
    worker: int = 0
    note: str = ""


class App(NamedTuple):
    """An application.

    `folder`: where it is, in this repository; `target`: what makes it, as servers take it; `topic`: what its view
    produces to; `needs`: the package without which it does not run.
    """

    name: str
    folder: str
    target: str
    topic: str
    needs: str
    settings: dict[str, str]
    ask: Callable[[str, str], urllib.request.Request]

    def environment(self, endpoint: str) -> dict[str, str]:
        """Return that of a server, whose cluster is at `endpoint`."""
        found = os.environ | self.settings | {"FLUVIO_SYNC_ENDPOINT": endpoint, "TOPIC": self.topic}
        found["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / self.folder)])
        return found


def _post(url: str, data: bytes) -> urllib.request.Request:
    return urllib.request.Request(url, data=data, method="POST")


def _form(value: str) -> bytes:
    return urllib.parse.urlencode({"item": value}).encode()


PLAIN = App(
    "plain",
    "tests/process",
    "wsgi_app:application",
    "views",
    "fluvio_sync",
    {"SEND_AT_IMPORT": "1"},
    lambda url, value: urllib.request.Request(f"{url}/{value}"),
)
DJANGO = App(
    "django",
    "examples/django_shop",
    "django.core.wsgi:get_wsgi_application()",
    "orders",
    "django",
    {"DJANGO_SETTINGS_MODULE": "webshop.settings"},
    lambda url, value: _post(f"{url}/orders/now/", _form(value)),
)
FLASK = App(
    "flask",
    "examples/flask_app",
    "app:create_app()",
    "orders",
    "flask",
    {},
    lambda url, value: _post(f"{url}/orders", value.encode()),
)


class Server:
    """A server in front of an application, in a process group of its own."""

    def __init__(self, app: App, endpoint: str, command: Callable[[str], Sequence[str]]) -> None:
        """`command`: makes its command line from "host:port"."""
        address = f"127.0.0.1:{free_port()}"
        self._app = app
        self._url = f"http://{address}"
        # A pipe could fill up, and workers keep it open.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self.process = subprocess.Popen(
            command(address),
            cwd=ROOT / app.folder,
            env=app.environment(endpoint),
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_until_it_answers(self) -> None:
        end = time.monotonic() + PATIENCE
        pause = threading.Event()
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                self.get("first")
                return
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < end, self.output()
            pause.wait(0.05)

    def get(self, value: str) -> Place:
        """Have a view produce a value; returns where it says that it is.  OSError if it does not answer."""
        with urllib.request.urlopen(self._app.ask(self._url, value), timeout=PATIENCE) as answer:
            found = json.load(answer)
        if isinstance(found, list):
            worker, partition, offset, *note = found
            return Place(partition, offset, worker, *note)
        return Place(found["partition"], found["offset"])

    def stop(self) -> str:
        """End the server as an operator does; returns its output.  Fails if a worker hangs."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return self.output()

    def output(self) -> str:
        # Not by a seek: the workers write at the same position.
        log = self._log.fileno()
        return os.pread(log, os.fstat(log).st_size, 0).decode(errors="replace")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()


@contextlib.contextmanager
def serving(app: App, cluster: LocalCluster, command: Callable[[str], Sequence[str]]) -> Iterator[Server]:
    """Run a server until the block is left."""
    server = Server(app, cluster.endpoint, command)
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        server.kill()


def load(
    server: Server, requests: int, threads: int, at: int = -1, event: Callable[[], None] | None = None
) -> dict[str, Place]:
    """Have many threads ask; returns where the records of those that were answered are.

    `event`: happens once the requests up to number `at` were answered, while others are under way.
    """
    answers: dict[str, Place] = {}

    def ask(number: int) -> None:
        # A worker that is being replaced may not answer; a record that it answered for has to be there.
        with contextlib.suppress(OSError, urllib.error.URLError):
            answers[str(number)] = server.get(str(number))

    with ThreadPoolExecutor(threads) as pool:
        asked = [pool.submit(ask, number) for number in range(requests)]
        if event is not None:
            wait(asked[: at + 1], PATIENCE)
            event()
        wait(asked, PATIENCE)
    return answers


def assert_stored(app: App, cluster: LocalCluster, answers: dict[str, Place], partitions: int = 2) -> None:
    """Every record that was answered for is where its answer says."""
    logs = [[record.value.decode() for record in cluster.records(app.topic, index)] for index in range(partitions)]
    for value, place in answers.items():
        assert logs[place.partition][place.offset].lstrip("/") == value
