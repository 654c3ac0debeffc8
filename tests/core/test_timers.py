# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import random

from fluvio_sync._core.timers import Timers


class Item:
    timer: float | None = None


def test_items_are_due_in_time_and_only_once() -> None:
    timers: Timers[Item] = Timers()
    one, two = Item(), Item()
    timers.arm(one, 5.0)
    timers.arm(two, 3.0)
    assert timers.next() == 3.0
    assert list(timers.due(2.9)) == []
    assert list(timers.due(5.0)) == [two, one]
    assert timers.next() == math.inf
    assert list(timers.due(9.0)) == []


def test_arming_earlier_moves_an_item_and_later_does_not() -> None:
    timers: Timers[Item] = Timers()
    item = Item()
    timers.arm(item, 5.0)
    timers.arm(item, 7.0)
    assert timers.next() == 5.0
    timers.arm(item, 1.0)
    assert timers.next() == 1.0
    assert list(timers.due(10.0)) == [item]
    assert timers.next() == math.inf


def test_an_item_that_was_armed_twice_is_next_once() -> None:
    timers: Timers[Item] = Timers()
    item = Item()
    timers.arm(item, 5.0)
    timers.arm(item, 1.0)
    assert timers.due(1.0) == [item]
    assert timers.next() == math.inf
    timers.arm(item, 9.0)
    assert timers.next() == 9.0


def test_an_item_may_be_armed_again_while_it_is_due() -> None:
    timers: Timers[Item] = Timers()
    item = Item()
    timers.arm(item, 1.0)
    for due in timers.due(1.0):
        timers.arm(due, 2.0)
    assert timers.next() == 2.0


def test_entries_that_an_earlier_one_replaced_are_forgotten_before_they_are_due() -> None:
    """A queue is armed for each linger and for each far deadline: a day of those would take a gigabyte."""
    timers: Timers[Item] = Timers()
    items = [Item() for _ in range(10)]
    for now in range(10_000):
        for item in items:
            timers.arm(item, now + 1e6)
            timers.arm(item, now + 1.0)
        assert len(timers.due(now + 1.0)) == len(items)
    assert len(timers.heap) <= 2 * 64 + 2 * len(items)
    for item in items:
        timers.arm(item, 2e6)
    assert timers.next() == 2e6
    assert sorted(map(id, timers.due(2e6))) == sorted(map(id, items))
    assert timers.next() == math.inf


def test_items_are_due_in_order_after_entries_were_forgotten() -> None:
    draw = random.Random(1)
    timers: Timers[Item] = Timers()
    items = [Item() for _ in range(40)]
    for item in items:
        for when in sorted((draw.random() for _ in range(10)), reverse=True):
            timers.arm(item, when)
    assert len(timers.heap) < 400
    expected = sorted(items, key=lambda item: item.timer or 0.0)
    found = []
    while (due := timers.next()) < math.inf:
        found += timers.due(due)
    assert list(map(id, found)) == list(map(id, expected))
