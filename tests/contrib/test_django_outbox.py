# SPDX-License-Identifier: Apache-2.0
"""The outbox, on each database, with a fake in the place of the cluster."""

from __future__ import annotations

import json
import logging
import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_kit import close_connections
from kit import wait_until

from fluvio_sync import ConfigError, DeliveryTimeoutError, RecordTooLargeError, RejectedError
from fluvio_sync.contrib.django import _clients, outbox
from fluvio_sync.contrib.django._record import Record
from fluvio_sync.contrib.django.outbox import _store
from fluvio_sync.contrib.django.outbox._delivery import Delivery, Outcome
from fluvio_sync.contrib.django.outbox._destinations import Destinations
from fluvio_sync.contrib.django.outbox._order import chains, delay_after, is_final
from fluvio_sync.contrib.django.outbox._relay import Pass, Relay, Stop
from fluvio_sync.contrib.django.outbox.management.commands import fluvio_outbox_relay
from fluvio_sync.contrib.django.outbox.models import OutboxRecord, State, order_key
from fluvio_sync.contrib.django.testing import fake_fluvio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.testing import FakeFluvio

REFUSED = 6004  # SmartModuleRuntimeError


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    _clients.forget()


@pytest.fixture
def fluvio() -> Iterator[FakeFluvio]:
    with fake_fluvio() as fake:
        yield fake


def send(database: str, value: Any, key: Any = None, topic: str = "orders", **more: Any) -> None:
    with transaction.atomic(using=database):
        outbox.send(topic, value, key=key, using=database, **more)


def relay(database: str, **options: Any) -> str:
    """Deliver what is due; returns what the command prints."""
    output = StringIO()
    call_command("fluvio_outbox_relay", once=True, database=database, stdout=output, stderr=output, **options)
    return output.getvalue()


def relay_with_trouble(database: str) -> None:
    with pytest.raises(CommandError, match="not every record could be delivered"):
        relay(database)


def records(database: str) -> Any:
    return OutboxRecord.objects.using(database).order_by("pk")


def states(database: str) -> list[str]:
    return [record.state for record in records(database)]


def make_due(database: str) -> None:
    """Let the time pass after which failed records are tried again, or claims end."""
    records(database).filter(state=State.PENDING).update(due=timezone.now())


# Storing.


def test_a_record_is_stored_with_its_transaction(database: str) -> None:
    with transaction.atomic(using=database):
        outbox.send("orders", "tea", key="anna", timestamp=1_700_000_000_000, using=database, alias="telemetry")
        outbox.send("orders", b"\0\xff", using=database)
    first, second = records(database)
    assert (first.topic, bytes(first.key), bytes(first.value)) == ("orders", b"anna", b"tea")
    assert (first.timestamp, first.alias, first.state) == (1_700_000_000_000, "telemetry", "pending")
    assert (second.key, bytes(second.value)) == (None, b"\0\xff")
    assert abs(second.timestamp / 1000 - second.created.timestamp()) < 5


def test_a_rollback_takes_it_back(database: str) -> None:
    with transaction.atomic(using=database):
        outbox.send("orders", "tea", using=database)
        transaction.set_rollback(True, using=database)
    assert not records(database)


def test_outside_of_a_transaction_it_is_refused(database: str) -> None:
    with pytest.raises(TransactionManagementError, match=f"needs a transaction of the database '{database}'"):
        outbox.send("orders", "tea", using=database)
    assert not records(database)


def test_a_transaction_of_another_database_is_not_enough(default_database: str, postgres_database: str) -> None:
    with transaction.atomic(using=postgres_database), pytest.raises(TransactionManagementError):
        outbox.send("orders", "tea")
    with transaction.atomic():
        outbox.send("orders", "tea")
    assert records(default_database).count() == 1


@override_settings(FLUVIO={"default": {"PRODUCER": {"key_serializer": str, "value_serializer": json.dumps}}})
def test_what_is_wrong_with_a_record_is_raised_by_the_call(fluvio: FakeFluvio, default_database: str) -> None:
    with transaction.atomic():
        with pytest.raises(ConfigError, match="topic's name"):
            outbox.send("No Topic", {})
        with pytest.raises(ConfigError, match="alias"):
            outbox.send("orders", {}, alias="nobody")
        with pytest.raises(TypeError, match="JSON"):
            outbox.send("orders", object())
        with pytest.raises(RecordTooLargeError):
            outbox.send("orders", "x" * 2_000_000)
        outbox.send("orders", {"item": "tea"}, key=7)
    relay("default")
    assert [(record.key, record.value) for record in fluvio.records] == [(b"7", b'{"item": "tea"}')]


def test_no_cluster_need_be_named_to_store(
    default_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("FLUVIO_SYNC_ENDPOINT", raising=False)
    monkeypatch.setenv("FLV_PROFILE_PATH", str(tmp_path / "none"))
    send("default", "tea")
    assert states("default") == ["pending"]
    relay_with_trouble("default")
    assert states("default") == ["pending"]


# Delivering.


def test_records_are_delivered_once_and_in_order(fluvio: FakeFluvio, database: str) -> None:
    for number in range(50):
        send(database, str(number), key=str(number % 3), timestamp=1_700_000_000_000 + number)
    assert relay(database, batch=7) == "delivered 50, rejected 0, to retry 0\n"
    assert relay(database) == "delivered 0, rejected 0, to retry 0\n"
    assert sorted(int(value) for value in fluvio.values("orders")) == list(range(50))
    for key in (b"0", b"1", b"2"):
        of_key = [(int(record.value), record.timestamp) for record in fluvio.records if record.key == key]
        assert of_key == sorted(of_key)
    assert fluvio.records[0].timestamp == 1_700_000_000_000
    assert set(states(database)) == {"delivered"}
    assert {record.attempts for record in records(database)} == {1}
    assert None not in {record.done for record in records(database)}


def test_the_alias_of_a_record_sends_it_and_waits_for_the_answer(default_database: str) -> None:
    send("default", "seen", alias="telemetry")  # whose producers are at-most-once
    with fake_fluvio("telemetry") as fluvio:
        fluvio.fail_next(DeliveryTimeoutError)
        relay_with_trouble("default")
        assert states("default") == ["pending"]
        make_due("default")
        relay("default")
    assert fluvio.values("orders") == [b"seen"]
    assert states("default") == ["delivered"]


def test_a_failure_holds_up_its_key_only(fluvio: FakeFluvio, database: str, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("1", "2", "3"):
        send(database, value, key="same", topic="broken")
        send(database, value, key="same", topic="orders")
    fluvio.fail_next(DeliveryTimeoutError, topic="broken")
    with caplog.at_level(logging.WARNING, "fluvio_sync"):
        relay_with_trouble(database)
    assert fluvio.values("broken") == []
    assert fluvio.values("orders") == [b"1", b"2", b"3"]
    failed = records(database).get(topic="broken", value=b"1")
    assert (failed.state, failed.attempts, failed.claimed_by) == ("pending", 1, "")
    assert failed.error.startswith("DeliveryTimeoutError: ")
    assert 0 < (failed.due - timezone.now()).total_seconds() <= 1
    (line,) = caplog.records
    assert line.getMessage().startswith("outbox.retry_scheduled alias='default' topic='broken' records=1 error=")
    make_due(database)
    relay(database)
    assert fluvio.values("broken") == [b"1", b"2", b"3"]


class FailsOnce:
    """A partitioner that fails the first time that it sees "2"."""

    def __init__(self) -> None:
        self.failed = False

    def partition(self, _key: bytes | None, value: bytes, *_: object) -> int:
        if value == b"2" and not self.failed:
            self.failed = True
            raise OSError("disk full")
        return 0


def test_a_failure_in_the_middle_of_a_chain(fluvio: FakeFluvio, database: str) -> None:
    with override_settings(FLUVIO={"default": {"PRODUCER": {"partitioner": FailsOnce()}}}):
        for value in ("1", "2", "3"):
            send(database, value, key="same")
        relay_with_trouble(database)
        assert fluvio.values("orders") == [b"1"]
        assert [(record.state, record.attempts, record.error) for record in records(database)] == [
            ("delivered", 1, ""),
            ("pending", 1, "OSError: disk full"),
            ("pending", 0, ""),
        ]
        make_due(database)
        relay(database)
        assert fluvio.values("orders") == [b"1", b"2", b"3"]


def in_thread(work: Any, *arguments: Any) -> Any:
    try:
        return work(*arguments)
    finally:
        close_connections()


def test_a_refused_record_holds_up_its_key_until_an_operator_decides(
    fluvio: FakeFluvio, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    for value in ("poison", "behind", "further behind"):
        send(database, value, key="same", topic="bad")
    send(database, "keyless", topic="bad")
    send(database, "other", key="same", topic="orders")
    fluvio.fail_next(REFUSED, topic="bad")
    with caplog.at_level(logging.ERROR, "fluvio_sync"):
        relay_with_trouble(database)
    assert states(database) == ["failed", "pending", "pending", "delivered", "delivered"]
    assert [record.getMessage().partition(" error=")[0] for record in caplog.records] == [
        f"outbox.rejected record={records(database)[0].pk} alias='default' topic='bad'"
    ]
    assert "SmartModuleRuntimeError" in records(database)[0].error
    health = outbox.health(database)
    assert (health.pending, health.failed, health.blocked) == (2, 1, 2)
    assert health.oldest_age is not None
    assert 0 <= health.oldest_age < 60
    assert relay(database) == "delivered 0, rejected 0, to retry 0\n"

    fluvio.fail_next(REFUSED, topic="bad")
    assert relay(database, retry_failed=[]) == "1 record will be sent again\n"
    relay_with_trouble(database)  # which is refused again
    assert records(database)[0].attempts == 2

    assert relay(database, skip_failed=[records(database)[1].pk]) == "0 records skipped\n"
    assert relay(database, skip_failed=[records(database)[0].pk]) == "1 record skipped\n"
    relay(database)
    assert fluvio.values("bad") == [b"keyless", b"behind", b"further behind"]
    assert states(database)[0] == "skipped"
    assert outbox.health(database) == (0, None, 0, 0)


def test_a_retried_record_goes_before_those_that_it_held_up(fluvio: FakeFluvio, database: str) -> None:
    for value in ("1", "2"):
        send(database, value, key="same")
    fluvio.fail_next(REFUSED)
    relay_with_trouble(database)
    relay(database, retry_failed=[])
    relay(database)
    assert fluvio.values("orders") == [b"1", b"2"]


def test_a_record_that_became_too_large_is_refused(fluvio: FakeFluvio, default_database: str) -> None:
    send("default", "x" * 1000)
    small = {"default": {"PRODUCER": {"batch_size": 100, "max_request_size": 500}}}
    with override_settings(FLUVIO=small):
        relay_with_trouble("default")
    (record,) = records("default")
    assert record.state == "failed"
    assert record.error.startswith("RecordTooLargeError: ")


def test_a_topic_that_is_not_there_is_left_alone(database: str, caplog: pytest.LogCaptureFixture) -> None:
    with fake_fluvio(topics={"orders": 1}) as fluvio:
        for topic in ("gone", "orders", "gone"):
            send(database, "tea", topic=topic)
        with caplog.at_level(logging.INFO, "fluvio_sync"):
            relay_with_trouble(database)
        assert fluvio.values("orders") == [b"tea"]
        assert [(r.state, r.attempts, r.claimed_by) for r in records(database).filter(topic="gone")] == [
            ("pending", 0, "")
        ] * 2
        (line,) = caplog.records
        assert line.getMessage().startswith("outbox.blocked alias='default' topic='gone' error=\"TopicNotFoundError")
        fluvio.create_topic("gone")
        relay(database)
        assert len(fluvio.values("gone")) == 2


def test_a_relay_comes_back_to_a_topic_that_appears(default_database: str, caplog: pytest.LogCaptureFixture) -> None:
    with fake_fluvio(topics={"orders": 1}) as fluvio:
        send("default", "tea", topic="late")
        worker = Relay("default", batch=10, lease=30, retention=7, stop=Stop())
        assert worker.work() == Pass(1, 0)
        assert worker.is_blocked
        assert worker.work() == Pass(0)  # it is not even claimed
        fluvio.create_topic("late")
        with caplog.at_level(logging.INFO, "fluvio_sync"):
            wait_until(lambda: worker.work().delivered, "the pause of a second is over")
        assert "outbox.resumed alias='default' topic='late'" in caplog.text
        assert not worker.is_blocked


@override_settings(FLUVIO={"default": {}, "gone": {"ENDPOINT": "127.0.0.1:1"}})
def test_a_cluster_that_is_not_there_leaves_others_alone(fluvio: FakeFluvio, database: str) -> None:
    for alias in ("gone", "default", "gone"):
        send(database, alias, alias=alias)
    relay_with_trouble(database)
    assert fluvio.values("orders") == [b"default"]
    assert [record.attempts for record in records(database)] == [0, 1, 0]


def test_an_alias_that_is_gone(fluvio: FakeFluvio, default_database: str) -> None:
    send("default", "tea", alias="telemetry")
    send("default", "tea")
    with override_settings(FLUVIO={"default": {}}):
        relay_with_trouble("default")
    assert states("default") == ["pending", "delivered"]


@override_settings(FLUVIO={"default": {"PRODUCER": {"partitioner": type("P", (), {"partition": lambda *_: 1 / 0})()}}})
def test_an_error_of_the_application_postpones(fluvio: FakeFluvio, default_database: str) -> None:
    send("default", "tea", key="k")
    relay_with_trouble("default")
    (record,) = records("default")
    assert (record.state, record.attempts) == ("pending", 1)
    assert record.error == "ZeroDivisionError: division by zero"


def test_what_is_done_with_is_deleted_after_its_time(fluvio: FakeFluvio, database: str) -> None:
    for value in ("old", "older", "young", "failed", "behind"):
        send(database, value, key="same" if value in ("failed", "behind") else None, topic=value)
    fluvio.fail_next(REFUSED, topic="failed")
    relay_with_trouble(database)
    for topic, days in {"old": 8, "older": 9, "young": 6}.items():
        records(database).filter(topic=topic).update(done=timezone.now() - timedelta(days=days))
    relay(database)
    assert [record.topic for record in records(database)] == ["young", "failed", "behind"]
    relay(database, retention=5)
    assert [record.topic for record in records(database)] == ["failed", "behind"]


def test_deleting_is_done_in_portions(default_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "_DELETED_AT_ONCE", 2)
    for number in range(3):
        send("default", str(number))
    records("default").update(state=State.DELIVERED, done=timezone.now() - timedelta(days=8))
    assert [_store.expire("default", 7) for _ in range(3)] == [2, 1, 0]


# Claims.


def claim(database: str, who: str, *, limit: int = 100, lease: float = 30.0) -> list[str]:
    """Claim, and return the values of what was claimed, each with those behind it."""
    return sorted(bytes(r.value).decode() for r in _store.claim(database, who, limit=limit, lease=lease, avoided=())[1])


def test_a_key_is_claimed_with_all_that_is_behind(database: str) -> None:
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
        try:
            barrier.wait(10)
            return [value for _ in range(5) for value in claim(database, f"relay {number}", limit=3)]
        finally:
            close_connections()

    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(claim_some, range(4)))
    keys = [{value.partition("-")[0] for value in one} for one in claimed]
    assert sum(map(len, keys)) == len(set().union(*keys))
    together = [value for one in claimed for value in one]
    assert len(together) == len(set(together))
    assert len(together) >= 15 if database == "postgres" else together


def test_the_fair_order_is_that_of_waiting(database: str) -> None:
    for number in range(4):
        send(database, str(number))
    records(database).filter(value=b"0").update(due=timezone.now())  # has failed before, and is due again
    assert claim(database, "one", limit=3) == ["1", "2", "3"]


def test_a_relay_that_was_overtaken_spoils_nothing(database: str) -> None:
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


def test_what_is_not_sent_is_given_back(fluvio: FakeFluvio, database: str) -> None:
    send(database, "tea", key="k")
    stop = Stop()
    stop.ask()
    assert Relay(database, batch=10, lease=30, retention=7, stop=stop).work() == Pass(1, 0)
    assert fluvio.records == []
    assert claim(database, "other") == ["tea"]


def test_a_relay_that_is_stopped_finishes_what_is_on_its_way(fluvio: FakeFluvio, database: str) -> None:
    for number in range(3):
        send(database, str(number), key="same")
        send(database, str(number))
    stop = Stop()
    worker = Relay(database, batch=10, lease=30, retention=7, stop=stop)
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


def test_what_is_unknown_when_the_claim_ends_is_sent_again(fluvio: FakeFluvio, database: str) -> None:
    send(database, "tea", key="k")
    with fluvio.held():
        assert Relay(database, batch=10, lease=0.3, retention=7, stop=Stop()).work() == Pass(1, 0)
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


def test_what_is_final() -> None:
    assert is_final(RejectedError("no", code=REFUSED, topic="t", partition=0))
    assert is_final(RecordTooLargeError("no", size=2, limit=1))
    assert not is_final(DeliveryTimeoutError("late", topic="t", partition=0))
    assert not is_final(ValueError())


@pytest.mark.parametrize("seed", range(5))
def test_the_order_needs_no_claims(database: str, seed: int) -> None:
    """Claims that end at once, held by relays that use them late, with failures: each key is still in order."""
    chance = random.Random(seed)
    keys, length = 5, 12
    for number in range(length):
        for key in range(keys):
            send(database, str(number), key=str(key))
    in_hand: list[tuple[list[int], list[OutboxRecord]]] = []
    # The topic has one partition, so that the fake's list is the order in which records were stored.
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
            if chance.random() < 0.8:  # else it was killed before it could note what it did
                _store.store_outcome(database, "relay", claimed, outcome)
        fluvio._fake.failures.clear()
        make_due(database)
        relay(database)
        for key in range(keys):
            of_key = [int(item.value) for item in fluvio.records if item.key == b"%d" % key]
            assert list(dict.fromkeys(of_key)) == list(range(length))
        assert len(fluvio.records) > keys * length, "nothing was sent twice, so that nothing was shown"
    assert set(states(database)) == {"delivered"}


# The command.


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch": 0}, "--batch is at least 1"),
        ({"batch": 10_001}, "--batch is at least 1 and at most 10000"),
        ({"interval": -1}, "--interval and --retention are at least 0"),
        ({"retention": -1.0}, "--interval and --retention are at least 0"),
        ({"lease": 0}, "--lease is more than 0"),
        ({"database": "nobody"}, "DATABASES has no 'nobody'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        call_command("fluvio_outbox_relay", **options)


def test_the_guide_names_the_options_and_their_defaults() -> None:
    guide = (Path(__file__).parent.parent.parent / "docs" / "django.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^\| `--(\w+)` \| ?(\w*) \|", guide, re.MULTILINE))
    parser = fluvio_outbox_relay.Command().create_parser("manage.py", "fluvio_outbox_relay")
    taken = parser.parse_args([])
    assert {name: float(default) for name, default in shown.items() if default.isdigit()} == {
        "batch": taken.batch,
        "interval": taken.interval,
        "lease": taken.lease,
        "retention": taken.retention,
    }
    assert (shown["database"], shown["once"]) == (taken.database, "")
    named = re.findall(r"fluvio_outbox_relay --([\w-]+) ", guide)
    assert all(f"--{name}" in parser.format_help() for name in (*shown, *named))
    assert {"retry-failed", "skip-failed"} <= set(named)


def test_a_database_that_fails_is_tried_again(
    fluvio: FakeFluvio, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    send(database, "tea")
    stop = Stop()
    worker = Relay(database, batch=10, lease=30, retention=7, stop=stop)
    passes = []

    class Flaky:
        """Loses its connection before each second pass."""

        def work(self) -> Pass:
            passes.append(1)
            if len(passes) % 2:
                connections[database].close()
                raise OperationalError("server closed the connection")
            done = worker.work()
            if not done.claimed:
                stop.ask()
            return done

    with caplog.at_level(logging.ERROR, "fluvio_sync"):
        flaky: Any = Flaky()
        total = fluvio_outbox_relay._deliver_until_stopped(flaky, stop, database, 0.01)
    assert total == Pass(1, 1)
    assert len(passes) == 4
    assert "outbox.database_failed" in caplog.text
    assert fluvio.values("orders") == [b"tea"]


def test_what_the_library_says_is_shown_unless_the_application_hears_it(
    fluvio: FakeFluvio, default_database: str
) -> None:
    logger = logging.getLogger("fluvio_sync")
    roots, logging.root.handlers = logging.root.handlers, []
    try:
        for heard in (False, True):
            send("default", "tea")
            fluvio.fail_next(REFUSED)
            output = StringIO()
            handler = logging.StreamHandler(StringIO())
            if heard:
                logger.addHandler(handler)
            with pytest.raises(CommandError):
                call_command("fluvio_outbox_relay", once=True, stdout=output, stderr=output)
            logger.removeHandler(handler)
            assert ("outbox.rejected" in output.getvalue()) is not heard
    finally:
        logging.root.handlers = roots


def test_a_relay_that_works_once_says_what_is_wrong_with_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(_: Relay) -> Pass:
        raise OperationalError("no such table: fluvio_outbox")

    monkeypatch.setattr(Relay, "work", work)
    with pytest.raises(CommandError, match=r"^no such table: fluvio_outbox: is the database there, and migrated\?$"):
        relay("default")


# Looking.


def test_check_command_shows_the_outbox(fluvio: FakeFluvio, default_database: str) -> None:
    for value in ("poison", "behind"):
        send("default", value, key="k")
    fluvio.fail_next(REFUSED)
    relay_with_trouble("default")
    output = StringIO()
    with pytest.raises(CommandError, match="steps failed"):
        call_command("fluvio_check", alias=["default"], stdout=output)
    line = output.getvalue().splitlines()[-1]
    assert line.startswith("FAIL  outbox")
    assert "1 record to send, the oldest 0 s old; 1 failed, 1 blocked -> see manage.py" in line


def test_the_admin_site_shows_and_changes_nothing(default_database: str) -> None:
    from django.contrib.auth.models import User

    send("default", "secret tea", key="k")
    (stored,) = records("default")
    user = User.objects.create_superuser("anna", password="anna")
    try:
        web = Client()
        web.force_login(user)
        page = web.get("/admin/fluvio_outbox/outboxrecord/").content.decode()
        assert "orders" in page
        assert "secret" not in page
        assert web.get(f"/admin/fluvio_outbox/outboxrecord/{stored.pk}/change/").status_code == 200
        assert web.post(f"/admin/fluvio_outbox/outboxrecord/{stored.pk}/change/", {}).status_code == 403
        assert web.post(f"/admin/fluvio_outbox/outboxrecord/{stored.pk}/delete/", {}).status_code == 403
        assert web.get("/admin/fluvio_outbox/outboxrecord/add/").status_code == 403
    finally:
        user.delete()


def test_the_migrations_are_complete(default_database: str) -> None:
    call_command("makemigrations", "fluvio_outbox", check=True, dry_run=True, verbosity=0)


def test_the_table_is_there_only_for_who_installs_the_app() -> None:
    from django.apps import apps

    assert not list(apps.get_app_config("fluvio_sync").get_models())
    assert [model.__name__ for model in apps.get_app_config("fluvio_outbox").get_models()] == ["OutboxRecord"]


def queue(database: str, key: str, length: int) -> None:
    rows = [
        OutboxRecord.of(Record("orders", key.encode(), b"%d" % number, None), "default") for number in range(length)
    ]
    OutboxRecord.objects.using(database).bulk_create(rows)


def test_long_queues(database: str) -> None:
    """Keys that are taken, or held up, are in nobody's way; nor is one whose oldest record is due after the others."""
    first = {}
    for key in ("taken", "held up", "late"):
        queue(database, key, 30)
        first[key] = records(database).filter(key=key.encode())[0].pk
    records(database).filter(pk=first["taken"]).update(due=timezone.now() + timedelta(minutes=1))
    records(database).filter(pk=first["held up"]).update(state=State.FAILED)
    records(database).filter(pk=first["late"]).update(due=timezone.now())
    assert _store.claim(database, "one", limit=1, lease=30.0, avoided=())[0] == [first["late"]]
    queue(database, "free", 30)
    with CaptureQueriesContext(connections[database]) as queries:
        assert claim(database, "other", limit=5) == ["0", "1", "2", "3", "4"]
    assert sum("EXISTS" in query["sql"] for query in queries.captured_queries) == 1, "it looked twice"
    assert records(database).filter(claimed_by="other").get().key == b"free"
    assert claim(database, "third") == []
