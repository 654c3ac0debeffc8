# SPDX-License-Identifier: Apache-2.0
"""For the tests of applications: fakes in the place of clients, so that no cluster is needed.

    class OrderTests(FluvioTestMixin, TestCase):
        def test_ordering(self):
            self.client.post("/orders/", {"item": "tea"})
            self.assertEqual(self.fluvio.values("orders"), [b"tea"])

    @pytest.fixture
    def fluvio():
        with fake_fluvio() as fake:
            yield fake

What `client()` and `producer()` return, and what `send_on_commit` and the outbox's relay use, is then a
`fluvio_sync.testing.FakeFluvio`, in all threads of the process.  A `TestCase` is never committed: run what waits for
the commit with `self.captureOnCommitCallbacks(execute=True)`.
"""

from __future__ import annotations

import unittest
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from fluvio_sync.contrib.django import _clients
from fluvio_sync.contrib.django._aliases import DEFAULT
from fluvio_sync.testing import FakeFluvio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def fake_fluvio(alias: str = DEFAULT, *, topics: Mapping[str, int] | None = None) -> Iterator[FakeFluvio]:
    """Have a new `FakeFluvio` take the place of an alias's client, and return it; also as a decorator of a function.

    `alias`: of FLUVIO (default "default"; nest them for several).  `topics`: those there are, with their numbers of
    partitions; None (default): any, with one partition.  In a decorated function, `client(alias)` is the fake.
    Raises `ConfigError` for an alias that there is not.
    """
    fake = FakeFluvio(topics)
    with _clients.stand_in(alias, fake):
        yield fake


class FluvioTestMixin(unittest.TestCase):
    """Gives each test fakes; in front of `TestCase`: `class OrderTests(FluvioTestMixin, TestCase)`.

    `fluvio_aliases`: whose clients are faked (default: "default").  `fluvio`: the fake of the first; `fluvios`: all, by
    alias.  They are new for each test, and there from `setUp` on: not in `setUpTestData`.
    """

    fluvio_aliases: ClassVar[tuple[str, ...]] = (DEFAULT,)
    fluvio: FakeFluvio
    fluvios: dict[str, FakeFluvio]

    def setUp(self) -> None:
        """Begin to fake."""
        super().setUp()
        self.fluvios = {}
        for alias in self.fluvio_aliases:
            faking = fake_fluvio(alias)
            self.fluvios[alias] = faking.__enter__()
            self.addCleanup(faking.__exit__, None, None, None)
        self.fluvio = self.fluvios[self.fluvio_aliases[0]]
