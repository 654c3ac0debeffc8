# SPDX-License-Identifier: Apache-2.0
"""Scripts in processes of their own, each with `endpoint`, `topic` and the names of the package."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from tests.support.waiting import SLACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Where

TIMEOUT = 15

PREAMBLE = """
import json, os, signal, sys, threading, time
from fluvio_sync import *
# A test run in the background of a shell inherits that SIGINT is ignored; these scripts have a terminal's.
signal.signal(signal.SIGINT, signal.default_int_handler)
endpoint, topic = sys.argv[1:3]
def say(*words):
    print(*words, flush=True)
def patient(delay=0.02):
    return AtLeastOnce(RetryPolicy(max_retries=1000, initial_delay=delay, max_delay=delay, timeout=30))
"""


def command(script: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *flags, "-c", PREAMBLE + textwrap.dedent(script), *arguments]


def run(script: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return finish(command(script, *arguments, flags=flags))


def finish(line: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    return subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT, check=False)


class Running:
    """A process that runs a script, and talks in lines."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command(script, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """Return the next line that it says."""
        stdout = self._pipe(self.process.stdout)
        return stdout.readline().strip()

    def tell(self) -> None:
        """Let it go on: it waits in `input()`."""
        stdin = self._pipe(self.process.stdin)
        stdin.write("\n")
        stdin.flush()

    def end(self) -> tuple[int, str]:
        """Return its exit status and its standard error."""
        _, stderr = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, stderr

    def interrupt(self) -> None:
        """Send Ctrl-C once it waits, and see that it is told at once: it says when."""
        with pytest.raises(subprocess.TimeoutExpired):
            self.process.wait(0.15)
        sent = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        assert float(self.hear()) - sent < SLACK

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


@contextmanager
def running(script: str, *arguments: str) -> Iterator[Running]:
    process = Running(script, *arguments)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


def values(where: Where, topic: str, count: int) -> list[str]:
    """Return the topic's values, once there are `count`."""
    return [record.value.decode() for record in where.records(topic, count=count)]
