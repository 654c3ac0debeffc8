# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync consume` as its users run it."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Compression, Fluvio
from fluvio_sync.cli.values import moment
from tests.support.shell import Terminal, cluster_options, line_of, run, started

if TYPE_CHECKING:
    from pathlib import Path

    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

NOW = 1_700_000_000_000
"""Milliseconds since the epoch."""

BINARY = b"\xff\x00\n"


def send(endpoint: str, topic: str, *records: tuple[bytes | None, bytes], first: int = NOW, partition: int = 0) -> None:
    """Send records to a partition, each in a batch of its own and a second later than the one before."""
    with Fluvio.connect(endpoint) as fluvio:
        producer = fluvio.topic_producer(topic)
        for number, (key, value) in enumerate(records):
            producer.send(value, key=key, partition=partition, timestamp=first + 1000 * number).result(10)


@pytest.fixture
def filled(own: LocalCluster) -> LocalCluster:
    """A topic of two partitions: v0 to v9, and w0 and w1."""
    own.create_topic("t", partitions=2)
    send(own.endpoint, "t", *((b"k%d" % number, b"v%d" % number) for number in range(10)))
    send(own.endpoint, "t", (None, b"w0"), (None, b"w1"), partition=1)
    return own


def lines(*arguments: str) -> list[str]:
    done = run("consume", *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_what_was_produced_is_printed(where: Where) -> None:
    topic, cluster = where.topic(), cluster_options(where)
    data = b"hello\n\xc3\xa4\xff\n"
    assert run("produce", topic, *cluster, data=data).returncode == 0
    done = run("consume", topic, *cluster)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")


VALUES = [f"v{number}" for number in range(10)]


@pytest.mark.parametrize(
    ("place", "printed"),
    [
        ([], [*VALUES, "w0", "w1"]),
        (["--partition", "1"], ["w0", "w1"]),
        (["--head", "3"], ["v0", "v1", "v2", "w0", "w1"]),
        (["--tail", "1"], ["v9", "w1"]),
        (["--tail", "100"], [*VALUES, "w0", "w1"]),
        (["--start", "8"], ["v8", "v9"]),
        (["--start", "10"], []),
        (["--start", "1000"], []),
        (["--since", "2023-11-14T22:13:27+00:00"], ["v7", "v8", "v9"]),
        (["--since", "2023-11-14T22:13:20Z", "-p", "0"], VALUES),
        (["--since", "2023-11-14T22:13:30Z"], []),
        (["--since", "1m"], []),
    ],
    ids=str,
)
def test_places(filled: LocalCluster, place: list[str], printed: list[str]) -> None:
    assert lines("t", *place, "-c", filled.endpoint) == printed
    assert lines("t", *place, "--count", "-c", filled.endpoint) == [str(len(printed))]


def test_keys(filled: LocalCluster) -> None:
    assert lines("t", "--tail", "1", "--key", "-c", filled.endpoint) == ["[k9] v9", "[null] w1"]


def test_json(own: LocalCluster) -> None:
    own.create_topic("t")
    send(own.endpoint, "t", (None, b"plain"), (b"k\xc3\xa4", b""), (BINARY, BINARY))
    rows = [json.loads(line) for line in lines("t", "--json", "-c", own.endpoint)]
    where = [{"partition": 0, "offset": number, "timestamp": NOW + 1000 * number} for number in range(3)]
    coded = base64.b64encode(BINARY).decode()
    assert rows == [
        {**where[0], "key": None, "value": "plain"},
        {**where[1], "key": "kä", "value": ""},
        {**where[2], "key_base64": coded, "value_base64": coded},
    ]


@pytest.mark.parametrize("codec", list(Compression))
def test_codecs_and_long_batches(own: LocalCluster, codec: Compression) -> None:
    """A batch may be longer than the chunk that is asked for, and a place may be in its middle."""
    own.create_topic("t")
    values = [bytes([number]) * 300_000 for number in range(65, 75)]
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer(
            "t", batch_size=4_000_000, max_request_size=4_000_000, linger=1.0, compression=codec
        )
        producer.send_all(values)
        producer.flush()
    for place, expected in (("--start", values[7:]), ("--tail", values[3:])):
        done = run("consume", "t", place, "7", "-c", own.endpoint)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == b"".join(value + b"\n" for value in expected)


def test_memory_does_not_grow_with_the_topic(own: LocalCluster, tmp_path: Path) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", batch_size=100_000)
        for _ in range(60_000):
            producer.send(bytes(1000).replace(b"\0", b"x"))
        producer.flush()
    program = tmp_path / "peak.py"
    program.write_text(
        "import resource, sys\n"
        "from fluvio_sync.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    few, all_of_them = (peak(program, "t", *place, "-c", own.endpoint) for place in (["--tail", "10"], []))
    assert all_of_them - few < 20_000, "KiB, of 60 MB"


def peak(program: Path, *arguments: str) -> int:
    """Return the most memory of a process that consumes, in KiB."""
    command = [sys.executable, str(program), "consume", *arguments]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stderr)


def test_following_goes_on_after_the_leader_was_away(filled: LocalCluster) -> None:
    with started("consume", "t", "--tail", "1", "--follow", "-c", filled.endpoint) as process:
        assert [line_of(process.stdout) for _ in range(2)] == ["v9\n", "w1\n"]
        send(filled.endpoint, "t", (None, b"new"))
        assert line_of(process.stdout) == "new\n"
        filled.kill_spu(5001)
        assert line_of(process.stderr).endswith("; looking again until it answers\n")
        filled.restart_spu(5001)
        assert line_of(process.stderr) == "fluvio-sync: the cluster answers again\n"
        send(filled.endpoint, "t", (None, b"newer"), partition=1)
        assert line_of(process.stdout) == "newer\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_following_a_topic_whose_end_is_ahead(filled: LocalCluster) -> None:
    with started("consume", "t", "--start", "11", "-p", "0", "--follow", "-c", filled.endpoint) as process:
        send(filled.endpoint, "t", (None, b"ten"), (None, b"eleven"))
        assert line_of(process.stdout) == "eleven\n"


def test_a_terminal_shows_control_characters_and_does_not_obey_them(own: LocalCluster) -> None:
    own.create_topic("t")
    send(own.endpoint, "t", (None, b"\x1b[2Jred\xff"))
    with Terminal("consume", "t", "-c", own.endpoint) as terminal:
        terminal.wait_for(r"\x1b[2Jred\xff")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["none"], 1, "there is no topic 'none'"),
        (["t", "-p", "9"], 1, "topic 't' has no partition 9"),
        (["t", "--follow", "--head", "1"], 2, "--follow has no end, and --head needs one"),
        (["t", "--follow", "--count"], 2, "--follow has no end, and --count needs one"),
        (["t", "--count", "--json"], 2, "--count prints a number alone"),
        (["t", "--key", "--json"], 2, "--json prints the keys already"),
        (["t", "--head", "1", "--tail", "1"], 2, "not allowed with argument"),
        (["t", "--head", "0"], 2, "is not a number from 1 to"),
        (["t", "--since", "yesterday"], 2, "'yesterday' is neither a time such as"),
        (["T"], 2, "topic"),
    ],
    ids=str,
)
def test_what_cannot_be_read(filled: LocalCluster, arguments: list[str], status: int, text: str) -> None:
    done = run("consume", *arguments, "-c", filled.endpoint)
    assert (done.returncode, done.stdout) == (status, b"")
    assert text in done.stderr.decode()


def test_a_reader_that_has_enough(filled: LocalCluster) -> None:
    """As `head -1` behind it."""
    with started("consume", "t", "--follow", "-c", filled.endpoint) as process:
        assert process.stdout is not None
        assert line_of(process.stdout) == "v0\n"
        process.stdout.close()
        send(filled.endpoint, "t", (None, b"x"))
        assert process.wait(10) == 1
        process.stdout = None
        assert line_of(process.stderr) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:00.5+01:00", 500),
        ("10m", NOW - 600_000),
        ("1m 30s", NOW - 90_000),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert moment(text, lambda: NOW / 1000) == expected


def test_a_moment_without_zone_is_local() -> None:
    assert moment("2026-11-30T12:00") == datetime(2026, 11, 30, 12).astimezone().timestamp() * 1000
