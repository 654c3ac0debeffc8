# SPDX-License-Identifier: Apache-2.0
"""The shop of the examples: its own tests pass, and it works with a cluster as its README describes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOP = Path(__file__).parent.parent.parent / "examples" / "django_shop"
PATIENCE = 60.0


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A copy with its own database."""
    return Path(shutil.copytree(SHOP, tmp_path / "shop", ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3")))


def manage(shop: Path, *arguments: str) -> str:
    """Run a command, which has to succeed, and return its output."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=shop,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_tests_pass(shop: Path) -> None:
    assert re.search(r"Ran 4 tests .*\n\nOK\n", manage(shop, "test"), re.DOTALL)


def test_its_migrations_are_complete(shop: Path) -> None:
    manage(shop, "makemigrations", "--check", "--dry-run")


def test_its_readme_names_existing_commands(shop: Path) -> None:
    commands = re.findall(r"^    python manage.py (\w+)", (SHOP / "README.md").read_text(), re.MULTILINE)
    assert set(commands) == {"migrate", "fluvio_check", "runserver", "fluvio_outbox_relay", "test"}
    listed = manage(shop, "help")
    assert all(f"    {command}\n" in listed for command in commands)
