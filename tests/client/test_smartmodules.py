# SPDX-License-Identifier: Apache-2.0
"""SmartModules that the SPU runs on the records that it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio, RejectedError, SmartModule

if TYPE_CHECKING:
    from fluvio_sync.testing.cluster import LocalCluster
    from tests.support.cluster import Where


def filtering(text: str) -> list[SmartModule]:
    return [SmartModule("filter", {"keep": text})]


def test_a_filtered_record_is_acknowledged_and_nobody_claims_to_know_where_it_is(own: LocalCluster) -> None:
    own.create_topic("t")
    own.load_smartmodule("filter")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", smartmodules=filtering("a"), linger=0.02)
        found = [future.result(5) for future in producer.send_all(["apple", "plum", "pear"])]
        assert [(metadata.acknowledged, metadata.offset) for metadata in found] == [(True, None)] * 3
        dropped = producer.send("plum").result(5)  # nothing of its batch is written
        assert (dropped.acknowledged, dropped.offset) == (True, None)
        assert producer.flush().acked == 4
        plain = fluvio.topic_producer("t").send("plum").result(5)
        assert plain.offset == 3  # offsets advanced by the records that were produced, not by those that were kept
    assert [(record.offset, record.value) for record in own.records("t")] == [
        (0, b"apple"),
        (1, b"pear"),
        (3, b"plum"),
    ]


def test_producers_with_and_without_modules_do_not_share_a_request(own: LocalCluster) -> None:
    own.create_topic("t")
    own.load_smartmodule("filter")
    with Fluvio.connect(own.endpoint) as fluvio:
        handles = [
            fluvio.topic_producer("t", smartmodules=filtering("a")),
            fluvio.topic_producer("t"),
            fluvio.topic_producer("t", smartmodules=filtering("b")),
        ]
        for text in ("a", "b", "c") * 50:
            for handle in handles:
                handle.send(text)
        for handle in handles:
            assert handle.flush(10).acked == 150
    kept = [record.value for record in own.records("t")]
    assert sorted(kept) == sorted([b"a"] * 100 + [b"b"] * 100 + [b"c"] * 50)


def test_a_module_that_the_cluster_does_not_have(where: Where, client: Fluvio) -> None:
    topic = where.topic()
    producer = client.topic_producer(topic, smartmodules=[SmartModule("no-such-module", {"a": "b"})])
    error = producer.send(b"x").exception(10)
    assert isinstance(error, RejectedError)
    assert (error.code, error.attempts, error.may_be_stored) == (6001, 1, False)
    assert "the cluster has no SmartModule 'no-such-module'" in str(error)
    assert topic in str(error)


def test_a_module_that_fails_at_a_record_says_why_and_shows_no_record(own: LocalCluster) -> None:
    own.create_topic("t")
    own.load_smartmodule("filter")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", smartmodules=filtering("a"), linger=0.02)
        futures = producer.send_all([b"apple", (b"secret key", b"secret \xff")])
        errors = [future.exception(5) for future in futures]
        for error in errors:  # the server refuses all that came together
            assert isinstance(error, RejectedError)
            assert error.code == 6004
            assert "invalid start byte" in str(error)
            assert "offset 1" in str(error)
            assert "secret" not in str(error)
        assert producer.send(b"apple").result(5).acknowledged
    assert [record.value for record in own.records("t")] == [b"apple"]


@pytest.mark.parametrize(
    ("code", "payload", "text"),
    [
        (6002, ("no magic number", "filter"), "the SmartModule 'filter' is invalid: no magic number"),
        (6008, (2048, 1024), "the SmartModule asked for 2048 bytes of memory; the limit is 1024"),
    ],
)
def test_the_servers_text_reaches_the_future(
    own: LocalCluster, code: int, payload: tuple[object, ...], text: str
) -> None:
    own.create_topic("t")
    own.fail_next_produce(code, payload=payload)
    with Fluvio.connect(own.endpoint) as fluvio:
        error = fluvio.topic_producer("t").send(b"x").exception(5)
    assert isinstance(error, RejectedError)
    assert error.code == code
    assert text in str(error)
