# SPDX-License-Identifier: Apache-2.0
"""The version and the licence, in the sources."""

from __future__ import annotations

import re
from pathlib import Path

from fluvio_sync import __version__

ROOT = Path(__file__).parents[2]
LICENCE = "# SPDX-License-Identifier: Apache-2.0"
SOURCES = [
    ROOT / "noxfile.py",
    ROOT / "setup.py",
    *(
        path
        for folder in ("fluvio_sync", "tests", "examples", "bench", "docs", "tools")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ),
]


def test_only_one_file_states_the_version() -> None:
    texts = [*SOURCES, *(ROOT / name for name in ("Makefile", "README.md", "pyproject.toml", "setup.cfg"))]
    stating = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    code = [path for path in texts if (ROOT / "tests") not in path.parents]
    found = {str(path.relative_to(ROOT)) for path in code if stating.search(path.read_text(encoding="utf-8"))}
    assert found == {"fluvio_sync/__init__.py"}


def test_the_changelog_begins_with_what_is_unreleased_or_this_version() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    first, *older = [line for line in lines if line.startswith("## ")]
    release = r"## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d"
    assert first == "## [Unreleased]" or re.fullmatch(release, first)[1] == __version__  # type: ignore[index]
    released = [re.fullmatch(release, line) for line in older]
    assert all(released), older


def test_every_source_names_its_licence() -> None:
    assert len(SOURCES) > 50
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES}
    assert [str(path) for path, text in texts.items() if text.partition("\n")[0] != LICENCE] == []
    scripts = [ROOT / name for name in ("Makefile", ".ci/run")]
    assert [str(path) for path in scripts if LICENCE not in path.read_text(encoding="utf-8")] == []
