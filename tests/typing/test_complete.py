# SPDX-License-Identifier: Apache-2.0
"""The tests of types leave out no public name and no setting."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fluvio_sync
from fluvio_sync import testing
from fluvio_sync.config import ProducerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = ast.parse(Path(__file__).with_name("test_accepted.py").read_text())
REFUSED = ast.parse(Path(__file__).with_name("test_refused.py").read_text())


def calls_of(tree: ast.Module, name: str) -> Iterator[ast.Call]:
    """Yield the calls of a function or method of this name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == name:
            yield node


def keywords(tree: ast.Module, name: str) -> set[str]:
    """Return the keyword arguments with which a function or method of this name is called."""
    return {keyword.arg for call in calls_of(tree, name) for keyword in call.keywords if keyword.arg}


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
