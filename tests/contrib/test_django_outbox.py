# SPDX-License-Identifier: Apache-2.0
"""The outbox on each database: storing records, and delivering them to a fake."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings
from django.utils import timezone

from fluvio_sync import ConfigError, DeliveryTimeoutError, RecordTooLargeError
from fluvio_sync.contrib.django import outbox
from fluvio_sync.contrib.django.outbox import _store
from fluvio_sync.contrib.django.outbox._relay import Pass
from fluvio_sync.contrib.django.outbox.models import State
from fluvio_sync.contrib.django.testing import fake_fluvio
from tests.support.outbox_kit import REJECTED, make_due, new_relay, records, relay, relay_with_failures, send, states
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from fluvio_sync.testing import FakeFluvio

pytestmark = pytest.mark.usefixtures("forgotten_clients")

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


def test_a_rollback_stores_nothing(database: str) -> None:
    with transaction.atomic(using=database):
        outbox.send("orders", "tea", using=database)
        transaction.set_rollback(True, using=database)
    assert not records(database)


def test_outside_of_a_transaction_it_raises(database: str) -> None:
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
def test_an_invalid_record_raises_at_the_call(fluvio: FakeFluvio, default_database: str) -> None:
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


def test_storing_needs_no_cluster(default_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("FLUVIO_SYNC_ENDPOINT", raising=False)
    monkeypatch.setenv("FLV_PROFILE_PATH", str(tmp_path / "none"))
    send("default", "tea")
    assert states("default") == ["pending"]
    relay_with_failures("default")
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


def test_an_at_most_once_alias_is_delivered_at_least_once(default_database: str) -> None:
    send("default", "seen", alias="telemetry")
    with fake_fluvio("telemetry") as fluvio:
        fluvio.fail_next(DeliveryTimeoutError)
        relay_with_failures("default")
        assert states("default") == ["pending"]
        make_due("default")
        relay("default")
    assert fluvio.values("orders") == [b"seen"]
    assert states("default") == ["delivered"]


def test_a_failure_blocks_its_key_only(fluvio: FakeFluvio, database: str, caplog: pytest.LogCaptureFixture) -> None:
    for value in ("1", "2", "3"):
        send(database, value, key="same", topic="broken")
        send(database, value, key="same", topic="orders")
    fluvio.fail_next(DeliveryTimeoutError, topic="broken")
    with caplog.at_level(logging.WARNING, "fluvio_sync"):
        relay_with_failures(database)
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
    """A partitioner that fails at the first "2"."""

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
        relay_with_failures(database)
        assert fluvio.values("orders") == [b"1"]
        assert [(record.state, record.attempts, record.error) for record in records(database)] == [
            ("delivered", 1, ""),
            ("pending", 1, "OSError: disk full"),
            ("pending", 0, ""),
        ]
        make_due(database)
        relay(database)
        assert fluvio.values("orders") == [b"1", b"2", b"3"]


def test_a_rejected_record_blocks_its_key_until_an_operator_decides(
    fluvio: FakeFluvio, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    for value in ("poison", "behind", "further behind"):
        send(database, value, key="same", topic="bad")
    send(database, "keyless", topic="bad")
    send(database, "other", key="same", topic="orders")
    fluvio.fail_next(REJECTED, topic="bad")
    with caplog.at_level(logging.ERROR, "fluvio_sync"):
        relay_with_failures(database)
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

    fluvio.fail_next(REJECTED, topic="bad")
    assert relay(database, retry_failed=[]) == "1 record will be sent again\n"
    relay_with_failures(database)  # it is rejected again
    assert records(database)[0].attempts == 2

    assert relay(database, skip_failed=[records(database)[1].pk]) == "0 records skipped\n"
    assert relay(database, skip_failed=[records(database)[0].pk]) == "1 record skipped\n"
    relay(database)
    assert fluvio.values("bad") == [b"keyless", b"behind", b"further behind"]
    assert states(database)[0] == "skipped"
    assert outbox.health(database) == (0, None, 0, 0)


def test_a_record_that_became_too_large_fails(fluvio: FakeFluvio, default_database: str) -> None:
    send("default", "x" * 1000)
    small = {"default": {"PRODUCER": {"batch_size": 100, "max_request_size": 500}}}
    with override_settings(FLUVIO=small):
        relay_with_failures("default")
    (record,) = records("default")
    assert record.state == "failed"
    assert record.error.startswith("RecordTooLargeError: ")


def test_a_missing_topic_blocks_its_records_untouched(database: str, caplog: pytest.LogCaptureFixture) -> None:
    with fake_fluvio(topics={"orders": 1}) as fluvio:
        for topic in ("gone", "orders", "gone"):
            send(database, "tea", topic=topic)
        with caplog.at_level(logging.INFO, "fluvio_sync"):
            relay_with_failures(database)
        assert fluvio.values("orders") == [b"tea"]
        assert [(r.state, r.attempts, r.claimed_by) for r in records(database).filter(topic="gone")] == [
            ("pending", 0, "")
        ] * 2
        (line,) = caplog.records
        assert line.getMessage().startswith("outbox.blocked alias='default' topic='gone' error=\"TopicNotFoundError")
        fluvio.create_topic("gone")
        relay(database)
        assert len(fluvio.values("gone")) == 2


def test_a_relay_delivers_to_a_topic_once_it_exists(default_database: str, caplog: pytest.LogCaptureFixture) -> None:
    with fake_fluvio(topics={"orders": 1}) as fluvio:
        send("default", "tea", topic="late")
        worker = new_relay("default")
        assert worker.work() == Pass(1, 0)
        assert worker.is_blocked
        assert worker.work() == Pass(0)  # the record is not claimed
        fluvio.create_topic("late")
        with caplog.at_level(logging.INFO, "fluvio_sync"):
            wait_until(lambda: worker.work().delivered, "the pause of a second is over")
        assert "outbox.resumed alias='default' topic='late'" in caplog.text
        assert not worker.is_blocked


@override_settings(FLUVIO={"default": {}, "gone": {"ENDPOINT": "127.0.0.1:1"}})
def test_an_unreachable_cluster_does_not_block_others(fluvio: FakeFluvio, database: str) -> None:
    for alias in ("gone", "default", "gone"):
        send(database, alias, alias=alias)
    relay_with_failures(database)
    assert fluvio.values("orders") == [b"default"]
    assert [record.attempts for record in records(database)] == [0, 1, 0]


def test_a_removed_alias(fluvio: FakeFluvio, default_database: str) -> None:
    send("default", "tea", alias="telemetry")
    send("default", "tea")
    with override_settings(FLUVIO={"default": {}}):
        relay_with_failures("default")
    assert states("default") == ["pending", "delivered"]


def test_delivered_and_skipped_records_are_deleted_after_their_retention(fluvio: FakeFluvio, database: str) -> None:
    for value in ("old", "older", "young", "failed", "behind"):
        send(database, value, key="same" if value in ("failed", "behind") else None, topic=value)
    fluvio.fail_next(REJECTED, topic="failed")
    relay_with_failures(database)
    for topic, days in {"old": 8, "older": 9, "young": 6}.items():
        records(database).filter(topic=topic).update(done=timezone.now() - timedelta(days=days))
    relay(database)
    assert [record.topic for record in records(database)] == ["young", "failed", "behind"]
    relay(database, retention=5)
    assert [record.topic for record in records(database)] == ["failed", "behind"]


def test_deleting_goes_in_portions(default_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store, "_DELETED_AT_ONCE", 2)
    for number in range(3):
        send("default", str(number))
    records("default").update(state=State.DELIVERED, done=timezone.now() - timedelta(days=8))
    assert [_store.expire("default", 7) for _ in range(3)] == [2, 1, 0]
