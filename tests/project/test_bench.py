# SPDX-License-Identifier: Apache-2.0
"""The benchmarks run; this module does not judge their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone]

BENCH = Path(__file__).parents[2] / "bench"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCH / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_workload_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    table = run("measure.py", "--rounds", "1", "--only", "send and wait", "--json", str(file))
    figures = json.loads(file.read_text())["send and wait, 100 B"]["pure"]
    assert "send and wait, 100 B" in table
    assert 0 < figures["p50"] <= figures["p99"] < figures["seconds"]
    assert figures["cpu"] > 0


def test_a_profile_adds_up() -> None:
    rows = [line.split() for line in run("profile_send.py", "--records", "5000").splitlines()[1:]]
    assert abs(sum(float(share) for row in rows for share in row[-2:]) - 100) < 1.5
    others = sum(map(float, rows[-1][-2:]))
    assert others < 30, "the stages know the files that the time goes to: what is left are Python's own functions"


def test_the_parts_of_a_record_are_less_than_the_whole() -> None:
    times = {line[:44].strip(): float(line[44:52]) for line in run("floor.py").splitlines() if "." in line[44:52]}
    assert 0 < times["its future"] < times["together"] < times["as it is"]


def test_memory_and_codecs() -> None:
    assert run("memory.py", "--records", "2000").count("B beside it") == 3
    assert run("codecs.py").count("times smaller") == 10
