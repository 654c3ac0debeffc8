# SPDX-License-Identifier: Apache-2.0
"""Standard output on a disk that is full: one sentence and status 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.cluster import Where

FULL = Path("/dev/full")
SENTENCE = "cannot write to standard output: No space left on device"

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


def run(*arguments: str, unbuffered: bool, **environment: str) -> list[str]:
    """Run a command line, which fails, and return the lines of its standard error."""
    env = os.environ | environment
    env.pop("PYTHONUNBUFFERED", None)
    flags = ["-u"] if unbuffered else []
    with FULL.open("wb") as full:
        line = [sys.executable, *flags, "-m", "fluvio_sync", *arguments]
        done = subprocess.run(
            line, stdout=full, stderr=subprocess.PIPE, input=b"a=b\n", timeout=60, check=False, env=env
        )
    assert done.returncode == 1, done.stderr
    return done.stderr.decode().splitlines()


COMMANDS = (
    "topics list,topics list --json,topics create NEW,verify TOPIC,verify TOPIC --json,doctor,doctor --json,"
    "completion bash,--version,--help"
)


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("command", COMMANDS.split(","))
def test_a_command_says_so(where: Where, command: str, *, unbuffered: bool) -> None:
    if command.startswith("completion"):
        pytest.importorskip("shtab", reason="shtab is not installed")
    topic = where.topic()
    arguments = command.replace("NEW", where.name()).replace("TOPIC", topic).split()
    lines = run(*arguments, unbuffered=unbuffered, FLUVIO_SYNC_ENDPOINT=where.endpoint)
    assert lines == [f"fluvio-sync: {SENTENCE}"]


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("options", [["--json"], ["--verbose", "--key-separator", "="]])
def test_produce_stops_reading_and_counts_what_it_sent(where: Where, options: list[str], *, unbuffered: bool) -> None:
    topic = where.topic()
    lines = run("produce", topic, *options, unbuffered=unbuffered, FLUVIO_SYNC_ENDPOINT=where.endpoint)
    assert lines[0] == f"fluvio-sync: {SENTENCE}: reading stops here"
    assert lines[1].startswith("fluvio-sync: 1 record acknowledged in")
    assert len(lines) == 2
    assert [record.value for record in where.records(topic)] in ([b"b"], [b"a=b"])


def test_the_development_cluster_ends() -> None:
    assert run("dev-cluster", "--port", "0", unbuffered=False) == [f"fluvio-sync dev-cluster: {SENTENCE}"]


def test_the_development_clusters_help() -> None:
    assert run("dev-cluster", "--help", unbuffered=False) == [f"fluvio-sync: {SENTENCE}"]
