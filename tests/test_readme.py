# SPDX-License-Identifier: Apache-2.0
"""What the README says is so: its code runs, and its commands, settings and errors exist."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
from documents import PLACEHOLDER, python_blocks, run_block

import fluvio_sync
from fluvio_sync import Fluvio, FluvioError, ProducerConfig, RetryPolicy, cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = python_blocks(README)


def rows(heading: str) -> list[list[str]]:
    """Return the tables' rows under a heading, without their heads."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for table in tables for line in table.splitlines()[2:]
    ]


def test_there_is_code() -> None:
    assert len(BLOCKS) >= 2
    assert PLACEHOLDER in BLOCKS[0]


@pytest.mark.parametrize("block", BLOCKS)
def test_code_runs(block: str) -> None:
    assert "not acknowledged" not in run_block(block)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert {"quickstart", "test", "bench"} <= targets
    assert targets <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_command_lines_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"^    fluvio-sync (produce .*?)(?: <.*)?$", README, re.MULTILINE)
    assert lines
    for line in lines:
        options = cli._parser().parse_args(line.split())
        assert options.topic == "orders", capsys.readouterr().err


def test_extras_exist() -> None:
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    extras = set(re.findall(r"^([a-z]+) =$", setup.split("[options.extras_require]")[1], re.MULTILINE))
    shown = [row[0].strip("`") for row in rows("Install")]
    assert sorted(shown) == sorted(extras - {"test", "lint", "bench"})


def test_settings_exist() -> None:
    places = {
        "topic_producer": {field.name for field in dataclasses.fields(ProducerConfig)},
        "RetryPolicy": {field.name for field in dataclasses.fields(RetryPolicy)},
        "connect": set(inspect.signature(Fluvio.connect).parameters),
    }
    for names, place, *_ in rows("Settings that matter"):
        for name in re.findall(r"`(\w+)`", names):
            assert name in places[place.strip("`")], name


def test_every_error_is_explained() -> None:
    explained = {name for row in rows("What can go wrong") for name in re.findall(r"`(\w+Error)`", row[0])}
    public = {
        name
        for name in fluvio_sync.__all__
        if isinstance(kind := getattr(fluvio_sync, name), type) and issubclass(kind, FluvioError)
    }
    assert explained == public - {"FluvioError"}
