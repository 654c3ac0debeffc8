# SPDX-License-Identifier: Apache-2.0
"""The engines that are drained at exit; tests/client/test_process.py ends real processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._runtime import exit as _exit

if TYPE_CHECKING:
    import pytest


class Ends:
    """A stand-in for an engine: while it is asked whether its thread has ended, other threads may add theirs."""

    def __init__(self, others: list[Ends], *, ended: bool = False) -> None:
        self.thread = self
        self._others = others
        self._ended = ended

    def has_ended(self) -> bool:
        while self._others:
            add(self._others.pop())
        return self._ended

    def stop_when_idle(self) -> None: ...


def add(engine: Any) -> None:
    _exit.add_engine(engine, engine)


def test_threads_add_their_engines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engines: set[Any] = set()
    monkeypatch.setattr(_exit, "_engines", engines)
    later = [Ends([]) for _ in range(3)]
    first, ended, last = Ends(list(later)), Ends([], ended=True), Ends([])
    engines.update({first, ended})
    add(last)
    assert engines == {first, last, *later}
