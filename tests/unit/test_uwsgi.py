# SPDX-License-Identifier: Apache-2.0
"""uWSGI's module as it presents itself; tests/process/test_uwsgi.py runs the real one."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

import pytest

from fluvio_sync import ConfigError, Fluvio
from fluvio_sync._runtime import uwsgi as _uwsgi


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> Any:
    """uWSGI's module as its master sees it, with threads."""
    module: Any = ModuleType("uwsgi")
    module.has_threads = 1
    module.opt = {"master": True, "processes": b"2"}
    module.masterpid = os.getpid
    module.worker_id = lambda: 0
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


def test_elsewhere_nothing_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", None)
    _uwsgi.refuse_without_threads()
    _uwsgi.refuse_before_fork()
    assert not _uwsgi.is_before_fork()


def test_in_the_master_a_client_waits_and_nothing_is_sent(uwsgi: Any) -> None:
    fluvio = Fluvio.connect("127.0.0.1:1")  # a port without a server
    producer = fluvio.topic_producer("t")
    for use in (lambda: producer.send(b"x"), fluvio.topics, fluvio.health):
        with pytest.raises(ConfigError, match="lazy-apps = true, or py-call-uwsgi-fork-hooks = true"):
            use()
    fluvio.close()


@pytest.mark.parametrize("option", ["lazy-apps", "lazy", "py-call-uwsgi-fork-hooks"])
def test_a_master_that_loads_in_the_workers_or_forks_as_python_does(uwsgi: Any, option: str) -> None:
    assert _uwsgi.is_before_fork()
    uwsgi.opt[option] = True
    assert not _uwsgi.is_before_fork()


def test_a_worker(uwsgi: Any) -> None:
    uwsgi.masterpid = lambda: os.getpid() - 1
    uwsgi.worker_id = lambda: 1
    assert not _uwsgi.is_before_fork()


def test_one_process_without_a_master(uwsgi: Any) -> None:
    uwsgi.masterpid = lambda: 0
    assert not _uwsgi.is_before_fork()
