# SPDX-License-Identifier: Apache-2.0
"""Tests of code that produces: most with a fake, which keeps records in a list, some with a cluster on this machine.

    pytest

The pytest plugin of fluvio-sync has the fixtures `fluvio_fake` and `fluvio_cluster`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from shop import Shop

from fluvio_sync import BufferFullError, Fluvio, RetriesExhaustedError
from fluvio_sync.testing import FakeFluvio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluvio_sync.testing import LocalCluster


# With a fake: no cluster, no thread, no waiting.


def test_an_order_is_produced(fluvio_fake: FakeFluvio) -> None:
    assert Shop(fluvio_fake).order("Ann", "book")
    (record,) = fluvio_fake.records
    assert (record.topic, record.key) == ("orders", b"Ann")
    assert json.loads(record.value) == {"customer": "Ann", "item": "book"}


def test_an_order_that_the_cluster_does_not_store(fluvio_fake: FakeFluvio) -> None:
    shop = Shop(fluvio_fake)
    fluvio_fake.fail_next(RetriesExhaustedError)
    assert not shop.order("Ann", "book")
    assert shop.order("Ann", "pen")
    assert shop.stored == 1


def test_an_order_while_memory_is_full(fluvio_fake: FakeFluvio) -> None:
    fluvio_fake.fail_next(BufferFullError("full"))
    assert not Shop(fluvio_fake).order("Ann", "book")


def test_a_customers_orders_are_in_one_partition() -> None:
    fluvio = FakeFluvio({"orders": 8})
    shop = Shop(fluvio)
    for item in ("book", "pen", "ink"):
        shop.order("Ann", item)
    assert len({record.partition for record in fluvio.records}) == 1


# With a cluster in a process of its own: the real client and protocol, and injected faults.


@pytest.fixture
def fluvio(fluvio_cluster: LocalCluster) -> Iterator[Fluvio]:
    with Fluvio.connect(fluvio_cluster.endpoint) as fluvio:
        fluvio.create_topic("orders")
        yield fluvio
        fluvio.delete_topic("orders")


def test_orders_are_stored(fluvio: Fluvio, fluvio_cluster: LocalCluster) -> None:
    assert Shop(fluvio).order("Ann", "book")
    assert [record.key for record in fluvio_cluster.records("orders")] == [b"Ann"]


def test_an_order_survives_a_broken_connection(fluvio: Fluvio, fluvio_cluster: LocalCluster) -> None:
    fluvio_cluster.cut_next_produce(5001, "before")
    assert Shop(fluvio).order("Ann", "book")
    assert len(fluvio_cluster.records("orders")) == 1
