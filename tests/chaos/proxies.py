# SPDX-License-Identifier: Apache-2.0
"""The proxies of a run, in a process of their own.

They hold back megabytes, and a thread of each receives into buffers of its own, which stay with the process: what the
clients take could not be told from that.
"""

from __future__ import annotations

import multiprocessing
import random
from functools import partial
from multiprocessing.managers import BaseManager, BaseProxy
from typing import TYPE_CHECKING, Any

from fluvio_sync.testing import FaultProxy, ProduceFault

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from types import TracebackType

DELAYS = (0.0, 0.05, 0.5)
"""Seconds after which a late request is carried out; second looks begin after one second."""


class Unreliable(FaultProxy):
    """A proxy that breaks one produce request in twenty."""

    def __init__(self, target: str, seed: str, kinds: Sequence[str]) -> None:
        """`kinds`: of which the fault of a request is drawn; none: it breaks no request by itself."""
        self._draw = random.Random(seed)
        self._kinds: Any = list(kinds)
        super().__init__(target, on_produce=self._choose if kinds else None)

    def _choose(self, size: int) -> ProduceFault | None:
        draw = self._draw
        if draw.random() >= 0.05 or not self._kinds:
            return None
        return ProduceFault(draw.choice(self._kinds), draw.randint(1, size), draw.random() < 0.5, draw.choice(DELAYS))

    def be_reliable(self) -> None:
        """Break no more requests."""
        self._kinds = []

    def place(self) -> tuple[str, str]:
        """Return where it listens, and its server."""
        return self.endpoint, self.target

    def counts(self) -> tuple[Counter[str], int]:
        """Return the faults so far, by kind, and the number of produce requests."""
        return self.faults, self.requests


class Remote(BaseProxy):
    """An `Unreliable` of another process; its last counts are kept when it is closed."""

    _exposed_ = (
        *("be_reliable", "close", "counts", "place"),
        *("cut", "delay", "forget", "half_close", "hold", "limit", "refuse"),
    )
    _last: tuple[Counter[str], int] | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in self._exposed_:
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, *arguments: object, **settings: object) -> Any:
        call: Any = self._callmethod
        return call(name, arguments, settings)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return str(self._call("place")[0])

    @property
    def target(self) -> str:
        """Its server's address."""
        return str(self._call("place")[1])

    @property
    def faults(self) -> Counter[str]:
        """The faults so far, by kind."""
        return self._counts()[0]

    @property
    def requests(self) -> int:
        """The number of produce requests so far."""
        return self._counts()[1]

    def _counts(self) -> tuple[Counter[str], int]:
        if self._last is None:
            counts: tuple[Counter[str], int] = self._call("counts")
            return counts
        return self._last

    def __enter__(self) -> Remote:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._last = self._counts()
        self._call("close")


class Proxies(BaseManager):
    """The process; the methods of its proxies are called through a socket."""

    if TYPE_CHECKING:

        def make(self, target: str, seed: str, kinds: Sequence[str]) -> Remote:
            """Return a proxy to a server."""

    def __init__(self) -> None:
        super().__init__(ctx=multiprocessing.get_context("spawn"))


Proxies.register("make", Unreliable, Remote)
