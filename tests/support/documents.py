# SPDX-License-Identifier: Apache-2.0
"""README and the pages of docs/ as a reader follows them: from top to bottom, in an empty folder, beside a cluster.

What is done with a block says its language, and the words behind it, which no reader sees:

* `sh`: commands for one shell; the last one fails if there is the word `fails`.  `pip`, `make` and what makes a virtual
  environment are passed over.
* `python`: a program, whose output is all in the block that follows.  `continued`: the program before goes on.
* `file=PATH`, whatever the language: what is to be in a file; `append=PATH`: what is to be added to one.
* `text`: what the block before printed, with `...` for whatever it was.  `text NAME` is for another test to show.

`needs=NAME`: the rest of the page is left where a module, or a command, of this name is not installed; `if=NAME`: the
block alone.

What a reader does without a command stands in a comment: `<!-- wait until FILE has TEXT -->`.  Ports are replaced by
free ones.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from fluvio_sync import Fluvio
from tests.support.sockets import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from fluvio_sync.testing import LocalCluster

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

CLUSTER = "127.0.0.1:9003"
"""What pages call their cluster."""

DEV_CLUSTER = "fluvio-sync dev-cluster"
"""How a page starts a cluster of its own."""

PATIENCE = 30.0
"""Seconds that a command, or what is waited for, may take."""

_NOT_RUN = ("pip ", "make ", "python3 -m venv ")
WORDS = {"continued", "fails", "file", "append", "needs", "if"}
_BLOCK = re.compile(
    r"^```(?P<info>[^`\n]*)\n(?P<text>.*?)^```$|^<!-- wait until (?P<file>\S+) has (?P<awaited>.+?) -->$",
    re.DOTALL | re.MULTILINE,
)
_PORT = re.compile(r"(127\.0\.0\.1:|--port |runserver )(9003|8000)\b")
_END = "\N{END OF TEXT}"

# Runs programs that come as lines of JSON; tracebacks show the lines of the page.
_INTERPRETER = f"""
import json, sys, traceback
for order in sys.stdin:
    page, before, code, goes_on = json.loads(order)
    names = names if goes_on else {{"__name__": "__main__"}}
    status = 0
    try:
        exec(compile("\\n" * before + code, page, "exec"), names)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    print("{_END}", status, flush=True)
"""


class Block(NamedTuple):
    """A block of a page; `line`: the number of its first; `words`: those behind the language."""

    line: int
    language: str
    words: dict[str, str]
    text: str


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in order."""
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["awaited"]:
            found.append(Block(line, "wait", {"file": match["file"]}, match["awaited"]))
        else:
            language, *words = match["info"].split() or [""]
            given = dict(word.partition("=")[::2] for word in words)
            found.append(Block(line, language, given, match["text"]))
    return found


class Reader:
    """Follows the instructions of a page; the end of its `with` block ends every process that it started.

    `cluster`: the one at `CLUSTER`, unless the page starts one of its own; its topics are deleted.
    """

    def __init__(self, page: Path, folder: Path, cluster: LocalCluster) -> None:
        self._page = page
        self._folder = folder
        text = page.read_text(encoding="utf-8")
        self._blocks = blocks(text)
        self._cluster = None if f"\n{DEV_CLUSTER}" in text else cluster
        here = free_port(following=1) if self._cluster is None else int(cluster.endpoint.rpartition(":")[2])
        self._ports = {"9003": here, "8000": free_port()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FL", "DJANGO"))}
        self._environment = inherited | {
            "PYTHONUNBUFFERED": "1",  # so that the output comes in the order that a terminal shows
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._shell: _Process | None = None
        self._program: _Process | None = None
        self._printed: str | None = None  # by the block before, if it ran

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shell is not None:
            self._shell.run('for job in $(jobs -p); do kill -KILL -- "-$job"; done')
            self._shell.end()
        if self._program is not None:
            self._program.end()

    def follow(self) -> None:
        """Do it all; AssertionError, with the line of the page, where something else comes out than it says."""
        for number, block in enumerate(self._blocks):
            after = self._blocks[number + 1] if number + 1 < len(self._blocks) else None
            try:
                self._do(block, is_shown=after is not None and after.language == "text")
            except AssertionError as error:
                raise AssertionError(f"{self._page.relative_to(ROOT)}, line {block.line}: {error}") from error
        self._end_program()

    def _do(self, block: Block, *, is_shown: bool) -> None:
        printed, self._printed = self._printed, None
        if not _is_installed(block.words.get("needs")):
            pytest.skip(f"{block.words['needs']}, which the page needs, is not installed")
        if not _is_installed(block.words.get("if")):
            return
        text = self._with_free_ports(block.text)
        if block.language == "wait":
            self._wait_until(block.words["file"], text)
        elif block.language == "text" and printed is not None:
            _compare(printed, text)
        elif "file" in block.words or "append" in block.words:
            self._write(block.words, text)
        elif block.language == "sh":
            self._run_commands(text, fails="fails" in block.words)
        elif block.language == "python":
            self._run_program(block, text, is_shown=is_shown)

    def _with_free_ports(self, text: str) -> str:
        return _PORT.sub(lambda found: f"{found[1]}{self._ports[found[2]]}", text)

    def _wait_until(self, file: str, awaited: str) -> None:
        path = self._folder / file
        _wait(lambda: path.exists() and awaited in path.read_text(), lambda: f"there is no {awaited!r} in {file}")

    def _write(self, words: dict[str, str], text: str) -> None:
        path = self._folder / (words.get("file") or words["append"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if "file" in words else "a", encoding="utf-8") as file:
            file.write(text)

    # Programs.

    def _run_program(self, block: Block, code: str, *, is_shown: bool) -> None:
        goes_on = "continued" in block.words
        if not goes_on:
            self._end_program()
            self._delete_topics()
        if self._program is None:
            command = [sys.executable, "-W", "error", "-c", _INTERPRETER]
            self._program = _Process(command, self._folder, self._environment)
        status, printed = self._program.run(json.dumps((str(self._page), block.line, code, goes_on)))
        assert status == 0, printed
        assert is_shown or not printed, f"the page does not show that it prints\n{printed}"
        self._printed = printed

    def _end_program(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            left = program.end()
            assert not left, f"the program before printed at its end\n{left}"

    def _delete_topics(self) -> None:
        if self._cluster is not None:
            with Fluvio.connect(self._cluster.endpoint) as fluvio:
                for topic in fluvio.topics():
                    fluvio.delete_topic(topic)

    # Commands.

    def _run_commands(self, text: str, *, fails: bool) -> None:
        self._end_program()
        if self._shell is None:
            self._delete_topics()
            self._shell = _Process(["bash", "--norc"], self._folder, self._environment)
            self._shell.run("set -m")
        status, printed = 0, ""
        for line in text.replace("\\\n", "").splitlines():
            if not line.startswith(_NOT_RUN):
                assert status == 0, printed
                status, output = self._run_command(self._shell, line)
                printed += output
        assert bool(status) is fails, f"it ended with status {status}\n{printed}"
        jobs = sorted(self._folder.glob(".job-*"))
        self._printed = printed or (jobs[-1].read_text() if jobs else "")

    def _run_command(self, shell: _Process, line: str) -> tuple[int, str]:
        line = line.replace(DEV_CLUSTER, f"{DEV_CLUSTER} --port {self._ports['9003']}")
        if not line.endswith("&"):
            return shell.run(line)
        ports = [port for port in self._ports.values() if re.search(rf"\b{port}\b", line)]
        _wait(lambda: not any(map(_answers, ports)), lambda: f"the server before does not end: {line}")
        log = self._folder / f".job-{len(list(self._folder.glob('.job-*')))}"
        shell.run(line if ">" in line else f"{line[:-1]} >{log} 2>&1 &")
        says = "Ctrl-C ends it" if DEV_CLUSTER in line else ""
        _wait(
            lambda: all(map(_answers, ports)) and (not says or says in log.read_text()),
            lambda: f"it does not answer: {line}\n{log.read_text() if log.exists() else ''}",
        )
        return 0, ""


class _Process:
    """A shell or an interpreter that takes one order after the other; its output is read up to `_END`."""

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self._is_shell = command[0] == "bash"
        self._read = b""
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def run(self, order: str) -> tuple[int, str]:
        """Carry an order out; returns the status and the output."""
        lines = f"{{ {order}\n}} </dev/null\necho '{_END}' $?\n" if self._is_shell else f"{order}\n"
        self._input.write(lines.encode())
        end = re.compile(f"{_END} (\\d+)\n".encode())
        deadline = time.monotonic() + PATIENCE
        while (found := end.search(self._read)) is None:
            self._read_on(deadline)
        printed, self._read = self._read[: found.start()], self._read[found.end() :]
        return int(found[1]), printed.decode()

    def _read_on(self, deadline: float) -> None:
        ready, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(self._output.fileno(), 65536) if ready else b""
        assert data, f"{'it ended' if ready else f'not done within {PATIENCE} s'}, and printed\n{self._read.decode()}"
        self._read += data

    def end(self) -> str:
        """End the process; returns the rest of its output."""
        self._input.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        with self._output:
            rest: bytes = self._read + self._output.read()
        return rest.decode()


def _is_installed(name: str | None) -> bool:
    return name is None or shutil.which(name) is not None or importlib.util.find_spec(name) is not None


def _compare(printed: str, expected: str) -> None:
    """Line breaks may be others: lines of a page are short."""
    pattern = ".*".join(map(re.escape, " ".join(expected.split()).split("...")))
    assert re.fullmatch(pattern, " ".join(printed.split())), f"it printed\n{printed}\nand not\n{expected}"


def _wait(condition: Callable[[], bool], complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.02)


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
