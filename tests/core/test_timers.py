# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fluvio_sync._timers import Timers


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
    assert timers.next() is None
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
    assert timers.next() is None


def test_an_item_that_was_armed_twice_is_next_once() -> None:
    timers: Timers[Item] = Timers()
    item = Item()
    timers.arm(item, 5.0)
    timers.arm(item, 1.0)
    assert timers.due(1.0) == [item]
    assert timers.next() is None
    timers.arm(item, 9.0)
    assert timers.next() == 9.0


def test_an_item_may_be_armed_again_while_it_is_due() -> None:
    timers: Timers[Item] = Timers()
    item = Item()
    timers.arm(item, 1.0)
    for due in timers.due(1.0):
        timers.arm(due, 2.0)
    assert timers.next() == 2.0
