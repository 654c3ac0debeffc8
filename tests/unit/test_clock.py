# SPDX-License-Identifier: Apache-2.0
"""The one place that reads the time, also where a test froze it."""

from __future__ import annotations

import concurrent.futures
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from fluvio_sync._base.clock import SystemClock

if TYPE_CHECKING:
    from fluvio_sync._base.clock import Clock


def _advances(clock: Clock) -> bool:
    """Whether the clock moves, within far more readings than its resolution needs."""
    first = clock.monotonic()
    return any(clock.monotonic() > first for _ in range(1_000_000))


def test_monotonic_reads_the_clock_that_threads_wait_by() -> None:
    before = time.monotonic()
    found = SystemClock().monotonic()
    assert before <= found <= time.monotonic()


def test_time_is_in_milliseconds_since_the_epoch() -> None:
    before = time.time() * 1000
    found = SystemClock().time_ms()
    assert type(found) is int
    assert before - 1 <= found <= time.time() * 1000


@pytest.mark.parametrize("start", ["1999-12-31T23:59:59Z", "2026-01-02T03:04:05Z"])
def test_every_frozen_millisecond_is_that_millisecond(start: str) -> None:
    clock = SystemClock()
    with freeze_time(start) as frozen:
        first = clock.time_ms()
        for expected in range(first, first + 300):
            assert clock.time_ms() == expected
            frozen.tick(timedelta(milliseconds=1))


def test_a_frozen_wall_clock_leaves_intervals_alone() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    with freeze_time("2026-01-02"):
        assert _advances(clock)
        assert 0 <= clock.monotonic() - before < 60


def test_threads_at_any_depth_see_the_same_clock_while_it_is_frozen() -> None:
    clock = SystemClock()

    def read(depth: int) -> float:
        return clock.monotonic() if depth == 0 else read(depth - 1)

    before = clock.monotonic()
    with freeze_time("2026-01-02"), concurrent.futures.ThreadPoolExecutor(1) as pool:
        found = [pool.submit(read, depth).result(timeout=30) for depth in range(12)]
    readings = [before, *found, clock.monotonic()]
    assert readings == sorted(readings)
    assert readings[-1] - before < 60
