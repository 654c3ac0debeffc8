# SPDX-License-Identifier: Apache-2.0
"""The faults that a test can order from the development cluster.

Pure.  Runs in the one thread that drives the cluster.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from fluvio_sync.protocol.error_code import ErrorCode

When = Literal["before", "after", "late"]
"""When a connection is cut: before the request is looked at, after it was carried out, or some time before that."""


class Cut(NamedTuple):
    """The way in which a connection is cut; `delay`: seconds until the request is carried out, if that is late."""

    when: When
    delay: float


@dataclass(slots=True)
class _Failure:
    error: ErrorCode
    topic: str | None
    left: int


@dataclass(slots=True)
class Faults:
    """Orders not yet carried out.

    `held`: ids of nodes (SPUs; 0 is the SC) that carry requests out but do not answer.
    """

    held: set[int] = field(default_factory=set)
    _failures: list[_Failure] = field(default_factory=list)
    _cuts: dict[int, list[Cut]] = field(default_factory=dict)

    def fail_produce(self, error: ErrorCode, count: int, topic: str | None) -> None:
        """Answer the next `count` partition entries (of `topic`) with `error`, unwritten."""
        self._failures.append(_Failure(error, topic, count))

    def take_failure(self, topic: str) -> ErrorCode | None:
        """Return the error ordered for an entry of this topic, if any, and count it."""
        for failure in self._failures:
            if failure.topic in (None, topic):
                failure.left -= 1
                if failure.left <= 0:
                    self._failures.remove(failure)
                return failure.error
        return None

    def cut(self, spu: int, cut: Cut, count: int) -> None:
        """Cut the connections of the next `count` produce requests to this SPU."""
        self._cuts.setdefault(spu, []).extend(itertools.repeat(cut, count))

    def take_cut(self, spu: int) -> Cut | None:
        """Return how to treat this produce request's connection, and count it."""
        orders = self._cuts.get(spu)
        return orders.pop(0) if orders else None
