# SPDX-License-Identifier: Apache-2.0
"""Texts from elsewhere, as a terminal or a log may show them."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync._base.text import LONGEST_LINE, printable, shown
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync.errors import FluvioError, UnsupportedVersionError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "permission denied",
        "C:\\temp 'quoted' \"twice\"",
        "Übergröße, l\u2019œuf\xa0: 5\u202f%",
        "订单\u3000主题, 注文, заказ, הזמנה",
        "👍🏽 👩\u200d💻 ❤\ufe0f",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[2J\a", r"\x1b[2J\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\0\x7f\x85\x9b", r"\x00\x7f\x85\x9b"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u200e\u202a\u202e\u2066\u2069\ufeff", r"\u200e\u202a\u202e\u2066\u2069\ufeff"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
    ],
)
def test_what_moves_a_terminal_is_escaped(text: str, escaped: str) -> None:
    assert printable(f"ü{text}ü") == f"ü{escaped}ü"


@given(st.text(st.characters(codec=None)), st.integers(3, 40))
def test_a_text_is_short_and_stays_as_it_is_when_given_again(text: str, limit: int) -> None:
    once = printable(text, limit)
    assert len(once) <= limit
    assert not {*map(chr, range(32)), "\x7f", "\x9b", "\u2028", "\u202e", "\ud800"}.intersection(once)
    assert printable(once, limit) == once


def test_a_long_text_says_that_it_was_cut() -> None:
    assert printable("x" * 500) == "x" * 500
    assert printable("x" * 501) == "x" * 497 + "..."
    assert printable("\n" * 300) == (r"\n" * 249)[:497] + "..."
    assert shown("x" * 78) == repr("x" * 78)
    assert shown("x" * 79) == "'" + "x" * 76 + "..."


def test_an_error_is_one_line_and_stays_so_in_another_process() -> None:
    error = FluvioError(f"it said: no\r\n{'x' * 30_000}", hint="ask\x1b[31m")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert str(error).startswith(r"it said: no\r\nxxx")
    assert len(str(error)) == LONGEST_LINE
    assert (error.hint, again.hint) == (r"ask\x1b[31m", r"ask\x1b[31m")


def test_attributes_hold_what_the_server_wrote() -> None:
    error = UnsupportedVersionError(api="Watch", ours=(1, 2), theirs=None, platform="1\x1b" + "x" * 600)
    assert error.platform == "1\x1b" + "x" * 600
    assert r"(platform 1\x1bxxx" in str(error)
    assert str(error).endswith("xxx...) does not know it; upgrade the older side")


def test_an_address_that_a_server_wrote() -> None:
    assert str(Endpoint("spu\n1", 9005)) == r"spu\n1:9005"
    assert len(str(Endpoint("x" * 30_000, 9005))) == 254 + len(":9005")
