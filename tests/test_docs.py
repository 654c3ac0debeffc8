# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from fluvio_sync._failures import Treatment, treatment_of
from fluvio_sync.protocol.error_code import Code

ROOT = Path(__file__).parent.parent
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
