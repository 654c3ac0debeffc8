# SPDX-License-Identifier: Apache-2.0
"""Partitioners: they choose the partition of each record.

Pure, but for a counter and a cache that any thread may use without a lock, and for a random start.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from fluvio_sync._settings import checks
from fluvio_sync.protocol.siphash import hash_key

if TYPE_CHECKING:
    from collections.abc import Sequence

_U32 = 0xFFFFFFFF

# Some 1 MB at most, for the whole process: keys recur, and a hash without the C package takes 10 us.
_LONGEST_CACHED_KEY = 64
_cached_hash = functools.lru_cache(maxsize=4096)(hash_key)


class Partitioner(Protocol):
    """The protocol of `ProducerConfig(partitioner=...)`: any object with this method.

    It is called in the thread of `send()`, without a lock, possibly by several threads at once.
    """

    def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int], /) -> int:
        """Return the number of the partition for a record, from 0 to `partition_count - 1`.

        * `key`: the record's key as bytes; None for a null key.
        * `value`: the record's value as bytes.
        * `partition_count`: the number of the topic's partitions, online or not, at least 1.
        * `available`: the partitions that are online, ascending, possibly none.

        `send()` raises `PartitionNotFoundError` for a number out of range, and passes on any error of this method.
        """
        ...


class SiphashRoundRobinPartitioner:
    """Fluvio's own: it hashes keys, and sends records without a key round the online partitions.

    A key, the empty one included, goes to `SipHash-2-4(key) mod partition_count`, as with every Fluvio client, even
    while that partition is offline.  A null key takes the next of `available`, or of all if none is online.

    * `start`: the first turn of the round, 0 to 2**32 - 1; by default random, so that many short-lived processes do not
      all begin with the same partition.  The turn wraps at 2**32.  `ConfigError` for another start.
    """

    __slots__ = ("_start", "_turns")

    def __init__(self, start: int | None = None) -> None:
        if start is None:
            import random  # noqa: PLC0415 - for this one number

            first = random.getrandbits(32)
        else:
            first = start = checks.size("start", start, 0, _U32)
        self._start = start
        # One step of the interpreter, so no lock; without a GIL, a turn taken twice would do no harm.
        self._turns = itertools.count(first)

    def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
        """Return the partition of the key's hash, or the next in turn; `value` does not matter."""
        del value
        if key is not None:
            hashed = _cached_hash(key) if len(key) <= _LONGEST_CACHED_KEY else hash_key(key)
            return hashed % partition_count
        return self.next_of(available) if available else (next(self._turns) & _U32) % partition_count

    def next_of(self, available: Sequence[int]) -> int:
        """Return the next in turn of these, at least one."""
        return available[(next(self._turns) & _U32) % len(available)]

    def __repr__(self) -> str:
        start = "" if self._start is None else f"start={self._start}"
        return f"{type(self).__name__}({start})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._start,)  # another process begins its own round


@dataclass(frozen=True, slots=True, init=False)
class SpecificPartitioner:
    """Sends every record to one partition.

    * `partition`: its number, at least 0; `ConfigError` otherwise.

    If the topic does not have it, `send()` raises `PartitionNotFoundError`.
    """

    number: int

    def __init__(self, partition: int) -> None:
        object.__setattr__(self, "number", checks.size("partition", partition, 0, _U32))

    def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
        """Return the one partition."""
        del key, value, partition_count, available
        return self.number

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number})"
