# SPDX-License-Identifier: Apache-2.0
"""For the tests of applications: fakes take the place of clients, so that tests need no cluster.

    class OrderTests(FluvioTestMixin, TestCase):
        def test_ordering(self):
            self.client.post("/orders/", {"item": "tea"})
            self.assertEqual(self.fluvio.values("orders"), [b"tea"])

    @pytest.fixture
    def fluvio():
        with fake_fluvio() as fake:
            yield fake

`client()`, `producer()`, `send_on_commit` and the outbox's relay then use a `fluvio_sync.testing.FakeFluvio`, in all
threads of the process.  A `TestCase` never commits: `self.captureOnCommitCallbacks(execute=True)` runs the functions
that wait for the commit.
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
    """Put a new `FakeFluvio` into the place of an alias's client; a context manager and a decorator.

    * `alias`: of FLUVIO (default "default"); nest the blocks for several.
    * `topics`: the topics that exist, with their numbers of partitions; None (default): all, with one partition.

    The block gets the fake; in a decorated function, `client(alias)` is the fake.

    Raises `ConfigError` for an alias that does not exist.
    """
    fake = FakeFluvio(topics)
    with _clients.stand_in(alias, fake):
        yield fake


class FluvioTestMixin(unittest.TestCase):
    """Gives each test fakes; it stands in front of `TestCase`: `class OrderTests(FluvioTestMixin, TestCase)`.

    * `fluvio_aliases`: the aliases whose clients are faked (default: "default").
    * `fluvio`: the fake of the first alias.
    * `fluvios`: all fakes, by alias.

    The fakes are new for each test, from `setUp` on; `setUpTestData` has none.
    """

    fluvio_aliases: ClassVar[tuple[str, ...]] = (DEFAULT,)
    fluvio: FakeFluvio
    fluvios: dict[str, FakeFluvio]

    def setUp(self) -> None:
        """Make the fakes, which the test's cleanup takes away."""
        super().setUp()
        self.fluvios = {}
        for alias in self.fluvio_aliases:
            faking = fake_fluvio(alias)
            self.fluvios[alias] = faking.__enter__()
            self.addCleanup(faking.__exit__, None, None, None)
        self.fluvio = self.fluvios[self.fluvio_aliases[0]]
