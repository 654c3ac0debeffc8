# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync completion`: the scripts in the shells that are installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.shell import COMMAND, LONGEST, run

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster

pytest.importorskip("shtab")

# Completes the last of the words; prints the options that are set for readline, and the completions.
COMPLETE = """
eval "$("$@" completion bash)"
compopt() {{ echo "compopt $*"; }}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_fluvio_sync
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def completions(words: str) -> list[str]:
    """Return the completions of bash."""
    script = COMPLETE.format(words=words)
    command = ["bash", "-c", script, "bash", *COMMAND]
    done = subprocess.run(command, capture_output=True, timeout=LONGEST, check=True, cwd=Path(__file__).parents[2])
    assert done.stderr == b""
    return [line for line in done.stdout.decode().splitlines() if line and not line.startswith("compopt +o")]


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("fluvio-sync pro", ["produce"]),
        ("fluvio-sync produce --compr", ["--compression", "--compression-level"]),
        ("fluvio-sync produce orders --compression ''", ["none", "gzip", "snappy", "lz4", "zstd"]),
        ("fluvio-sync produce --key ''", []),
        ("fluvio-sync produce orders -f setup.cf", ["compopt -o filenames", "setup.cfg"]),
        ("fluvio-sync topic create produce --part", ["--partitions"]),
        ("fluvio-sync dev-cluster --sp", ["--spus"]),
        ("fluvio-sync dev-cluster --data-dir exampl", ["compopt -o filenames", "examples"]),
        ("fluvio-sync completion z", ["zsh"]),
    ],
)
def test_bash_completes(words: str, found: list[str]) -> None:
    assert completions(words) == found


@needs_bash
@pytest.mark.parametrize("words", ["produce or", "topics delete payments or", "doctor --topic or"])
def test_bash_completes_topics(words: str, own: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("orders", "payments"):
        own.create_topic(name)
    command = tmp_path / "fluvio-sync"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m fluvio_sync "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", own.endpoint)
    assert completions(f"fluvio-sync {words}") == ["orders"]
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", "127.0.0.1:1")
    assert completions(f"fluvio-sync {words}") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_every_command(shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    script = done.stdout.decode()
    assert all(word in script for word in ("produce", "at-most-once", "spus", "fluvio-sync topics list --timeout 1s"))
    if (path := shutil.which(shell)) is not None:
        subprocess.run([path, "-n", "/dev/stdin"], input=done.stdout, timeout=LONGEST, check=True)


@pytest.mark.parametrize("arguments", [[], ["tcsh"]])
def test_completion_for_no_shell(arguments: list[str]) -> None:
    done = run("completion", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")


def test_without_shtab_the_error_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "shtab.py").write_text("raise ImportError")
    done = run("completion", "bash", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"fluvio-sync: completion needs shtab: pip install 'fluvio-sync[cli]'\n"
