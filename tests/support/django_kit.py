# SPDX-License-Identifier: Apache-2.0
"""The project of the Django tests: importing this module sets it up in this process; functions run it in others.

The fixtures of `conftest.py` make its databases.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import psycopg
from django.conf import settings
from django.db import connections

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROJECT = "tests.contrib.django_project"
PATIENCE = 60.0
FORKING = "ignore:This process:DeprecationWarning"  # of Python, about forks of processes with threads

SETTINGS = {"DJANGO_SETTINGS_MODULE": f"{PROJECT}.settings"}
os.environ |= SETTINGS
django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # which Celery, in processes of other tests, would read


def start(*arguments: str, stderr: Any = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
    """Start Python with arguments, as a process of the project."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-W", FORKING, *arguments],
        cwd=ROOT,
        env=os.environ | SETTINGS | environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of a process; return its exit status, output and errors."""
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"the process did not end within {PATIENCE} s: {output}{errors}") from None
    return process.returncode, output, errors


def manage(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a command of the project; return its exit status, output and errors."""
    return finish(start("-m", PROJECT, *arguments, **environment))


def run_script(script: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a program in which the project is set up."""
    prologue = "import django; django.setup()\n"
    return finish(start("-c", prologue + script, *arguments, **environment))


def use_database(alias: str, **options: str) -> None:
    """Have the project, here and in processes to come, use this database."""
    settings.DATABASES[alias].update(options)
    assert connections.databases[alias] is settings.DATABASES[alias]


def empty(alias: str) -> None:
    """Delete all rows that a test left in a database."""
    from fluvio_sync.contrib.django.outbox.models import OutboxRecord
    from tests.contrib.django_project.models import Order

    for model in (Order, OutboxRecord):
        model.objects.using(alias).all().delete()


def close_connections() -> None:
    """Close this thread's connections to databases."""
    for connection in connections.all(initialized_only=True):
        connection.close()


def postgres_programs() -> Path | None:
    """Return the folder of the newest programs of PostgreSQL that are installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Run a server; yields the folder of its socket, which is the host to connect to."""
    # The server refuses to run as root, and its user has to reach the folder, whose path has to be short.
    user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        if user:
            shutil.chown(folder, user["user"], user["group"])
        data = f"{folder}/data"
        command = [str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "tests", "-E", "UTF8", "--locale=C", "-N"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE, **user)
        options = [f"-cunix_socket_directories={folder}", "-clisten_addresses=", "-cfsync=off"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], cwd=folder, stderr=subprocess.DEVNULL, **user
        )
        try:
            wait_until(lambda: _answers(folder), "PostgreSQL answers", PATIENCE)
            yield folder
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:  # because a test left a connection open
                server.send_signal(3)
                server.wait(PATIENCE)


def _answers(folder: str) -> bool:
    try:
        psycopg.connect(host=folder, user="tests", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True
