# SPDX-License-Identifier: Apache-2.0
"""Real workers of Celery, of each pool: warmed up, recycled and stopped with records on their way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import ConfigError, Fluvio
from fluvio_sync.testing import LocalCluster

pytest.importorskip("celery", reason="Celery is not installed")
if not hasattr(os, "fork"):
    pytest.skip("the prefork pool needs fork", allow_module_level=True)

from fluvio_sync.contrib import celery as contrib

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
TOPIC = "orders"
PATIENCE = 40.0

# With this `linger` only the drain sends records.
TASKS = """
import functools, os
from celery import Celery
from fluvio_sync import Fluvio
from fluvio_sync.contrib.celery import install

app = Celery("tasks")

@functools.cache
def fluvio():
    return Fluvio.connect(connect_timeout=20)

@app.task
def send(number):
    print(f"task {number} {os.getpid()} {fluvio.cache_info().misses}", flush=True)
    fluvio().topic_producer("orders", linger=3600).send(str(number))
"""
INSTALLED = f'{TASKS}\ninstall(fluvio, topics=["orders"])'
BROKER = """
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={{"data_folder_in": {queue!r}, "data_folder_out": {sent!r}, "polling_interval": 0.05}},
    worker_enable_remote_control=False, broker_connection_retry_on_startup=False,
)
"""


class Worker:
    """A worker in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path, endpoint: str, *options: str, tasks: str = INSTALLED) -> None:
        self.folder = folder
        self.sent, self.queue = folder / "sent", folder / "queue"
        for each in (self.sent, self.queue):
            each.mkdir()
        (folder / "tasks.py").write_text(tasks + BROKER.format(queue=str(self.queue), sent=str(self.sent)))
        self.log = folder / "log"
        self.environment = os.environ | {"FLUVIO_SYNC_ENDPOINT": endpoint, "C_FORCE_ROOT": "1"}
        command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--without-gossip", "--without-mingle", "--without-heartbeat", *options],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_for("ready.")

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.said().count(text) < times:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"{text!r} is not in\n{self.said()}"
            threading.Event().wait(0.02)

    def call(self, count: int) -> None:
        """Have tasks send the numbers below `count`."""
        self.run(f"for number in range({count}): tasks.send.delay(number)")

    def run(self, code: str) -> None:
        """Run code that calls tasks, and queue their messages.

        Each is moved into the queue when it is complete: the broker writes it in place, where the worker could read a
        file that is still empty.
        """
        code = f"import tasks\n{code}"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=self.folder,
            env=self.environment,
            timeout=PATIENCE,
            check=True,
        )
        for message in sorted(self.sent.iterdir()):
            message.rename(self.queue / message.name)

    def tasks(self) -> list[tuple[int, int, int]]:
        """Return the number, the process and the number of clients made by `fluvio()`, of each task that ran."""
        lines = [line.partition("task ")[2].split() for line in self.said().splitlines() if "task " in line]
        return [(int(line[0]), int(line[1]), int(line[2])) for line in lines if len(line) == 3 and line[0].isdigit()]

    def wait_for_tasks(self, count: int) -> None:
        self.wait_for("succeeded in", count)

    def stop(self) -> None:
        """End the worker by a warm shutdown."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0, self.said()


@contextlib.contextmanager
def working(*arguments: Any, **settings: Any) -> Iterator[Worker]:
    worker = Worker(*arguments, **settings)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait(PATIENCE)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        cluster.create_topic(TOPIC)
        yield cluster
        assert cluster.violations() == []


def numbers(cluster: LocalCluster) -> list[int]:
    return sorted(int(record.value) for record in cluster.records(TOPIC))


@pytest.mark.parametrize(
    ("pool", "processes"), [("prefork", 2), ("solo", 1), ("threads", 1)], ids=["prefork", "solo", "threads"]
)
def test_a_warm_shutdown_loses_nothing(cluster: LocalCluster, tmp_path: Path, pool: str, processes: int) -> None:
    with working(tmp_path, cluster.endpoint, "--pool", pool, "--concurrency", "2") as worker:
        worker.call(40)
        worker.wait_for_tasks(40)
        assert numbers(cluster) == []  # they all linger
        worker.stop()
    assert numbers(cluster) == list(range(40))
    ran = worker.tasks()
    assert len({process for _, process, _ in ran}) <= processes
    if pool != "threads":  # which has no signal for a warm-up
        assert {connected for _, _, connected in ran} == {1}
    assert "Traceback" not in worker.said()
    assert "records.lost" not in worker.said()


def test_recycled_processes_lose_nothing(cluster: LocalCluster, tmp_path: Path) -> None:
    with working(tmp_path, cluster.endpoint, "--concurrency", "2", "--max-tasks-per-child", "3") as worker:
        worker.call(20)
        worker.wait_for_tasks(20)
        worker.stop()
    assert numbers(cluster) == list(range(20))
    assert len({process for _, process, _ in worker.tasks()}) >= 6
    assert "Traceback" not in worker.said()


def test_a_drain_that_times_out_logs_the_loss(cluster: LocalCluster, tmp_path: Path) -> None:
    tasks = f"{TASKS}\ninstall(fluvio, drain_timeout=1)"
    with working(tmp_path, cluster.endpoint, "--concurrency", "1", tasks=tasks) as worker:
        worker.call(5)
        worker.wait_for_tasks(5)
        cluster.hold_replies(5001)
        worker.stop()
    assert "records.lost" in worker.said()
    assert "records=5" in worker.said()


@pytest.mark.parametrize(("fault", "event"), [("refuses", "warm_up.failed"), ("is mute", "warm_up.delayed")])
def test_a_worker_begins_without_its_cluster(cluster: LocalCluster, tmp_path: Path, fault: str, event: str) -> None:
    if fault == "is mute":
        cluster.hold_replies(0)
    else:
        cluster.kill_sc()
    tasks = f"{TASKS}\ninstall(fluvio, warm_up_timeout=0.5, drain_timeout=1)\n@app.task\ndef idle(): pass"
    with working(tmp_path, cluster.endpoint, "--concurrency", "1", tasks=tasks) as worker:
        worker.wait_for(event)
        worker.run("tasks.idle.delay()")
        worker.wait_for_tasks(1)
        worker.stop()
    assert "records.lost" not in worker.said()
    assert "Timed out waiting for UP message" not in worker.said()


def test_the_example(cluster: LocalCluster, tmp_path: Path) -> None:
    tasks = (ROOT / "examples" / "celery_app" / "tasks.py").read_text()
    with working(tmp_path, cluster.endpoint, "--concurrency", "1", tasks=tasks) as worker:
        worker.run("for number in '012': tasks.ship.delay(number), tasks.track.delay(number)")
        worker.wait_for_tasks(6)
        worker.stop()
    found = sorted((record.key, record.value) for record in cluster.records(TOPIC))
    assert found == [(b"%d" % n, text % n) for n in range(3) for text in (b"seen %d", b"shipped %d")]


# Without a worker.


def test_timeouts_are_checked() -> None:
    with pytest.raises(ConfigError, match="warm_up_timeout"):
        contrib.install(Fluvio.connect, warm_up_timeout=-1)
    with pytest.raises(ConfigError, match="drain_timeout"):
        contrib.install(Fluvio.connect, drain_timeout="soon")  # type: ignore[arg-type]
