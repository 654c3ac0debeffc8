# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync topics` as its users run it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from tests.support.shell import COMMAND, LONGEST, cluster_options, run

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where


def test_create_list_and_delete(where: Where) -> None:
    name = where.name()
    cluster = cluster_options(where)
    created = run("topics", "create", name, *cluster)
    assert (created.returncode, created.stdout.decode(), created.stderr) == (0, f'topic "{name}" created\n', b"")
    listed = run("topics", "list", *cluster)
    assert name in listed.stdout.decode().splitlines()
    deleted = run("topic", "delete", name, *cluster)
    assert (deleted.returncode, deleted.stdout.decode()) == (0, f'topic "{name}" deleted\n')
    assert name not in run("topics", "list", *cluster).stdout.decode().splitlines()


def test_json_describes_topics(pair: LocalCluster) -> None:
    create = ["topics", "create", "-c", pair.endpoint]
    assert run(*create, "plain").returncode == 0
    assert run(*create, "packed", "-p", "3", "-r", "2", "--compression-type", "Zstd").returncode == 0
    rows = [json.loads(line) for line in run("topics", "list", "--json", "-c", pair.endpoint).stdout.splitlines()]
    assert rows == [
        {"name": "packed", "partitions": 3, "replication": 2, "compression": "zstd"},
        {"name": "plain", "partitions": 1, "replication": 1, "compression": "any"},
    ]


def test_a_topic_that_exists(where: Where) -> None:
    topic = where.topic()
    again = run("topics", "create", topic, *cluster_options(where))
    assert (again.returncode, again.stdout) == (1, b"")
    assert len(again.stderr.splitlines()) == 1
    assert b"already exists" in again.stderr
    for option in ("--exist-ok", "--ignore-existing"):
        fine = run("topics", "create", topic, option, *cluster_options(where))
        assert (fine.returncode, fine.stdout.decode()) == (0, f'topic "{topic}" exists already\n')
    new = where.name()
    made = run("topics", "create", new, "--exist-ok", *cluster_options(where))
    assert (made.returncode, made.stdout.decode()) == (0, f'topic "{new}" created\n')


def test_the_others_are_deleted_if_one_cannot_be(where: Where) -> None:
    topic, none = where.topic(), where.name()
    done = run("topics", "delete", none, topic, *cluster_options(where))
    assert (done.returncode, done.stdout.decode()) == (1, f'topic "{topic}" deleted\n')
    assert done.stderr.decode().endswith(f"has no topic '{none}'\n")
    assert topic not in where.admin.topics()


def test_nothing_is_deleted_if_a_name_is_invalid(where: Where) -> None:
    topic = where.topic()
    done = run("topics", "delete", topic, "Not_A_Topic", *cluster_options(where))
    assert (done.returncode, done.stdout) == (2, b"")
    assert topic in where.admin.topics()


def test_the_reader_of_the_list_has_ended(own: LocalCluster) -> None:
    for number in range(3):
        own.create_topic(f"t-{number}")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "topics", "list", "-c", own.endpoint],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=LONGEST,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "required: COMMAND"),
        (["rename"], "invalid choice"),
        (["create"], "required: NAME"),
        (["create", "Not_A_Topic"], "cannot be a topic's name"),
        (["create", "t", "-p", "0"], "'0' is not a number from 1"),
        (["create", "t", "--replication", "x"], "'x' is not a number from 1"),
        (["create", "t", "--compression", "zip"], "invalid choice: 'zip'"),
        (["delete"], "required: TOPIC"),
    ],
)
def test_wrong_usage(arguments: list[str], why: str) -> None:
    done = run("topics", *arguments, FLUVIO_SYNC_ENDPOINT="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, b"")
    assert why in done.stderr.decode()


def test_describe(pair: LocalCluster) -> None:
    pair.create_topic("t", partitions=2, replication=2)
    with Fluvio.connect(pair.endpoint) as fluvio:
        fluvio.topic_producer("t").send(b"x", partition=1).result(10)
        leaders = [pair.leader("t", partition) for partition in range(2)]
    done = run("topics", "describe", "t", "--json", "-c", pair.endpoint)
    assert (done.returncode, done.stderr) == (0, b"")
    for partition, row in enumerate(map(json.loads, done.stdout.splitlines())):
        assert sorted(row.pop("replicas")) == [5001, 5002]
        size = row.pop("size")
        assert size is None or size >= 0
        assert row == {
            "partition": partition,
            "state": "online",
            "leader": leaders[partition],
            "first_offset": 0,
            "end_offset": partition,
        }
    head, *rows = run("topics", "describe", "t", "-c", pair.endpoint).stdout.decode().splitlines()
    assert head.split() == ["partition", "state", "leader", "replicas", "first", "offset", "end", "offset", "size"]
    assert [row.split()[:3] for row in rows] == [[str(n), "online", str(leader)] for n, leader in enumerate(leaders)]


def test_a_partition_whose_leader_is_away(pair: LocalCluster) -> None:
    pair.create_topic("t")
    leader = pair.leader("t", 0)
    pair.kill_spu(leader)
    done = run("topics", "describe", "t", "-c", pair.endpoint)
    assert done.returncode == 1
    assert str(leader) in done.stdout.decode()
    assert done.stdout.decode().splitlines()[1].split()[-3:-1] == ["-", "-"]
    assert f"fluvio-sync: partition 0: cannot connect to the SPU {leader}" in done.stderr.decode()
