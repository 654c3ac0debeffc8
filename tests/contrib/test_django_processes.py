# SPDX-License-Identifier: Apache-2.0
"""The outbox in processes that are killed, with a cluster, on each database."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from django.db import transaction

from fluvio_sync.contrib.django import outbox
from fluvio_sync.contrib.django.outbox.models import OutboxRecord
from tests.support.django_kit import PATIENCE, PROJECT, finish, manage, run_script, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.slow

TOPIC = "orders"

DIES_AFTER_ITS_COMMIT = """
import os, signal, sys
from django.db import transaction
from tests.contrib.django_project.models import Order
from fluvio_sync.contrib.django import outbox, send_on_commit

using = sys.argv[1]
with transaction.atomic(using=using):
    Order.objects.using(using).create(item="tea")
    outbox.send("orders", "by the outbox", using=using)
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL), using=using)
    send_on_commit("orders", "on commit", using=using)
"""


def values(cluster: LocalCluster) -> list[bytes]:
    return [record.value for record in cluster.records(TOPIC)]


def test_a_process_that_is_killed_after_its_commit_leaves_the_outbox(
    django_cluster: LocalCluster, database: str
) -> None:
    from tests.contrib.django_project.models import Order

    django_cluster.create_topic(TOPIC)
    status, _, _ = run_script(DIES_AFTER_ITS_COMMIT, database)
    assert status == -signal.SIGKILL
    assert Order.objects.using(database).get().item == "tea"
    assert values(django_cluster) == []
    status, output, errors = manage("fluvio_outbox_relay", "--once", "--database", database)
    assert (status, output, errors) == (0, "delivered 1, rejected 0, to retry 0\n", "")
    assert values(django_cluster) == [b"by the outbox"]  # the record of send_on_commit is lost


@contextmanager
def relaying(database: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = start("-m", PROJECT, "fluvio_outbox_relay", "--database", database, *options)
    try:
        wait_for_start(process)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for_start(relay: subprocess.Popen[str]) -> None:
    """Wait until a relay runs, and handles signals; the timeout of the test ends a wait in vain."""
    assert relay.stdout is not None
    assert relay.stdout.readline().startswith("relay ")


def put(database: str, value: object, key: str | None = None) -> None:
    with transaction.atomic(using=database):
        outbox.send(TOPIC, str(value), key=key, using=database)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_relay_ends_at_once(
    django_cluster: LocalCluster, default_database: str, number: signal.Signals
) -> None:
    django_cluster.create_topic(TOPIC)
    with relaying(default_database, "--interval", "0.05") as process:
        put(default_database, "tea")
        wait_until(lambda: values(django_cluster) == [b"tea"], "the relay delivers", PATIENCE)
    with relaying(default_database, "--interval", "3600") as process:
        process.send_signal(number)
        assert finish(process) == (0, "delivered 0, rejected 0, to retry 0\n", "")


def test_a_relay_survives_a_restart_of_its_cluster(django_cluster: LocalCluster, default_database: str) -> None:
    django_cluster.create_topic(TOPIC)
    records = OutboxRecord.objects.using(default_database)
    sent = []
    with relaying(default_database, "--interval", "0.05", "--lease", "3") as process:
        for phase in ("before", "down", "after"):
            if phase == "down":
                django_cluster.kill_sc()
                django_cluster.kill_spu(5001)
            for number in range(20):
                sent.append(f"{phase} {number}".encode())
                put(default_database, f"{phase} {number}", "same")
            if phase == "down":
                failing = records.filter(attempts__gt=0, state="pending")
                wait_until(failing.exists, "the relay notices", PATIENCE)
                django_cluster.restart_spu(5001)
                django_cluster.restart_sc()
            wait_until(lambda: outbox.health(default_database).pending == 0, "everything is delivered", PATIENCE)
        process.send_signal(signal.SIGTERM)
        status, output, _ = finish(process)
    assert status == 0
    assert output.startswith("delivered 60, rejected 0, to retry ")
    assert list(dict.fromkeys(values(django_cluster))) == sent


def test_others_deliver_the_records_of_a_relay_that_is_killed(django_cluster: LocalCluster, database: str) -> None:
    """As the kernel kills it when memory is full, here in the middle of a pass: each key is in order nevertheless."""
    django_cluster.create_topic(TOPIC)
    with transaction.atomic(using=database):
        for number in range(400):
            outbox.send(TOPIC, str(number), key=str(number % 2), using=database)
    with relaying(database, "--lease", "3") as process:
        wait_until(lambda: values(django_cluster), "it delivers", PATIENCE)
        process.kill()
        process.communicate()
    assert outbox.health(database).pending == 400  # it has stored no outcome
    with relaying(database, "--interval", "0.05"), relaying(database, "--interval", "0.05"):
        wait_until(lambda: outbox.health(database).pending == 0, "everything is delivered", PATIENCE)
    assert outbox.health(database).failed == 0
    assert len(values(django_cluster)) > 400
    for key in range(2):
        of_key = [number for number in map(int, values(django_cluster)) if number % 2 == key]
        assert list(dict.fromkeys(of_key)) == list(range(key, 400, 2))
