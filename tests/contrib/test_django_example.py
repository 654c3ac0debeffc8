# SPDX-License-Identifier: Apache-2.0
"""The shop of the examples: its own tests pass, and it works with a cluster as its README describes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sockets import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.slow

SHOP = Path(__file__).parent.parent.parent / "examples" / "django_shop"
PATIENCE = 60.0


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy with its own database."""
    return Path(shutil.copytree(SHOP, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3")))


def manage(shop: Path, *arguments: str) -> str:
    """Run a command, which has to succeed, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=shop,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_tests_pass(shop: Path) -> None:
    assert re.search(r"Ran 4 tests .*\n\nOK\n", manage(shop, "test"), re.DOTALL)


def test_its_migrations_are_complete(shop: Path) -> None:
    manage(shop, "makemigrations", "--check", "--dry-run")


def test_its_readme_names_existing_commands(shop: Path) -> None:
    commands = re.findall(r"^    python manage.py (\w+)", (SHOP / "README.md").read_text(), re.MULTILINE)
    assert set(commands) == {"migrate", "fluvio_check", "runserver", "fluvio_outbox_relay", "test"}
    listed = manage(shop, "help")
    assert all(f"    {command}\n" in listed for command in commands)


@pytest.fixture
def served(shop: Path, django_cluster: LocalCluster) -> Iterator[str]:
    """The address of the shop, which `runserver` serves."""
    django_cluster.create_topic("orders")
    manage(shop, "migrate")
    address = f"127.0.0.1:{free_port()}"
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    server = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", address],
        cwd=shop,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(address), "the shop answers", PATIENCE)
        yield f"http://{address}"
    finally:
        server.kill()
        server.wait(PATIENCE)


def answers(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def order(address: str, how: str) -> tuple[int, Any]:
    data = urllib.parse.urlencode({"item": "tea"}).encode()
    with urllib.request.urlopen(f"{address}/orders/{how}/", data, timeout=PATIENCE) as answer:
        return answer.status, json.load(answer)


def test_its_views(served: str, shop: Path, django_cluster: LocalCluster) -> None:
    assert order(served, "now") == (201, {"partition": 0, "offset": 0})
    assert order(served, "now") == (201, {"partition": 0, "offset": 1})
    assert order(served, "on-commit") == (202, {"order": 1})
    assert order(served, "outbox") == (202, {"order": 2})
    assert manage(shop, "fluvio_outbox_relay", "--once") == "delivered 1, rejected 0, to retry 0\n"
    wait_until(lambda: len(django_cluster.records("orders")) == 4, "all are stored")
    values = {record.value for record in django_cluster.records("orders")}
    assert values == {b"tea", b'{"order": 1, "item": "tea"}', b'{"order": 2, "item": "tea"}'}
    assert "ok    outbox" in manage(shop, "fluvio_check")
    with urllib.request.urlopen(f"{served}/health/", timeout=PATIENCE) as answer:
        assert json.load(answer)["clients"]["default"]["status"] == "connected"
