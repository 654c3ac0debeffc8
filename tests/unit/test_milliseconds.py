# SPDX-License-Identifier: Apache-2.0
"""Durations that look like milliseconds are pointed out, and taken all the same."""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import ProducerConfig, RetryPolicy
from fluvio_sync._settings import checks
from fluvio_sync._settings.environment import client_settings

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ProducerConfig(linger=5), r"linger=5 is 5 seconds.*linger=0\.005"),
        (lambda: ProducerConfig(linger=100), r"linger=0\.1"),
        (lambda: ProducerConfig(max_block=60_000), r"max_block=60000.*max_block=60"),
        (lambda: RetryPolicy(timeout=10_000), r"timeout=10"),
        (lambda: RetryPolicy(initial_delay=100), r"initial_delay=0\.1"),
        (lambda: RetryPolicy(max_delay=2000), r"max_delay=2"),
    ],
)
def test_milliseconds_are_pointed_out_where_they_were_written(make: Callable[[], Any], text: str) -> None:
    with pytest.warns(UserWarning, match=text) as caught:
        make()
    (warning,) = caught
    assert warning.filename == __file__


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("linger", 0.005),
        ("linger", 1),
        ("linger", 30),
        ("linger", 60),
        ("linger", timedelta(seconds=5)),
        ("timeout", 300),
        ("timeout", 600.0),
        ("timeout", 3600),
        ("timeout", 86_400),
        ("timeout", timedelta(seconds=10_000)),
        ("initial_delay", 1.0),
        ("max_delay", 200),
    ],
)
def test_usual_seconds_are_not(name: str, value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checks.seconds(name, value)


def test_variables_of_the_environment_are_looked_at_too() -> None:
    with pytest.warns(UserWarning, match="FLUVIO_SYNC_REQUEST_TIMEOUT=30000 is 30000 seconds"):
        client_settings({"FLUVIO_SYNC_REQUEST_TIMEOUT": "30000"})
