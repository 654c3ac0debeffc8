# SPDX-License-Identifier: Apache-2.0
"""The targets of make, with every Python from 3.10 on that PATH has; run by `nox`.

`nox --session "tests(3.12)"` is one of them, and `nox --session tests -- -k cli` runs some of the tests.  What a
session does stands in the Makefile alone.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t"]  # t: free-threaded

nox.options.sessions = ["lint", "docs", "tests"]


@nox.session(venv_backend="none")
@nox.parametrize("version", [nox.param(version, id=version) for version in PYTHONS])
def tests(session: nox.Session, version: str) -> None:
    """Run the tests with a Python, in an environment of its own."""
    if not runs(f"python{version}"):
        session.skip(f"there is no python{version} on PATH")
    settings = [f"PYTHON=python{version}", f"VENV=.nox/{version}"]
    make(session, "test", *settings, f"ARGS={shlex.join(session.posargs)}")
    if not session.posargs:
        make(session, "test-slow", *settings)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style and types."""
    make(session, "lint")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types alone."""
    make(session, "types")


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation."""
    make(session, "docs")


@nox.session(venv_backend="none")
def coverage(session: nox.Session) -> None:
    """Run the tests and name the lines that they do not reach."""
    make(session, "coverage", f"ARGS={shlex.join(session.posargs)}")


def runs(command: str) -> bool:
    """Return whether there is a Python of this name; pyenv has names on PATH that lead to none."""
    return shutil.which(command) is not None and not subprocess.call(
        [command, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def make(session: nox.Session, *arguments: str) -> None:
    """Run make; it sets its environments up itself."""
    session.run("make", *arguments, external=True)
