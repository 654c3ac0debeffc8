# SPDX-License-Identifier: Apache-2.0
"""The types of the public names: `tests/typing` says what they are, and leaves none out."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fluvio_sync
from fluvio_sync import testing
from fluvio_sync.config import ProducerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TYPING = ROOT / "tests" / "typing"
ACCEPTED = ast.parse((TYPING / "test_accepted.py").read_text())
REFUSED = ast.parse((TYPING / "test_refused.py").read_text())


def calls_of(tree: ast.Module, name: str) -> Iterator[ast.Call]:
    """Yield the calls of a function or method of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
            yield node


def keywords(tree: ast.Module, name: str) -> set[str]:
    """Return the keyword arguments with which a function or method of this name is called."""
    return {keyword.arg for call in calls_of(tree, name) for keyword in call.keywords if keyword.arg}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run of mypy learns for the next."""
    return tmp_path_factory.mktemp("mypy")


def mypy(cache: Path, path: Path) -> tuple[int, str]:
    """Check a file or a folder; returns the exit status, and what is wrong."""
    command = [sys.executable, "-m", "mypy", f"--config-file={ROOT / 'pyproject.toml'}", f"--cache-dir={cache}"]
    done = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout + done.stderr


def test_mypy_agrees(cache: Path) -> None:
    status, complaints = mypy(cache, TYPING)
    assert status == 0, complaints


def test_mypy_disagrees_with_a_wrong_type(cache: Path, tmp_path: Path) -> None:
    """Otherwise the test above could pass because nothing is checked."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from fluvio_sync import connect\n\nconnect(connect_timeout='10 s')\n")
    status, complaints = mypy(cache, wrong)
    assert status == 1
    assert 'Argument "connect_timeout"' in complaints


@pytest.mark.parametrize("module", [fluvio_sync, testing], ids=lambda module: str(module.__name__))
def test_every_public_name_is_used(module: object) -> None:
    used = {node.id for node in ast.walk(ACCEPTED) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(ACCEPTED) if isinstance(node, ast.Attribute)}
    assert set(module.__all__) - used == set()  # type: ignore[attr-defined]


def test_every_setting_is_accepted() -> None:
    settings = set(ProducerSettings.__annotations__)
    assert settings == {field.name for field in dataclasses.fields(fluvio_sync.ProducerConfig)}
    assert keywords(ACCEPTED, "topic_producer") == settings
    assert keywords(ACCEPTED, "RetryPolicy") == {field.name for field in dataclasses.fields(fluvio_sync.RetryPolicy)}
    of_connect = set(inspect.signature(fluvio_sync.Fluvio.connect).parameters) - {"endpoint", "unknown"}
    assert keywords(ACCEPTED, "connect") == of_connect


def test_every_setting_of_a_producer_is_refused_what_it_is_not() -> None:
    assert keywords(REFUSED, "topic_producer") >= set(ProducerSettings.__annotations__)
