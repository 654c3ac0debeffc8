# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync` as a whole: its help, which cluster it talks to, and the commands that need no other file of tests."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from shell import COMMAND, LONGEST, cluster_options, line_of, run, started
from sockets import free_port

from fluvio_sync import Fluvio, __version__
from fluvio_sync.cli import command
from fluvio_sync.cli.completion import places
from fluvio_sync.testing import read_records

if TYPE_CHECKING:
    from pathlib import Path

    from kit import Where

COMMANDS = ["produce", "topics", "doctor", "dev-cluster", "completion"]


# Help.


def test_without_arguments_it_shows_its_help() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, b"")
    text = done.stderr.decode()
    assert all(re.search(rf"^    {command}\b", text, re.MULTILINE) for command in COMMANDS)
    assert text.splitlines()[-1] == "fluvio-sync: a command is missing"


@pytest.mark.parametrize(
    "command", [[], ["produce"], ["topics"], ["topics", "list"], ["topics", "create"], ["topics", "delete"], ["doctor"]]
)
def test_help_has_usage_and_exit_statuses(command: list[str]) -> None:
    done = run(*command, "--help")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.startswith(f"usage: {' '.join(['fluvio-sync', *command])} ")
    assert "\nexit status:\n  0 " in text
    assert "fluvio-sync " in text.split("usage:", 1)[1].split("\n", 1)[1]  # an example


def test_every_option_has_a_help_text() -> None:
    for place in places(command._parser(), {}):
        assert all(option.does for option in place.options), place
    assert [command for place in places(command._parser(), {}) for command in place.commands][:5] == COMMANDS


def test_the_development_clusters_help_is_its_own() -> None:
    done = run("dev-cluster", "--help")
    assert done.returncode == 0
    assert b"--spus" in done.stdout


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str) -> None:
    done = run(option)
    assert (done.returncode, done.stdout.decode()) == (0, f"fluvio-sync {__version__}\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["produce", "t", "--nonsense"], ["prod", "t"]])
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[-1].startswith(b"fluvio-sync")


# Which cluster.


def test_the_cluster_may_come_from_the_environment_or_a_profile(where: Where, tmp_path: Path) -> None:
    topic = where.topic()
    config = tmp_path / "config"
    config.write_text(
        f'version = "2.0"\n[profile.dev]\ncluster = "dev"\n[cluster.dev]\nendpoint = "{where.endpoint}"\n'
    )
    assert run("produce", topic, data=b"1\n", FLUVIO_SYNC_ENDPOINT=where.endpoint).returncode == 0
    assert run("produce", topic, "-P", "dev", data=b"2\n", FLV_PROFILE_PATH=str(config)).returncode == 0
    assert [record.value for record in where.records(topic, 0, 2)] == [b"1", b"2"]


def test_the_cluster_may_be_named_before_the_command(where: Where) -> None:
    topic = where.topic()
    assert topic in run(*cluster_options(where), "topics", "list").stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-c", "127.0.0.1:1", "-P", "local"], "--cluster and --profile exclude each other"),
        (["-c", "not an endpoint"], "white space"),
        (["-c", "http://127.0.0.1:1"], "leave out the scheme"),
        (["-c", "127.0.0.1:1", "--timeout", "0"], "more than 0"),
        (["-c", "127.0.0.1:1", "--domain", "d"], "without --tls"),
        (["-c", "127.0.0.1:1", "--tls", "--domain", "d", "--ca-cert", "/no/file"], "'/no/file' cannot be read"),
    ],
)
@pytest.mark.parametrize("command", [["produce", "t"], ["topics", "list"], ["topics", "delete", "t"]])
def test_a_cluster_that_cannot_be_meant(command: list[str], options: list[str], why: str) -> None:
    done = run(*command, *options)
    assert (done.returncode, done.stdout) == (2, b"")
    assert why in done.stderr.decode()


# The development cluster.


def test_the_development_cluster_runs_until_it_is_interrupted() -> None:
    with started("dev-cluster", "--port", "0", "--spus", "2") as process:
        endpoint = line_of(process.stdout).strip()
        with Fluvio.connect(endpoint) as fluvio:
            fluvio.create_topic("orders")
        assert run("produce", "orders", "-c", endpoint, data=b"1\n").returncode == 0
        assert [record.value for record in read_records(endpoint, "orders")] == [b"1"]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LONGEST)
        assert process.returncode == 0


def test_the_development_clusters_port_is_taken() -> None:
    port = free_port(following=1)
    with socket.create_server(("127.0.0.1", port + 1)):
        done = run("dev-cluster", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"fluvio-sync dev-cluster: 127.0.0.1:{port + 1}: Address already in use (asked for by SPU 5001);"
        " is a cluster running already? --port chooses another, --port 0 any that is free\n"
    )


# Completion.

COMPLETE = """
eval "$("$@" completion bash)"
compopt() {{ echo "as usual: $*"; }}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_fluvio_sync 2>/dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("fluvio-sync pro", ["produce"]),
        ("fluvio-sync produce --compr", ["--compression", "--compression-level"]),
        ("fluvio-sync produce orders --compression ''", ["none", "gzip", "snappy", "lz4", "zstd"]),
        ("fluvio-sync produce orders --isolation read-c", ["read-committed"]),
        ("fluvio-sync produce --key ''", [""]),
        ("fluvio-sync produce orders -f ''", ["as usual: -o default", ""]),
        ("fluvio-sync topics ''", ["list", "create", "delete", "-h", "--help"]),
        ("fluvio-sync topic create produce --part", ["--partitions"]),
        ("fluvio-sync dev-cluster --sp", ["--spus"]),
        ("fluvio-sync completion z", ["zsh"]),
    ],
)
def test_bash_completes(words: str, found: list[str]) -> None:
    script = COMPLETE.format(words=words)
    done = subprocess.run(["bash", "-c", script, "bash", *COMMAND], capture_output=True, timeout=LONGEST, check=False)
    assert (done.stdout.decode().splitlines(), done.stderr) == (found, b"")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_every_option(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    text = done.stdout.decode()
    options = {name for place in places(command._parser(), {}) for option in place.options for name in option.names}
    shown = {f"-l {name[2:]} " if name.startswith("--") else f"-s {name[1:]} " for name in options}
    assert all(name in text for name in (shown if shell == "fish" else options))
    if (path := shutil.which(shell)) is not None:
        assert (
            subprocess.run([path, "-n", "/dev/stdin"], input=done.stdout, timeout=LONGEST, check=False).returncode == 0
        )


@pytest.mark.parametrize("arguments", [[], ["tcsh"]])
def test_completion_for_no_shell(arguments: list[str]) -> None:
    done = run("completion", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
