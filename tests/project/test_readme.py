# SPDX-License-Identifier: Apache-2.0
"""What README says is there is there; that its code runs is shown with the documentation's, in test_docs.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.documents import PAGES, ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_of_a_newcomer_are_near_the_top() -> None:
    commands = [line for block in blocks(README) if block.language == "sh" for line in block.text.splitlines()]
    assert commands[:2] == ["make quickstart", "make test"]


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    commands = [
        line for text in texts for block in blocks(text) if block.language == "sh" for line in block.text.splitlines()
    ]
    targets = {target for line in commands for target in re.findall(r"^make ([a-z-]+)", line)}
    targets |= {target for text in texts for target in re.findall(r"`make ([a-z-]+)", text)}
    assert {"quickstart", "test", "docs", "bench"} <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_to_their_headings(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("https://"):
            path, _, heading = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), link
            assert not heading or heading in headings(target.read_text(encoding="utf-8")), link


def headings(text: str) -> set[str]:
    """Return the anchors of a page, as code-hosting sites make them."""
    found = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
