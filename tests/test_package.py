# SPDX-License-Identifier: Apache-2.0
"""What is shipped: the wheel, the source distribution, and what importing the package does."""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parent.parent
LICENCE = "# SPDX-License-Identifier: Apache-2.0"
SOURCES = [
    path
    for folder in ("fluvio_sync", "tests", "examples", "bench", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution, made from a copy of the tree with the tools installed here."""
    tree = tmp_path_factory.mktemp("build") / "tree"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignored)
    code = "from setuptools import build_meta as m; m.build_wheel('dist'); m.build_sdist('dist')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "DeprecationWarning" not in done.stderr, done.stderr
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_is_for_every_platform(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.name.endswith("-py3-none-any.whl")


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fluvio_sync").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == sources | {"fluvio_sync/py.typed"}
    assert "fluvio_sync/testing/dev_cluster.py" in names
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_depends_on_two_packages(wheel: zipfile.ZipFile) -> None:
    required = metadata(wheel).get_all("Requires-Dist", [])
    always = {re.match(r"[\w-]+", line)[0] for line in required if "extra ==" not in line}  # type: ignore[index]
    assert always == {"backoff", "structlog"}
    # A wheel that is built by a C compiler on some machines must not be in the way of the tests.
    assert not [line for line in required if re.match(r"fluvio\b(?!-sync)", line)]


def test_the_metadata_is_complete(wheel: zipfile.ZipFile) -> None:
    fields = metadata(wheel)
    assert fields["Requires-Python"] == ">=3.10"
    assert set(fields.get_all("Provides-Extra", [])) == {
        *("fast", "compression", "profile", "django", "flask", "celery", "prometheus", "opentelemetry"),
        *("test", "lint", "bench"),
    }
    assert fields["Description-Content-Type"] == "text/markdown"


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert b"fluvio-sync = fluvio_sync.cli:main" in wheel.read(name)


def test_the_source_distribution_can_be_built_from(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "fluvio_sync/py.typed"} <= names


def test_there_are_sources() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_names_its_licence(path: Path) -> None:
    assert path.read_text(encoding="utf-8").partition("\n")[0] == LICENCE


@pytest.mark.parametrize("name", ["Makefile", ".ci/run"])
def test_scripts_name_their_licence(name: str) -> None:
    assert LICENCE in (ROOT / name).read_text(encoding="utf-8")


def imported(statement: str) -> str:
    """Run a program in a process of its own and return what it prints."""
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_importing_starts_no_thread() -> None:
    code = (
        "import threading, fluvio_sync, fluvio_sync.testing; print(threading.enumerate() == [threading.main_thread()])"
    )
    assert imported(code) == "True"


def test_importing_is_light() -> None:
    # asyncio takes longer to import than the whole package, and so do the packages that import it.
    code = (
        "import sys, fluvio_sync; print([name for name in ('asyncio', 'backoff', 'structlog') if name in sys.modules])"
    )
    assert imported(code) == "[]"
