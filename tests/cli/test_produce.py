# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync produce` with pipes and files: the records of lines, interrupts, and wrong usage."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.shell import (
    COMMAND,
    LONGEST,
    cluster_options,
    last_line,
    line_of,
    produce,
    run,
    started,
    type_in,
    without_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def values(where: Where, topic: str, count: int, partition: int = 0) -> list[bytes]:
    return [record.value for record in where.records(topic, partition, count)]


# Lines and records.


def test_lines_are_records_with_any_bytes(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, data=b"plain\n\n\xff\x00\xfe\ncarriage\r\nno line feed")
    assert (done.returncode, last_line(done)) == (0, "5 records acknowledged")
    assert values(where, topic, 5) == [b"plain", b"", b"\xff\x00\xfe", b"carriage\r", b"no line feed"]


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
    assert done.stderr.startswith(b"fluvio-sync: line 2: skipped: ")
    assert values(where, topic, 2) == [b"1", b"2"]


def test_only_the_first_errors_are_printed_and_all_are_counted(where: Where) -> None:
    done = produce(where, where.topic(), "--key-separator", ":", data=b"none\n" * 1000)
    assert (done.returncode, last_line(done)) == (1, "0 records acknowledged, 1000 lines skipped")
    lines = done.stderr.splitlines()
    assert lines[5] == b"fluvio-sync: further errors of this kind are counted, not shown"
    assert len(lines) == 7  # five errors, that line, and the summary


def test_a_partition_that_does_not_exist(where: Where) -> None:
    done = produce(where, where.topic(), "--partition", "7", data=b"1\n2\n")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


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
    assert b"line 3: skipped: it is longer than --max-request-size (1000 bytes)" in done.stderr
    assert values(where, topic, 2) == [b"first", b"last"]


def test_json_has_the_outcome_of_each_line(where: Where) -> None:
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


def test_a_rejected_record_is_reported_by_its_line(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.fail_next_produce(9000)  # the codec: not worth a retry
    done = run("produce", "orders", "-c", own.endpoint, "--json", data=b"1\n")
    assert (done.returncode, last_line(done)) == (1, "0 records acknowledged, 1 failed")
    assert b"fluvio-sync: line 1: topic 'orders', partition 0" in done.stderr
    assert json.loads(done.stdout)["error"] == "RejectedError"


@pytest.mark.parametrize(
    ("options", "found", "stored"),
    [([], "1 looked for in the log", [b"1"]), (["--no-verify-retries"], "1 possibly stored twice", [b"1", b"1"])],
)
def test_a_lost_acknowledgement(options: list[str], found: str, stored: list[bytes], own: LocalCluster) -> None:
    own.create_topic("orders")
    own.cut_next_produce(5001, "after")
    done = run("produce", "orders", "-c", own.endpoint, *options, data=b"1\n")
    assert (done.returncode, last_line(done)) == (0, f"1 record acknowledged, {found}")
    assert [record.value for record in own.records("orders")] == stored


def test_a_record_that_is_stored_twice_is_told(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.cut_next_produce(5001, "late")
    with started("produce", "orders", "-c", own.endpoint, "--json") as process:
        type_in(process, "1\n")
        assert json.loads(line_of(process.stdout))["offset"] == 0
        while not line_of(process.stderr).startswith("fluvio-sync: delivery duplicated: "):  # after a second
            pass
        _, errors = process.communicate(timeout=LONGEST)
        assert process.returncode == 0
    assert without_time(errors.strip()) == "1 record acknowledged, 1 looked for in the log, 1 stored twice"


def test_a_record_that_a_new_leader_lacks_is_told(pair: LocalCluster) -> None:
    pair.create_topic("orders", replication=2)
    with started("produce", "orders", "-c", pair.endpoint, "--json") as process:
        for line in (1, 2):
            type_in(process, f"{line}\n")
            assert json.loads(line_of(process.stdout))["offset"] == line - 1
        pair.move_leader("orders", 0, 10_003 - pair.leader("orders"), lost=1)
        type_in(process, "3\n")
        assert json.loads(line_of(process.stdout))["offset"] == 1
        _, errors = process.communicate(timeout=LONGEST)
        assert process.returncode == 0
    assert without_time(errors.splitlines()[-1]) == "3 records acknowledged, 1 lost by a new leader"


def test_verbose_shows_keys_and_values(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "-v", "--key-separator", "=", data=b"a=1\nnone\n=\xff\n")
    assert (done.returncode, done.stdout) == (1, b"[a] 1\n[] \xff\n")
    assert values(where, topic, 2) == [b"1", b"\xff"]


def test_verbose_without_a_separator_prints_nothing(where: Where) -> None:
    done = produce(where, where.topic(), "--verbose", data=b"1\n")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.startswith(b"fluvio-sync: --verbose prints records only with --key-separator\n")


def test_all_of_the_input_is_one_record(where: Where, tmp_path: Path) -> None:
    topic = where.topic()
    data = bytes(range(256)) * 1000 + b"\n\n"
    file = tmp_path / "photo"
    file.write_bytes(data)
    done = produce(where, topic, "--raw", "--key", "", "--file", str(file), data=b"")
    assert (done.returncode, last_line(done)) == (0, "1 record acknowledged")
    assert produce(where, topic, "--raw", data=b"").returncode == 0
    records = where.records(topic, 0, 2)
    assert [(record.key, record.value) for record in records] == [(b"", data), (None, b"")]


def test_an_input_that_is_too_large_for_one_record(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "--raw", "--json", "--max-request-size", "1000", data=b"x" * 200_000)
    assert (done.returncode, last_line(done)) == (1, "0 records acknowledged, 1 input skipped")
    assert done.stderr.startswith(
        b"fluvio-sync: the input: skipped: it is longer than --max-request-size (1000 bytes)\n"
    )
    assert json.loads(done.stdout)["error"] == "RecordTooLargeError"
    assert where.records(topic) == []


def test_a_small_max_request_size_makes_batches_small_as_well(where: Where) -> None:
    topic = where.topic()
    done = produce(where, topic, "--max-request-size", "100", data=b"1\n" * 100)
    assert (done.returncode, last_line(done)) == (0, "100 records acknowledged")
    assert all(header.batch_len < 100 for header in where.batches(topic))


# Wrong usage, which is rejected before a connection is made or the input is read.


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "required: TOPIC"),
        (["Not_A_Topic"], "cannot be a topic's name"),
        (["t", "--linger", "5 parsecs"], "'parsecs' is no unit"),
        (["t", "--linger", "-1s"], "argument --linger"),
        (["t", "--key-separator", ""], "it must be non-empty"),
        (["t", "--key", "k", "--key-separator", ":"], "not allowed with argument --key"),
        (["t", "--raw", "--key-separator", ":"], "--raw and --key-separator exclude each other"),
        (["t", "--json", "--verbose"], "not allowed with argument --json"),
        (["t", "--compression", "zip"], "argument --compression: invalid choice: 'zip' (choose from "),
        (["t", "--compression-level", "3"], "--compression-level needs --compression"),
        (["t", "--compression", "gzip", "--compression-level", "20"], "from 0 to 9"),
        (["t", "--delivery-semantic", "exactly-once"], "invalid choice: 'exactly-once'"),
        (["t", "--isolation", "serializable"], "invalid choice: 'serializable'"),
        (["t", "--partition", "-1"], "argument -p/--partition"),
        (["t", "--batch-size", "0"], "argument --batch-size"),
        (["t", "--max-request-size", "61"], "max_request_size cannot be 61"),
        (["t", "--max-request-size", "1000", "--batch-size", "2000"], "more than --max-request-size 1000"),
        (["t", "--retries", "few"], "argument --retries"),
        (["t", "--retries", "1", "--delivery-semantic", "at-most-once"], "records are not retried"),
        (["t", "--retry-strategy", "hope"], "invalid choice: 'hope'"),
        (["t", "--delivery-timeout", "0s"], "more than 0"),
        (["t", "--no-verify-retries", "--delivery-semantic", "at-most-once"], "--no-verify-retries has no effect"),
        (["t", "-e", "a=1"], "without --smartmodule"),
        (["t", "--smartmodule", "m", "-e", "a"], "'a' is not KEY=VALUE"),
        (["t", "--smartmodule", ""], "SmartModule's name"),
        (["t", "--smartmodule-path", "m.wasm"], "fluvio smartmodule create"),
        (["t", "--sm_path", "m.wasm"], "--sm_path is not supported"),
        (["t", "--aggregate-initial", "0"], "has no accumulator"),
        (["t", "--a-init", "0"], "--a-init is not supported"),
        (["t", "-t", "chain.yaml"], "Use --smartmodule NAME"),
        (["t", "--transforms", "chain.yaml"], "Use --smartmodule NAME"),
        (["t", "--transforms-file", "chain.yaml"], "Use --smartmodule NAME"),
        (["t", "--transforms-line", "{}"], "Use --smartmodule NAME"),
        (["t", "--transform", "{}"], "Use --smartmodule NAME"),
        (["t", "-m", "home"], "Name the mirror's partition with --partition"),
        (["t", "--mirror", "home"], "Name the mirror's partition with --partition"),
        (["t", "--stats"], "since 0.11"),
        (["t", "--stats-path", "x"], "since 0.11"),
        (["t", "--file", "/there/is/no/such/file"], "cannot read /there/is/no/such/file: No such file or directory"),
        (["t", "--file", "/"], "cannot read /"),
    ],
)
def test_wrong_usage(arguments: list[str], why: str) -> None:
    done = run("produce", *arguments, "-c", "127.0.0.1:1", data=b"1\n")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[-1].startswith(b"fluvio-sync")
    assert why in done.stderr.decode()


def test_standard_input_is_closed() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" <&-', *COMMAND, "produce", "t"], capture_output=True, timeout=LONGEST, check=False
    )
    assert (done.returncode, done.stderr) == (2, b"fluvio-sync: cannot read standard input: it is closed\n")


def test_standard_output_is_closed_from_the_start() -> None:
    closed = ["sh", "-c", 'exec "$0" "$@" >&-', *COMMAND, "produce", "t", "--json"]
    done = subprocess.run(closed, capture_output=True, timeout=LONGEST, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr.splitlines()[-1][:40]) == (2, b"fluvio-sync: standard output is closed, ")


def test_a_port_at_which_no_server_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = run("produce", "t", "-c", f"127.0.0.1:{unused.getsockname()[1]}", data=b"1\n")
    assert done.returncode == 1
    assert re.fullmatch(rb"fluvio-sync: cannot connect to the SC at .*: Connection refused\n", done.stderr)


def test_there_is_no_such_topic(where: Where) -> None:
    name = where.name()
    done = produce(where, name, data=b"1\n")
    assert done.returncode == 1
    assert re.fullmatch(rb"fluvio-sync: the cluster .* has no topic .*; create it: .*\n", done.stderr)


# Pipes and signals.


def test_a_line_is_acknowledged_while_the_input_stays_open(where: Where) -> None:
    with started("produce", where.topic(), *cluster_options(where), "--json") as process:
        for number in (1, 2):
            type_in(process, f"{number}\n")
            assert json.loads(line_of(process.stdout))["line"] == number
        process.communicate()
        assert process.returncode == 0


@contextmanager
def lingering(where: Where, topic: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command that read a thousand lines, acknowledged some, and waits to fill the last batch."""
    settings = ["--json", "--linger", "60s", "--batch-size", "300"]
    with started("produce", topic, *cluster_options(where), *settings) as process:
        type_in(process, "".join(f"{number}\n" for number in range(1000)))
        assert json.loads(line_of(process.stdout))["line"] == 1  # printed after all lines were sent
        yield process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)])
def test_ctrl_c_sends_what_was_read(number: signal.Signals, status: int, where: Where) -> None:
    topic = where.topic()
    with lingering(where, topic) as process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=LONGEST)
        assert process.returncode == status
    assert "1000 records acknowledged in" in errors
    assert values(where, topic, 1000) == [b"%d" % line for line in range(1000)]


def test_a_second_ctrl_c_drops_it(pair: LocalCluster) -> None:
    pair.create_topic("orders", partitions=2)
    pair.hold_replies(pair.leader("orders", 1))
    with started("produce", "orders", "-c", pair.endpoint, "--json") as process:
        type_in(process, "1\n2\n")
        assert json.loads(line_of(process.stdout))["partition"] == 0
        process.send_signal(signal.SIGINT)
        assert line_of(process.stderr).startswith("fluvio-sync: interrupted")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LONGEST)
        assert process.returncode == INTERRUPTED
    assert "1 record acknowledged, 1 dropped in" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("option", ["--json", "--verbose"])
def test_standard_output_is_closed(option: str, where: Where) -> None:
    topic = where.topic()
    with started("produce", topic, *cluster_options(where), option, "--key-separator", ":") as process:
        type_in(process, "k:1\n")
        assert line_of(process.stdout)
        assert process.stdout is not None
        process.stdout.close()
        type_in(process, "k:2\n")
        assert process.stderr is not None
        errors = process.stderr.read()
        assert process.wait(LONGEST) == 1
    assert errors.startswith("fluvio-sync: standard output was closed: ")
    assert len(errors.splitlines()) == 2  # the other is the summary
    assert values(where, topic, 2) == [b"1", b"2"]


def test_a_lost_connection_is_reported_in_words(own: LocalCluster) -> None:
    own.create_topic("orders")
    with started("produce", "orders", "-c", own.endpoint, "--json") as process:
        type_in(process, "1\n")
        assert line_of(process.stdout)
        own.kill_sc()
        assert re.match(rf"fluvio-sync: [\w ]+: cannot connect to the SC at {own.endpoint}", line_of(process.stderr))
        type_in(process, "2\n")  # which the SPU still stores
        assert json.loads(line_of(process.stdout))["offset"] == 1
