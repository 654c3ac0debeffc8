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
    "_cli_durations.py",
    "_dispatch.py",
    "_doctor_advice.py",
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


COMMANDS = {f"fluvio_sync._cli_{name}" for name in ("completion", "doctor", "produce", "topics")}


def imported_anywhere(path: Path) -> set[str]:
    """Return the modules that a file imports, in its functions as well."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def is_of_command(module: str) -> bool:
    return module == "fluvio_sync.cli" or module.startswith("fluvio_sync._cli_")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_knows_the_command(path: Path) -> None:
    known = {module for module in imported_anywhere(path) if is_of_command(module)}
    if path.name == "cli.py":
        assert known >= COMMANDS
    elif path.name.startswith("_cli_"):
        assert "fluvio_sync.cli" not in known
        assert not known & COMMANDS  # no command knows another
    else:
        assert not known or path.name == "__main__.py"
