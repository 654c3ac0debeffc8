# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from documents import python_blocks, run_block

from fluvio_sync import _environment
from fluvio_sync._failures import Treatment, treatment_of
from fluvio_sync.protocol.error_code import Code

ROOT = Path(__file__).parent.parent
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
    return [block for name in names for block in python_blocks((ROOT / "docs" / name).read_text())]


@pytest.mark.parametrize("block", blocks("connecting.md", "testing.md"))
def test_code_runs(block: str) -> None:
    run_block(block)
