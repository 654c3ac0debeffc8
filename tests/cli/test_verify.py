# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync verify` as its users run it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from tests.dev_cluster.messages import batch, identified, produce
from tests.support.asking import Asked
from tests.support.shell import cluster_options, run
from tests.support.shell import produce as produce_lines

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

ID = 2**62 - 1


@pytest.fixture
def doubled(own: LocalCluster) -> LocalCluster:
    """A topic whose partition 1 has a batch twice, with a batch of another client between."""
    own.create_topic("t", partitions=2)
    again = identified(batch(b"a", b"b"), ID, 7)
    for partition, records in ((0, identified(batch(b"x"), ID, 7)), (1, again + batch(b"c") + again)):
        with Asked(own.spu_endpoints[5001], SPU_CLIENT_RANGES) as asked:
            asked.ask(SpuApi.PRODUCE, produce("t", (partition, records)))
    return own


def test_batches_that_stand_there_twice(doubled: LocalCluster) -> None:
    done = run("verify", "t", "-c", doubled.endpoint)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "partition 0: 1 batch, 1 record",
        "partition 1: 3 batches (1 without identity), 5 records (1 without identity); 1 batch stands there twice",
        f"  offset 3 (2 records): first at offset 0; producer {ID}, epoch 0, sequence 7",
    ]
    assert done.stderr.decode() == "fluvio-sync: 1 of 4 batches stands there twice; 1 without identity\n"


def test_one_partition(doubled: LocalCluster) -> None:
    done = run("verify", "t", "--partition", "0", "-c", doubled.endpoint)
    assert (done.returncode, done.stdout.decode()) == (0, "partition 0: 1 batch, 1 record\n")
    assert done.stderr.decode() == "fluvio-sync: none of 1 batch stands there twice\n"
    done = run("verify", "t", "--partition", "2", "-c", doubled.endpoint)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == "fluvio-sync: topic 't' has no partition 2\n"


def test_json(doubled: LocalCluster) -> None:
    done = run("verify", "t", "--json", "-c", doubled.endpoint)
    first, second = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, first["duplicates"], first["examples"]) == (1, 0, [])
    assert second == {
        "partition": 1,
        "batches": 3,
        "records": 5,
        "unidentified_batches": 1,
        "unidentified_records": 1,
        "duplicates": 1,
        "examples": [
            {
                "offset": 3,
                "first_offset": 0,
                "records": 2,
                "producer_id": ID,
                "producer_epoch": 0,
                "first_sequence": 7,
            }
        ],
        "forgotten": 0,
    }


def test_the_first_twenty_are_shown(own: LocalCluster) -> None:
    own.create_topic("t")
    records = b"".join(identified(batch(b"a"), ID, number % 30) for number in range(60))
    with Asked(own.spu_endpoints[5001], SPU_CLIENT_RANGES) as asked:
        asked.ask(SpuApi.PRODUCE, produce("t", (0, records)))
    done = run("verify", "t", "-c", own.endpoint)
    first, *shown, last = done.stdout.decode().splitlines()
    assert first == "partition 0: 60 batches, 60 records; 30 batches stand there twice"
    assert [line.partition(";")[0] for line in shown] == [
        f"  offset {number + 30} (1 record): first at offset {number}" for number in range(20)
    ]
    assert last == "  and 10 more"


def test_records_of_the_command_line(where: Where) -> None:
    topic = where.topic(2)
    assert produce_lines(where, topic, data=b"1\n2\n").returncode == 0
    done = run("verify", topic, *cluster_options(where))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    missing = run("verify", where.name(), *cluster_options(where))
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert b"there is no topic" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "required: TOPIC"),
        (["Not_A_Topic"], "cannot be a topic's name"),
        (["t", "--partition", "-1"], "'-1' is not a number from 0"),
        (["t", "--partition", "x"], "'x' is not a number from 0"),
    ],
)
def test_wrong_usage(arguments: list[str], why: str) -> None:
    done = run("verify", *arguments, FLUVIO_SYNC_ENDPOINT="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, b"")
    assert why in done.stderr.decode()
