# SPDX-License-Identifier: Apache-2.0
"""The input of `produce`, and how a run keeps the records that it has sent."""

from __future__ import annotations

import io
from concurrent.futures import Future
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.cli.command import build_parser
from fluvio_sync.cli.input import Chunks, Lines, Whole
from fluvio_sync.cli.run import ProduceRun, SentLine
from fluvio_sync.cli.screen import Screen


class Stream(io.RawIOBase):
    """A stream whose reads return these chunks, and then fail if they should."""

    def __init__(self, chunks: list[bytes], failure: OSError | None = None) -> None:
        self._chunks = iter(chunks)
        self._failure = failure
        self.reads = 0

    def read(self, _size: int = -1) -> bytes:
        self.reads += 1
        chunk = next(self._chunks, b"")
        if not chunk and self._failure is not None:
            raise self._failure
        return chunk


def records_of(kind: type[Lines | Whole], stream: Stream, limit: int) -> list[bytes | None]:
    records = kind(Chunks(cast("Any", stream)), limit)
    found: list[bytes | None] = []
    while (more := records.next(None)) is not None:
        found += more
    assert records.next(None) is None
    return found


CHUNKS = st.lists(st.text("ab\n", min_size=1, max_size=6).map(str.encode), max_size=8)


@given(chunks=CHUNKS)
def test_lines_do_not_depend_on_how_they_are_read(chunks: list[bytes]) -> None:
    *expected, rest = b"".join(chunks).split(b"\n")
    assert records_of(Lines, Stream(chunks), limit=1000) == [*expected, *([rest] if rest else [])]


@given(chunks=CHUNKS)
def test_the_whole_input_is_one_record(chunks: list[bytes]) -> None:
    assert records_of(Whole, Stream(chunks), limit=1000) == [b"".join(chunks)]


def test_a_line_that_is_too_long_is_not_kept() -> None:
    chunks = [b"first\nxxx", b"xxx", b"xxx", b"x\n", b"exactly8\nlast", b"and more"]
    assert records_of(Lines, Stream(chunks), limit=8) == [b"first", None, b"exactly8", None]


def test_an_input_that_is_too_long_is_not_read_to_its_end() -> None:
    stream = Stream([b"xxxx"] * 1000)
    assert records_of(Whole, stream, limit=8) == [None]
    assert stream.reads < 20  # a few ahead
    assert records_of(Whole, Stream([b"xxxx"] * 2), limit=8) == [b"xxxxxxxx"]


@pytest.mark.parametrize("kind", [Lines, Whole])
def test_reading_fails(kind: type[Lines | Whole]) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        records_of(kind, Stream([b"first\n"], OSError(5, "the disk is gone")), limit=8)


def test_records_with_an_outcome_behind_one_without_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProduceRun, "_MANY", 10)
    options = build_parser().parse_args(["produce", "t"])
    run = ProduceRun(cast("Any", None), options, Screen(None), asks=False)
    waits, done = Future[Any](), Future[Any]()
    done.set_result(None)
    run._sent.append(SentLine(1, cast("Any", waits)))
    for line in range(2, 1000):
        run._sent.append(SentLine(line, cast("Any", done)))
        run._examine(idle=False)
        assert len(run._sent) <= 10
    assert run._sent[0].future is cast("Any", waits)
