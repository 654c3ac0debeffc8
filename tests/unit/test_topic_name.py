# SPDX-License-Identifier: Apache-2.0
"""The rule for names of topics."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.errors import ConfigError


@pytest.mark.parametrize("name", ["a", "0", "orders", "my-topic-2", "a--b", "a" * 63])
def test_names_that_are_taken(name: str) -> None:
    check_topic_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "it is empty"),
        ("a" * 64, "it has 64 characters, 63 are allowed"),
        ("Orders", "it contains 'O'"),
        ("my_topic", "it contains '_'"),
        ("my topic", "it contains ' '"),
        ("my.topic", "it contains '.'"),
        ("orders\n", r"it contains '\\n'"),
        ("größe", "it contains 'ö'"),
        ("topic-٣", "it contains '٣'"),
        ("-orders", "it may not begin or end with '-'"),
        ("orders-", "it may not begin or end with '-'"),
        ("-", "it may not begin or end with '-'"),
    ],
)
def test_names_that_no_topic_has(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot be a topic's name: {why}"):
        check_topic_name(name)


@pytest.mark.parametrize("name", [None, 5, b"orders", ["orders"]])
def test_only_strings_are_names(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^a topic's name is a string, not "):
        check_topic_name(name)


@given(st.text("ab0-", max_size=66) | st.text("a-Z_ ", max_size=4))
def test_the_rule(name: str) -> None:
    allowed = re.fullmatch(r"(?=.{1,63}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) is not None
    try:
        check_topic_name(name)
    except ConfigError:
        assert not allowed
    else:
        assert allowed
