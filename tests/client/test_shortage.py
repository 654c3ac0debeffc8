# SPDX-License-Identifier: Apache-2.0
"""Processes without descriptors or threads: errors of this package, and nothing that stays open."""

from __future__ import annotations

import errno
import os
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import ConnectError, Fluvio
from fluvio_sync._net.poller import Poller
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list a process's descriptors"),
]


def descriptors() -> set[tuple[str, str]]:
    """Return the open descriptors, with the files behind them."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the names alone
        try:
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))  # noqa: PTH115
        except OSError:  # that of the list itself
            continue
    return found


class Limit:
    """A limit of descriptors above those that are open: `ulimit -n` in this process."""

    def __init__(self, more: int) -> None:
        import resource

        self._resource = resource
        self._more = more
        self._before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def __enter__(self) -> None:
        with ExitStack() as probes:
            for _ in range(self._more):
                highest = os.dup(0)
                probes.callback(os.close, highest)
            self._resource.setrlimit(self._resource.RLIMIT_NOFILE, (highest + 1, self._before[1]))

    def __exit__(self, *_: object) -> None:
        self._resource.setrlimit(self._resource.RLIMIT_NOFILE, self._before)


@pytest.mark.parametrize("more", range(1, 8))
def test_a_client_that_gets_too_few_descriptors(own: LocalCluster, more: int) -> None:
    before = descriptors()
    with Limit(more), pytest.raises(ConnectError, match=r"SC at .*Too many open files"):
        Fluvio.connect(own.endpoint)
    wait_until(lambda: descriptors() <= before, "all is closed, by the cluster in this process too")
    Fluvio.connect(own.endpoint).close()


def test_a_call_that_gets_no_descriptor(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        with Limit(1), pytest.raises(ConnectError, match=r"SC at .*Too many open files"):
            fluvio.topics()
        assert fluvio.topics() == []


def test_a_poller_that_is_made_in_part_closes_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    real = socket.socketpair

    def pair() -> tuple[socket.socket, socket.socket]:
        if made:
            raise OSError(errno.EMFILE, "Too many open files")
        made.extend(real())
        return made[0], made[1]

    monkeypatch.setattr(socket, "socketpair", pair)
    with pytest.raises(OSError, match="Too many"):
        Poller()
    assert [sock.fileno() for sock in made] == [-1, -1]


def test_a_client_that_gets_no_thread(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    before = descriptors()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(ConnectError, match="thread cannot be started: can't start new thread") as caught:
            Fluvio.connect(own.endpoint)
    assert "pids limit" in caught.value.hint
    assert isinstance(caught.value.__cause__, RuntimeError)
    wait_until(lambda: descriptors() <= before, "all is closed, by the cluster in this process too")
