# SPDX-License-Identifier: Apache-2.0
"""The network behind a `FaultProxy`, on times that the tests give."""

from __future__ import annotations

from fluvio_sync.testing._link import Link


def test_without_a_limit_everything_passes_at_once() -> None:
    link = Link()
    assert link.slice(10_000_000) == 10_000_000
    assert link.enter(10_000_000, 5.0) == 5.0
    assert link.room(1_000_000) > 1_000_000
    assert link.receive_buffer is None


def test_slices_pass_one_after_another_at_the_rate() -> None:
    link = Link()
    link.limit(1024)
    assert link.slice(10_000) == 20
    assert [link.enter(16, 5.0) for _ in range(3)] == [5 + 1 / 64, 5 + 2 / 64, 5 + 3 / 64]
    assert link.enter(16, 7.0) == 7 + 1 / 64  # it was idle meanwhile
    link.limit(None)
    assert link.enter(20, 7.0) == 7.0


def test_a_rate_below_a_byte_per_slice() -> None:
    link = Link()
    link.limit(0.5)
    assert link.slice(10) == 1
    assert link.enter(1, 0.0) == 2.0


def test_a_limited_link_takes_in_what_can_pass_soon() -> None:
    link = Link()
    link.limit(10_000)
    assert (link.room(0), link.room(400), link.room(2000)) == (1000, 600, 0)
    link.delay = 1.0  # the bytes on the way need room too
    assert link.room(2000) == 9000
    small = link.receive_buffer
    assert small is not None
    link.limit(None)
    assert link.receive_buffer is not None
    assert link.receive_buffer > 10 * small
