# SPDX-License-Identifier: Apache-2.0
"""The promises under faults of real sockets, processes and threads; and that a broken promise is found.

`FLUVIO_SYNC_FAULTS` sets the number of connection faults, `FLUVIO_SYNC_CHAOS_SEED` what is drawn; `make chaos
FAULTS=10000` does, and shows the figures.  With `FLUVIO_SYNC_TEST_ENDPOINT` it runs against that cluster, through
proxies, without the faults of the cluster itself.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.second_look import SecondLook
from tests.chaos.chaos import Broken, Chaos

if TYPE_CHECKING:
    from fluvio_sync._core.events import Written
    from fluvio_sync._core.partition import Batch, PartitionQueue
    from fluvio_sync.errors import FluvioError

pytestmark = [pytest.mark.alone, pytest.mark.slow]

FAULTS = int(os.environ.get("FLUVIO_SYNC_FAULTS", "500"))


def seed() -> int:
    given = os.environ.get("FLUVIO_SYNC_CHAOS_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)


@pytest.mark.cluster
@pytest.mark.timeout(120 + FAULTS // 5)
def test_the_promises_hold_under_faults() -> None:
    chaos = Chaos(seed(), FAULTS, os.environ.get("FLUVIO_SYNC_TEST_ENDPOINT"))
    chaos.run()
    print(f"\n{chaos.report()}")  # noqa: T201 - `make chaos` shows the figures
    assert chaos.connection_faults() >= FAULTS
    assert chaos.records["acknowledged"] > FAULTS


def test_what_late_requests_store_again_is_counted() -> None:
    chaos = Chaos(seed(), 300, late=True)
    chaos.run()
    assert chaos.count()["late"]
    assert chaos.records["duplicated"]


# Known faults, planted one at a time.


def run_some() -> None:
    for _ in range(5):
        Chaos(seed(), 100).run()


def test_a_swapped_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Dispatcher._attempt_failed

    def swapped(
        self: Dispatcher,
        queue: PartitionQueue,
        batches: list[Batch],
        error: FluvioError,
        now: float,
        floor: float = 0.0,
    ) -> None:
        plain(self, queue, batches, error, now, floor)
        queue.sealed.rotate(1)

    monkeypatch.setattr(Dispatcher, "_attempt_failed", swapped)
    with pytest.raises(Broken, match="first appears before"):
        run_some()


def test_a_lost_record_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that failed once is taken for acknowledged."""
    plain = Dispatcher._attempt_failed

    def lost(
        self: Dispatcher,
        queue: PartitionQueue,
        batches: list[Batch],
        error: FluvioError,
        now: float,
        floor: float = 0.0,
    ) -> None:
        self._acknowledge(queue, batches, [0 for _ in batches], now)
        plain(self, queue, batches, error, now, floor)

    monkeypatch.setattr(Dispatcher, "_attempt_failed", lost)
    with pytest.raises(Broken, match="is not at offset"):
        run_some()


def test_a_record_that_is_sent_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Dispatcher._written

    def again(self: Dispatcher, event: Written, now: float) -> None:
        request = event.request
        if request.acked or request.lost or all(batch.attempts > 1 for batch in request.batches):
            plain(self, event, now)
            return
        request.written = True
        entries, request.entries = request.entries, []
        for queue, batches in entries:
            queue.put_back(batches)
            self._reschedule(queue, now)

    monkeypatch.setattr(Dispatcher, "_written", again)
    with pytest.raises(Broken, match=r"is stored \d times"):
        run_some()


def test_a_duplicate_that_is_not_counted_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = SecondLook.finish
    monkeypatch.setattr(SecondLook, "finish", lambda second, look, now: finish(second, look, now)[:0])
    with pytest.raises(Broken, match="not counted"):
        Chaos(seed(), 300, late=True).run()
