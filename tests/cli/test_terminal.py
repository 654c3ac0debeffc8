# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync produce` with a person at a terminal: the prompt, its answers, and the progress."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

from shell import Terminal, cluster_options, without_time

if TYPE_CHECKING:
    from pathlib import Path

    from kit import Where

    from fluvio_sync.testing import LocalCluster

INTERRUPTED = 128 + signal.SIGINT
ERASE = "\r\x1b[K"


def values(where: Where, topic: str, count: int) -> list[bytes]:
    return [record.value for record in where.records(topic, 0, count)]


def test_a_line_is_asked_for_and_answered(where: Where) -> None:
    topic = where.topic()
    with Terminal("produce", topic, *cluster_options(where)) as terminal:
        for line in ("one", "two"):
            terminal.wait_for("> ")
            terminal.type(line + "\n")
            terminal.wait_for("Ok!\n")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    *lines, summary = terminal.shown.splitlines()
    assert lines == ["> one", "Ok!", "> two", "Ok!", "> "]
    assert without_time(summary) == "2 records acknowledged"
    assert values(where, topic, 2) == [b"one", b"two"]


def test_pasted_lines_are_all_answered(where: Where) -> None:
    topic = where.topic()
    with Terminal("produce", topic, *cluster_options(where)) as terminal:
        terminal.wait_for("> ")
        terminal.type("1\n2\n3\n")
        for _ in range(3):
            terminal.wait_for("Ok!\n")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert values(where, topic, 3) == [b"1", b"2", b"3"]


def test_the_prompt_is_on_standard_error(where: Where, tmp_path: Path) -> None:
    with (tmp_path / "errors").open("wb") as errors:
        options = [*cluster_options(where), "--json"]
        with Terminal("produce", where.topic(), *options, stderr=errors) as terminal:
            terminal.type("1\n")
            terminal.wait_for('"acknowledged": true}\n')
            terminal.type("\x04")
            assert terminal.end() == 0
    prompts, summary = (tmp_path / "errors").read_text().rsplit("\n", 2)[:2]
    assert prompts.startswith("> ")
    assert without_time(summary) == "1 record acknowledged"
    assert "Ok!" not in terminal.shown  # the line of JSON is the answer


def test_a_bad_line_is_told_at_once_however_many_there_were(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), "--key-separator", ":", "-v") as terminal:
        for number in range(1, 8):
            terminal.wait_for("> ")
            terminal.type("none\n")
            terminal.wait_for(f"fluvio-sync: line {number}: skipped: it has no key separator ':'\n")
        terminal.wait_for("> ")
        terminal.type("a:1\n")
        terminal.wait_for("[a] 1\n")
        terminal.wait_for("Ok!\n")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.end() == 1


def test_a_record_on_its_way_does_not_keep_a_person_waiting(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    with Terminal("produce", "orders", "-c", own.endpoint) as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n")
        terminal.wait_for("fluvio-sync: line 1 is not acknowledged yet; you can go on\n> ")
        own.hold_replies(5001, on=False)
        terminal.wait_for("\nOk! (line 1)\n> ")  # below the prompt, and not into what may have been typed
        terminal.type("two\n")
        terminal.wait_for("Ok!\n> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert [record.value for record in own.records("orders")] == [b"one", b"two"]


def test_at_the_end_of_the_input_it_says_what_it_waits_for(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    with Terminal("produce", "orders", "-c", own.endpoint) as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n\x04")
        terminal.wait_for("fluvio-sync: waiting for 1 record to be acknowledged (Ctrl-C drops what is left)\n")
        terminal.type("\x03")
        assert terminal.end() == INTERRUPTED
    assert without_time(terminal.shown.splitlines()[-1]) == "0 records acknowledged, 1 dropped"


def test_ctrl_c_at_the_prompt(where: Where) -> None:
    topic = where.topic()
    with Terminal("produce", topic, *cluster_options(where)) as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n")
        terminal.wait_for("Ok!\n> ")
        terminal.type("\x03")
        assert terminal.end() == INTERRUPTED
    assert without_time(terminal.shown.splitlines()[-1]) == "1 record acknowledged"
    assert terminal.shown.count("> ") == 2  # none after it


def test_at_most_once_is_sent_and_not_ok(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), "--delivery-semantic", "AtMostOnce") as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n")
        terminal.wait_for("Sent.\n> ")
        terminal.type("\x04")
        assert terminal.end() == 0


def test_a_file_and_raw_input_are_not_asked_for(where: Where, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"1\n2\n")
    topic = where.topic()
    with Terminal("produce", topic, *cluster_options(where), "-f", str(file)) as terminal:
        assert terminal.end() == 0
    assert len(terminal.shown.splitlines()) == 1
    with Terminal("produce", topic, *cluster_options(where), "--raw") as terminal:
        terminal.type("a\nb\n\x04")
        assert terminal.end() == 0
    assert "> " not in terminal.shown
    assert "Ok!" not in terminal.shown
    assert values(where, topic, 3) == [b"1", b"2", b"a\nb\n"]


# The progress.


def test_the_progress_is_shown_and_erased(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), piped=True) as terminal:
        terminal.pipe.write(b"x" * 99 + b"\n" + b"y\n" * 41)
        terminal.pipe.flush()
        terminal.wait_for(f"{ERASE}42 records read (140 B), 42 acknowledged, ")
        terminal.wait_for("/s, 0 failed")
        terminal.pipe.close()
        assert terminal.end() == 0
    *drawn, last = terminal.shown.split(ERASE)
    assert drawn[0] == ""
    assert last.count("\n") == 1
    assert without_time(last.rstrip("\n")) == "42 records acknowledged"
    assert all("\n" not in line for line in drawn)


def test_the_progress_is_as_wide_as_the_terminal(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), piped=True, columns=20) as terminal:
        terminal.pipe.write(b"y\n")
        terminal.pipe.flush()
        terminal.wait_for("1 records read (1 B")
        terminal.pipe.close()
        assert terminal.end() == 0
    *drawn, _ = terminal.shown.split(ERASE)
    assert max(map(len, drawn)) == 19


def test_a_line_of_trouble_replaces_the_progress(where: Where) -> None:
    options = [*cluster_options(where), "--key-separator", ":"]
    with Terminal("produce", where.topic(), *options, piped=True) as terminal:
        terminal.pipe.write(b"a:1\n")
        terminal.pipe.flush()
        terminal.wait_for(f"{ERASE}1 records read")
        terminal.pipe.write(b"none\n")
        terminal.pipe.flush()
        terminal.wait_for(f"{ERASE}fluvio-sync: line 2: skipped: it has no key separator ':'\n")
        terminal.wait_for(f"{ERASE}2 records read")
        terminal.pipe.close()
        assert terminal.end() == 1


def test_ctrl_c_leaves_no_progress_behind(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    with Terminal("produce", "orders", "-c", own.endpoint, piped=True) as terminal:
        terminal.pipe.write(b"1\n")
        terminal.pipe.flush()
        terminal.wait_for("1 records read")
        terminal.type("\x03")
        terminal.wait_for("fluvio-sync: interrupted: sending what was read (once more drops it)\n")
        terminal.wait_for("1 records read")  # it is drawn while that is waited for, too
        terminal.type("\x03")
        assert terminal.end() == INTERRUPTED
    last = terminal.shown.split(ERASE)[-1]
    assert "records read" not in last
    assert without_time(last.splitlines()[-1]) == "0 records acknowledged, 1 dropped"


def test_the_progress_is_not_mixed_with_output_on_the_same_terminal(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), "--json", piped=True) as terminal:
        began = time.monotonic()
        while time.monotonic() < began + 1.5:  # by then it would have been drawn
            terminal.pipe.write(b"1\n")
            terminal.pipe.flush()
            terminal.wait_for('"acknowledged": true}\n')
        terminal.pipe.close()
        assert terminal.end() == 0
    assert ERASE not in terminal.shown


def test_the_progress_goes_with_output_that_goes_elsewhere(where: Where, tmp_path: Path) -> None:
    with (tmp_path / "acks").open("wb") as acks:
        options = [*cluster_options(where), "--json"]
        with Terminal("produce", where.topic(), *options, piped=True, stdout=acks) as terminal:
            terminal.pipe.write(b"1\n")
            terminal.pipe.flush()
            terminal.wait_for("1 records read")
            terminal.pipe.close()
            assert terminal.end() == 0
    assert [json.loads(line)["line"] for line in (tmp_path / "acks").read_text().splitlines()] == [1]
