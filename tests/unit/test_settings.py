# SPDX-License-Identifier: Apache-2.0
"""The checks that all settings share."""

from __future__ import annotations

import enum
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync._settings import checks
from fluvio_sync.errors import ConfigError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (3, 3.0),
        (0.25, 0.25),
        (timedelta(milliseconds=1500), 1.5),
        (timedelta(microseconds=1), 0.000001),
    ],
)
def test_durations_become_float_seconds(value: Any, expected: float) -> None:
    found = checks.seconds("linger", value)
    assert found == expected
    assert type(found) is float


def test_a_negative_zero_becomes_zero() -> None:
    assert math.copysign(1, checks.seconds("linger", -0.0)) == 1.0


@pytest.mark.parametrize(
    "value",
    [
        True,
        None,
        "5",
        b"5",
        1j,
        math.nan,
        math.inf,
        -math.inf,
        -1,
        -0.001,
        timedelta(seconds=-1),
        10**400,
        timedelta.max,
    ],
)
def test_anything_but_a_duration_raises_by_name(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^linger cannot be .*at least 0 and at most 1000000000$"):
        checks.seconds("linger", value)


def test_a_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        checks.seconds("linger", "x" * 10_000)
    assert len(str(caught.value)) < 250


def test_an_int_that_the_interpreter_refuses_to_show() -> None:
    with pytest.raises(ConfigError, match=r"^linger cannot be "):
        checks.seconds("linger", 10**5000)
    with pytest.raises(ConfigError, match=r"^batch_size cannot be "):
        checks.size("batch_size", 10**5000, maximum=9)


def test_bounds_of_durations() -> None:
    assert checks.seconds("x", 2, minimum=2.0, maximum=3.0) == 2.0
    assert checks.seconds("x", 3, minimum=2.0, maximum=3.0) == 3.0
    with pytest.raises(ConfigError, match="at least 2 and at most 3"):
        checks.seconds("x", 1.999, minimum=2.0, maximum=3.0)
    with pytest.raises(ConfigError, match="at least 2 and at most 3"):
        checks.seconds("x", 3.001, minimum=2.0, maximum=3.0)
    with pytest.raises(ConfigError, match="more than 0"):
        checks.seconds("x", 0, positive=True)


def test_none_is_a_duration_only_where_it_is_optional() -> None:
    assert checks.seconds("timeout", None, optional=True) is None
    assert checks.seconds("timeout", 1, optional=True) == 1.0
    with pytest.raises(ConfigError, match="or None"):
        checks.seconds("timeout", -1, optional=True)


@pytest.mark.filterwarnings("ignore:.* seconds, as all durations:UserWarning")  # a drawn one looks like milliseconds
@given(st.floats() | st.integers() | st.timedeltas())
def test_a_duration_is_finite_and_not_negative_or_refused(value: Any) -> None:
    try:
        found = checks.seconds("x", value)
    except ConfigError:
        return
    assert 0 <= found <= checks.LONGEST


@pytest.mark.parametrize("value", [0, -1, 10, True, 1.0, "1", None])
def test_sizes_are_ints_within_bounds(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^batch_size cannot be .* at least 1 and at most 9$"):
        checks.size("batch_size", value, 1, 9)


def test_sizes_that_are_allowed() -> None:
    assert checks.size("batch_size", 1, 1, 9) == 1
    assert checks.size("batch_size", 9, 1, 9) == 9
    assert checks.size("batch_size", 10**30) == 10**30


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.5, True, "2", timedelta(seconds=2)])
def test_numbers_are_finite_and_bounded(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^multiplier cannot be .* at least 1$"):
        checks.number("multiplier", value, minimum=1.0)


@pytest.mark.parametrize("value", [0, 1, "false", None])
def test_flags_are_bools(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^jitter cannot be "):
        checks.flag("jitter", value)


class Fruit(enum.Enum):
    RED_APPLE = "red-apple"
    PEAR = "pear"


@pytest.mark.parametrize(
    "value",
    [Fruit.RED_APPLE, "red-apple", "red_apple", "RedApple", "redApple", "redapple", "RED_APPLE"],
)
def test_choices_in_every_spelling(value: Any) -> None:
    assert checks.choice(Fruit, "fruit", value) is Fruit.RED_APPLE


def test_choices_take_aliases() -> None:
    assert checks.choice(Fruit, "fruit", "Apple", {"apple": Fruit.RED_APPLE}) is Fruit.RED_APPLE


class Vegetable(enum.Enum):
    PEAR = "pear"


@pytest.mark.parametrize("value", ["plum", "", "red apple", None, 1, b"pear", Vegetable.PEAR])
def test_anything_but_a_choice_raises_with_the_choices(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^fruit cannot be .*'red-apple', 'pear' or of Fruit$"):
        checks.choice(Fruit, "fruit", value)


def test_an_unknown_setting_names_the_nearest() -> None:
    error = checks.unknown_setting("Lingr", ["linger", "batch_size"])
    assert str(error) == "unknown setting 'Lingr': did you mean 'linger'?"


def test_an_unknown_setting_with_none_near_names_all() -> None:
    error = checks.unknown_setting("acks", ["linger", "batch_size"])
    assert str(error) == "unknown setting 'acks': the settings are batch_size, linger"
