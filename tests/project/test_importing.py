# SPDX-License-Identifier: Apache-2.0
"""The cost of importing the package."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def alone() -> dict[str, str]:
    """Return the environment of a process that coverage does not follow: it would import more."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_"))}


def run(code: str) -> str:
    """Run a program in a process of its own and return its output."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=alone())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_importing_starts_no_thread_and_opens_nothing() -> None:
    code = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(event) if event.startswith(("socket.", "_thread.start")) else None)
import threading, fluvio_sync, fluvio_sync.testing
print(opened, threading.enumerate() == [threading.main_thread()])
"""
    assert run(code) == "[] True"


def test_importing_brings_nothing_heavy() -> None:
    # asyncio takes as long to import as the whole package, and so do the packages that import it.
    heavy = ["asyncio", "backoff", "structlog", "cramjam", "argparse", "tomllib", "http", "email", "multiprocessing"]
    heavy += ["ssl"]  # a tenth of the package's own time, and most clients have no TLS
    code = f"import sys, fluvio_sync; print([name for name in {heavy} if name in sys.modules])"
    assert run(code) == "[]"


@pytest.mark.alone
def test_importing_takes_little_beside_starting_python(tmp_path: Path) -> None:
    """Some 75 ms where Python starts in 25, three times as long: a ratio, because machines differ, and are busy.

    Each pair is measured in one moment, and the lower quartile counts: of 30 it is 2.9 to 3.2 on a busy machine, where
    the shortest time of each alone, from moments that differ, gave 3.2 to 3.9.
    """
    env = alone() | {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}

    def spent(code: str) -> float:
        process = subprocess.Popen([sys.executable, "-c", code], env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    spent("import fluvio_sync")  # compiles it
    pairs = [(spent("pass"), spent("import fluvio_sync")) for _ in range(30)]
    ratio = sorted((whole - start) / start for start, whole in pairs)[len(pairs) // 4]
    assert ratio < 3.4, f"{ratio:.2f} times as long as starting Python"


def test_importing_makes_no_lock_and_keeps_the_kind_of_none() -> None:
    pytest.importorskip("django", reason="Django is not installed")
    assert run("from tests.support.bound_early import main; main()") == "[]"
