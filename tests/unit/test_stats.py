# SPDX-License-Identifier: Apache-2.0
"""How many failed records no caller has seen."""

from __future__ import annotations

from fluvio_sync._outcomes.handle_stats import _REMEMBERED, HandleStats, OwnerSpan, Unseen
from fluvio_sync.errors import ClosedError


def failure() -> Exception:
    return ClosedError("closed")


def failed(handle: HandleStats, records: int) -> OwnerSpan:
    """Have the records of a batch fail."""
    span = OwnerSpan(0, handle)
    span.failure = failure
    handle.add_failed(span, records)
    return span


def test_all_are_counted_though_only_some_errors_are_remembered() -> None:
    whole = HandleStats()
    handle = HandleStats(whole)
    for _ in range(3 * _REMEMBERED):
        failed(handle, 7)
    records, error = handle.take_unseen()
    assert (records, type(error)) == (2100, ClosedError)
    assert handle.take_unseen() == whole.take_unseen() == Unseen(0, None)


def test_those_that_a_caller_looked_at_are_not_counted() -> None:
    whole = HandleStats()
    handle, other = HandleStats(whole), HandleStats(whole)
    span = failed(handle, 3)
    failed(other, 5)
    handle.looked_at(span)
    handle.looked_at(span)
    assert handle.take_unseen().records == 1
    assert whole.take_unseen().records == 5


def test_a_look_between_the_failure_and_its_count_counts() -> None:
    handle = HandleStats(HandleStats())
    span = OwnerSpan(0, handle)
    span.failure = failure
    handle.looked_at(span)
    handle.add_failed(span, 3)
    handle.add_failed(span, 3)  # reported again after an interruption
    assert handle.take_unseen().records == 2


def test_a_look_at_a_failure_that_was_taken_hides_no_other() -> None:
    whole = HandleStats()
    handle = HandleStats(whole)
    span = failed(handle, 2)
    handle.take_unseen()
    handle.looked_at(span)
    assert handle.take_unseen() == Unseen(0, None)
    failed(handle, 4)
    assert handle.take_unseen().records == 4
