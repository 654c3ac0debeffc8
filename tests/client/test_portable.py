# SPDX-License-Identifier: Apache-2.0
"""Producing without epoll, fork and `sendmsg`, as on Windows; `make test-portable` runs many more tests in that way."""

from __future__ import annotations

import os
import selectors
import socket
from pathlib import Path

import pytest

import tests.support
from fluvio_sync import ConnectError, Fluvio
from fluvio_sync._net import dialling
from fluvio_sync._net.dialling import error_of
from fluvio_sync._net.poller import Poller
from tests.support.scripts import run

PORTABLE = str(Path(tests.support.__file__).parent / "portable")

SIZES = """
from fluvio_sync.testing import LocalCluster
sizes = [1, 100, 1000, 5000, 70_000, 300_000]
with LocalCluster() as cluster:
    cluster.create_topic("sizes")
    with Fluvio.connect(cluster.endpoint) as fluvio, fluvio.topic_producer("sizes", linger=0.02) as producer:
        futures = [producer.send(b"x" * size) for size in sizes for _ in range(20_000_000 // (size + 50_000) // 8)]
        assert [future.result(10).offset for future in futures] == list(range(len(futures)))
        assert sum(len(record.value) for record in cluster.records("sizes")) == fluvio.stats()["sizes"].bytes_acked
    assert cluster.violations() == []
assert not hasattr(os, "fork")
say("all")
"""

DATA_DIR = """
from fluvio_sync.testing import LocalCluster
folder = sys.argv[1]
for number in range(2):
    with LocalCluster(data_dir=folder) as cluster:
        if not number:
            cluster.create_topic("kept")
        with Fluvio.connect(cluster.endpoint) as fluvio, fluvio.topic_producer("kept") as producer:
            say(producer.send(b"x").result(10).offset)
        try:
            LocalCluster(data_dir=folder).start()
        except RuntimeError as error:
            say(str(error).rpartition(folder)[2])
"""


@pytest.fixture(autouse=True)
def portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have child processes load `sitecustomize`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([PORTABLE, os.environ.get("PYTHONPATH", "")]))


def test_records_of_all_sizes_are_sent() -> None:
    ended = run(SIZES, "", "")
    assert (ended.stdout, ended.stderr) == ("all\n", "")


def test_a_development_cluster_keeps_its_data(tmp_path: Path) -> None:
    ended = run(DATA_DIR, str(tmp_path), "")
    used = " is in use by another cluster"
    assert (ended.stdout.splitlines(), ended.stderr) == (["0", used, "1", used], "")


def test_windows_error_numbers_have_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "errorTab", {10061: "Connection refused."}, raising=False)
    assert str(error_of(10061)) == "[Errno 10061] Connection refused."
    assert error_of(13).strerror == os.strerror(13)


def test_a_descriptor_that_select_does_not_take_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    monkeypatch.setattr(dialling, "_SELECTABLE", 1)
    with pytest.raises(OSError, match="has only select, which takes no more"):
        Poller()
    monkeypatch.setattr("fluvio_sync._net.poller.refuse_unpollable", lambda _sock: None)
    with pytest.raises(ConnectError, match="has only select, which takes no more"):
        Fluvio.connect("127.0.0.1:1")
