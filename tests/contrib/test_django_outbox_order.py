# SPDX-License-Identifier: Apache-2.0
"""Claims of relays and the order of records, on each database."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fluvio_sync import DeliveryTimeoutError, RecordTooLargeError, RejectedError
from fluvio_sync.contrib.django._record import Record
from fluvio_sync.contrib.django.outbox import _store
from fluvio_sync.contrib.django.outbox._delivery import Delivery, Outcome
from fluvio_sync.contrib.django.outbox._destinations import Destinations
from fluvio_sync.contrib.django.outbox._order import chains, delay_after, is_final
from fluvio_sync.contrib.django.outbox._relay import Pass, Stop
from fluvio_sync.contrib.django.outbox.models import OutboxRecord, State, order_key
from fluvio_sync.contrib.django.testing import fake_fluvio
from tests.support.outbox_kit import REJECTED, in_thread, make_due, new_relay, records, relay, send, states
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from fluvio_sync.testing import FakeFluvio

pytestmark = pytest.mark.usefixtures("forgotten_clients")

# Claims.


def claim(database: str, relay: str, *, limit: int = 100, lease: float = 30.0) -> list[str]:
    """Claim keys, and return the values of their records."""
    return sorted(
        bytes(r.value).decode() for r in _store.claim(database, relay, limit=limit, lease=lease, avoided=())[1]
    )


def test_a_key_is_claimed_with_all_of_its_records(database: str) -> None:
    for value in ("a1", "b1", "a2", "b2", "a3"):
        send(database, value, key=value[0])
    send(database, "free")
    assert claim(database, "one", limit=2) == ["a1", "b1"]
    assert claim(database, "other") == ["free"]
    send(database, "a4", key="a")
    assert claim(database, "third") == []
    make_due(database)
    assert claim(database, "third") == ["a1", "a2", "a3", "a4", "b1", "b2", "free"]


def test_a_claim_ends(database: str) -> None:
    send(database, "1", key="k")
    assert claim(database, "one", lease=0.05) == ["1"]
    wait_until(lambda: claim(database, "other") == ["1"], "the claim ends")
    assert claim(database, "one") == []
    assert records(database)[0].claimed_by == "other"


def test_relays_that_claim_at_once_claim_different_keys(database: str) -> None:
    for number in range(60):
        send(database, f"{number % 20}-{number}", key=str(number % 20))
    barrier = threading.Barrier(4)

    def claim_some(number: int) -> list[str]:
        barrier.wait(10)
        return [value for _ in range(5) for value in claim(database, f"relay {number}", limit=3)]

    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(partial(in_thread, claim_some), range(4)))
    keys = [{value.partition("-")[0] for value in one} for one in claimed]
    assert sum(map(len, keys)) == len(set().union(*keys))
    together = [value for one in claimed for value in one]
    assert len(together) == len(set(together))
    assert len(together) >= 15 if database == "postgres" else together


def test_the_longest_waiting_records_are_claimed_first(database: str) -> None:
    for number in range(4):
        send(database, str(number))
    records(database).filter(value=b"0").update(due=timezone.now())  # as after a failure
    assert claim(database, "one", limit=3) == ["1", "2", "3"]


def test_late_outcomes_of_a_slow_relay_change_nothing(database: str) -> None:
    for value in ("delivered", "failed"):
        send(database, value)
    claimed, found = _store.claim(database, "slow", limit=10, lease=0.0, avoided=())
    assert len(_store.claim(database, "quick", limit=10, lease=30.0, avoided=())[0]) == 2
    quick = Outcome()
    quick.delivered = [found[0].pk]
    quick.rejected = [(found[1], "why")]
    _store.store_outcome(database, "quick", claimed, quick)
    slow = Outcome()
    slow.delivered = [found[1].pk]
    slow.to_retry = [(found[0], "late")]
    _store.store_outcome(database, "slow", claimed, slow)
    assert states(database) == ["delivered", "delivered"]
    assert records(database)[0].error == ""


def test_records_that_are_not_sent_are_released(fluvio: FakeFluvio, database: str) -> None:
    send(database, "tea", key="k")
    stop = Stop()
    stop.ask()
    assert new_relay(database, stop).work() == Pass(1, 0)
    assert fluvio.records == []
    assert claim(database, "other") == ["tea"]


def test_a_stopped_relay_waits_for_records_on_their_way(fluvio: FakeFluvio, database: str) -> None:
    for number in range(3):
        send(database, str(number), key="same")
        send(database, str(number))
    stop = Stop()
    worker = new_relay(database, stop)
    with ThreadPoolExecutor(1) as pool, fluvio.held():
        working = pool.submit(in_thread, worker.work)
        wait_until(lambda: fluvio.health().records_queued == 4, "four chains are on their way")
        stop.ask()
        fluvio.release()
        assert working.result(30) == Pass(4, 4)
    assert [(r.key, bytes(r.value)) for r in records(database).exclude(state="delivered")] == [
        (b"same", b"1"),
        (b"same", b"2"),
    ]
    assert claim(database, "other") == ["1", "2"]


def test_a_record_without_an_outcome_at_the_end_of_its_claim_is_sent_again(fluvio: FakeFluvio, database: str) -> None:
    send(database, "tea", key="k")
    with fluvio.held():
        assert new_relay(database, lease=0.3).work() == Pass(1, 0)
    assert fluvio.values("orders") == [b"tea"]
    assert states(database) == ["pending"]
    relay(database)
    assert fluvio.values("orders") == [b"tea", b"tea"]


# The order.


def record(number: int, key: str, state: str = "pending") -> OutboxRecord:
    return OutboxRecord(pk=number, order_key=key, state=state)


def test_chains() -> None:
    given = [record(3, "a"), record(1, "b"), record(2, "a"), record(4, "c", "failed"), record(5, "c"), record(6, "b")]
    assert [[item.pk for item in chain] for chain in chains(given)] == [[1, 6], [2, 3]]
    middle = [record(1, "a"), record(2, "a", "failed"), record(3, "a")]
    assert [[item.pk for item in chain] for chain in chains(middle)] == [[1]]
    assert chains([]) == []


def test_order_keys() -> None:
    assert order_key("default", "orders", b"k") == order_key("default", "orders", b"k")
    others = [
        order_key("default", "orders", b"l"),
        order_key("default", "order", b"sk"),
        order_key("other", "orders", b"k"),
        order_key("default", "orders", b""),
        order_key("default", "orders", None),
        order_key("default", "orders", None),
        order_key("default", "orders", b"k"),
    ]
    assert len(set(others)) == 7


def test_delays() -> None:
    assert [delay_after(failures) for failures in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]


def test_final_errors() -> None:
    assert is_final(RejectedError("no", code=REJECTED, topic="t", partition=0))
    assert is_final(RecordTooLargeError("no", size=2, limit=1))
    assert not is_final(DeliveryTimeoutError("late", topic="t", partition=0))
    assert not is_final(ValueError())


@pytest.mark.parametrize("seed", range(5))
def test_the_order_needs_no_claims(database: str, seed: int) -> None:
    """Claims end at once, relays use them late, and records fail: each key is still in order."""
    chance = random.Random(seed)
    keys, length = 5, 12
    for number in range(length):
        for key in range(keys):
            send(database, str(number), key=str(key))
    in_hand: list[tuple[list[int], list[OutboxRecord]]] = []
    # The topic has one partition, so that the fake lists the records in the order of storing.
    with fake_fluvio() as fluvio:
        for _ in range(80):
            make_due(database)
            if not in_hand or (len(in_hand) < 4 and chance.random() < 0.5):
                in_hand.append(_store.claim(database, "relay", limit=chance.randrange(1, 15), lease=0.0, avoided=()))
                continue
            claimed, found = in_hand.pop(chance.randrange(len(in_hand)))
            if chance.random() < 0.3:
                fluvio.fail_next(DeliveryTimeoutError, count=chance.randrange(1, 4))
            outcome = Delivery(Destinations(10), lease=30, stopped=lambda: False).run(chains(found))
            if chance.random() < 0.8:  # otherwise the relay was killed before it stored the outcome
                _store.store_outcome(database, "relay", claimed, outcome)
        fluvio._fake.failures.clear()
        make_due(database)
        relay(database)
        for key in range(keys):
            of_key = [int(item.value) for item in fluvio.records if item.key == b"%d" % key]
            assert list(dict.fromkeys(of_key)) == list(range(length))
        assert len(fluvio.records) > keys * length, "nothing was sent twice, so that nothing was shown"
    assert set(states(database)) == {"delivered"}


def queue(database: str, key: str, length: int) -> None:
    rows = [
        OutboxRecord.of(Record("orders", key.encode(), b"%d" % number, None), "default") for number in range(length)
    ]
    OutboxRecord.objects.using(database).bulk_create(rows)


def test_long_queues(database: str) -> None:
    """Long queues of claimed and blocked keys do not slow a claim, nor does one whose oldest record is due last."""
    first = {}
    for key in ("taken", "blocked", "late"):
        queue(database, key, 30)
        first[key] = records(database).filter(key=key.encode())[0].pk
    records(database).filter(pk=first["taken"]).update(due=timezone.now() + timedelta(minutes=1))
    records(database).filter(pk=first["blocked"]).update(state=State.FAILED)
    records(database).filter(pk=first["late"]).update(due=timezone.now())
    assert _store.claim(database, "one", limit=1, lease=30.0, avoided=())[0] == [first["late"]]
    queue(database, "free", 30)
    with CaptureQueriesContext(connections[database]) as queries:
        assert claim(database, "other", limit=5) == ["0", "1", "2", "3", "4"]
    assert sum("EXISTS" in query["sql"] for query in queries.captured_queries) == 1, "it looked twice"
    assert records(database).filter(claimed_by="other").get().key == b"free"
    assert claim(database, "third") == []
