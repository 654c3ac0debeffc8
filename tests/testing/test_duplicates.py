# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.protocol.batch import BatchHeader, BatchIdentity
from fluvio_sync.testing._duplicates import SHOWN, DuplicateBatch, DuplicateSearch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluvio_sync.testing import PartitionCheck

LAST = 2**31 - 1


def searched(batches: Iterable[tuple[int, int]], *, records: int = 1, **limits: int) -> PartitionCheck:
    """Return the result for batches of a producer and a sequence each, the n-th at offset n * `records`."""
    search = DuplicateSearch(0, **limits)
    for number, (producer, sequence) in enumerate(batches):
        search.add(header(producer, sequence, offset=number * records, records=records))
    return search.found


def header(producer: int, sequence: int, *, offset: int = 0, records: int = 1, epoch: int = 0) -> BatchHeader:
    return BatchHeader(offset, 45, -1, 2, 0, 0, records - 1, -1, -1, producer, epoch, sequence)


def test_an_orderly_log_has_no_duplicates() -> None:
    found = searched(((7, sequence) for sequence in range(1000)), records=3)
    assert (found.batches, found.records, found.duplicates, found.examples) == (1000, 3000, 0, [])
    assert (found.unidentified_batches, found.forgotten) == (0, 0)


def test_both_offsets_of_a_duplicate_are_told() -> None:
    found = searched([(7, 0), (7, 1), (8, 1), (7, 1), (7, 2), (7, 1), (8, 0)], records=10)
    again = BatchIdentity(7, 0, 1)
    assert found.duplicates == 2
    assert found.examples == [DuplicateBatch(again, 30, 10, 10), DuplicateBatch(again, 50, 10, 10)]


def test_the_first_duplicates_are_described_and_the_others_counted() -> None:
    found = searched([(7, sequence // 2) for sequence in range(100)])
    assert found.duplicates == 50
    assert [item.offset for item in found.examples] == list(range(1, 2 * SHOWN, 2))


def test_epochs_tell_batches_apart() -> None:
    search = DuplicateSearch(0)
    for epoch in (0, 1, -1):
        search.add(header(7, 3, epoch=epoch))
    assert search.found.duplicates == 0


def test_batches_without_identity_are_counted() -> None:
    found = searched([(-1, -1), (7, 0), (-1, -1), (7, -1)], records=5)
    assert (found.unidentified_batches, found.unidentified_records) == (3, 15)
    assert (found.batches, found.records, found.duplicates) == (4, 20, 0)


def test_sequences_begin_anew_behind_the_last_one() -> None:
    around = [LAST - 1, LAST, 0, 1]
    assert searched((7, sequence) for sequence in around).duplicates == 0
    found = searched((7, sequence) for sequence in [*around, LAST, 0, 2])
    assert [(item.identity.first_sequence, item.first_offset) for item in found.examples] == [(LAST, 1), (0, 2)]
    assert searched((7, sequence) for sequence in (0, LAST, 0, LAST)).duplicates == 2  # out of order


def test_a_sequence_of_the_round_before_is_another_one() -> None:
    quarter = 2**29
    rounds = [(7, step * quarter % 2**31) for step in range(12)]
    assert searched(rounds).duplicates == 0


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 30)), max_size=200))
def test_it_agrees_with_a_count(batches: list[tuple[int, int]]) -> None:
    found = searched(batches)
    assert found.duplicates == sum(count - 1 for count in Counter(batches).values())
    assert found.forgotten == 0
    for item in found.examples:
        assert item.first_offset == batches.index((item.identity.producer_id, item.identity.first_sequence))


# Memory.


def sizes(search: DuplicateSearch) -> tuple[int, int]:
    """Return how many ranges and offsets a search remembers."""
    ranges = sum(map(len, search._producers.values()))
    assert ranges == search._ranges
    return ranges, len(search._offsets)


def test_an_orderly_log_takes_one_range_for_each_producer() -> None:
    search = DuplicateSearch(0, max_offsets=100)
    for sequence in range(20_000):
        search.add(header(sequence % 2, sequence // 2))
    assert sizes(search) == (2, 100)


def test_ranges_that_meet_become_one() -> None:
    search = DuplicateSearch(0)
    for sequence in random.Random(1).sample(range(1000), 1000):
        search.add(header(7, sequence))
    assert sizes(search)[0] == 1


def test_a_duplicate_whose_first_offset_is_not_kept_is_found_all_the_same() -> None:
    found = searched([*((7, sequence) for sequence in range(100)), (7, 89), (7, 90)], max_offsets=10)
    assert [(item.identity.first_sequence, item.first_offset) for item in found.examples] == [(89, None), (90, 90)]


def test_the_producer_that_was_silent_for_longest_is_forgotten_first() -> None:
    producers = [(producer, 0) for producer in range(10)]
    found = searched([*producers, (0, 1), (99, 0), (0, 0), (1, 0), (2, 0)], max_ranges=10)
    assert [item.identity.producer_id for item in found.examples] == [0]
    assert found.forgotten == 3  # producers 1, 2 and 3: those that come back are new ones


@pytest.mark.parametrize("producers", [1, 2, 1000])
def test_memory_has_a_limit_for_disorderly_logs_too(producers: int) -> None:
    search = DuplicateSearch(0, max_offsets=50, max_ranges=50)
    for number in range(5000):
        search.add(header(number % producers, 2 * number))
        ranges, offsets = sizes(search)
        assert ranges <= 50
        assert offsets <= 50
    assert search.found.duplicates == 0
    assert search.found.forgotten >= 5000 - 50 - 50
