# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync produce` at a terminal: the prompt, its answers, and the bar."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.shell import Terminal, cluster_options, without_time

if TYPE_CHECKING:
    from pathlib import Path

    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

pytestmark = pytest.mark.alone

ERASE = "\x1b[K"
INTERRUPTED = 128 + signal.SIGINT


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


def test_each_bad_line_is_reported_at_once(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), "--key-separator", ":", "-v") as terminal:
        for number in range(1, 8):
            terminal.wait_for("> ")
            terminal.type("none\n")
            terminal.wait_for(f"fluvio-sync: line {number}: skipped: ")
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
        terminal.wait_for("\nOk! (line 1)\n> ")  # below the prompt, not into a line that is being typed
        terminal.type("two\n")
        terminal.wait_for("Ok!\n> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert [record.value for record in own.records("orders")] == [b"one", b"two"]


def test_at_the_end_of_the_input_it_says_how_many_records_it_waits_for(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    with Terminal("produce", "orders", "-c", own.endpoint) as terminal:
        terminal.wait_for("> ")
        terminal.type("one\n\x04")
        terminal.wait_for("fluvio-sync: waiting for 1 record to be acknowledged (Ctrl-C drops the rest)\n")
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


def test_an_at_most_once_record_is_sent_and_not_ok(where: Where) -> None:
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


def visible(shown: str) -> list[str]:
    """Return the lines that a terminal shows in the end: after a carriage return, text overwrites its line."""
    lines = []
    for line in shown.removesuffix("\n").split("\n"):
        seen = ""
        for text in line.split("\r"):
            seen = text.removeprefix(ERASE) + ("" if text.startswith(ERASE) else seen[len(text) :])
        lines.append(seen.rstrip())
    return lines


def test_the_bar_is_shown_and_erased(where: Where) -> None:
    with Terminal("produce", where.topic(), *cluster_options(where), piped=True) as terminal:
        terminal.pipe.write(b"x" * 99 + b"\n" + b"y\n" * 41)
        terminal.pipe.flush()
        terminal.wait_for("182B [00:0")
        terminal.wait_for("42 records read, 42 acknowledged, 0 failed")
        terminal.pipe.close()
        assert terminal.end() == 0
    (summary,) = visible(terminal.shown)
    assert without_time(summary) == "42 records acknowledged"


def test_the_bar_shows_how_much_of_a_file_is_read(own: LocalCluster, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"1\n2\n")
    own.create_topic("orders")
    own.hold_replies(5001)
    with Terminal("produce", "orders", "-c", own.endpoint, "--file", str(file)) as terminal:
        terminal.wait_for("100%")
        terminal.wait_for("2 records read, 0 acknowledged, 0 failed")
        own.hold_replies(5001, on=False)
        assert terminal.end() == 0


def test_ctrl_c_leaves_no_bar_behind(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.hold_replies(5001)
    with Terminal("produce", "orders", "-c", own.endpoint, piped=True) as terminal:
        terminal.pipe.write(b"1\n")
        terminal.pipe.flush()
        terminal.wait_for("1 records read")
        terminal.type("\x03")
        terminal.wait_for("fluvio-sync: interrupted: ")
        terminal.wait_for("1 records read")  # the bar comes back while the command waits for the acknowledgement
        terminal.type("\x03")
        assert terminal.end() == INTERRUPTED
    assert "records read" not in "".join(visible(terminal.shown))
    assert without_time(visible(terminal.shown)[-1]) == "0 records acknowledged, 1 dropped"
