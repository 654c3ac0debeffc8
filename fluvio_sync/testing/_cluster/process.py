# SPDX-License-Identifier: Apache-2.0
"""A development cluster in a process of its own, and the control channel to it.

The child reads orders from its standard input and answers on its standard output, one JSON object a
line; it ends when its standard input does, so it does not outlive the process that started it.
A daemon thread here reads the answers; orders may come from any thread, one at a time.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

START_TIMEOUT = 20.0
"""Seconds within which the child has to say that it is ready."""

ORDER_TIMEOUT = 10.0
"""Seconds within which an order has to be carried out, and within which the child has to end."""


_running: weakref.WeakSet[ClusterProcess] = weakref.WeakSet()


class ClusterProcess:
    """A running child.

    `settings`: the arguments of `ClusterServer`.  RuntimeError if it does not start, with its reason.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "fluvio_sync.testing.dev_cluster", "--control", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            text=True,
            encoding="utf-8",
        )
        _running.add(self)
        threading.Thread(target=self._read, name="dev-cluster-control", daemon=True).start()
        try:
            ready = self._answer(START_TIMEOUT)
        except BaseException:
            self.kill()
            raise
        if "error" in ready:
            self.stop()
            raise RuntimeError(f"the development cluster did not start: {ready['error']}")
        self.endpoint: str = ready["endpoint"]
        self.spu_endpoints = {int(spu): text for spu, text in ready["spu_endpoints"].items()}

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def _answer(self, timeout: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise RuntimeError(f"the development cluster was mute for {timeout:g} s") from None
        if not line:
            self._lines.put("")
            status = self._child.wait(ORDER_TIMEOUT)
            raise RuntimeError(f"the development cluster ended with status {status}")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def order(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Have an order carried out.

        ValueError if it makes no sense, RuntimeError if the child does not answer.
        """
        with self._lock:
            self._number += 1
            line = json.dumps({"id": self._number, "order": name, "arguments": arguments})
            assert self._child.stdin is not None
            with contextlib.suppress(OSError):  # it has ended: the answer will say so
                self._child.stdin.write(line + "\n")
                self._child.stdin.flush()
            answer = self._answer(ORDER_TIMEOUT)
            while answer["id"] != self._number:  # of an order that had timed out
                answer = self._answer(ORDER_TIMEOUT)
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer["result"]

    def stop(self) -> None:
        """End the child in good order, or by force if it takes too long."""
        self._close_stdin()
        try:
            self._child.wait(ORDER_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the child by force, as a crash would."""
        self._child.kill()
        self._close_stdin()
        self._child.wait()

    def _close_stdin(self) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # an order that could not be sent any more
            self._child.stdin.close()

    def let_go(self) -> None:
        """In a fork of this process: do not keep the child alive when this process has ended."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            # The file object stays as it is: it may hold bytes that are the parent's to send.
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), self._child.stdin.fileno())


def _environment() -> dict[str, str]:
    """Return an environment in which the child finds this package, wherever it came from here."""
    root = str(Path(__file__).parents[3])
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, inherited)))}


def _after_fork() -> None:
    for process in list(_running):
        process.let_go()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
