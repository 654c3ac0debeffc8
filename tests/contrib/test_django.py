# SPDX-License-Identifier: Apache-2.0
"""The app: clients of the setting FLUVIO, `send_on_commit`, the health view and `fluvio_check`."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.transaction import TransactionManagementError
from django.test import Client, override_settings

from fluvio_sync import (
    BufferFullError,
    ClosedError,
    ConfigError,
    ConnectError,
    DeliveryTimeoutError,
    RecordTooLargeError,
)
from fluvio_sync.client import unconnected
from fluvio_sync.contrib.django import _clients, _on_commit, client, producer, send_on_commit
from fluvio_sync.contrib.django.testing import fake_fluvio
from tests.support.django_kit import manage, run_script
from tests.support.scribbler import ESCAPED, Scribbler, assert_harmless

if TYPE_CHECKING:
    from fluvio_sync.testing import FakeFluvio, LocalCluster


pytestmark = pytest.mark.usefixtures("forgotten_clients")


# Clients.


def test_a_producer_of_the_settings(django_cluster: LocalCluster) -> None:
    django_cluster.create_topic("orders")
    assert producer("orders").send(b"value").result(10).offset == 0
    assert producer("orders").config.linger == 0.001
    assert producer("orders", linger=0.5).config.linger == 0.5
    assert not producer("orders", "telemetry").send(b"more").result(0).acknowledged
    assert client() is not client("telemetry")
    assert client("telemetry").client_id == "telemetry"
    assert client()._holder.config.connect_timeout == 5.0


@override_settings(FLUVIO={"default": {"ENDPOINT": "127.0.0.1:1", "CLIENT_ID": None}})
def test_a_client_is_made_without_connecting() -> None:
    made = client()
    assert made.endpoint == "127.0.0.1:1"
    assert not made.running
    assert client() is made


def test_without_the_setting_there_is_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", "127.0.0.1:2")
    with override_settings():
        del settings.FLUVIO
        _clients.forget()
        assert client().endpoint == "127.0.0.1:2"
        assert _clients.configured("default").config.linger == 0.0
        with pytest.raises(ConfigError, match="its aliases are 'default'"):
            client("orders")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ([], r"the setting FLUVIO is \[\], not a dictionary of aliases"),
        ({"defualt": {}}, "no alias 'default': did you mean 'defualt'?"),
        ({"default": 3}, r"FLUVIO\['default'\] is 3, not a dictionary"),
        ({"default": {"ENDPONT": 3}}, "unknown key 'ENDPONT': did you mean 'ENDPOINT'?"),
        ({"default": {"PRODUCER": []}}, r"^FLUVIO\['default'\]\['PRODUCER'\] is \[\]"),
        ({"default": {"ENDPOINT": "x", "CONNECT_TIMEOUT": "soon"}}, "connect_timeout"),
    ],
)
def test_invalid_settings(setting: Any, complaint: str) -> None:
    with override_settings(FLUVIO=setting), pytest.raises(ConfigError, match=complaint):
        client()


def test_one_of_the_clients_that_racing_threads_make_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(4)

    def together(settings: Any) -> Any:
        barrier.wait(10)
        return unconnected(settings)

    monkeypatch.setattr(_clients, "unconnected", together)
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", "127.0.0.1:1")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: client(), range(4)))
    assert set(made) == {client()}


def test_overriding_the_setting_closes_and_forgets(django_cluster: LocalCluster) -> None:
    django_cluster.create_topic("orders")
    first = client()
    future = producer("orders", linger=60).send(b"value")
    with override_settings(FLUVIO={"default": {"CLIENT_ID": "other"}}):
        assert future.result(0).acknowledged
        with pytest.raises(ClosedError):
            first.topics()
        assert client().client_id == "other"
    assert client().client_id == "fluvio-sync"
    with override_settings(DEBUG=True):
        assert client() is client()


FORKS = """
import os, sys, threading
from fluvio_sync.contrib.django import client, producer

producer("orders").send("parent").result(10)
racing = True

def keep_asking():  # so that a fork interrupts threads in it
    while racing:
        client("telemetry"), client()

threads = [threading.Thread(target=keep_asking) for _ in range(4)]
for thread in threads:
    thread.start()
children = []
for number in range(8):
    child = os.fork()
    if not child:
        known = client()
        assert not known.running
        metadata = producer("orders").send(f"child {number}").result(10)
        os._exit(0 if metadata.acknowledged and client() is known else 1)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
racing = False
for thread in threads:
    thread.join(10)
producer("orders").send("parent again").result(10)
sys.exit(any(statuses))
"""


def test_children_of_a_fork_use_the_parents_clients(django_cluster: LocalCluster) -> None:
    django_cluster.create_topic("orders")
    assert run_script(FORKS) == (0, "", "")
    values = {record.value for record in django_cluster.records("orders")}
    assert values == {b"parent", b"parent again", *(b"child %d" % number for number in range(8))}


def test_starting_django_connects_and_starts_nothing() -> None:
    script = "import threading; from fluvio_sync.contrib.django import _clients\n"
    script += "print(threading.active_count(), _clients.in_use())"
    assert run_script(script) == (0, "1 {}\n", "")


# on_commit.


def send(database: str, value: Any = b"value", **more: Any) -> None:
    send_on_commit("orders", value, using=database, **more)


def test_a_commit_sends_once(fluvio: FakeFluvio, database: str) -> None:
    with transaction.atomic(using=database):
        send(database, "value", key="key", timestamp=1_700_000_000_000)
        assert fluvio.records == []
    assert [(r.value, r.key, r.timestamp) for r in fluvio.records] == [(b"value", b"key", 1_700_000_000_000)]


def test_a_rollback_sends_nothing(fluvio: FakeFluvio, database: str) -> None:
    with transaction.atomic(using=database):
        send(database)
        transaction.set_rollback(True, using=database)
    assert fluvio.records == []


def test_outside_of_a_transaction_it_is_sent_at_once(fluvio: FakeFluvio, database: str) -> None:
    send(database)
    assert fluvio.values("orders") == [b"value"]


def test_transactions_by_hand_raise(fluvio: FakeFluvio, database: str) -> None:
    transaction.set_autocommit(False, using=database)
    try:
        with pytest.raises(TransactionManagementError):
            send(database)
    finally:
        transaction.set_autocommit(True, using=database)
    assert fluvio.records == []


def test_using_names_the_database_of_the_transaction(
    fluvio: FakeFluvio, default_database: str, postgres_database: str
) -> None:
    with transaction.atomic(using=default_database):
        send(postgres_database, b"at once")
        send(default_database, b"later")
        assert fluvio.values("orders") == [b"at once"]
    assert fluvio.values("orders") == [b"at once", b"later"]


@override_settings(
    FLUVIO={"default": {"PRODUCER": {"value_serializer": json.dumps, "batch_size": 100, "max_request_size": 200}}}
)
def test_an_invalid_record_raises_at_the_call(fluvio: FakeFluvio, default_database: str) -> None:
    with transaction.atomic():
        with pytest.raises(ConfigError, match="topic's name"):
            send_on_commit("No Topic", {})
        with pytest.raises(TypeError, match="JSON"):
            send_on_commit("orders", object())
        with pytest.raises(TypeError, match="key"):
            send_on_commit("orders", {}, key=3)
        with pytest.raises(ValueError, match="timestamp"):
            send_on_commit("orders", {}, timestamp=-1)
        with pytest.raises(RecordTooLargeError):
            send_on_commit("orders", "x" * 300)
        with pytest.raises(ConfigError, match="alias"):
            send_on_commit("orders", {}, alias="missing")
        value = {"a": 1}
        send_on_commit("orders", value)
        value["a"] = 2
    assert fluvio.values("orders") == [b'{"a": 1}']


@override_settings(FLUVIO={"default": {"PRODUCER": {}}})
def test_a_missing_name_of_the_cluster_raises_at_the_call(
    default_database: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLUVIO_SYNC_ENDPOINT", raising=False)
    monkeypatch.setenv("FLV_PROFILE_PATH", str(tmp_path / "none"))
    with transaction.atomic(), pytest.raises(ConfigError, match="no such file"):
        send_on_commit("orders", b"value")


def test_a_failure_after_the_commit_is_logged_and_counted(
    fluvio: FakeFluvio, default_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    fluvio.fail_next(BufferFullError("no space"))
    fluvio.fail_next(DeliveryTimeoutError)
    after: list[str] = []
    with caplog.at_level(logging.ERROR, "fluvio_sync"), transaction.atomic():
        send_on_commit("orders", b"secret")  # send() raises
        send_on_commit("orders", b"secret")  # the future raises
        send_on_commit("orders", b"delivered")
        transaction.on_commit(lambda: after.append("called"))
    assert fluvio.values("orders") == [b"delivered"]
    assert after == ["called"]
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "on_commit.failed topic='orders' alias='default' error='BufferFullError: no space'"
    assert second.startswith(
        "on_commit.failed topic='orders' alias='default' error=\"DeliveryTimeoutError: topic 'orders'"
    )
    assert "secret" not in first + second
    assert _on_commit.failures() == {"default": 2}


@override_settings(FLUVIO={"default": {"ENDPOINT": "127.0.0.1:1"}})
def test_an_unreachable_cluster_is_logged(default_database: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "fluvio_sync"), transaction.atomic():
        send_on_commit("orders", b"value")
    (record,) = caplog.records
    assert "on_commit.failed topic='orders'" in record.getMessage()
    assert "ConnectError" in record.getMessage()
    assert _on_commit.failures() == {"default": 1}


def test_at_most_once_warns_once(default_database: str, caplog: pytest.LogCaptureFixture) -> None:
    with fake_fluvio("telemetry") as fluvio, caplog.at_level(logging.WARNING, "fluvio_sync"):
        for _ in range(3):
            send_on_commit("seen", b"value", alias="telemetry")
    assert len(fluvio.values("seen")) == 3
    (record,) = caplog.records
    assert record.getMessage().startswith("on_commit.at_most_once alias='telemetry'")


# The views of the project.


# Health.


def health(query: str = "") -> tuple[int, Any]:
    answer = Client().get(f"/health/{query}")
    return answer.status_code, answer.json()


def test_the_health_of_clients(django_cluster: LocalCluster, default_database: str) -> None:
    status, shown = health()
    assert (status, shown["clients"], shown["on_commit_failed"]) == (200, {}, {})
    assert shown["outbox"] == {"pending": 0, "oldest_age": None, "failed": 0, "blocked": 0}
    client()
    assert health()[1]["clients"] == {"default": {"status": "unused"}}
    django_cluster.create_topic("orders")
    producer("orders").send(b"value").result(10)
    status, shown = health()
    assert status == 200
    assert shown["clients"]["default"]["status"] == "connected"
    assert shown["clients"]["default"]["leaders"] == [{"topic": "orders", "partition": 0, "leader": 5001}]
    _on_commit._failures.add("orders", "default", ValueError("why"))
    assert health()[1]["on_commit_failed"] == {"default": 1}


def test_health_connects_on_request(django_cluster: LocalCluster, default_database: str) -> None:
    status, shown = health("?connect=1")
    assert status == 200
    assert [answer["status"] for answer in shown["clients"].values()] == ["connected", "connected"]
    with override_settings(FLUVIO={"default": {}, "gone": {"ENDPOINT": "127.0.0.1:1"}}):
        assert health()[0] == 200
        status, shown = health("?connect=1")
        assert status == 503
        assert shown["clients"]["default"]["status"] == "connected"
        assert shown["clients"]["gone"]["status"] == "disconnected"
        assert "127.0.0.1:1" in shown["clients"]["gone"]["last_error"]


def test_health_of_a_client_that_could_not_connect(default_database: str) -> None:
    with override_settings(FLUVIO={"default": {"ENDPOINT": "127.0.0.1:1"}}):
        with pytest.raises(ConnectError):
            producer("orders")
        status, shown = health()
        assert (status, shown["clients"]["default"]["status"]) == (503, "disconnected")
        assert "127.0.0.1:1" in shown["clients"]["default"]["last_error"]


def test_health_without_the_outboxs_table(default_database: str) -> None:
    from django.conf import settings
    from django.db import connection

    with connection.schema_editor() as editor:
        from fluvio_sync.contrib.django.outbox.models import OutboxRecord

        editor.delete_model(OutboxRecord)
    try:
        assert health() == (503, {"clients": {}, "on_commit_failed": {}, "outbox": {"error": "OperationalError"}})
        apps = [app for app in settings.INSTALLED_APPS if app != "fluvio_sync.contrib.django.outbox"]
        with override_settings(INSTALLED_APPS=apps):
            assert health() == (200, {"clients": {}, "on_commit_failed": {}})
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(OutboxRecord)


def test_health_is_not_cached_and_read_only(default_database: str) -> None:
    assert "no-store" in Client().get("/health/")["Cache-Control"]
    assert Client().post("/health/").status_code == 405


# The command.


def test_check_command(django_cluster: LocalCluster, default_database: str) -> None:
    django_cluster.create_topic("orders")
    status, output, errors = manage("fluvio_check", "--topic", "orders", "--alias", "default")
    assert (status, errors) == (0, "")
    assert output.startswith("FLUVIO['default']\nok    configuration")
    assert "wrote a record to topic 'orders', partition 0, offset 0" in output
    assert "0 records to send; 0 failed" in output
    assert "telemetry" not in output
    assert len(django_cluster.records("orders")) == 1


def test_check_command_takes_all_aliases(django_cluster: LocalCluster, default_database: str) -> None:
    output = StringIO()
    call_command("fluvio_check", stdout=output)
    assert "FLUVIO['default']" in output.getvalue()
    assert "FLUVIO['telemetry']" in output.getvalue()


def test_check_command_fails(default_database: str) -> None:
    status, output, errors = manage("fluvio_check", "--alias", "default", FLUVIO_SYNC_ENDPOINT="127.0.0.1:1")
    assert status == 1
    assert "FAIL  SC connection" in output
    assert "is a cluster running there?" in output
    assert errors.startswith("CommandError: 1 of ")


def test_check_command_shows_no_text_of_a_server_as_it_is(default_database: str) -> None:
    with Scribbler() as cluster:
        _, output, errors = manage("fluvio_check", "--alias", "default", FLUVIO_SYNC_ENDPOINT=cluster.endpoint)
    assert ESCAPED in output
    assert_harmless(output + errors)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"alias": ["missing"]}, "no alias 'missing'"), ({"topic": "No"}, "cannot be a topic's name")],
)
def test_check_command_with_invalid_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        call_command("fluvio_check", **options)
