# SPDX-License-Identifier: Apache-2.0
"""Standard error: lines, prompts and the progress."""

from __future__ import annotations

import io
import logging
import sys
from functools import partial
from operator import ne
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fluvio_sync.cli import produce, progress
from fluvio_sync.cli.command import build_parser
from fluvio_sync.cli.progress import Progress
from fluvio_sync.cli.screen import Screen, in_words
from tests.support.waiting import wait_until


def test_a_line_does_not_run_into_a_prompt_or_a_bar() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.prompt()
    screen.say("one")
    screen.answered()
    screen.line("two")
    screen.draw(lambda: stream.write("50 %") > 0)
    screen.draw(lambda: None)
    screen.say("three")
    screen.say("four")
    screen.prompt()
    screen.leave_prompt()
    screen.leave_prompt()
    text = "> \nfluvio-sync: one\n> two\n50 %\r\x1b[Kfluvio-sync: three\nfluvio-sync: four\n> \n"
    assert stream.getvalue() == text


def test_a_screen_that_is_closed() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        screen = Screen(stream)
        screen.prompt()
        screen.say("one")
        screen.leave_prompt()


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_without_a_bar_the_progress_is_a_line_now_and_then(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    if term != "dumb":
        monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(progress, "_LINE_PAUSE", 0.01)
    stream = io.StringIO()
    with Progress(Screen(stream), cast("Any", SimpleNamespace(size=None, taken=0)), lambda: "7 records read"):
        wait_until(lambda: stream.getvalue().count("\n") > 2, "there are some lines")
    assert set(stream.getvalue().splitlines()) == {"fluvio-sync: 7 records read"}


@pytest.mark.parametrize(
    ("piped", "output", "typed", "shown"),
    [
        ("", "", False, True),
        ("stdout", "--json", False, True),
        ("", "--json", False, False),
        ("", "--verbose", False, False),
        ("", "", True, False),
        ("stderr", "", False, False),
    ],
)
def test_the_progress_is_not_mixed_with_typing_or_output(
    monkeypatch: pytest.MonkeyPatch, *, piped: str, output: str, typed: bool, shown: bool
) -> None:
    streams = {name: SimpleNamespace(isatty=partial(ne, name, piped)) for name in ("stdout", "stderr")}
    monkeypatch.setattr(produce, "sys", SimpleNamespace(**streams))
    options = build_parser().parse_args(["produce", "t", *output.split()])
    assert produce._shows_progress(options, typed=typed) is shown


@pytest.mark.parametrize(
    ("event", "fields", "words"),
    [
        ("sc.disconnected", {"client_id": "c", "error": "gone"}, "SC disconnected: gone"),
        ("config.isolation_without_effect", {"topic": "t", "reason": "why"}, "config isolation without effect: why"),
        (
            "environment.unknown",
            {"variable": "A", "did_you_mean": "B"},
            "environment unknown: variable A, did_you_mean B",
        ),
        ("sender.stopped", {}, "sender stopped"),
    ],
)
def test_warnings_in_words(event: str, fields: dict[str, str], words: str) -> None:
    text = " ".join([event, *(f"{name}=%({name})r" for name in fields)])
    arguments = (fields,) if fields else ()
    assert in_words(logging.LogRecord("fluvio_sync", logging.WARNING, "", 0, text, arguments, None)) == words
