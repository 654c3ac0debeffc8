# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fluvio_sync import _environment
from fluvio_sync._failures import Treatment, treatment_of
from fluvio_sync.protocol.error_code import Code
from fluvio_sync.testing import LocalCluster

ROOT = Path(__file__).parent.parent
PLACEHOLDER = "127.0.0.1:9003"
CONNECTING = (ROOT / "docs" / "connecting.md").read_text()
DELIVERY = (ROOT / "docs" / "delivery.md").read_text()


def test_the_drawing_shows_the_table() -> None:
    spec = importlib.util.spec_from_file_location("draw_states", ROOT / "tools" / "draw_states.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.document() == DELIVERY, "run: python tools/draw_states.py --write"


def test_the_table_of_codes_names_every_code_that_is_not_final() -> None:
    _, _, table = DELIVERY.partition("| server's code |")
    named = {
        int(number)
        for row in table.splitlines()
        for number in re.findall(r"-?\d+", row.split("|")[1:2][0] if "|" in row else "")
    }
    assert named == {code for code in Code if treatment_of(code) is not Treatment.REJECT and code}


def test_the_table_of_variables_is_that_of_the_code() -> None:
    _, _, section = CONNECTING.partition("\n## The environment\n")
    shown = {
        name for row in section.splitlines() if row.startswith("|") for name in re.findall("FLUVIO_SYNC_[A-Z_]+", row)
    }
    names = (*_environment._READERS, "tls", *_environment._CERTIFICATES)
    assert shown == {_environment._variable(name) for name in names}


def blocks(*names: str) -> list[str]:
    texts = [(ROOT / "docs" / name).read_text() for name in names]
    return [block for text in texts for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]


@pytest.mark.parametrize("block", blocks("connecting.md", "testing.md"))
def test_code_runs(block: str) -> None:
    with LocalCluster() as cluster:
        command = [sys.executable, "-W", "error", "-c", block.replace(PLACEHOLDER, cluster.endpoint)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
