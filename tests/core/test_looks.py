# SPDX-License-Identifier: Apache-2.0
"""Looks into the log before batches that may be stored are sent again, and after they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core import looking
from fluvio_sync._core.actions import DoubtMetadata, Report
from fluvio_sync._core.dispatcher import ABANDON_GRACE
from fluvio_sync._core.looking import FirstOffsets, Look
from fluvio_sync._core.partition import SETTLING, BackingOff, Idle
from fluvio_sync._core.pipeline import MAX_LOOKS, AwaitingCommit, InFlight
from fluvio_sync.config import SmartModule
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import ConnectError, DeliveryTimeoutError
from fluvio_sync.protocol.batch import MAX_SEQUENCE, BatchBuilder, BatchIdentity, decode_batch, iter_headers
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.metadata import Deduplication
from fluvio_sync.protocol.offsets import FetchOffsetsResponse, PartitionOffsets, TopicOffsets
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.retry import RetryPolicy
from tests.support.interruption import paused
from tests.support.rig import Rig, asks, connects, disconnects, questions, reads, reports, values, writes
from tests.support.servers import partition, topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluvio_sync._core.actions import Action
    from fluvio_sync._core.pipeline import Request, SpuPipeline
    from fluvio_sync.futures import DeliveryFuture

BROKEN = ConnectError("the connection broke")
DELAY = 0.02


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": DELAY, "max_delay": DELAY, "timeout": 100.0} | settings)))


def client(partitions: int = 1, **settings: Any) -> Rig:
    chosen: dict[str, Any] = {"verify_retries": True, "delivery_semantic": policy()} | settings
    return Rig(partitions, **chosen)


def sent(rig: Rig, *records: bytes) -> tuple[Request, list[DeliveryFuture]]:
    """Send records to partition 0 in one request, which is written and not answered."""
    futures = [rig.send(record) for record in records or (b"v",)]
    (request,) = writes(rig.connect() if not rig.connected() else rig.step())
    rig.written(request)
    return request, futures


def again(rig: Rig, pipeline: SpuPipeline) -> list[Action]:
    """Have a connection break, and be made again once the delay is over."""
    rig.lose(pipeline, BROKEN)
    rig.run(DELAY)
    return rig.connect()


def only_look(actions: Sequence[Action]) -> Look:
    (question,) = questions(actions)
    assert isinstance(question, Look)
    return question


def doubtful(rig: Rig, *records: bytes, end: int = 0) -> tuple[Look, list[DeliveryFuture], bytes]:
    """Lose the answer to the first request; return the look that follows, and the bytes that were sent."""
    request, futures = sent(rig, *records)
    with paused():
        record_set = rig.arrived(request).topics[0].partitions[0].records
    look = only_look(again(rig, request.pipeline))
    rig.watermark(look, end)
    return look, futures, bytes(record_set)


def stored(record_set: bytes, *offsets: int) -> bytes:
    """Return a record set as it is in the log, its batches at these offsets."""
    with paused():
        position, pieces = 0, []
        for header, offset in zip(iter_headers(record_set), offsets, strict=True):
            batch = record_set[position : position + header.size]
            pieces.append(offset.to_bytes(8, "big") + batch[8:])
            position += header.size
    return b"".join(pieces)


def foreign(offset: int, sequence: int = 0, producer: int = 7, value: bytes = b"other") -> bytes:
    """Return a batch of another client."""
    with paused():
        builder = BatchBuilder(1)
        builder.append(None, value, 1)
        return stored(b"".join(builder.build(identity=BatchIdentity(producer, 0, sequence))), offset)


def first_doubtful(rig: Rig, end: int) -> Look:
    """Lose the answer to the first request, before which the log ended there; return the look that follows."""
    rig.send()
    actions = rig.connect()
    (question,) = questions(actions)
    (request,) = writes(actions)
    rig.written(request)
    rig.watermark(question, end)
    return only_look(again(rig, request.pipeline))


def counts(rig: Rig) -> dict[str, int]:
    counters = rig.topic_state.counters
    names = ("verified", "unverified", "duplicated", "overwritten")
    return {name: count for name in names if (count := getattr(counters, f"records_{name}"))}


def told(actions: Sequence[Action], event: str) -> list[dict[str, object]]:
    return [action.fields for action in actions if isinstance(action, Report) and action.event == event]


def doubtful_end(rig: Rig, request: Request) -> list[Action]:
    """Have another record wait for a connection that is made again."""
    rig.lose(request.pipeline, BROKEN)
    rig.send()
    return rig.connect()


def refusal(look: Look) -> FetchOffsetsResponse:
    with paused():
        offsets = PartitionOffsets(ErrorCode(13), look.queue.partition, 0, 0)
        return FetchOffsetsResponse((TopicOffsets(look.queue.topic, (offsets,)),))


# Before a look.


def test_a_batch_carries_an_identity() -> None:
    rig = client(2, batch_size=100)
    rig.send(b"x" * 60)
    rig.send(b"x" * 60)
    rig.send(b"x" * 60, to=1)
    (request,) = writes(rig.connect())
    rig.written(request)
    found = [
        [(header.producer_id, header.producer_epoch, header.first_sequence) for header in iter_headers(item.records)]
        for item in rig.arrived(request).topics[0].partitions
    ]
    producer = rig.queue().producer_id
    assert found == [[(producer, 0, 0), (producer, 0, 1)], [(producer, 0, 0)]]
    assert 0 <= producer < 2**62


def test_at_most_once_has_no_identity() -> None:
    rig = client(delivery_semantic="at-most-once")
    rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    (header,) = iter_headers(rig.arrived(request).topics[0].partitions[0].records)
    assert (header.producer_id, header.producer_epoch, header.first_sequence) == (-1, -1, -1)


def test_producers_with_other_settings_share_the_sequences() -> None:
    rig = client()
    other = rig.make_topic_state(verify_retries=True, linger=0.001)
    request, _ = sent(rig)
    rig.answer(request)
    rig.send(topic_state=other)
    (second,) = writes(rig.run(0.001))
    assert [batch.sequence for item in (request, second) for batch in item.batches] == [0, 1]


def test_sequences_begin_again() -> None:
    rig = client()
    rig.queue().sequences[0] = MAX_SEQUENCE
    request, _ = sent(rig)
    rig.answer(request)
    second, _ = sent(rig)
    assert [batch.sequence for item in (request, second) for batch in item.batches] == [MAX_SEQUENCE, 0]


def test_the_first_request_is_preceded_by_a_question_and_waits_for_nothing() -> None:
    rig = client()
    rig.send()
    actions = rig.connect()
    (question,) = questions(actions)
    assert isinstance(question, FirstOffsets)
    (request,) = writes(actions)
    rig.watermark(question, 40)
    assert rig.queue().bound == 40
    rig.answer(request, base=44)
    assert rig.queue().bound == 45
    rig.push("Partition", [partition("t-0", 5001)])
    rig.send()
    actions = rig.step()
    assert questions(actions) == []
    assert len(writes(actions)) == 1


@pytest.mark.parametrize("settings", [{"verify_retries": False}, {"smartmodules": [SmartModule("m")]}])
def test_without_looks_nothing_is_asked_and_a_retry_is_counted(settings: dict[str, Any]) -> None:
    rig = client(**settings)
    request, _ = sent(rig, b"a", b"b")
    actions = again(rig, request.pipeline)
    assert questions(actions) == []
    (request,) = writes(actions)
    assert counts(rig) == {"unverified": 2}
    assert len(writes(again(rig, request.pipeline))) == 1
    assert counts(rig) == {"unverified": 2}, "each record counts once"


def test_a_topic_with_deduplication_is_not_looked_into() -> None:
    rig = client()
    plain = topic("t", 1)
    rig.push("Topic", [plain.replace(spec=plain.spec.replace(deduplication=Deduplication(100, None, "dedup")))])
    request, _ = sent(rig)
    assert questions(again(rig, request.pipeline)) == []


@pytest.mark.parametrize("missing", [SpuApi.FETCH, SpuApi.FETCH_OFFSETS])
def test_an_spu_without_the_requests_is_not_asked(missing: SpuApi) -> None:
    rig = client()
    del rig.servers.spu_ranges[missing]
    request, (future,) = sent(rig)
    (request,) = writes(again(rig, request.pipeline))
    assert counts(rig) == {"unverified": 1}
    rig.answer(request, base=3)
    assert future.result(0).offset == 3


# What a look finds.


def test_a_batch_in_the_log_is_acknowledged_and_not_sent_again() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig)
    assert (look.position, writes(rig.step())) == (0, [])
    actions = rig.log(look, foreign(0) + stored(record_set, 1))
    actions += rig.log(look)
    assert future.result(0).offset == 1
    assert writes(actions) == []
    assert isinstance(rig.queue().state, Idle)
    assert told(actions, "delivery.verified") == [{"topic": "t", "partition": 0, "stored": 1, "missing": 0}]
    assert "delivery.recovered" in reports(actions)
    assert counts(rig) == {"verified": 1}
    assert not rig.dispatcher.second_looks


def test_a_batch_that_is_missing_is_sent_again_as_it_was() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig)
    (request,) = writes(rig.log(look))
    rig.written(request)
    assert bytes(rig.arrived(request).topics[0].partitions[0].records) == record_set
    rig.answer(request, base=5)
    assert future.result(0).offset == 5
    assert counts(rig) == {"verified": 1}


def test_a_look_begins_behind_the_last_acknowledged_record() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=41)
    look, _, _ = doubtful(rig, end=60)
    assert look.position == 42


def test_a_look_begins_where_the_log_ended_before_the_first_record() -> None:
    rig = client()
    look = first_doubtful(rig, 30)
    rig.watermark(look, 60)
    assert look.position == 30


def test_a_look_begins_at_the_start_if_the_end_was_never_told() -> None:
    rig = client()
    request, _ = sent(rig)
    look = only_look(again(rig, request.pipeline))
    assert reads(rig.watermark(look, 60, start=12)) == [look]
    assert look.position == 12


def test_a_leader_that_lacks_the_end_is_read_from_its_own_end() -> None:
    """Its records from there on may be this client's."""
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=41)
    look, _, _ = doubtful(rig, end=20)
    assert look.position == 20


def test_a_batch_of_another_client_is_not_taken_for_ones_own() -> None:
    rig = client()
    look, (future,), _ = doubtful(rig)
    own = rig.queue().producer_id
    rig.log(look, foreign(0, producer=own ^ 1) + foreign(1, sequence=1, producer=own) + foreign(2))
    assert len(writes(rig.log(look))) == 1
    assert not future.done()


def test_the_header_of_a_batch_that_is_cut_short_is_enough() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig, b"x" * 900)
    (reading,) = reads(rig.log(look, stored(record_set, 0)[:57]))
    assert reading.position == 1
    rig.log(look)
    assert future.result(0).offset == 0


def test_a_look_goes_on_until_nothing_comes_and_asks_for_more_each_time() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig)
    chunks = []
    for offset in range(7):
        chunks.append(look.chunk)
        assert reads(rig.log(look, foreign(offset))) == [look]
    assert chunks == [4096, 16384, 65536, 65536, 65536, 65536, 65536]
    rig.log(look, stored(record_set, 7))
    rig.log(look)
    assert future.result(0).offset == 7


def test_chunks_stay_small_where_answers_are_slow() -> None:
    rig = client()
    look, _, _ = doubtful(rig)
    rig.step(0.2)
    rig.log(look, foreign(0))
    assert look.chunk == 4096


def test_of_several_batches_the_missing_ones_are_sent_again() -> None:
    rig = client(batch_size=100)
    look, futures, record_set = doubtful(rig, b"a" * 60, b"b" * 60, b"c" * 60)
    first = stored(record_set, 5, 6, 7)[: len(record_set) // 3]
    rig.log(look, first)
    (request,) = writes(rig.log(look))
    assert futures[0].result(0).offset == 5
    assert values(request) == [b"b" * 60, b"c" * 60]
    assert [future.done() for future in futures] == [True, False, False]
    assert counts(rig) == {"verified": 3}


def test_order_is_kept_if_a_later_batch_alone_is_found() -> None:
    rig = client(batch_size=100)
    look, _, record_set = doubtful(rig, b"a" * 60, b"b" * 60)
    rig.log(look, stored(record_set, 5, 6)[len(record_set) // 2 :])
    (request,) = writes(rig.log(look))
    assert values(request) == [b"a" * 60, b"b" * 60]


def test_halves_are_found_by_the_identity_of_the_whole() -> None:
    rig = client()
    look, futures, record_set = doubtful(rig, b"a", b"b", b"c", b"d")
    (request,) = writes(rig.log(look))
    look = only_look(rig.answer(request, 10))
    rig.watermark(look, 0)
    rig.log(look, stored(record_set, 20))
    rig.log(look)
    assert [future.result(0).offset for future in futures[:2]] == [20, 21]


def test_read_committed_batches_in_the_log_wait_for_their_replication() -> None:
    rig = client(isolation="read-committed")
    look, (future,), record_set = doubtful(rig)
    rig.log(look, stored(record_set, 6))
    (wait,) = asks(rig.log(look))
    assert isinstance(rig.queue().state, AwaitingCommit)
    rig.watermark(wait, 6)
    assert not future.done()
    (wait,) = asks(rig.run(0.1))
    rig.watermark(wait, 7)
    assert future.result(0).offset == 6


def test_verified_is_told_once_a_streak() -> None:
    rig = client()
    look, _, _ = doubtful(rig)
    actions = rig.log(look)
    for _ in range(2):
        (request,) = writes(actions)
        rig.written(request)
        look = only_look(again(rig, request.pipeline))
        rig.watermark(look, 0)
        actions = rig.log(look)
        assert told(actions, "delivery.verified") == []
    (request,) = writes(actions)
    rig.answer(request)
    look, _, _ = doubtful(rig, end=1)
    assert len(told(rig.log(look), "delivery.verified")) == 1


# Bounds.


def test_a_look_reads_no_more_than_64_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert looking._MOST_READ == 64 * 1024 * 1024
    monkeypatch.setattr(looking, "_MOST_READ", 200)
    rig = client()
    look, _, _ = doubtful(rig)
    actions = rig.log(look, foreign(0))
    assert writes(actions) == []
    actions = rig.log(look, foreign(1) + foreign(2))
    assert len(writes(actions)) == 1
    assert counts(rig) == {"unverified": 1}


def test_a_look_takes_no_longer_than_an_attempt() -> None:
    rig = client()
    look, _, _ = doubtful(rig)
    patience = rig.queue().patience
    actions: list[Action] = []
    for offset in range(4):
        rig.run(patience / 4)
        actions = rig.log(look, foreign(offset))
    assert len(writes(actions)) == 1
    assert counts(rig) == {"unverified": 1}


def test_a_look_that_is_not_answered_ends_the_attempt() -> None:
    rig = client()
    look, _, _ = doubtful(rig)
    assert disconnects(rig.run(rig.queue().patience - 0.1)) == []
    assert disconnects(rig.run(0.2)) == [look.pipeline]
    assert rig.queue().unresolved[0].attempts == 2


def test_a_log_that_does_not_go_on_ends_the_connection() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=10)
    look, _, _ = doubtful(rig, end=20)
    assert disconnects(rig.log(look, foreign(3))) == [look.pipeline]


def test_the_deadline_passes_during_a_look() -> None:
    rig = client(delivery_semantic=policy(timeout=3.0))
    _, (future,), _ = doubtful(rig)
    rig.run(3.0)
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.may_be_stored
    assert not rig.queue().batches()


@pytest.mark.parametrize(("after", "may_be_stored"), [(0.0, True), (SETTLING, False)])
def test_a_batch_is_not_stored_if_a_look_misses_it_when_nothing_is_under_way(
    after: float, *, may_be_stored: bool
) -> None:
    rig = client(delivery_semantic=policy(initial_delay=DELAY + after, max_delay=DELAY + after, timeout=20.0))
    request, (future,) = sent(rig)
    rig.lose(request.pipeline, BROKEN)
    rig.run(DELAY + after)
    look = only_look(rig.connect())
    rig.watermark(look, 0)
    (request,) = writes(rig.log(look))  # no byte of it is let out
    rig.lose(request.pipeline, BROKEN)
    rig.servers.spus_online = False
    rig.run(30.0)
    error = future.exception(0)
    assert isinstance(error, DeliveryTimeoutError)
    assert error.may_be_stored is may_be_stored


def test_partitions_look_a_few_at_a_time_and_others_are_sent_meanwhile() -> None:
    rig = client(MAX_LOOKS + 3)
    for number in range(MAX_LOOKS + 2):
        rig.send(to=number)
    (request,) = writes(rig.connect())
    rig.written(request)
    looks = [item for item in questions(again(rig, request.pipeline)) if isinstance(item, Look)]
    assert len(looks) == MAX_LOOKS
    rig.send(to=MAX_LOOKS + 2)
    assert [values(item) for item in writes(rig.step())] == [[b"v"]]
    rig.watermark(looks[0], 0)
    more = [item for item in questions(rig.log(looks[0])) if isinstance(item, Look)]
    assert len(more) == 1


def test_a_batch_that_retention_may_have_removed_is_not_verified() -> None:
    rig = client()
    look = first_doubtful(rig, 30)
    rig.watermark(look, 60, start=50)
    assert len(writes(rig.log(look))) == 1
    assert counts(rig) == {"unverified": 1}


def test_a_batch_that_is_not_sent_after_all_counts_once() -> None:
    rig = client(verify_retries=False)
    request, _ = sent(rig)
    (request,) = writes(again(rig, request.pipeline))
    again(rig, request.pipeline)
    again(rig, request.pipeline)
    assert counts(rig) == {"unverified": 1}


@pytest.mark.parametrize("offset", [-5, 2**63 - 1])
def test_an_offset_that_cannot_be_ends_the_connection(offset: int) -> None:
    rig = client()
    look, _, _ = doubtful(rig)
    with paused():
        batch = offset.to_bytes(8, "big", signed=True) + foreign(0)[8:]
    assert disconnects(rig.log(look, batch)) == [look.pipeline]


def test_an_interrupted_request_may_still_be_under_way() -> None:
    """The next look is no proof that it is not stored."""
    rig = client()
    request, (future,) = sent(rig)
    rig.interrupt()
    look = only_look(rig.connect())
    rig.watermark(look, 0)
    (request,) = writes(rig.log(look))
    assert all(batch.maybe_written and batch.sent_in_doubt for batch in request.batches)
    rig.answer(request)
    assert future.done()
    assert rig.dispatcher.second_looks


def test_a_batch_that_is_found_behind_a_missing_one_is_looked_for_again() -> None:
    rig = client(batch_size=100, delivery_semantic=policy(initial_delay=SETTLING, max_delay=SETTLING))
    request, _ = sent(rig, b"a" * 60, b"b" * 60)
    with paused():
        record_set = bytes(rig.arrived(request).topics[0].partitions[0].records)
    rig.lose(request.pipeline, BROKEN)
    rig.run(SETTLING)
    look = only_look(rig.connect())
    rig.watermark(look, 0)
    second = stored(record_set, 5, 6)[len(record_set) // 2 :]
    rig.log(look, second)
    (request,) = writes(rig.log(look))
    assert [batch.maybe_written for batch in request.batches] == [False, True]
    rig.answer(request, base=7)
    look = second_look(rig)
    rig.watermark(look, 9)
    rig.log(look, second + stored(record_set, 7, 8))
    assert counts(rig)["duplicated"] == 1


# Leaders and connections.


def test_the_ends_of_many_partitions_are_asked_for_at_once() -> None:
    count = 2 * MAX_LOOKS
    rig = client(count)
    for number in range(count):
        rig.send(to=number)
    (request,) = writes(rig.connect())
    rig.answer(request)
    rig.lose(request.pipeline, BROKEN)
    for number in range(count):
        rig.send(to=number)
    assert len(questions(rig.connect())) == count


def test_after_a_reconnect_the_end_is_asked_for_before_fresh_records_are_sent() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=9)
    rig.lose(request.pipeline, BROKEN)
    rig.send()
    actions = rig.connect()
    look = only_look(actions)
    assert writes(actions) == []
    (request,) = writes(rig.watermark(look, 7))
    assert [batch.bound for batch in request.batches] == [7]


def test_another_leader_is_looked_at() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig)
    rig.push("Partition", [partition("t-0", 5002)])
    actions = rig.connect()
    other = only_look(actions)
    assert other.pipeline.spu == 5002
    rig.log(look, stored(record_set, 4))
    assert not future.done(), "the old leader is not believed"
    rig.watermark(other, 0)
    assert len(writes(rig.log(other))) == 1


def test_a_leader_that_leads_again_is_asked_how_far_its_log_goes() -> None:
    """The one in between may have lacked the end."""
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=9)
    for leader in (5002, 5001):
        rig.push("Partition", [partition("t-0", leader)])
    rig.send()
    look = only_look(rig.step())
    assert look.pipeline is request.pipeline
    (request,) = writes(rig.watermark(look, 7))
    assert [batch.bound for batch in request.batches] == [7]


def test_a_batch_that_one_leader_refused_is_looked_for_from_the_end_of_the_next_one() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=9)
    request, (future,) = sent(rig)
    with paused():
        record_set = bytes(rig.arrived(request).topics[0].partitions[0].records)
    rig.answer(request, 6)
    rig.push("Partition", [partition("t-0", 5002)])
    look = only_look(rig.connect())
    (request,) = writes(rig.watermark(look, 7))
    rig.written(request)
    look = only_look(again(rig, request.pipeline))
    rig.watermark(look, 8)
    assert look.position == 7
    rig.log(look, stored(record_set, 7))
    rig.log(look)
    assert future.result(0).offset == 7


def move_leader(rig: Rig, *leaders: int) -> None:
    for leader in leaders:
        rig.push("Partition", [partition("t-0", leader)])


def acked_at_20(rig: Rig) -> None:
    request, _ = sent(rig)
    rig.answer(request, base=20)


def test_a_leader_that_leads_again_is_read_from_the_beginning_if_it_may_still_write() -> None:
    """Its log may have lost its end meanwhile, and then got the batch of the request that it had not read yet."""
    rig = client()
    acked_at_20(rig)
    request, (future,) = sent(rig)
    with paused():
        record_set = bytes(rig.arrived(request).topics[0].partitions[0].records)
    move_leader(rig, 5002, 5001)
    look = only_look(again(rig, request.pipeline))
    rig.watermark(look, 30)
    assert look.position == 0
    rig.log(look, stored(record_set, 7))
    rig.log(look, foreign(29))
    rig.log(look)
    assert future.result(0).offset == 7


def test_a_leader_that_leads_again_is_read_from_the_bound_if_nothing_is_under_way() -> None:
    rig = client(delivery_semantic=policy(initial_delay=2 * SETTLING, max_delay=2 * SETTLING))
    acked_at_20(rig)
    request, _ = sent(rig)
    rig.lose(request.pipeline, BROKEN)
    rig.run(SETTLING)
    move_leader(rig, 5002, 5001)
    look = only_look(rig.connect())
    rig.watermark(look, 30)
    assert look.position == 21


def test_a_log_that_lost_its_end_is_read_from_the_beginning() -> None:
    rig = client()
    acked_at_20(rig)
    look, (future,), record_set = doubtful(rig, end=16)
    assert look.position == 16
    assert reads(rig.log(look)) == [look]
    assert look.position == 0
    rig.log(look, stored(record_set, 15))
    rig.log(look)
    assert future.result(0).offset == 15


def test_a_log_that_is_not_replicated_yet_has_lost_nothing() -> None:
    rig = client()
    acked_at_20(rig)
    look, _, _ = doubtful(rig, end=16)
    look = only_look(again(rig, look.pipeline))
    rig.watermark(look, 16)
    assert look.position == 16
    rig.log(look, foreign(20))
    assert len(writes(rig.log(look))) == 1


def test_an_acknowledgement_tells_where_the_log_ended() -> None:
    rig = client(batch_size=100)
    look, futures, record_set = doubtful(rig, b"a" * 80, b"b" * 80, end=22)
    (request,) = writes(rig.log(look, foreign(21)) + rig.log(look))
    look = only_look(rig.answer(request, 10))  # they go one by one from now on
    rig.watermark(look, 22)
    (request,) = writes(rig.log(look))
    assert [batch.looked_to for batch in request.batches] == [22]
    look = only_look(rig.answer(request, base=15))
    rig.watermark(look, 30)
    assert look.position == 0
    rig.log(look, stored(record_set, 14, 16))
    rig.log(look)
    assert [future.result(0).offset for future in futures] == [15, 16]


def left_at_replaced_leader(rig: Rig) -> tuple[Request, Request]:
    """Have a leader that is replaced leave a request unanswered; return it, and the one to the next leader."""
    left, _ = sent(rig)
    move_leader(rig, 5002)
    look = only_look(rig.run(ABANDON_GRACE + DELAY) + rig.connect())
    rig.watermark(look, 0)
    (request,) = writes(rig.log(look))
    rig.written(request)
    return left, request


@pytest.mark.parametrize("answered", [True, False])
def test_a_request_that_was_left_at_a_replaced_leader_is_waited_for(answered: bool) -> None:  # noqa: FBT001
    rig = client()
    left, request = left_at_replaced_leader(rig)
    rig.answer(request, base=8)
    assert questions(rig.run(5 * SETTLING)) == []
    if answered:
        rig.answer(left, 6)
    else:
        rig.lose(left.pipeline, BROKEN)
    assert questions(rig.run(SETTLING - 0.1)) == []
    look = second_look(rig, after=SETTLING)
    rig.watermark(look, 9)
    rig.log(look, foreign(8))
    assert not rig.dispatcher.second_looks


def test_a_request_that_was_left_at_a_replaced_leader_keeps_its_batch_in_doubt() -> None:
    delays = {"initial_delay": 2 * SETTLING, "max_delay": 2 * SETTLING, "timeout": 20.0}
    rig = client(delivery_semantic=policy(**delays))
    _, (future,) = sent(rig)
    move_leader(rig, 5002)
    look = only_look(rig.run(ABANDON_GRACE + 2 * SETTLING) + rig.connect())
    rig.watermark(look, 0)
    (request,) = writes(rig.log(look))  # no byte of it is let out
    rig.servers.spus_online = False
    rig.lose(request.pipeline, BROKEN)
    rig.run(30.0)
    assert getattr(future.exception(0), "may_be_stored", None) is True


def test_the_answer_of_a_replaced_leader_tells_where_its_log_ended() -> None:
    rig = client()
    acked_at_20(rig)
    left, (future,) = sent(rig)
    with paused():
        record_set = bytes(rig.arrived(left).topics[0].partitions[0].records)
    move_leader(rig, 5002)
    rig.run(ABANDON_GRACE)
    rig.answer(left, base=15)
    rig.run(SETTLING)
    move_leader(rig, 5001)
    look = only_look(rig.step())
    rig.watermark(look, 30)
    assert look.position == 0
    rig.log(look, stored(record_set, 15))
    rig.log(look, foreign(29))
    rig.log(look)
    assert future.result(0).offset == 15


def test_a_look_at_an_spu_that_does_not_lead_is_a_failed_attempt() -> None:
    rig = client()
    look, _, _ = doubtful(rig)
    actions = rig.log(look, code=6)
    assert any(isinstance(action, DoubtMetadata) for action in actions)
    assert isinstance(rig.queue().state, BackingOff)
    look = only_look(rig.run(DELAY))
    actions = rig.watermark(look, None)
    assert isinstance(rig.queue().state, BackingOff)


def test_an_spu_that_does_not_allow_a_look_is_not_asked_again() -> None:
    rig = client(2)
    request, (future,) = sent(rig)
    rig.answer(request, base=4)
    look = only_look(doubtful_end(rig, request))
    (request,) = writes(rig._answer_question(look, SpuApi.FETCH_OFFSETS, refusal(look)))
    rig.answer(request, base=5)
    assert counts(rig) == {}
    assert future.result(0).offset == 4


def test_a_connection_that_breaks_during_a_look_is_followed_by_another_look() -> None:
    rig = client()
    look, _, record_set = doubtful(rig)
    other = only_look(again(rig, look.pipeline))
    assert other is not look
    rig.watermark(other, 0)
    rig.log(other, stored(record_set, 3))
    rig.log(other)
    assert counts(rig) == {"verified": 1}


def test_a_step_that_is_interrupted_looks_again() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig)
    rig.interrupt(lambda: rig.log(look, stored(record_set, 3)))
    look = only_look(rig.connect())
    rig.watermark(look, 0)
    rig.log(look, stored(record_set, 3))
    rig.log(look)
    assert future.result(0).offset == 3


def test_closing_fails_the_batches_that_are_looked_for() -> None:
    rig = client()
    look, (future,), record_set = doubtful(rig)
    rig.abandon()
    assert "may have been stored" in str(future.exception(0))
    rig.log(look, stored(record_set, 3))
    assert rig.log(look) == []
    assert isinstance(rig.queue().state, Idle)


# Second looks.


def sent_twice(rig: Rig, *records: bytes) -> tuple[SpuPipeline, bytes]:
    """Have batches sent again after a look that missed them, and acknowledged from offset 8 on."""
    look, _, record_set = doubtful(rig, *records)
    (request,) = writes(rig.log(look))
    rig.answer(request, base=8)
    return request.pipeline, record_set


def second_look(rig: Rig, *, after: float = SETTLING) -> Look:
    return only_look(rig.run(after))


def test_a_batch_that_stands_in_the_log_twice_is_counted() -> None:
    rig = client()
    _, record_set = sent_twice(rig, b"a", b"b")
    assert questions(rig.run(SETTLING - 0.1)) == []
    look = second_look(rig, after=0.2)
    assert isinstance(rig.queue().state, Idle)
    rig.watermark(look, 12)
    assert look.position == 0
    actions = rig.log(look, foreign(7) + stored(record_set, 8) + stored(record_set, 10))
    expected = {"topic": "t", "partition": 0, "offset": 8, "again": 10, "records": 2}
    assert told(actions, "delivery.duplicated") == [expected]
    assert counts(rig) == {"verified": 2, "duplicated": 2}
    assert not rig.dispatcher.second_looks


def test_a_batch_that_stands_there_once_is_not() -> None:
    rig = client()
    _, record_set = sent_twice(rig)
    look = second_look(rig)
    rig.watermark(look, 9)
    assert told(rig.log(look, stored(record_set, 8)), "delivery.duplicated") == []
    assert counts(rig) == {"verified": 1}


def test_a_second_look_reads_on_until_the_end_of_what_is_replicated() -> None:
    rig = client()
    _, record_set = sent_twice(rig)
    look = second_look(rig)
    rig.watermark(look, 30)
    assert reads(rig.log(look, stored(record_set, 8))) == [look]
    rig.log(look, stored(record_set, 29))
    assert counts(rig) == {"verified": 1, "duplicated": 1}


def test_records_are_sent_during_a_second_look() -> None:
    rig = client()
    sent_twice(rig)
    look = second_look(rig)
    request, _ = sent(rig)
    assert isinstance(rig.queue().state, InFlight)
    rig.answer(request, base=9)
    rig.watermark(look, 10)
    assert look in rig.dispatcher.second_looks


def test_a_second_look_that_fails_is_made_again_and_given_up_in_the_end() -> None:
    rig = client()
    pipeline, _ = sent_twice(rig, b"a", b"b")
    look = second_look(rig)
    rig.watermark(look, None)
    other = second_look(rig)
    rig.lose(pipeline, BROKEN)
    assert other not in rig.dispatcher.second_looks
    assert counts(rig) == {"verified": 2}
    rig.run(40.0)
    assert counts(rig) == {"verified": 2, "unverified": 2}
    assert not rig.dispatcher.second_looks


def test_a_late_second_look_costs_no_connection() -> None:
    rig = client()
    sent_twice(rig)
    second_look(rig)
    actions = rig.run(rig.queue().patience + 1.1)
    assert disconnects(actions) == []
    assert len(questions(actions)) == 1


def test_a_second_look_connects_if_need_be() -> None:
    rig = client()
    pipeline, record_set = sent_twice(rig)
    rig.lose(pipeline, BROKEN)
    assert connects(rig.run(SETTLING)) == [pipeline]
    look = only_look(rig.connect() + rig.run(SETTLING))
    rig.watermark(look, 9)
    rig.log(look, stored(record_set, 8) + stored(record_set, 9))
    assert counts(rig)["duplicated"] == 1


def test_a_second_look_reads_all_of_a_log_that_is_not_replicated() -> None:
    rig = client()
    _, record_set = sent_twice(rig)
    look = second_look(rig)
    rig.watermark(look, 3)
    assert reads(rig.log(look, stored(record_set, 8))) == [look]
    rig.log(look, stored(record_set, 9))
    rig.log(look)
    assert counts(rig) == {"verified": 1, "duplicated": 1}


@pytest.mark.parametrize("how", ["its log lost its end", "that is told meanwhile", "it leads again"])
def test_a_second_look_reads_all_of_a_log_in_which_a_batch_may_stand_anywhere(how: str) -> None:
    rig = client()
    acked_at_20(rig)
    look, _, record_set = doubtful(rig, end=21)
    (request,) = writes(rig.log(look))
    rig.answer(request, base=21)
    if how == "it leads again":
        move_leader(rig, 5002, 5001)
    else:
        request, _ = sent(rig)
    if how == "its log lost its end":
        rig.answer(request, base=16)
    look = second_look(rig)
    if how == "that is told meanwhile":
        rig.answer(request, base=16)
    rig.watermark(look, 30)
    assert look.position == 0
    rig.log(look, stored(record_set, 15))
    rig.log(look, stored(record_set, 29))
    assert counts(rig)["duplicated"] == 2


def test_an_interrupted_step_keeps_the_second_look() -> None:
    rig = client()
    _, record_set = sent_twice(rig)
    rig.interrupt()
    rig.send()
    rig.run(SETTLING)
    found = [item for item in questions(rig.connect() + rig.run(SETTLING)) if item in rig.dispatcher.second_looks]
    (look,) = found
    assert isinstance(look, Look)
    rig.watermark(look, 9)
    rig.log(look, stored(record_set, 5) + stored(record_set, 8))
    assert counts(rig)["duplicated"] == 1


def test_a_deleted_topic_is_not_looked_into() -> None:
    rig = client()
    sent_twice(rig)
    rig.push("Topic", [topic("t", 1)], delete=True)
    rig.push("Partition", [partition("t-0", 5001)], delete=True)
    assert not rig.dispatcher.second_looks
    assert rig.queue().bound is None


def test_a_batch_that_is_found_before_an_acknowledged_one_was_not_overwritten() -> None:
    """A late request stored both batches after the first look, and before the first one was sent again."""
    rig = client(batch_size=100)
    look, futures, record_set = doubtful(rig, b"a" * 60, b"b" * 60)
    rig.queue().one_batch_per_request = True
    (request,) = writes(rig.log(look))
    actions = rig.answer(request, base=2)
    (other,) = questions(actions)
    assert isinstance(other, Look)
    rig.watermark(other, 3)
    rig.log(other, stored(record_set, 0, 1) + stored(record_set[: len(record_set) // 2], 2))
    assert reports(rig.log(other)) == []
    assert [future.result(0).offset for future in futures] == [2, 1]
    assert (rig.queue().bound, counts(rig)) == (2, {"verified": 3})


def test_a_batch_that_is_found_in_a_shorter_log_is_where_the_next_look_begins() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=20)
    look, _, record_set = doubtful(rig, end=15)
    rig.log(look, stored(record_set, 15))
    rig.log(look)
    assert rig.queue().bound == 16
    assert doubtful(rig, end=30)[0].position == 16


# Records that the cluster lost.


def test_offsets_that_are_given_out_again_are_counted() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=20)
    request, (future,) = sent(rig)
    actions = rig.answer(request, base=15)
    (fields,) = told(actions, "delivery.overwritten")
    assert (fields["first"], fields["last"]) == (15, 20)
    assert "15" in str(fields["error"])
    assert counts(rig) == {"overwritten": 6}
    assert future.result(0).offset == 15
    request, _ = sent(rig)
    assert told(rig.answer(request, base=16), "delivery.overwritten") == []


def test_a_topic_that_was_made_again_has_lost_nothing() -> None:
    rig = client()
    request, _ = sent(rig)
    rig.answer(request, base=20)
    for delete in (True, False):
        rig.push("Topic", [topic("t", 1)], delete=delete)
        rig.push("Partition", [partition("t-0", 5001)], delete=delete)
    request, _ = sent(rig)
    rig.answer(request, base=0)
    assert counts(rig) == {}


def test_the_records_of_a_batch_can_be_read_back() -> None:
    rig = client()
    request, _ = sent(rig, b"a", b"b")
    (data,) = rig.arrived(request).topics[0].partitions
    assert [record.value for record in decode_batch(data.records).records] == [b"a", b"b"]
