# SPDX-License-Identifier: Apache-2.0
"""RetryPolicy: its validation, and the delays it yields."""

from __future__ import annotations

import dataclasses
import itertools
import random
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluvio_sync.errors import ConfigError
from fluvio_sync.retry import RetryPolicy, RetryStrategy

# Some of the drawn durations look like milliseconds.
pytestmark = pytest.mark.filterwarnings("ignore:.* seconds, as all durations:UserWarning")

FIXED = RetryStrategy.FIXED_DELAY
FIBONACCI = RetryStrategy.FIBONACCI_BACKOFF
EXPONENTIAL = RetryStrategy.EXPONENTIAL_BACKOFF

milliseconds = st.integers(min_value=0, max_value=10_000)
policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(min_value=0, max_value=60),
    initial_delay=st.floats(min_value=0, max_value=1e9),
    max_delay=st.floats(min_value=0, max_value=1e9),
    strategy=st.sampled_from(RetryStrategy),
    multiplier=st.floats(min_value=1, max_value=1e6),
    jitter=st.booleans(),
)


def test_the_defaults() -> None:
    policy = RetryPolicy()
    assert dataclasses.asdict(policy) == {
        "max_retries": None,
        "initial_delay": 0.020,
        "max_delay": 10.0,
        "timeout": 300.0,
        "strategy": EXPONENTIAL,
        "multiplier": 10.0,
        "jitter": False,
    }
    assert list(itertools.islice(policy.delays(), 6)) == [0.02, 0.2, 2.0, 10.0, 10.0, 10.0]


@example(70, 10_000, 10)  # in floats, 0.07 s times 10 times 10 is not 7 s
@given(milliseconds, milliseconds, st.integers(min_value=1, max_value=20))
def test_exponential_law(initial: int, limit: int, multiplier: int) -> None:
    policy = RetryPolicy(
        max_retries=8,
        initial_delay=initial / 1000,
        max_delay=limit / 1000,
        multiplier=multiplier,
    )
    expected = [min(initial * multiplier**n, limit) / 1000 for n in range(8)]
    assert list(policy.delays()) == expected


@given(milliseconds, milliseconds)
def test_fibonacci_law(initial: int, limit: int) -> None:
    policy = RetryPolicy(
        max_retries=12,
        initial_delay=initial / 1000,
        max_delay=limit / 1000,
        strategy=FIBONACCI,
    )
    found = [round(delay * 1000) for delay in policy.delays()]
    assert found[:2] == [min(initial, limit)] * 2
    for older, old, new in zip(found, found[1:], found[2:], strict=False):
        assert new == min(older + old, limit)


@given(policies)
def test_as_many_delays_as_retries_and_none_above_the_bound(policy: RetryPolicy) -> None:
    found = list(policy.delays())
    assert len(found) == policy.max_retries
    assert all(type(delay) is float and 0 <= delay <= policy.max_delay for delay in found)


@given(policies)
def test_without_jitter_delays_never_shrink_and_repeat_exactly(policy: RetryPolicy) -> None:
    steady = dataclasses.replace(policy, jitter=False)
    found = list(steady.delays())
    assert found == sorted(found)
    assert found == list(steady.delays())
    assert found[:1] == [min(policy.initial_delay, policy.max_delay)][: policy.max_retries]


@pytest.mark.parametrize("strategy", RetryStrategy)
@pytest.mark.parametrize(("multiplier", "initial"), [(1, 1e-9), (10, 1e-9), (1e300, 1e-9), (10, 0)])
def test_any_number_of_retries(strategy: RetryStrategy, multiplier: float, initial: float) -> None:
    policy = RetryPolicy(max_retries=10**30, initial_delay=initial, strategy=strategy, multiplier=multiplier)
    found = list(itertools.islice(policy.delays(), 3000))
    grows = strategy is FIBONACCI or (strategy is EXPONENTIAL and multiplier > 1)
    assert found[-1] == (10.0 if grows and initial else initial)


def test_jitter_is_full_and_comes_from_the_given_source() -> None:
    policy = RetryPolicy(max_retries=500, strategy=FIXED, initial_delay=1, jitter=True)
    found = list(policy.delays(random.Random(7)))
    assert found == list(policy.delays(random.Random(7)))
    assert found != list(policy.delays()) != list(policy.delays())
    assert all(0 <= delay <= 1 for delay in found)
    assert min(found) < 0.05
    assert max(found) > 0.95
    assert 0.4 < sum(found) / 500 < 0.6


@pytest.mark.parametrize(
    ("spelling", "strategy"),
    [
        ("fixed", FIXED),
        ("constant", FIXED),
        ("fibonacci", FIBONACCI),
        ("exponential", EXPONENTIAL),
        ("ExponentialBackoff", EXPONENTIAL),
    ],
)
def test_strategies_by_name(spelling: str, strategy: RetryStrategy) -> None:
    assert RetryPolicy(strategy=spelling).strategy is strategy


def test_durations_may_be_timedeltas_and_are_kept_as_floats() -> None:
    policy = RetryPolicy(initial_delay=timedelta(milliseconds=10), max_delay=timedelta(seconds=2), timeout=10)
    assert (policy.initial_delay, policy.max_delay, policy.timeout) == (0.01, 2.0, 10.0)
    assert type(policy.timeout) is float


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.0),
        ("max_retries", True),
        ("initial_delay", -0.1),
        ("initial_delay", True),
        ("max_delay", float("nan")),
        ("timeout", 0),
        ("timeout", float("inf")),
        ("timeout", None),
        ("strategy", "linear"),
        ("multiplier", 0.99),
        ("multiplier", float("inf")),
        ("jitter", "full"),
    ],
)
def test_errors_name_the_setting(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{setting} cannot be "):
        RetryPolicy(**{setting: value})


@pytest.mark.parametrize("setting", ["initial_delay", "max_delay"])
def test_attempts_without_number_and_without_pause_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"^max_retries cannot be None with "):
        RetryPolicy(**{setting: 0})  # type: ignore[arg-type]
    assert list(RetryPolicy(**{setting: 0}, max_retries=2).delays()) == [0.0, 0.0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delay", "left", "wait"),
    [
        (2.0, 10.0, 2.0),
        (10.0, 10.0, 9.0),  # the reserve is left
        (10.0, 1.1, 0.5),  # half the reserve is left at least
        (0.1, 1.1, 0.1),
        (0.1, 1.0, None),
        (0.0, 0.5, None),
        (0.0, -1.0, None),
    ],
)
def test_the_timeout_shortens_a_delay(delay: float, left: float, wait: float | None) -> None:
    assert RetryPolicy(timeout=300.0).wait_for(delay, left) == wait
    scaled = RetryPolicy(timeout=1.0).wait_for(delay / 10, left / 10)
    assert scaled == (None if wait is None else pytest.approx(wait / 10))


@given(policies, st.floats(min_value=0.01, max_value=1e6))
def test_the_wait_leaves_time_for_an_attempt(policy: RetryPolicy, left: float) -> None:
    wait = policy.wait_for(policy.max_delay, left)
    if wait is not None:
        assert 0 <= wait < left


def test_a_policy_shows_what_it_amounts_to() -> None:
    assert repr(RetryPolicy(timeout=10)) == "RetryPolicy(timeout=10.0: 5 attempts, the last at 9 s)"
    two = RetryPolicy(max_retries=1, strategy="fixed", jitter=True)
    assert repr(two) == (
        "RetryPolicy(max_retries=1, timeout=300.0, strategy='fixed-delay', jitter=True: 2 attempts, the last at 0.02 s)"
    )
    assert repr(RetryPolicy(strategy="fixed")).endswith("strategy='fixed-delay': 1000 attempts or more)")


def test_a_policy_is_immutable_hashable_and_compares_by_value() -> None:
    policy = RetryPolicy(timeout=10, strategy="fixed")
    same = RetryPolicy(timeout=timedelta(seconds=10), strategy=FIXED)
    assert policy == same
    assert hash(policy) == hash(same)
    assert policy != RetryPolicy(timeout=11, strategy="fixed")
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.timeout = 5.0  # type: ignore[misc]


def test_backoff_is_imported_only_when_a_delay_is_asked_for() -> None:
    code = (
        "import sys, fluvio_sync.retry as r\n"
        "delays = r.RetryPolicy().delays()\n"
        "assert 'backoff' not in sys.modules\n"
        "next(delays)\n"
        "assert 'backoff' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
