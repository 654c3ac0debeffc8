# SPDX-License-Identifier: Apache-2.0
"""The README's sections on Django and Flask, followed word for word in an empty folder.

Only what would clash with other programs is replaced: the cluster's port and the server's, and installing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sockets import free_port

from fluvio_sync.testing import LocalCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
PATIENCE = 30.0

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl, which the README uses, is not installed")


class Reader:
    """Somebody who reads a section and does what it says."""

    def __init__(self, section: str, folder: Path, cluster: str) -> None:
        self._text = README.split(f"\n## {section}\n")[1].split("\n## ")[0].replace("127.0.0.1:9003", cluster)
        self._folder = folder
        self.port = free_port()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("FLUVIO", "FLASK"))}
        self._environment = environment | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def block(self, number: int) -> str:
        """Return a block of code."""
        blocks: list[str] = re.findall(r"^```python.*?\n(.*?)^```", self._text, re.DOTALL | re.MULTILINE)
        return blocks[number]

    def indented(self, beginning: str) -> list[str]:
        """Return the lines of the indented block that has a line with this beginning."""
        blocks = [block.splitlines() for block in re.findall(r"(?:^    .*\n)+", self._text, re.MULTILINE)]
        (found,) = [block for block in blocks if any(line.strip().startswith(beginning) for line in block)]
        return [line[4:] for line in found]

    def do(self, beginning: str) -> str:
        """Run the command with this beginning; returns what it prints."""
        return self._run(self._command(beginning)).stdout

    @contextmanager
    def serving(self, beginning: str, *more: str) -> Iterator[None]:
        """Run the command with this beginning, which ends in `&`, until its port answers."""
        command = self._command(beginning)
        assert command.pop() == "&"
        server = subprocess.Popen(
            [*command, *more],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            end = time.monotonic() + PATIENCE
            while True:
                with socket.socket() as sock:
                    if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                        break
                assert server.poll() is None, server.stderr and server.stderr.read()
                assert time.monotonic() < end, "the server does not answer"
                time.sleep(0.05)
            yield
        finally:
            server.terminate()
            server.communicate(timeout=PATIENCE)

    def _command(self, beginning: str) -> list[str]:
        (line,) = [line for line in self.indented(beginning) if line.startswith(beginning)]
        line = re.sub(r"127\.0\.0\.1:(5000|8000)", f"127.0.0.1:{self.port}", line)
        words = shlex.split(line)
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def promised(section: str) -> Any:
    """Return the answer that the section promises."""
    return json.loads(re.findall(r"It answers `(\{.*?\})`", README.split(f"\n## {section}\n")[1])[0])


def test_django(cluster: LocalCluster, tmp_path: Path) -> None:
    pytest.importorskip("django", reason="Django is not installed")
    reader = Reader("Django", tmp_path, cluster.endpoint)
    reader.do("fluvio-sync topics create")
    reader.do("django-admin startproject")
    with (tmp_path / "shop" / "settings.py").open("a") as settings:
        settings.write("\n".join(reader.indented("INSTALLED_APPS")) + "\n")
    (tmp_path / "shop" / "urls.py").write_text(reader.block(0))
    assert "FAIL" not in reader.do("python manage.py fluvio_check")
    with reader.serving("python manage.py runserver", "--noreload", str(reader.port)):
        assert json.loads(reader.do("curl")) == promised("Django")
    assert [record.value for record in cluster.records("orders")] == [b"three books"]


def test_flask(cluster: LocalCluster, tmp_path: Path) -> None:
    pytest.importorskip("flask", reason="Flask is not installed")
    reader = Reader("Flask", tmp_path, cluster.endpoint)
    reader.do("fluvio-sync topics create")
    (tmp_path / "app.py").write_text(reader.block(0))
    with reader.serving("flask run", "--port", str(reader.port)):
        assert json.loads(reader.do("curl")) == promised("Flask")
    assert [record.value for record in cluster.records("orders")] == [b"three books"]
