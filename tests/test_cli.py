# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync` as its users run it: real processes, exit statuses, signals and pipes."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from argparse import Namespace
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync import Fluvio, __version__, cli
from fluvio_sync.testing import read_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kit import Where

    from fluvio_sync.testing import LocalCluster

COMMAND = [sys.executable, "-m", "fluvio_sync"]
# A shell's background job ignores SIGINT, and so would its children.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from fluvio_sync.cli import main
sys.exit(main())
"""

LONGEST = 30.0
"""Seconds that any of these processes may take."""

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def run(*arguments: str, data: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command line on this input; nothing may ever print a traceback."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=data,
        capture_output=True,
        timeout=LONGEST,
        env={**os.environ, **environment},
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def produce(where: Where, topic: str, *options: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return run("produce", topic, "-c", where.endpoint, *options, data=data)


def last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the summary without its time."""
    line = done.stderr.decode().splitlines()[-1]
    found = re.fullmatch(r"fluvio-sync: (.*) in \d+\.\d\d s", line)
    assert found is not None, line
    return found[1]


def values(where: Where, topic: str, count: int, partition: int = 0) -> list[bytes]:
    return [record.value for record in where.records(topic, partition, count)]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command with pipes to it; ended after the test if it still runs."""
    processes = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def type_in(process: subprocess.Popen[str], text: str) -> None:
    """Write to the standard input of a process and leave it open."""
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def line_of(stream: Any) -> str:
    """Read a line; the test's time-out is the limit."""
    return str(stream.readline())


# What becomes of lines.


def test_lines_are_records_whatever_bytes_they_hold(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, data=b"plain\n\n\xff\x00\xfe\ncarriage\r\nno line feed")
    assert (done.returncode, last_line(done)) == (0, "5 records acknowledged")
    assert values(where, topic, 5) == [b"plain", b"", b"\xff\x00\xfe", b"carriage\r", b"no line feed"]


def test_nothing_is_no_record(where: Where) -> None:
    done = produce(where, where.topic(), data=b"")
    assert (done.returncode, last_line(done)) == (0, "0 records acknowledged")


def test_a_file_and_one_key_for_all(where: Where, tmp_path: Path) -> None:
    topic = where.topic()
    file = tmp_path / "lines"
    file.write_bytes(b"one\ntwo\n")
    done = produce(where, topic, "--file", str(file), "--key", "user-42", data=b"not read\n")
    assert (done.returncode, last_line(done)) == (0, "2 records acknowledged")
    records = where.records(topic, 0, 2)
    assert [(record.key, record.value) for record in records] == [(b"user-42", b"one"), (b"user-42", b"two")]


def test_a_line_is_split_at_its_first_separator(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "--key-separator", "=>", data=b"a=>1\nb=>2=>3\n=>4\n")
    assert (done.returncode, last_line(done)) == (0, "3 records acknowledged")
    records = where.records(topic, 0, 3)
    assert [(record.key, record.value) for record in records] == [(b"a", b"1"), (b"b", b"2=>3"), (b"", b"4")]


def test_a_line_without_separator_is_skipped_and_reported(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "--key-separator", ":", data=b"a:1\nnone\nb:2\n")
    assert (done.returncode, last_line(done)) == (1, "2 records acknowledged, 1 line skipped")
    assert b"fluvio-sync: line 2: skipped: it has no key separator ':'\n" in done.stderr
    assert values(where, topic, 2) == [b"1", b"2"]


def test_only_the_first_troubles_are_printed_and_all_are_counted(where: Where) -> None:
    done = produce(where, where.topic(), "--key-separator", ":", data=b"none\n" * 1000)
    assert (done.returncode, last_line(done)) == (1, "0 records acknowledged, 1000 lines skipped")
    assert len(done.stderr.splitlines()) == 7  # five, one that says that there are more, and the summary


def test_all_to_one_partition(where: Where) -> None:
    topic = where.topic(partitions=3)
    done = produce(where, topic, "--partition", "2", data=b"1\n2\n3\n")
    assert done.returncode == 0
    assert values(where, topic, 3, partition=2) == [b"1", b"2", b"3"]


def test_a_partition_that_does_not_exist(where: Where) -> None:
    done = produce(where, where.topic(), "--partition", "7", data=b"1\n2\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_settings_reach_the_producer(where: Where) -> None:
    topic = where.topic()
    settings = ["--linger", "5ms", "--batch-size", "1000", "--compression", "gzip", "--isolation", "ReadCommitted"]
    done = produce(where, topic, *settings, data=b"x" * 90 + b"\n" + b"y" * 90)
    assert done.returncode == 0, done.stderr
    where.records(topic, 0, 2)
    assert [header.codec for header in where.batches(topic)] == [1]


def test_lines_travel_in_batches(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, data=b"".join(b"line %d\n" % number for number in range(20_000)))
    assert last_line(done) == "20000 records acknowledged"
    assert values(where, topic, 20_000) == [b"line %d" % number for number in range(20_000)]
    assert len(where.batches(topic)) < 1_000


def test_a_record_that_is_too_large_hurts_no_other(where: Where) -> None:
    topic = where.topic()
    sizes = ["--max-request-size", "1000", "--batch-size", "1000"]
    # The second line is as long as the limit, which its batch exceeds; the third is dropped as it is read.
    done = produce(where, topic, *sizes, data=b"first\n" + b"x" * 1000 + b"\n" + b"y" * 200_000 + b"\nlast")
    assert (done.returncode, last_line(done)) == (1, "2 records acknowledged, 1 failed, 1 line skipped")
    assert b"line 2: a record of 1000 bytes" in done.stderr
    assert b"line 3: skipped: it is longer than max_request_size (1000 bytes)" in done.stderr
    assert values(where, topic, 2) == [b"first", b"last"]


def test_json_says_what_became_of_each_line(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "--json", "--key-separator", ":", data=b"a:1\nnone\nb:2\n")
    rows = {row["line"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert sorted(rows) == [1, 2, 3]
    timestamp = rows[1].pop("timestamp")
    assert rows[1] == {"line": 1, "topic": topic, "partition": 0, "offset": 0, "acknowledged": True}
    assert timestamp == where.records(topic, 0, 2)[0].timestamp
    assert rows[2]["error"] == "NoSeparator"
    assert rows[3]["offset"] == 1


def test_at_most_once_promises_nothing(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "--delivery-semantic", "at-most-once", "--json", data=b"1\n2\n")
    assert (done.returncode, last_line(done)) == (0, "2 records sent")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["offset"], row["acknowledged"]) for row in rows] == [(None, False)] * 2
    assert values(where, topic, 2) == [b"1", b"2"]


def test_a_refused_record_is_reported_by_its_line(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.fail_next_produce(9000)  # the codec: not worth a retry
    done = run("produce", "orders", "-c", own.endpoint, "--json", data=b"1\n")
    assert (done.returncode, last_line(done)) == (1, "0 records acknowledged, 1 failed")
    assert b"fluvio-sync: line 1: topic 'orders', partition 0" in done.stderr
    assert json.loads(done.stdout)["error"] == "RejectedError"


# Usage, and clusters that are not there.


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["produce"],
        ["produce", "t", "--linger", "5 parsecs"],
        ["produce", "t", "--key-separator", ""],
        ["produce", "t", "--key", "k", "--key-separator", ":"],
        ["produce", "t", "-c", "127.0.0.1:1", "-P", "local"],
        ["produce", "t", "-c", "127.0.0.1:1", "--compression", "zip"],
        ["produce", "t", "-c", "127.0.0.1:1", "--delivery-semantic", "exactly-once"],
        ["produce", "t", "-c", "127.0.0.1:1", "--partition", "-1"],
        ["produce", "t", "-c", "127.0.0.1:1", "--batch-size", "0"],
        ["produce", "t", "-c", "127.0.0.1:1", "--file", "/there/is/no/such/file"],
        ["produce", "t", "-c", "127.0.0.1:1", "--file", "/"],
        ["produce", "t", "-c", "not an endpoint"],
        ["produce", "Not_A_Topic", "-c", "ENDPOINT"],
    ],
)
def test_wrong_usage(arguments: list[str], session_where: Where) -> None:
    done = run(*[session_where.endpoint if word == "ENDPOINT" else word for word in arguments], data=b"1\n")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(b"fluvio-sync")


def test_standard_input_is_closed() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" <&-', *COMMAND, "produce", "t"], capture_output=True, timeout=LONGEST, check=False
    )
    assert (done.returncode, done.stderr) == (2, b"fluvio-sync: cannot read standard input: it is closed\n")


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = run("produce", "t", "-c", f"127.0.0.1:{unused.getsockname()[1]}", data=b"1\n")
    assert done.returncode == 1
    assert re.fullmatch(rb"fluvio-sync: cannot connect to the SC at .*: Connection refused\n", done.stderr)


def test_there_is_no_such_topic(where: Where) -> None:
    done = produce(where, where.name(), data=b"1\n")
    assert done.returncode == 1
    assert re.fullmatch(rb"fluvio-sync: the cluster .* has no topic .*\n", done.stderr)


def test_the_cluster_may_come_from_the_environment_or_a_profile(where: Where, tmp_path: Path) -> None:
    topic = where.topic()
    config = tmp_path / "config"
    config.write_text(
        f'version = "2.0"\n[profile.dev]\ncluster = "dev"\n[cluster.dev]\nendpoint = "{where.endpoint}"\n'
    )
    assert run("produce", topic, data=b"1\n", FLUVIO_SYNC_ENDPOINT=where.endpoint).returncode == 0
    assert run("produce", topic, "-P", "dev", data=b"2\n", FLV_PROFILE_PATH=str(config)).returncode == 0
    assert values(where, topic, 2) == [b"1", b"2"]


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"fluvio-sync {__version__}\n")


# Pipes and signals.


def test_a_line_is_acknowledged_while_the_input_stays_open(
    where: Where, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("produce", where.topic(), "-c", where.endpoint, "--json")
    for number in (1, 2):
        type_in(process, f"{number}\n")
        assert json.loads(line_of(process.stdout))["line"] == number
    process.communicate()
    assert process.returncode == 0


def lingering(where: Where, topic: str, start: Callable[..., subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Start a command that read a thousand lines, acknowledged some, and waits to fill the last batch."""
    process = start("produce", topic, "-c", where.endpoint, "--json", "--linger", "60s", "--batch-size", "300")
    type_in(process, "".join(f"{number}\n" for number in range(1000)))
    assert json.loads(line_of(process.stdout))["line"] == 1  # which it looked at after it had sent all of them
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_ctrl_c_sends_what_was_read(
    number: signal.Signals, status: int, where: Where, start: Callable[..., subprocess.Popen[str]]
) -> None:
    topic = where.topic()
    process = lingering(where, topic, start)
    process.send_signal(number)
    _, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == status
    assert "1000 records acknowledged in" in errors
    assert values(where, topic, 1000) == [b"%d" % line for line in range(1000)]


def test_a_second_ctrl_c_drops_it(pair: LocalCluster, start: Callable[..., subprocess.Popen[str]]) -> None:
    pair.create_topic("orders", partitions=2)
    pair.hold_replies(pair.leader("orders", 1))
    process = start("produce", "orders", "-c", pair.endpoint, "--json")
    type_in(process, "1\n2\n")
    assert json.loads(line_of(process.stdout))["partition"] == 0
    process.send_signal(signal.SIGINT)
    assert line_of(process.stderr).startswith("fluvio-sync: interrupted")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == INTERRUPTED
    assert "1 record acknowledged, 1 dropped in" in errors
    assert "Traceback" not in errors


def test_standard_output_is_closed(where: Where, start: Callable[..., subprocess.Popen[str]]) -> None:
    topic = where.topic()
    process = start("produce", topic, "-c", where.endpoint, "--json")
    type_in(process, "1\n")
    assert line_of(process.stdout)
    assert process.stdout is not None
    process.stdout.close()
    type_in(process, "2\n")
    assert process.stderr is not None
    errors = process.stderr.read()
    assert process.wait(LONGEST) == 1
    assert errors.startswith("fluvio-sync: standard output was closed; nothing more is read\n")
    assert len(errors.splitlines()) == 2  # the other is the summary
    assert values(where, topic, 2) == [b"1", b"2"]


def test_the_development_cluster_runs_until_it_is_interrupted(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("dev-cluster", "--port", "0", "--spus", "2")
    endpoint = line_of(process.stdout).strip()
    with Fluvio.connect(endpoint) as fluvio:
        fluvio.create_topic("orders")
    assert run("produce", "orders", "-c", endpoint, data=b"1\n").returncode == 0
    assert [record.value for record in read_records(endpoint, "orders")] == [b"1"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LONGEST)
    assert process.returncode == 0


def test_the_development_clusters_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("dev-cluster", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.startswith(b"fluvio-sync dev-cluster: ")


# Its parts.


class Chunks(io.RawIOBase):
    """A stream whose reads return these chunks, and then fail if they should."""

    def __init__(self, chunks: list[bytes], failure: OSError | None = None) -> None:
        self._chunks = iter(chunks)
        self._failure = failure

    def read(self, _size: int = -1) -> bytes:
        chunk = next(self._chunks, b"")
        if not chunk and self._failure is not None:
            raise self._failure
        return chunk


def lines_of(chunks: list[bytes], limit: int, failure: OSError | None = None) -> list[bytes | None]:
    lines = cli._Lines(cast("Any", Chunks(chunks, failure)), limit)
    found: list[bytes | None] = []
    while (more := lines.next(None)) is not None:
        found += more
    return found


@given(chunks=st.lists(st.text("ab\n", min_size=1, max_size=6).map(str.encode), max_size=8))
def test_lines_do_not_depend_on_how_they_are_read(chunks: list[bytes]) -> None:
    *expected, rest = b"".join(chunks).split(b"\n")
    assert lines_of(chunks, limit=1000) == [*expected, *([rest] if rest else [])]


def test_a_line_that_is_too_long_is_not_kept() -> None:
    chunks = [b"first\nxxx", b"xxx", b"xxx", b"x\n", b"exactly8\nlast", b"and more"]
    assert lines_of(chunks, limit=8) == [b"first", None, b"exactly8", None]


def test_reading_fails() -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        lines_of([b"first\n"], limit=8, failure=OSError(5, "the disk is gone"))


def test_what_is_resolved_behind_a_record_that_is_not_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli._Run, "_MANY", 10)
    run = cli._Run(cast("Any", None), Namespace(key=None, key_separator=None, json=False))
    waits, done = Future[Any](), Future[Any]()
    done.set_result(None)
    run._sent.append(cli._Sent(1, cast("Any", waits)))
    for line in range(2, 1000):
        run._sent.append(cli._Sent(line, cast("Any", done)))
        run._examine(idle=False)
        assert len(run._sent) <= 10
    assert run._sent[0].future is cast("Any", waits)
