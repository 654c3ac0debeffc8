# SPDX-License-Identifier: Apache-2.0
"""gevent's and eventlet's modules as they present themselves; tests/process/test_greenlets.py runs the real ones."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from fluvio_sync import ConfigError
from fluvio_sync._runtime.greenlets import refuse_partly_patched


@pytest.mark.parametrize(
    ("module", "asks", "patched", "refused"),
    [
        ("gevent.monkey", "is_module_patched", {"threading", "selectors"}, False),
        ("gevent.monkey", "is_module_patched", set(), False),
        ("gevent.monkey", "is_module_patched", {"threading"}, True),
        ("gevent.monkey", "is_module_patched", {"selectors"}, True),
        ("eventlet.patcher", "is_monkey_patched", {"thread", "select"}, False),
        ("eventlet.patcher", "is_monkey_patched", {"select"}, False),
        ("eventlet.patcher", "is_monkey_patched", {"thread"}, True),
    ],
)
def test_threads_and_selectors_are_patched_together(
    monkeypatch: pytest.MonkeyPatch, module: str, asks: str, patched: set[str], *, refused: bool
) -> None:
    stand_in: Any = ModuleType(module)
    setattr(stand_in, asks, lambda name: name in patched)
    monkeypatch.delitem(sys.modules, "gevent.monkey", raising=False)
    monkeypatch.delitem(sys.modules, "eventlet.patcher", raising=False)
    monkeypatch.setitem(sys.modules, module, stand_in)
    if refused:
        with pytest.raises(ConfigError, match=r"has patched (threads|selectors) and not .*: call .*\(\) without"):
            refuse_partly_patched()
    else:
        refuse_partly_patched()
