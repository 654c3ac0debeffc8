# SPDX-License-Identifier: Apache-2.0
"""A client that lives for long: settings, topics and producers that are gone leave nothing, and a topic may change."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import AtLeastOnce, Fluvio, RetryPolicy, TopicNotFoundError
from fluvio_sync.testing import FakeFluvio, LocalCluster
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from fluvio_sync._runtime.engine import Engine

MANY = 400
LONG = 10.0
# The number of topics and settings that a client keeps though no producer has them, at most.
KEPT = 130


def engine_of(fluvio: Fluvio | FakeFluvio) -> Engine:
    engine = fluvio._holder.engine
    assert engine is not None
    return engine


def remaining(number: int) -> AtLeastOnce:
    """Return the policy of a web request that has so much time left."""
    return AtLeastOnce(RetryPolicy(timeout=5 + number * 1e-4))


def parts(engine: Engine) -> list[int]:
    """Return how many topic states, queues of the accumulator and of the dispatcher, and timers there are."""
    accumulator, dispatcher = engine.accumulator, engine.dispatcher
    with accumulator.lock:
        return [
            len(accumulator.topic_states),
            len(accumulator.queues()),
            len(dispatcher._queues),
            len(dispatcher.timers.heap),
        ]


def test_producers_with_settings_of_their_own_leave_nothing_but_their_counts() -> None:
    with FakeFluvio() as fluvio:
        for number in range(MANY):
            producer = fluvio.topic_producer("orders", delivery_semantic=remaining(number))
            assert producer.send(b"x").result(LONG).offset == number
        assert max(parts(engine_of(fluvio))) <= 3 * KEPT
        assert fluvio.stats()["orders"].records_acked == MANY


def test_memory_does_not_grow_with_the_settings_there_have_been() -> None:
    with LocalCluster() as cluster, Fluvio.connect(cluster.endpoint) as fluvio:  # whose records are in another process
        fluvio.create_topic("orders")

        def use(numbers: range) -> int:
            for number in numbers:
                fluvio.topic_producer("orders", delivery_semantic=remaining(number)).send(b"x").result(LONG)
            engine = fluvio._holder.engine
            assert engine is not None
            # Those that are not used are forgotten at the next producer, and their timers at the next record.
            engine.accumulator._crowded = engine.dispatcher.timers._crowded = 0
            fluvio.topic_producer("orders").send(b"x").result(LONG)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        use(range(MANY))
        tracemalloc.start()
        try:
            before = use(range(MANY, 2 * MANY))
            grown = use(range(2 * MANY, 4 * MANY)) - before
        finally:
            tracemalloc.stop()
        assert grown < 100 * MANY  # 3,300 bytes for each of twice as many before


def test_a_producer_that_is_still_there_keeps_its_state() -> None:
    with FakeFluvio() as fluvio:
        kept = fluvio.topic_producer("orders", delivery_semantic=remaining(MANY))
        kept.send(b"first").result(LONG)
        for number in range(MANY):
            fluvio.topic_producer("orders", delivery_semantic=remaining(number))
        assert kept.send(b"second").result(LONG).offset == 1
        assert kept.stats().records_acked == 2
        with engine_of(fluvio).accumulator.lock:
            assert kept._topic_state in engine_of(fluvio).accumulator.topic_states.values()


def test_records_whose_producer_is_gone_are_delivered_and_counted(own: LocalCluster) -> None:
    own.create_topic("orders")
    with Fluvio.connect(own.endpoint) as fluvio:
        future = fluvio.topic_producer("orders", linger=60).send(b"lingering")
        gc.collect()
        for number in range(MANY):
            fluvio.topic_producer("orders", delivery_semantic=remaining(number))
        assert not future.done()
        assert parts(engine_of(fluvio))[0] <= KEPT
    assert future.result(0).offset == 0


def test_deleted_topics_leave_nothing(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        engine = engine_of(fluvio)
        for number in range(KEPT):
            own.create_topic(f"topic-{number}")
            fluvio.topic_producer(f"topic-{number}").send(b"x").result(LONG)
            own.delete_topic(f"topic-{number}")
        wait_until(
            lambda: not any(topic.startswith("topic-") for topic in engine.metadata.topics),
            "the deletions are known",
        )
        own.create_topic("last")
        fluvio.topic_producer("last")
        assert parts(engine)[0] <= KEPT
        assert len(fluvio.stats()) <= KEPT
        accumulator = engine.accumulator
        assert len(accumulator._round_robins) <= KEPT
        assert not accumulator._past


def test_absent_topics_leave_nothing(own: LocalCluster) -> None:
    """An application may ask for topics by names from outside."""
    with Fluvio.connect(own.endpoint, metadata_timeout=0.01) as fluvio:
        for number in range(3):
            own.create_topic(f"there-{number}")
            wait_until(lambda: f"there-{number}" in engine_of(fluvio).metadata.topics, "the topic is known")  # noqa: B023
            with pytest.raises(TopicNotFoundError):
                fluvio.topic_producer(f"absent-{number}")
        assert list(engine_of(fluvio)._absent) == ["absent-2"]


def test_a_topic_that_is_made_again_with_another_codec_is_sent_to_with_that(own: LocalCluster) -> None:
    with Fluvio.connect(own.endpoint) as fluvio:
        own.create_topic("orders", compression="gzip")
        producer = fluvio.topic_producer("orders")
        assert producer.send(b"1" * 100).result(LONG).offset == 0
        for codec in ("zstd", None, "none", "gzip"):
            versions = engine_of(fluvio).metadata.topics_version
            own.delete_topic("orders")
            own.create_topic("orders", compression=codec)
            wait_until(
                lambda: engine_of(fluvio).metadata.topics_version >= versions + 2,  # noqa: B023
                "the new topic is known",
            )
            assert producer.send(b"2" * 100).result(LONG).offset == 0
        assert own.violations() == []
