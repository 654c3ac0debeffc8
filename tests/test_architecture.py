# SPDX-License-Identifier: Apache-2.0
"""The rooms of the house: pure modules import no effect."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fluvio_sync

PACKAGE = Path(fluvio_sync.__file__).parent
EFFECTS = {"socket", "ssl", "select", "selectors", "threading", "time", "random", "logging", "structlog", "os", "queue"}
PURE = [
    *sorted(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "protocol").glob("*.py")),
    "_actions.py",
    "_dispatch.py",
    "_endpoint.py",
    "_failures.py",
    "_halving.py",
    "_lane.py",
    "_link.py",
    "_metadata.py",
    "_settings.py",
    "_timers.py",
    "_topic_name.py",
    "delivery.py",
    "errors.py",
    "retry.py",
]


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports when it is imported itself."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_imports_no_effect(name: str) -> None:
    assert not {module.split(".")[0] for module in imported(PACKAGE / name)} & EFFECTS


@pytest.mark.parametrize("path", sorted((PACKAGE / "protocol").glob("*.py")), ids=lambda path: path.name)
def test_the_codec_knows_nothing_of_the_client(path: Path) -> None:
    ours = {module for module in imported(path) if module.startswith("fluvio_sync")}
    assert all(module.startswith("fluvio_sync.protocol") or module == "fluvio_sync.errors" for module in ours)
