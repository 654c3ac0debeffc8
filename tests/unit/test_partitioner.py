# SPDX-License-Identifier: Apache-2.0
"""The partition of a record; tests/protocol/test_vectors.py has the vectors of the official implementation."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync import partitioner as module
from fluvio_sync.errors import ConfigError
from fluvio_sync.partitioner import (
    SiphashRoundRobinPartitioner,
    SpecificPartitioner,
)
from fluvio_sync.protocol.siphash import hash_key


def test_the_empty_key_is_a_key() -> None:
    partitioner = SiphashRoundRobinPartitioner(start=0)
    assert {partitioner.partition(b"", b"", 3, (0, 1)) for _ in range(5)} == {2}


def test_keys_do_not_take_turns() -> None:
    partitioner = SiphashRoundRobinPartitioner(start=0)
    found = []
    for _ in range(3):
        partitioner.partition(b"key", b"", 3, ())
        found.append(partitioner.partition(None, b"", 3, ()))
    assert found == [0, 1, 2]


def test_a_key_goes_to_its_partition_even_while_that_is_offline() -> None:
    partitioner = SiphashRoundRobinPartitioner()
    assert partitioner.partition(b"key", b"", 3, (0, 1)) == 2


def test_the_turn_wraps_at_32_bits() -> None:
    partitioner = SiphashRoundRobinPartitioner(start=2**32 - 2)
    # 2**32 - 2 is 4 modulo 5; without wrapping, 2**32 would be 1.
    assert [partitioner.partition(None, b"", 5, ()) for _ in range(4)] == [4, 0, 0, 1]


def test_the_start_is_random_by_default() -> None:
    starts = {SiphashRoundRobinPartitioner().partition(None, b"", 2**32, ()) for _ in range(20)}
    assert len(starts) > 15


@pytest.mark.parametrize("start", [-1, 2**32, 1.0, True, "0"])
def test_another_start_raises(start: Any) -> None:
    with pytest.raises(ConfigError, match=r"^start cannot be "):
        SiphashRoundRobinPartitioner(start)


def test_no_turn_is_given_twice_to_threads() -> None:
    partitioner = SiphashRoundRobinPartitioner(start=0)

    def take() -> list[int]:
        return [partitioner.partition(None, b"", 2**32, ()) for _ in range(5000)]

    with ThreadPoolExecutor(8) as pool:
        taken = [future.result(timeout=60) for future in [pool.submit(take) for _ in range(8)]]
    assert sorted(turn for turns in taken for turn in turns) == list(range(40_000))


@given(st.binary(max_size=200), st.integers(min_value=1, max_value=1000))
def test_long_and_short_keys_follow_the_same_rule(key: bytes, count: int) -> None:
    for _ in range(2):  # computed, then remembered
        assert SiphashRoundRobinPartitioner().partition(key, b"", count, ()) == hash_key(key) % count


def test_remembered_keys_are_few_and_short() -> None:
    partitioner = SiphashRoundRobinPartitioner()
    module._cached_hash.cache_clear()
    partitioner.partition(b"k" * 65, b"", 3, ())
    assert module._cached_hash.cache_info().currsize == 0
    for number in range(5000):
        partitioner.partition(b"%064d" % number, b"", 3, ())
    assert module._cached_hash.cache_info().currsize == 4096


def test_another_process_begins_its_own_round() -> None:
    partitioner = SiphashRoundRobinPartitioner(start=7)
    partitioner.partition(None, b"", 10, ())
    again = pickle.loads(pickle.dumps(partitioner))
    assert again.partition(None, b"", 10, ()) == 7
    fresh = pickle.loads(pickle.dumps(SiphashRoundRobinPartitioner()))
    assert fresh.partition(b"key", b"", 3, ()) == 2


def test_one_in_turn_is_written_as_it_is_made() -> None:
    assert repr(SiphashRoundRobinPartitioner()) == "SiphashRoundRobinPartitioner()"
    assert repr(SiphashRoundRobinPartitioner(start=0)) == "SiphashRoundRobinPartitioner(start=0)"


def test_a_specific_partitioner() -> None:
    assert SpecificPartitioner(2**32 - 1).partition(None, b"", 1, ()) == 2**32 - 1
    partitioner = SpecificPartitioner(partition=4)
    assert partitioner.partition(b"key", b"", 9, (0, 1)) == 4
    assert partitioner.partition(None, b"", 2, ()) == 4  # send() refuses it, with the topic's name
    assert partitioner == SpecificPartitioner(4)
    assert hash(partitioner) == hash(SpecificPartitioner(4))
    assert partitioner != SpecificPartitioner(5)
    assert pickle.loads(pickle.dumps(partitioner)) == partitioner
    assert repr(partitioner) == "SpecificPartitioner(4)"


@pytest.mark.parametrize("partition", [-1, 1.0, True, None, "0", 2**32])
def test_a_specific_partition_is_a_number(partition: Any) -> None:
    with pytest.raises(ConfigError, match=r"^partition cannot be "):
        SpecificPartitioner(partition)
