# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync` as a whole: its help, the choice of the cluster, and the development cluster."""

from __future__ import annotations

import argparse
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio, __version__
from fluvio_sync.cli.command import build_parser
from fluvio_sync.testing import read_records
from tests.support.shell import LONGEST, line_of, run, started
from tests.support.sockets import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Where

COMMANDS = ["produce", "topics", "verify", "doctor", "dev-cluster", "completion"]


# Help.


def test_without_arguments_it_shows_its_help() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (2, b"")
    text = done.stderr.decode()
    assert all(re.search(rf"^    {command}\b", text, re.MULTILINE) for command in COMMANDS)
    assert text.splitlines()[-1] == "fluvio-sync: a command is missing"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["produce"],
        ["topics"],
        ["topics", "list"],
        ["topics", "create"],
        ["topics", "delete"],
        ["verify"],
        ["doctor"],
    ],
)
def test_help_has_usage_and_exit_statuses(command: list[str]) -> None:
    done = run(*command, "--help")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.startswith(f"usage: {' '.join(['fluvio-sync', *command])} ")
    assert "\nexit status:\n  0 " in text
    assert "fluvio-sync " in text.split("usage:", 1)[1].split("\n", 1)[1]  # an example


def actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions_of(command)
        else:
            yield action


def test_every_option_and_argument_has_a_help_text() -> None:
    actions = list(actions_of(build_parser()))
    assert len(actions) > 50
    assert [action.dest for action in actions if not action.help] == []


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version(option: str) -> None:
    done = run(option)
    assert (done.returncode, done.stdout.decode()) == (0, f"fluvio-sync {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["--tls", "dev-cluster"], ["produce", "t", "--nonsense"], ["prod", "t"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[-1].startswith(b"fluvio-sync")


def test_importing_the_command_line_imports_no_command() -> None:
    code = "import fluvio_sync.cli, sys; sys.exit('fluvio_sync.cli.command' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=LONGEST)


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


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-c", "127.0.0.1:1", "-P", "local"], "--cluster and --profile exclude each other"),
        (["-c", "http://127.0.0.1:1"], "leave out the scheme"),
        (["-c", "127.0.0.1:1", "--timeout", "0"], "more than 0"),
        (["-c", "127.0.0.1:1", "--tls", "--domain", "d", "--ca-cert", "/no/file"], "'/no/file' cannot be read"),
    ],
)
@pytest.mark.parametrize("command", [["produce", "t"], ["topics", "list"], ["topics", "delete", "t"], ["verify", "t"]])
def test_options_that_name_no_cluster(command: list[str], options: list[str], why: str) -> None:
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
