# SPDX-License-Identifier: Apache-2.0
"""The fixtures for applications' tests, in a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, test: str) -> str:
    (folder / "test_app.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "test_app.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_an_application_uses_the_fixtures(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
def test_a_producer_of_a_cluster(fluvio_producer, fluvio_cluster):
    assert fluvio_producer.send("hello").result(5).offset == 0
    assert [record.value for record in fluvio_cluster.records(fluvio_producer.topic)] == [b"hello"]

def test_the_topic_is_another_one(fluvio_producer):
    assert fluvio_producer.send("hello").result(5).offset == 0

def test_a_fake(fluvio_fake):
    fluvio_fake.topic_producer("orders").send("hello")
    assert fluvio_fake.values("orders") == [b"hello"]

def test_a_fake_is_new(fluvio_fake):
    assert fluvio_fake.records == []
""",
    )
    assert "4 passed" in found, found


def test_a_failure_that_nobody_looked_at_fails_the_test(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
def test_it(fluvio_producer, fluvio_cluster):
    fluvio_cluster.fail_next_produce(9000)
    fluvio_producer.send("hello")
""",
    )
    assert "RejectedError" in found
    assert "1 passed, 1 error" in found, found


def test_what_no_test_asks_for_is_not_imported(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        """
import sys

def test_it(request):
    assert request.config.pluginmanager.has_plugin("fluvio_sync")
    assert not [name for name in sys.modules if name.startswith(("fluvio_sync.testing", "backoff"))]
""",
    )
    assert "1 passed" in found, found
