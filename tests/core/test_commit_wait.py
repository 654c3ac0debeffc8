# SPDX-License-Identifier: Apache-2.0
"""Read-committed batches that the leader stored, and that were not seen replicated in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._core.events import OffsetsReplied
from fluvio_sync._core.partition import Idle
from fluvio_sync._core.pipeline import COMMIT_POLL_INTERVAL, AwaitingCommit, InFlight
from fluvio_sync.config import SmartModule
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import CommitTimeoutError, ConnectError, RetriesExhaustedError
from fluvio_sync.protocol.metadata import Deduplication, PartitionResolution
from fluvio_sync.retry import RetryPolicy
from tests.support.rig import Rig, asks, connects, disconnects, replicated_to, values, writes
from tests.support.servers import partition, spu, topic

if TYPE_CHECKING:
    from fluvio_sync._core.pipeline import CommitWait
    from fluvio_sync.futures import DeliveryFuture

BROKEN = ConnectError("the connection broke")


def policy(**settings: Any) -> AtLeastOnce:
    return AtLeastOnce(RetryPolicy(**({"initial_delay": 1.0, "timeout": 100.0} | settings)))


def waiting(
    partitions: int = 1, count: int = 1, apart: float = 0.0, **settings: Any
) -> tuple[Rig, list[DeliveryFuture], CommitWait]:
    """Return `count` batches, sent `apart` seconds from each other, that are stored from offset 40 on."""
    rig = Rig(partitions, isolation="read-committed", batch_size=100, **({"delivery_semantic": policy()} | settings))
    futures = []
    for _ in range(count):
        futures.append(rig.send(b"x" * 60))
        rig.step(apart)
    (request,) = writes(rig.connect())
    (commit_wait,) = asks(rig.answer(request, 7, base=40))
    assert len(commit_wait.batches) == count
    return rig, futures, commit_wait


def one_waiting(**settings: Any) -> tuple[Rig, DeliveryFuture, CommitWait]:
    """Return one of them, under the default policy."""
    rig, (future,), commit_wait = waiting(**({"delivery_semantic": AtLeastOnce()} | settings))
    return rig, future, commit_wait


def test_a_server_that_cannot_tell_is_asked_again() -> None:
    rig, _, commit_wait = waiting()
    rig.watermark(commit_wait, None)
    assert asks(rig.run(COMMIT_POLL_INTERVAL - 0.01)) == []
    assert asks(rig.run(0.02)) == [commit_wait]


def test_a_question_is_not_asked_twice_at_a_time() -> None:
    rig, _, _ = waiting()
    assert asks(rig.run(1.0)) == []


def test_every_batch_has_to_be_replicated() -> None:
    rig, futures, commit_wait = waiting(count=2)
    rig.watermark(commit_wait, 41)
    assert not any(future.done() for future in futures)
    assert asks(rig.run(COMMIT_POLL_INTERVAL)) == [commit_wait]
    rig.watermark(commit_wait, 42)
    assert [future.result(0).offset for future in futures] == [40, 41]
    queue = rig.queue()
    assert isinstance(queue.state, Idle)
    assert not queue.batches()


def test_batches_that_are_not_replicated_in_time_fail_one_by_one() -> None:
    rig, futures, commit_wait = waiting(count=2, apart=0.5, delivery_semantic=policy(timeout=1.9))
    later = rig.send(b"later")
    rig.run(0.9 - 0.05)
    rig.watermark(commit_wait, 0)
    assert asks(rig.run(0.06)) == []  # the first has expired, which is no reason to ask
    assert [future.done() for future in futures] == [True, False]
    assert writes(rig.run(0.1)) == []
    (request,) = writes(rig.run(0.5))
    errors = [future.exception(0) for future in futures]
    assert [error.offset for error in errors if isinstance(error, CommitTimeoutError)] == [40, 41]
    assert values(request) == [b"later"]
    assert not later.done()
    assert rig.handle(OffsetsReplied(commit_wait, replicated_to(100))) == []
    assert isinstance(rig.queue().state, InFlight)


def test_a_queue_whose_commit_wait_expired_is_at_rest() -> None:
    rig, futures, _ = waiting(delivery_semantic=policy(timeout=0.9))
    rig.run(0.9)
    assert isinstance(futures[0].exception(0), CommitTimeoutError)
    queue = rig.queue()
    assert (type(queue.state), queue.batches()) == (Idle, [])


def test_changes_beside_the_leader_change_nothing() -> None:
    rig, _, _ = waiting()
    rig.push("Topic", [topic("t", 2)])
    rig.push("SPU", [spu(5001, rack="other")])
    assert writes(rig.run(1.0)) == []
    assert isinstance(rig.queue().state, AwaitingCommit)


def test_a_commit_wait_ends_with_its_answer() -> None:
    rig, _, commit_wait = waiting()
    rig.watermark(commit_wait, 41)
    rig.send(b"next")
    (request,) = writes(rig.step())
    assert connects(rig.lose(request.pipeline, BROKEN)) == []  # it waits for the policy's delay
    assert connects(rig.run(1.0)) == [request.pipeline]


def test_another_connection_that_breaks_is_no_concern_of_it() -> None:
    rig, _, commit_wait = waiting(2)
    rig.push("Partition", [partition("t-1", 5002)])
    rig.send(to=1)
    (request,) = writes(rig.connect())
    rig.lose(request.pipeline, BROKEN)
    state = rig.queue().state
    assert isinstance(state, AwaitingCommit)
    assert state.wait is commit_wait


def test_an_answer_about_offsets_that_does_not_come_ends_the_connection() -> None:
    rig, futures, commit_wait = waiting(request_timeout=3.0, delivery_semantic=policy(max_retries=0))
    assert disconnects(rig.run(2.9)) == []
    assert disconnects(rig.run(0.2)) == [commit_wait.pipeline]
    error = futures[0].exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored
    assert " has not answered for 3.0 s how far the partition is replicated" in str(error)
    assert "SPU 5001 at 127.0.0.1:9010" in str(error)


def test_a_question_stands_behind_requests_that_have_their_own_time() -> None:
    rig, _, commit_wait = waiting(2, request_timeout=3.0, server_timeout=2.0)
    rig.send(to=1)
    (request,) = writes(rig.step())
    rig.written(request)
    assert disconnects(rig.run(4.9)) == []
    rig.answer(request)
    assert disconnects(rig.run(2.8)) == []  # its own time begins now
    assert disconnects(rig.run(0.3)) == [commit_wait.pipeline]


def test_a_leader_that_is_said_to_be_offline_is_asked_until_its_connection_ends() -> None:
    """A batch that it has stored is not written to it again."""
    rig, futures, commit_wait = waiting()
    rig.push("Partition", [partition("t-0", 5001, PartitionResolution.OFFLINE)])
    actions = rig.run(3.0)
    assert (writes(actions), disconnects(actions)) == ([], [])
    rig.watermark(commit_wait, 41)
    assert futures[0].result(0).offset == 40


# One batch.


def test_a_batch_that_timed_out_on_the_server_is_asked_for_and_not_written_again() -> None:
    rig, future, commit_wait = one_waiting()
    assert rig.watermark(commit_wait, 40) == []
    assert asks(rig.run(COMMIT_POLL_INTERVAL)) == [commit_wait]
    actions = rig.watermark(commit_wait, 41)
    assert writes(actions) == []
    assert future.result(0).offset == 40


def test_the_deadline_of_a_commit_wait_gives_the_offset() -> None:
    rig, future, _ = one_waiting(delivery_semantic=policy(timeout=0.9))
    assert writes(rig.run(1.0)) == []
    with pytest.raises(CommitTimeoutError) as caught:
        future.result(0)
    assert caught.value.offset == 40
    assert caught.value.may_be_stored


# Where the server may drop records, their offsets are not known.

FILTERS: dict[str, Any] = {"smartmodules": [SmartModule("filter")]}


def test_a_record_that_a_smartmodule_may_drop_is_acknowledged_without_an_offset() -> None:
    rig = Rig(**FILTERS)
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, base=40)
    assert future.result(0).acknowledged
    assert future.result(0).offset is None


def test_a_record_that_a_smartmodule_may_drop_has_no_offset_after_a_commit_wait_either() -> None:
    rig, future, commit_wait = one_waiting(**FILTERS)
    rig.watermark(commit_wait, 41)
    assert future.result(0).offset is None
    rig, future, _ = one_waiting(delivery_semantic=policy(timeout=0.9), **FILTERS)
    rig.run(1.0)
    with pytest.raises(CommitTimeoutError) as caught:
        future.result(0)
    assert caught.value.offset is None


def test_a_topic_that_drops_duplicates_gives_no_offsets_as_long_as_it_does() -> None:
    rig = Rig()
    plain = topic("t", 1)
    spec = plain.spec.replace(deduplication=Deduplication(100, None, "dedup"))
    rig.push("Topic", [plain.replace(spec=spec)])
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request, base=40)
    assert future.result(0).offset is None
    rig.push("Topic", [plain])
    future = rig.send()
    (request,) = writes(rig.step())
    rig.answer(request, base=41)
    assert future.result(0).offset == 41


def test_a_commit_wait_whose_leader_changed_is_an_ordinary_retry() -> None:
    rig, future, _ = one_waiting(delivery_semantic=policy(max_retries=1))
    rig.push("Partition", [partition("t-0", 5002)])
    (pipeline,) = connects(rig.run(0.1))
    assert pipeline.spu == 5002
    assert str(rig.queue().sealed[0].last_error) == "the leader changed: SPU 5002"
    rig.lose(pipeline, BROKEN)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored


def test_a_leader_that_was_replaced_before_it_answered_is_not_asked() -> None:
    """It would be asked until the deadline: no later change of the metadata would end the wait (seed 26177)."""
    rig = Rig(isolation="read-committed", delivery_semantic=policy())
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.push("Partition", [partition("t-0", 5002)])
    actions = rig.answer(request, 7, base=40)
    assert asks(actions) == []
    assert [pipeline.spu for pipeline in connects(actions)] == [5002]
    (again,) = writes(rig.connect())
    assert again.pipeline.spu == 5002
    rig.answer(again, base=41)
    assert future.result(0).offset == 41


def test_a_commit_wait_whose_connection_broke_is_an_ordinary_retry() -> None:
    rig, _, commit_wait = one_waiting()
    pipeline = commit_wait.pipeline
    rig.lose(pipeline, BROKEN)
    assert connects(rig.run(0.1)) == [pipeline]
    assert rig.handle(OffsetsReplied(commit_wait, replicated_to(100))) == []
    assert rig.topic_state.counters.records_acked == 0


def test_nothing_of_the_partition_is_written_during_a_commit_wait() -> None:
    rig, _, commit_wait = one_waiting()
    later = rig.send(b"2")
    assert writes(rig.run(1.0)) == []
    (request,) = writes(rig.watermark(commit_wait, 41))
    rig.answer(request, base=41)
    assert later.result(0).offset == 41
