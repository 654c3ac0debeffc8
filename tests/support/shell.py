# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync` as its users run it: processes with pipes, or with a terminal."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from tests.support.cluster import Where

LONGEST = 30.0
"""Seconds that any of these processes may take."""

COMMAND = [sys.executable, "-m", "fluvio_sync"]
# A shell's background job ignores SIGINT, and so would its children.
_INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from fluvio_sync.cli import main
sys.exit(main())
"""
# The leader of a session gets the first terminal that it opens: then Ctrl-C on it is a signal.
_AT_TERMINAL = f"""
import os, sys
os.open(sys.argv.pop(1), os.O_RDWR)
{_INTERRUPTIBLE}"""


def cluster_options(where: Where) -> list[str]:
    """Return the options by which a command finds the cluster."""
    tls = where.tls
    options = ["-c", where.endpoint]
    if tls.domain and tls.ca_cert:
        options += ["--tls", "--domain", tls.domain, "--ca-cert", str(tls.ca_cert)]
    if tls.cert and tls.key:
        options += ["--enable-client-cert", "--client-cert", str(tls.cert), "--client-key", str(tls.key)]
    return options


def run(*arguments: str, data: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line on this input; nothing may ever print a traceback."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=data,
        capture_output=True,
        timeout=LONGEST,
        env={**os.environ, **environment},
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def produce(where: Where, topic: str, *options: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return run("produce", topic, *cluster_options(where), *options, data=data)


def last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the summary without its time."""
    return without_time(done.stderr.decode().splitlines()[-1])


def without_time(line: str) -> str:
    found = re.fullmatch(r"fluvio-sync: (.*) in \d+\.\d\d s", line)
    assert found is not None, line
    return found[1]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command with pipes to it; ended after the block if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def type_in(process: subprocess.Popen[str], text: str) -> None:
    """Write to the standard input of a process and leave it open."""
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def line_of(stream: Any) -> str:
    """Read a line; the timeout of the test is the limit."""
    return str(stream.readline())


class Terminal:
    """A command at a terminal of its own, and the text that the terminal shows."""

    def __init__(self, *arguments: str, piped: bool = False, columns: int = 100, **files: IO[bytes]) -> None:
        """`piped`: its input is a pipe, see `pipe`; `files`: its `stdout` or `stderr`, if they are not the terminal."""
        self.shown = ""
        self._seen = 0
        import fcntl
        import termios

        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AT_TERMINAL, os.ttyname(slave), *arguments],
            stdin=subprocess.PIPE if piped else slave,
            stdout=files.get("stdout", slave),
            stderr=files.get("stderr", slave),
            start_new_session=True,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._master)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def pipe(self) -> IO[bytes]:
        """Where its input is written to, if that is no terminal."""
        assert self._process.stdin is not None
        return self._process.stdin

    def wait_for(self, text: str) -> None:
        """Wait until the terminal shows a text, after the text of the call before."""
        deadline = time.monotonic() + LONGEST
        while (at := self.shown.find(text, self._seen)) < 0:
            assert self._read(deadline), f"{text!r} was not shown: {self.shown!r}"
        self._seen = at + len(text)

    def end(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        deadline = time.monotonic() + LONGEST
        while self._read(deadline):
            pass
        return self._process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        """Read something; False at the end or the deadline."""
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux reports so that no process has the terminal open any more
            return False
        self.shown += data.decode().replace("\r\n", "\n")
        return bool(data)
