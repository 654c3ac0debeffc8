# SPDX-License-Identifier: Apache-2.0
"""The wheel and the source distribution, and the package where they are installed.

Everything here is made as for a release, in environments that have nothing else; it needs the package index.
"""

from __future__ import annotations

import configparser
import email
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from fluvio_sync import __version__

if TYPE_CHECKING:
    from email.message import Message

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EXTRAS = ("cli", "fast", "compression", "profile", "django", "flask", "celery", "prometheus", "opentelemetry")
FOR_MAINTAINERS = ("test", "bench", "compile", "docs", "lint", "fuzz")
INSTALLED = Path(__file__).parent / "installed"


def run(
    *command: str | Path, cwd: Path, expected: int = 0, timeout: float = 110, variables: dict[str, str] | None = None
) -> str:
    """Run a program, with these variables of the environment as well, and return its output."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | (variables or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == expected, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# The wheel and the source distribution.


class Built(NamedTuple):
    """`tree`: the sources; `wheel`: made of `sdist`, as users of an index may do."""

    tree: Path
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    tree = tmp_path_factory.mktemp("build") / "tree"
    left_behind = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line[:1] != "#"]
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", *left_behind))
    said = run(sys.executable, "-m", "build", "--outdir", "dist", ".", cwd=tree)
    assert "Deprecat" not in said, said
    (sdist,) = (tree / "dist").glob("*.tar.gz")
    (wheel,) = (tree / "dist").glob("*.whl")
    return Built(tree, sdist, wheel)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = fnmatch.filter(archive.namelist(), "*.dist-info/METADATA")
        return email.message_from_bytes(archive.read(name))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_index_would_take_both(built: Built) -> None:
    said = run(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel, cwd=built.tree)
    assert said.count("PASSED") == 2


def test_the_wheel_is_for_every_platform(built: Built) -> None:
    assert built.wheel.name == f"fluvio_sync-{__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    names = set(contents(built.wheel))
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "fluvio_sync").rglob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == sources | {"fluvio_sync/py.typed"}
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_is_the_same_without_the_way_over_the_source_distribution(built: Built) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", "direct", ".", cwd=built.tree)
    (direct,) = (built.tree / "direct").glob("*.whl")
    assert contents(direct) == contents(built.wheel)


def test_the_source_distribution_holds_what_a_packager_needs(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    folders = (".ci", "bench", "docs", "examples", "fluvio_sync", "tests", "tools")
    needed = {
        path.relative_to(built.tree).as_posix()
        for folder in folders
        for path in (built.tree / folder).rglob("*")
        if path.is_file()
    }
    documents = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"}
    tools = {
        ".gitignore",
        ".pre-commit-config.yaml",
        "Makefile",
        "noxfile.py",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
    }
    assert needed | documents | tools <= held
    assert not fnmatch.filter(held, "*.pyc")


def test_the_wheel_depends_on_two_packages(built: Built) -> None:
    required = metadata(built.wheel).get_all("Requires-Dist", [])
    always = {re.match(r"[\w-]+", line)[0] for line in required if "extra ==" not in line}  # type: ignore[index]
    assert always == {"backoff", "structlog"}
    # A wheel that is built by a C compiler on some machines must not be in the way of the tests.
    assert not [line for line in required if re.match(r"fluvio\b(?!-sync)", line)]


def test_the_metadata_is_complete(built: Built) -> None:
    fields = metadata(built.wheel)
    assert fields["Version"] == __version__
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.10"
    assert set(fields.get_all("Provides-Extra", [])) == {*EXTRAS, *FOR_MAINTAINERS}
    assert fields["Description-Content-Type"] == "text/markdown"


# The wheel of one platform.


def wheel_of(built: Built, folder: Path, *options: str, **variables: str) -> tuple[str, Path]:
    """Build a wheel that may be compiled; return the output of the build, and the wheel."""
    shutil.rmtree(built.tree / "build", ignore_errors=True)  # what was compiled before
    build = (sys.executable, "-m", "build", "--wheel", "--outdir")
    variables["FLUVIO_SYNC_COMPILE"] = "1"
    said = run(*build, folder, *options, ".", cwd=built.tree, timeout=400, variables=variables)
    (wheel,) = folder.glob("*.whl")
    return said, wheel


@pytest.mark.timeout(500)
@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_a_wheel_is_compiled_where_that_is_wanted(built: Built, tmp_path: Path) -> None:
    said, wheel = wheel_of(built, tmp_path)
    assert "stays pure Python" not in said
    assert not wheel.name.endswith("-none-any.whl")
    assert set(contents(built.wheel)) - {name for name in contents(wheel) if name.endswith(".py")} == {
        name for name in contents(built.wheel) if not name.endswith(".py")
    }
    programs = installed(tmp_path, wheel)
    code = "import fluvio_sync; print(fluvio_sync.compiled)"
    assert run(programs / "python", "-I", "-c", code, cwd=tmp_path) == "True\n"
    assert run(programs / "python", "-I", "-W", "error", program("always"), cwd=tmp_path) == ""


@pytest.mark.timeout(300)
def test_without_a_c_compiler_the_wheel_is_pure_and_a_line_says_why(built: Built, tmp_path: Path) -> None:
    said, wheel = wheel_of(built, tmp_path, CC="no-such-compiler")
    (line,) = [line for line in said.splitlines() if "stays pure Python" in line]
    assert re.match("fluvio-sync is not compiled and stays pure Python: .*no-such-compiler", line)
    assert wheel.name == built.wheel.name
    assert contents(wheel) == contents(built.wheel)


def test_without_mypy_the_wheel_is_pure_and_a_line_says_why(built: Built, tmp_path: Path) -> None:
    (tmp_path / "mypyc.py").write_text("raise ImportError('there is no mypyc here')")
    options = ("--no-isolation", "--skip-dependency-check")
    said, wheel = wheel_of(built, tmp_path, *options, PYTHONPATH=str(tmp_path))
    assert "stays pure Python: ImportError: there is no mypyc here" in said
    assert contents(wheel) == contents(built.wheel)


# The installed package, in environments that have nothing but it.


@pytest.fixture(scope="module")
def bare(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with the package, and no extra."""
    return installed(tmp_path_factory.mktemp("bare"), built.wheel)


def installed(folder: Path, wheel: Path, extra: str = "") -> Path:
    """Make an environment with the package; returns the folder of its programs."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    programs = folder / "bin"
    package = f"fluvio-sync[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", str(programs / "python"))
    run(*pip, "install", package, cwd=folder)
    return programs


def program(name: str) -> Path:
    """Return the program that tries the package where `name` is installed."""
    return INSTALLED / f"{name}.py"


def test_the_package_works_without_extras(bare: Path, tmp_path: Path) -> None:
    assert run(bare / "python", "-I", "-W", "error", program("always"), cwd=tmp_path) == ""


def test_the_command_is_installed(bare: Path, tmp_path: Path) -> None:
    assert run(bare / "fluvio-sync", "--version", cwd=tmp_path) == f"fluvio-sync {__version__}\n"


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_it_is_for(built: Built, tmp_path: Path, extra: str) -> None:
    programs = installed(tmp_path, built.wheel, extra)
    assert run(programs / "python", "-I", program("always"), cwd=tmp_path) == ""
    assert run(programs / "python", "-I", program(f"with_{extra}"), cwd=tmp_path) == ""


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ("cli", "import sys; from fluvio_sync.cli import main; sys.exit(main(['completion', 'bash']))"),
        ("compression", "from fluvio_sync import ProducerConfig; ProducerConfig(compression='zstd')"),
        ("django", "import fluvio_sync.contrib.django"),
        ("flask", "import fluvio_sync.contrib.flask"),
        ("celery", "import fluvio_sync.contrib.celery"),
        ("prometheus", "import fluvio_sync.contrib.prometheus"),
        ("opentelemetry", "import fluvio_sync.contrib.opentelemetry"),
    ],
)
def test_without_an_extra_the_error_names_it(bare: Path, tmp_path: Path, extra: str, code: str) -> None:
    said = run(bare / "python", "-I", "-c", code, cwd=tmp_path, expected=1)
    assert said.splitlines()[-1].endswith(f"pip install 'fluvio-sync[{extra}]'")


def test_without_the_extra_profile_only_the_oldest_python_lacks_something(bare: Path, tmp_path: Path) -> None:
    old = sys.version_info < (3, 11)
    said = run(bare / "python", "-I", program("with_profile"), cwd=tmp_path, expected=1 if old else 0)
    assert ("pip install 'fluvio-sync[profile]'" in said) is old


def test_without_the_extra_fast_python_computes(bare: Path, tmp_path: Path) -> None:
    code = "from fluvio_sync.protocol import checksum, siphash; print(checksum.IMPLEMENTATION, siphash.IMPLEMENTATION)"
    assert run(bare / "python", "-I", "-c", code, cwd=tmp_path) == "pure pure\n"


def test_every_extra_is_tried() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert set(setup["options.extras_require"]) == {*EXTRAS, *FOR_MAINTAINERS}
    assert {path.stem for path in INSTALLED.glob("*.py")} == {"always", *(f"with_{extra}" for extra in EXTRAS)}
