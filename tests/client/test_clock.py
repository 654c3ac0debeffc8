# SPDX-License-Identifier: Apache-2.0
"""A frozen clock: it freezes the timestamps of records, and no wait, deadline or delay."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from freezegun import freeze_time

from fluvio_sync import DeliveryTimeoutError, FlushTimeoutError, Fluvio
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.client import attempts
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cluster import Where

pytestmark = pytest.mark.alone

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=timezone.utc)


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def test_records_have_the_frozen_time(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic)
    expected = [milliseconds(NOON + timedelta(seconds=seconds)) for seconds in (0, 0, 5, 3605, 90005)]
    with freeze_time(NOON) as frozen:
        for step, timestamp in zip((0, 0, 5, 3600, 86400), expected, strict=True):
            frozen.tick(step)
            assert producer.send(b"x").result(10).timestamp == timestamp
    assert [record.timestamp for record in where.records(topic, count=5)] == expected


def test_a_clock_that_is_set_back_within_a_batch(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, linger=60)
    with freeze_time(NOON) as frozen:
        futures = [producer.send(b"first")]
        frozen.move_to(NOON - timedelta(hours=1))
        futures.append(producer.send(b"after the step"))
        frozen.move_to(NOON + timedelta(seconds=2))
        futures.append(producer.send(b"later"))
        frozen.move_to(NOON - timedelta(hours=1))
        futures.append(producer.send(b"explicit", timestamp=milliseconds(NOON) - 1))
        producer.flush(10)
    noon = milliseconds(NOON)
    expected = [noon, noon, noon + 2000, noon - 1]
    assert [future.result(0).timestamp for future in futures] == expected
    assert [record.timestamp for record in where.records(topic, count=4)] == expected
    assert [batch.record_count for batch in where.batches(topic)] == [4]


def test_connecting_and_everything_else_works_under_a_frozen_clock(where: Where) -> None:
    topic = where.topic(partitions=2)
    with freeze_time(NOON), where.connect() as fluvio:
        producer = fluvio.topic_producer(topic, linger=0.05)
        with within(0.05, shortest=0.04):
            assert producer.send(b"x").result(10).timestamp == milliseconds(NOON)
        lingering = fluvio.topic_producer(topic, linger=60)
        future = lingering.send(b"y")
        with within(0.1), pytest.raises(TimeoutError):
            future.result(0.1)
        assert lingering.flush(10).acked == 1
        assert fluvio.topics()


@pytest.fixture
def own() -> Iterator[LocalCluster]:
    """A cluster in a process of its own, whose clock goes on."""
    with LocalCluster() as cluster:
        yield cluster


def test_time_outs_pass_under_a_frozen_clock(own: LocalCluster) -> None:
    own.create_topic("t")
    with freeze_time(NOON), Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(3, delay=0.1, timeout=0.5))
        own.fail_next_produce(3000, count=2)
        with within(0.2, shortest=0.2):
            assert producer.send(b"x").result(10).offset == 0
        own.hold_replies(5001)
        future = producer.send(b"y")
        with within(0.1, shortest=0.1), pytest.raises(FlushTimeoutError):
            producer.flush(0.1)
        with within(0.5):
            assert isinstance(future.exception(10), DeliveryTimeoutError)
        own.hold_replies(5001, on=False)


def test_a_clock_that_jumps_ends_nothing(own: LocalCluster) -> None:
    own.create_topic("t")
    with freeze_time(NOON) as frozen, Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(3, timeout=5), linger=0.2)
        own.hold_replies(5001)
        future = producer.send(b"x")
        frozen.tick(100_000)
        with pytest.raises(TimeoutError):
            future.result(0.3)
        frozen.move_to(NOON - timedelta(days=1000))
        own.hold_replies(5001, on=False)
        assert future.result(10).offset == 0
