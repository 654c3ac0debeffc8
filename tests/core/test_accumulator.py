# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._base.clock import SystemClock
from fluvio_sync._core.partition import RECORD_CHARGE, Acknowledged
from fluvio_sync._outcomes.handle_stats import HandleStats
from fluvio_sync.config import ProducerConfig
from fluvio_sync.errors import BufferFullError, ClosedError, ConnectError, PartitionNotFoundError, RecordTooLargeError
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner, SpecificPartitioner
from fluvio_sync.protocol.batch import MAX_TIMESTAMP_DELTA, MIN_TIMESTAMP_DELTA, decode_record_set, verify_batch
from fluvio_sync.protocol.compression import Codec
from tests.support.interruption import interrupted
from tests.support.rig import Rig, connects, values, writes
from tests.support.servers import partition
from tests.support.system import replaces_code, traces_lines

if TYPE_CHECKING:
    from fluvio_sync.futures import DeliveryFuture

MINUTE = 60.0


class RealTimeRig(Rig):
    """A rig whose accumulator waits in real time."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.accumulator._clock = SystemClock()
        self.clock.now = SystemClock().monotonic()
        self.clock.advance(0.5)  # records that are sent within half a second are ready


def batches(rig: Rig) -> list[list[bytes]]:
    return [[value for _, value, _ in batch.records()] for batch in rig.queue().batches()]


# Batches.


def test_a_batch_is_closed_before_it_would_grow_over_batch_size() -> None:
    rig = Rig(batch_size=200, linger=1)
    for value in (b"a" * 50, b"b" * 50, b"c" * 50):
        rig.send(value)
    assert [len(batch) for batch in batches(rig)] == [2, 1]
    assert all(batch.builder.size <= 200 for batch in rig.queue().batches())


def test_a_record_larger_than_batch_size_travels_alone() -> None:
    rig = Rig(batch_size=200, linger=1)
    for value in (b"a", b"b" * 5000, b"c"):
        rig.send(value)
    assert [len(batch) for batch in batches(rig)] == [1, 1, 1]


def test_the_largest_record_is_the_one_whose_batch_is_max_request_size() -> None:
    rig = Rig(max_request_size=1000, batch_size=1000)
    size = next(n for n in range(1000, 0, -1) if fits(rig, n))
    assert rig.queue().sealed[-1].builder.size == 1000
    with pytest.raises(
        RecordTooLargeError, match=rf"{size + 1} bytes .* 1001 bytes.*max_request_size \(1000"
    ) as caught:
        rig.send(b"x" * (size + 1))
    assert (caught.value.size, caught.value.limit) == (1001, 1000)


def fits(rig: Rig, size: int) -> bool:
    try:
        rig.send(b"x" * size)
    except RecordTooLargeError:
        return False
    return True


def test_implicit_times_never_go_back_within_a_batch() -> None:
    rig = Rig(linger=1)
    rig.send()
    rig.clock.wall -= 5000
    rig.send()
    (batch,) = rig.queue().batches()
    assert batch.builder.timestamps == [0, 0]


def test_explicit_times_in_any_order_share_a_batch() -> None:
    rig = Rig(linger=1)
    futures = [rig.send(timestamp=timestamp) for timestamp in (2000, 3000, 1999, 1)]
    (batch,) = rig.queue().batches()
    assert batch.builder.timestamps == [0, 1000, -1, -1999]
    assert batch.builder.first_timestamp + max(batch.builder.timestamps) == 3000
    rig.clock.wall = 1500
    futures.append(rig.send())  # an implicit one is never before the batch's first
    rig.run(1.0)
    (request,) = writes(rig.connect())
    rig.answer(request)
    assert [future.result(0).timestamp for future in futures] == [2000, 3000, 1999, 1, 2000]


def test_a_time_too_far_ahead_of_the_batchs_first_opens_a_new_batch() -> None:
    rig = Rig(linger=1)
    rig.send(timestamp=1 - MIN_TIMESTAMP_DELTA)
    rig.send(timestamp=1)
    rig.send(timestamp=-MIN_TIMESTAMP_DELTA)
    rig.send(timestamp=2**40)
    rig.send(timestamp=1)
    assert [b.builder.count for b in rig.queue().batches()] == [3, 1, 1]


def test_a_time_too_far_after_the_batchs_first_opens_a_new_batch() -> None:
    rig = Rig(linger=1)
    rig.send(timestamp=1)
    rig.send(timestamp=1 + MAX_TIMESTAMP_DELTA)
    rig.send(timestamp=2 + MAX_TIMESTAMP_DELTA)
    assert [b.builder.count for b in rig.queue().batches()] == [2, 1]


def test_a_batch_is_compressed_once_and_its_records_can_still_be_told() -> None:
    rig = Rig()
    config = ProducerConfig(compression="gzip")
    topic_state = rig.accumulator.topic_state("t", config, rig.metadata)
    rig.send(b"x" * 1000, key=b"k", topic_state=topic_state, timestamp=7)
    batch = rig.queue(0, topic_state).unresolved[0]
    encoded = batch.encode()
    assert sum(map(len, encoded)) < 200
    (decoded,) = decode_record_set(b"".join(encoded))
    assert decoded.header.codec == Codec.GZIP
    assert batch.encode() is encoded
    assert batch.builder._values == []  # not held twice
    assert batch.records() == [(b"k", b"x" * 1000, 7)]


@pytest.mark.parametrize("key", [None, b"k"])
def test_a_topic_without_partitions_takes_nothing(key: bytes | None) -> None:
    rig = Rig(partitions=0)
    with pytest.raises(PartitionNotFoundError, match="topic 't' has no partition to send to"):
        rig.accumulator.choose(rig.topic_state, SiphashRoundRobinPartitioner(), key, b"v")
    with pytest.raises(PartitionNotFoundError, match="topic 't' has no partition to send to"):
        rig.topic_state.check_partition(3)


# Memory.


def test_a_record_counts_key_value_and_a_fixed_charge_until_it_is_resolved() -> None:
    rig = Rig()
    rig.send(b"12345", key=b"123")
    assert rig.accumulator.used == 8 + RECORD_CHARGE
    (request,) = writes(rig.connect())
    assert rig.accumulator.used == 8 + RECORD_CHARGE
    rig.answer(request)
    assert rig.accumulator.used == 0


def test_a_full_buffer_raises_at_once_if_so_set() -> None:
    rig = Rig(limit=1000, on_full="raise", max_request_size=500, batch_size=500)
    rig.send(b"x" * 400)
    rig.send(b"x" * 300)
    with pytest.raises(
        BufferFullError,
        match=r"buffer full: 956 of 1000 bytes.*on_full is 'raise'.*topic 't' was not taken",
    ):
        rig.send(b"x" * 100)
    assert rig.accumulator.used == 700 + 2 * RECORD_CHARGE


def test_a_blocked_send_goes_on_when_memory_is_given_back() -> None:
    rig = RealTimeRig(limit=1000, max_block=MINUTE)
    rig.send(b"x" * 800)
    (request,) = writes(rig.connect())
    sent: list[DeliveryFuture] = []
    thread = threading.Thread(target=lambda: sent.append(rig.send(b"y" * 500)))
    thread.start()
    wait_until(lambda: rig.accumulator._waiting == 1)
    rig.answer(request)
    thread.join(MINUTE)
    assert len(sent) == 1
    assert rig.accumulator.used == 500 + RECORD_CHARGE
    assert rig.accumulator._waiting == 0


def test_a_blocked_send_gives_up_after_max_block() -> None:
    rig = RealTimeRig(limit=1000, max_block=0.05)
    rig.send(b"x" * 800)
    with pytest.raises(BufferFullError, match=r"no space within 0\.\d s \(max_block\)"):
        rig.send(b"y" * 500)
    assert rig.accumulator.used == 800 + RECORD_CHARGE
    assert rig.accumulator._waiting == 0


@pytest.mark.parametrize("closed", ["client", "producer"])
def test_a_blocked_send_is_ended_by_closing(closed: str) -> None:
    rig = RealTimeRig(limit=1000, max_block=MINUTE)
    rig.send(b"x" * 800)
    raised: list[BaseException] = []

    def blocked() -> None:
        try:
            rig.send(b"y" * 500)
        except ClosedError as error:
            raised.append(error)

    thread = threading.Thread(target=blocked)
    thread.start()
    wait_until(lambda: rig.accumulator._waiting == 1)
    if closed == "client":
        rig.accumulator.refuse_more()
    else:
        rig.handle_stats.closed = True
        with rig.accumulator.lock:
            rig.accumulator.space.notify_all()
    thread.join(MINUTE)
    assert f"the {closed} was closed while send() waited" in str(raised[0])


def test_waiting_for_memory_ends_the_linger_of_the_records_that_hold_it() -> None:
    rig = RealTimeRig(limit=1000, max_block=MINUTE, linger=MINUTE)
    rig.send(b"x" * 800)
    thread = threading.Thread(target=lambda: rig.send(b"y" * 500))
    thread.start()
    wait_until(lambda: rig.accumulator._waiting == 1)
    (request,) = writes(rig.connect())
    rig.answer(request)
    thread.join(MINUTE)
    assert not thread.is_alive()


def test_a_failing_partition_holds_a_quarter_at_most_and_others_go_on() -> None:
    quota = 8 * (100 + RECORD_CHARGE)
    rig = Rig(2, limit=4 * quota, on_full="raise")
    rig.push("Partition", [partition("t-1", 5002)])
    rig.send(b"x" * 100)
    (pipeline,) = connects(rig.step())
    rig.lose(pipeline, ConnectError("refused"))
    for _ in range(7):
        rig.send(b"x" * 100)
    with pytest.raises(BufferFullError, match=f"partition 0 of topic 't' fails and holds its share of {quota} bytes"):
        rig.send(b"x" * 100)
    assert rig.queue().charge == quota
    rig.send(b"x" * 4000, to=1)


def test_a_partition_that_does_not_fail_may_hold_more_than_a_quarter() -> None:
    rig = RealTimeRig(limit=1000, max_block=MINUTE, batch_size=300)
    rig.send(b"x" * 300)
    (request,) = writes(rig.connect())
    rig.send(b"x" * 300)
    rig.step()
    thread = threading.Thread(target=lambda: rig.send(b"y" * 300))
    thread.start()
    wait_until(lambda: rig.accumulator._waiting == 1)
    assert writes(rig.answer(request))  # the second is still there
    thread.join(MINUTE)
    assert not thread.is_alive()


def test_a_failing_partition_without_records_takes_one_however_large() -> None:
    rig = Rig(limit=8000, on_full="raise")
    rig.accumulator.failing_changed(rig.accumulator.queue(rig.topic_state, 0), True)
    rig.send(b"x" * 6000)
    with pytest.raises(BufferFullError):
        rig.send(b"x")


def test_keyless_records_avoid_a_partition_that_fails_and_is_over_its_share() -> None:
    rig = Rig(3, limit=8000)
    queue = rig.accumulator.queue(rig.topic_state, 1)
    rig.send(bytes(1900), to=1)
    rig.accumulator.failing_changed(queue, True)
    rounds = SiphashRoundRobinPartitioner(0)
    assert {rig.accumulator.choose(rig.topic_state, rounds, None, b"") for _ in range(10)} == {0, 2}
    assert rig.accumulator.choose(rig.topic_state, SpecificPartitioner(1), None, b"") == 1
    rig.accumulator.limit = 12000
    assert {rig.accumulator.choose(rig.topic_state, rounds, None, b"") for _ in range(10)} == {0, 1, 2}
    rig.accumulator.limit = 8000
    rig.accumulator.failing_changed(queue, False)
    assert {rig.accumulator.choose(rig.topic_state, rounds, None, b"") for _ in range(10)} == {0, 1, 2}


# Interruption.


@traces_lines
@pytest.mark.parametrize("kind", ["first record", "another record", "full batch", "new batch", "other handle"])
def test_an_exception_at_any_line_of_send_leaves_everything_right(kind: str) -> None:
    for at in itertools.count():
        rig = Rig(batch_size=200)
        futures = []
        if kind != "first record":
            futures.append(rig.send(b"before" * (20 if kind == "new batch" else 1), key=b"k"))
        value = b"x" * (150 if kind == "full batch" else 60 if kind == "new batch" else 1)
        handle_stats = HandleStats() if kind == "other handle" else rig.handle_stats
        if not interrupted(lambda: rig.send(value, handle_stats=handle_stats), at):  # noqa: B023
            assert at > 20
            return
        queue = rig.accumulator.queue(rig.topic_state, 0)
        batches = list(queue.batches())
        assert queue.unresolved == batches
        assert rig.accumulator.used == queue.charge == sum(batch.charge for batch in batches)
        for batch in batches:
            assert all(span.start < batch.builder.count for span in batch.futures.spans)
            records = batch.builder.records()
            assert len(records) == batch.builder.count > 0
            assert batch.charge == sum(len(k or b"") + len(v) + RECORD_CHARGE for k, v, _ in records)
            verify_batch(b"".join(batch.builder.build()))
        mine, others = len(futures), sum(batch.builder.count for batch in batches) - len(futures)
        futures.append(rig.send(b"after", handle_stats=handle_stats))
        (request,) = writes(rig.connect())
        rig.answer(request)
        assert [future.done() for future in futures] == [True] * len(futures)
        assert rig.accumulator.used == queue.charge == 0
        assert values(request)[-1] == b"after"
        counted = [rig.handle_stats.take()[0], handle_stats.take()[0]]
        assert counted == ([mine, others + 1] if handle_stats is not rig.handle_stats else [mine + others + 1, 0])


# Rejections.


def test_a_partition_that_the_topic_does_not_have_is_rejected() -> None:
    rig = Rig(3)
    with pytest.raises(PartitionNotFoundError, match="topic 't' has partitions 0 to 2, not 3") as caught:
        rig.topic_state.check_partition(3)
    assert (caught.value.topic, caught.value.partition) == ("t", 3)
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(TypeError, match="a partition is an int"):
            rig.topic_state.check_partition(wrong)


@replaces_code
def test_send_within_send_raises_and_does_not_dead_lock() -> None:
    rig = Rig()

    class Value(bytes):
        """A value during whose handling a signal handler, say, sends another."""

        def __len__(self) -> int:
            if rig.accumulator.lock.is_mine():
                rig.send(b"inner")
            return 1

    with pytest.raises(RuntimeError, match="from within itself"):
        rig.send(Value(b"x"))
    rig.send(b"after")
    assert rig.accumulator.used == 5 + RECORD_CHARGE


def test_a_closed_client_takes_nothing() -> None:
    rig = Rig()
    rig.accumulator.refuse_more()
    with pytest.raises(ClosedError, match="topic 't' was not taken"):
        rig.send()
    assert rig.accumulator.used == 0


# Waking, flushing, counting.


def test_the_sender_is_woken_on_edges_only() -> None:
    rig = Rig(linger=1, batch_size=300)
    woken: list[int] = []
    rig.accumulator._wake = lambda: bool(woken.append(1)) or True  # type: ignore[func-returns-value]
    rig.accumulator.sleep_seq += 1
    rig.send(b"x" * 100)
    assert len(woken) == 1  # the first record: its linger begins
    rig.step()
    rig.accumulator.sleep_seq += 1
    rig.send(b"x")
    assert len(woken) == 1
    rig.send(b"x" * 200)
    assert len(woken) == 2  # a full batch
    rig.send(b"x" * 200)
    assert len(woken) == 2  # it is awake


def test_a_flush_of_one_handle_waits_for_its_own_batches_only() -> None:
    rig = Rig(2)
    other = HandleStats()
    rig.send(to=0)
    rig.send(b"x", to=1, handle_stats=other)
    barrier = rig.accumulator.begin_flush(rig.topic_state, rig.handle_stats)
    assert (len(barrier.batches), barrier.records) == (1, 1)
    assert not rig.accumulator.wait_flushed(barrier, 0)
    (request,) = writes(rig.connect())
    rig.answer(request)
    assert rig.accumulator.wait_flushed(barrier, 0)


def test_a_batch_of_two_handles_is_waited_for_by_either_and_closed_by_neither_alone() -> None:
    rig = Rig()
    other = HandleStats()
    future = rig.send()
    rig.send(b"x", handle_stats=other)
    for handle_stats in (rig.handle_stats, other):
        assert rig.accumulator.begin_flush(rig.topic_state, handle_stats).records == 2
        rig.abandon(handle_stats)
        assert not future.done()


def test_a_flush_waits_for_the_halves_of_a_batch() -> None:
    rig = Rig()
    rig.send(b"1")
    rig.send(b"2")
    barrier = rig.accumulator.begin_flush(rig.topic_state, None)
    (request,) = writes(rig.connect())
    (request,) = writes(rig.answer(request, 10))
    (request,) = writes(rig.answer(request))
    assert barrier.records == 1
    rig.answer(request)
    assert barrier.records == 0


def test_a_flush_waits_for_a_batch_that_is_decided_but_not_completed() -> None:
    rig = Rig()
    rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.interrupt(lambda: rig.answer(request))
    barrier = rig.accumulator.begin_flush(rig.topic_state, rig.handle_stats)
    assert len(barrier.batches) == 1
    assert [type(action) for action in rig.step()] == [Acknowledged]
    assert not barrier.batches


def test_outcomes_are_counted_for_the_handle_that_sent_them() -> None:
    rig = Rig()
    other = HandleStats()
    rig.send()
    rig.send(b"x", handle_stats=other)
    rig.send(b"x", handle_stats=other)
    (request,) = writes(rig.connect())
    rig.answer(request)
    assert rig.handle_stats.take() == (1, 0, 0, None)
    assert other.take() == (2, 0, 0, None)
    assert other.take() == (0, 0, 0, None)


def wait_until(condition: Any) -> None:
    """Wait for another thread to get somewhere."""
    pause = threading.Event()
    for _ in range(10_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it did not happen")
