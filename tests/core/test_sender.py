# SPDX-License-Identifier: Apache-2.0
"""The sender: connections, answers, the watch on the SC, and bugs of its own."""

from __future__ import annotations

import errno
import math
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync._outcomes.batch_futures import BatchFutures
from fluvio_sync._runtime import sender as sender_module
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import (
    ClosedError,
    CommitTimeoutError,
    ConnectError,
    DeliveryError,
    ProtocolError,
    RetriesExhaustedError,
    UnsupportedVersionError,
)
from fluvio_sync.protocol.frames import encode_response
from fluvio_sync.protocol.metadata import IngressPort
from fluvio_sync.protocol.versions import SpuApi
from fluvio_sync.retry import RetryPolicy
from tests.support.interruption import Interruption
from tests.support.rig import Rig, asks, connects, reports, writes
from tests.support.servers import partition, response, spu, topic
from tests.support.system import replaces_code

if TYPE_CHECKING:
    from fluvio_sync.futures import DeliveryFuture

ONE_ATTEMPT = AtLeastOnce(RetryPolicy(max_retries=0, timeout=100.0))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().split()[0] for record in caplog.records]


# Connections.


def test_an_spu_that_offers_no_common_version_is_told_so() -> None:
    rig = Rig()
    rig.servers.spu_ranges[SpuApi.PRODUCE] = (0, 7)
    future = rig.send()
    rig.connect()
    error = future.exception(0)
    assert isinstance(error, DeliveryError)
    assert isinstance(error.__cause__, UnsupportedVersionError)
    assert "SPU 5001 at 127.0.0.1:9010" in str(error)
    assert "offers versions 0 to 7" in str(error)
    assert rig.connected() == []


def test_a_connection_that_the_system_gave_up_tells_how_long_it_was_silent() -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    future = rig.send()
    rig.connect()
    (pipeline,) = rig.connected()
    rig.step(12.0)
    rig.connection(pipeline).transport.error = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
    rig.step()
    error = str(future.exception(0))
    assert "SPU 5001 at 127.0.0.1:9010" in error
    assert "broke: it has acknowledged nothing for 12.0 s; it is away, or a firewall" in error


def test_an_spu_without_an_address_is_a_failed_attempt() -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    nowhere = spu(5001)
    rig.push("SPU", [nowhere.replace(spec=nowhere.spec.replace(public_endpoint=IngressPort(9010, ())))])
    future = rig.send()
    rig.step()
    assert isinstance(future.exception(0), RetriesExhaustedError)
    assert "the SC gives no address for SPU 5001" in str(future.exception(0))


def test_a_server_that_closes_the_connection_is_connected_to_again() -> None:
    rig = Rig()
    future = rig.send()
    (request,) = writes(rig.connect())
    rig.written(request)
    rig.connection(request.pipeline).transport.ended = True
    assert "spu.disconnected" in reports(rig.step())
    assert rig.sender.last_error is not None
    assert "it closed the connection" in rig.sender.last_error[0]
    rig.step(0.02)
    assert rig.sender.reconnects == 1
    (again,) = writes(rig.connect())
    rig.answer(again, base=7)
    assert future.result(0).offset == 7


def test_a_connection_that_fails_while_a_request_is_written_leaves_its_records_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    rig.send()
    (request,) = writes(rig.connect())
    rig.answer(request)
    results = [5, 0]

    def send(_pending: object) -> int:
        if results:
            return results.pop(0)
        raise BrokenPipeError(32, "Broken pipe")

    for first in (5, None):  # bytes that were written before
        rig.connect()
        results = [] if first is None else [first]
        monkeypatch.setattr(rig.connection(request.pipeline).transport, "send", send)
        future = rig.send()
        rig.step()
        error = future.exception(0)
        assert isinstance(error, RetriesExhaustedError)
        assert "Broken pipe" in str(error)
        assert error.may_be_stored is (first is not None)
        rig.send()
        (request,) = writes(rig.connect())
        rig.answer(request)


# Answers.


def answer_to(rig: Rig, body: bytes) -> tuple[Any, bytes]:
    """Return the request of the rig's one record, and a frame that answers it."""
    (request,) = writes(rig.connect())
    rig.written(request)
    (correlation,) = rig.connection(request.pipeline).expected
    return request, encode_response(correlation, body)


@pytest.mark.parametrize("body", [b"", b"\0\0\0\7"])
def test_an_answer_that_cannot_be_read_ends_the_connection(body: bytes) -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    future = rig.send()
    request, frame = answer_to(rig, body)
    rig.feed(request.pipeline, frame)
    error = future.exception(0)
    assert isinstance(error, RetriesExhaustedError)
    assert isinstance(error.__cause__, ProtocolError)
    assert "SPU 5001 at 127.0.0.1:9010" in str(error)
    assert "does not speak Fluvio's protocol" in str(error)
    assert error.may_be_stored
    assert rig.connected() == []


def test_an_answer_to_no_request_is_ignored() -> None:
    rig = Rig()
    future = rig.send()
    request, _ = answer_to(rig, b"")
    assert rig.feed(request.pipeline, encode_response(4711, b"")) == []
    rig.answer(request, base=3)
    assert future.result(0).offset == 3


def test_an_answer_may_arrive_byte_by_byte_and_with_the_next_one() -> None:
    rig = Rig(2)
    futures = [rig.send(to=0)]
    (first,) = writes(rig.connect())
    rig.written(first)
    futures.append(rig.send(to=1))
    (second,) = writes(rig.step())
    rig.written(second)
    transport = rig.connection(first.pipeline).transport
    rig._feed(first.pipeline, first, SpuApi.PRODUCE, response(first, base=10))
    rig._feed(second.pipeline, second, SpuApi.PRODUCE, response(second, base=20))
    arriving = bytes(transport._received)
    transport._received.clear()
    for index in range(len(arriving) - 1):
        rig.feed(first.pipeline, arriving[index : index + 1])
        assert futures[0].done() is (index + 1 >= len(arriving) // 2)
    assert not futures[1].done()
    rig.feed(first.pipeline, arriving[-1:])
    assert [future.result(0).offset for future in futures] == [10, 20]


def test_an_spu_that_cannot_tell_offsets_is_asked_again_until_the_deadline() -> None:
    rig = Rig(isolation="read-committed", delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5.0)))
    del rig.servers.spu_ranges[SpuApi.FETCH_OFFSETS]
    future = rig.send()
    (request,) = writes(rig.connect())
    assert len(asks(rig.answer(request, 7, base=40) + rig.run(0.95))) == 10
    rig.run(4.1)
    assert isinstance(future.exception(0), CommitTimeoutError)


# The SC.


def test_an_sc_that_is_away_is_tried_again_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.lose_sc()
    attempts = []
    start = rig.clock.now
    while rig.clock.now < start + 20.0:
        before = rig.sender.next_timer()
        attempts.append(round(before - start, 3))
        rig.run(before - rig.clock.now)
    assert attempts == [0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 11.3, 16.3, 21.3]
    assert messages(caplog) == ["sc.disconnected"]
    rig.servers.sc_online = True
    assert reports(rig.run(5.0)) == ["sc.reconnected"]
    rig.lose_sc()
    assert rig.sender.next_timer() == pytest.approx(rig.clock.now + 0.1)


def test_an_sc_that_pushes_nothing_is_left_after_connect_timeout(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(connect_timeout=2.0)
    rig.lose_sc()
    rig.servers.sc_online = rig.servers.sc_silent = True
    caplog.clear()
    rig.run(0.1)
    assert rig.metadata.route("t", 0).spu == 5001
    rig.run(1.9)
    assert "the request for its metadata" not in str(rig.sender.last_error)
    rig.run(0.2)
    assert "the request for its metadata" in str(rig.sender.last_error)
    assert "2.0 s" in str(rig.sender.last_error)
    rig.servers.sc_silent = False
    assert reports(rig.run(1.0)) == ["sc.reconnected"]


def test_a_push_that_cannot_be_read_is_reported_and_the_stream_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    transport, header = rig.servers._streams["Topic"]
    transport.feed(encode_response(header.correlation_id, b"\xff"))
    rig.step()
    assert messages(caplog) == ["metadata.unreadable"]
    rig.push("Topic", [topic("new", 1)])
    assert "new" in rig.metadata.topics


def test_a_first_push_that_cannot_be_read_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.lose_sc()
    rig.servers.sc_online = rig.servers.sc_silent = True
    rig.run(0.1)
    transport, header = rig.servers._streams["Topic"]
    transport.feed(encode_response(header.correlation_id, b"\xff"))
    rig.step()
    assert "does not speak Fluvio's protocol" in str(rig.sender.last_error)
    assert "SC at 127.0.0.1:9003" in str(rig.sender.last_error)
    assert messages(caplog) == ["sc.disconnected"]  # once


def test_updates_that_arrive_with_new_records_decide_their_leader() -> None:
    rig = Rig()
    rig.send()
    rig.push("Partition", [partition("t-0", 5002)])
    assert [pipeline.spu for pipeline in connects(rig.step())] == [5002]


# Bugs of the sender itself.


def break_(*_arguments: object, **_more: object) -> None:
    raise ZeroDivisionError


@replaces_code
def test_a_request_that_cannot_be_encoded_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    future = rig.send()
    with monkeypatch.context() as patch:
        patch.setattr(sender_module, "encode_produce", break_)
        rig.connect()
    assert "sender.internal_error" in messages(caplog)
    rig.step(0.02)
    (request,) = writes(rig.connect())
    rig.answer(request, base=5)
    assert future.result(0).offset == 5


@replaces_code
def test_a_connection_that_cannot_be_begun_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(delivery_semantic=ONE_ATTEMPT)
    future = rig.send()
    with monkeypatch.context() as patch:
        patch.setattr(sender_module, "Connection", break_)
        rig.step()
    assert isinstance(future.exception(0), RetriesExhaustedError)
    assert "an internal error of the sender" in str(future.exception(0))


@replaces_code
def test_an_outcome_that_cannot_be_told_fails_its_records_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(2)
    futures = [rig.send(to=0), rig.send(to=1)]
    (request,) = writes(rig.connect())
    acknowledge = BatchFutures.acknowledge

    def break_once(batch: BatchFutures, base_offset: int | None) -> None:
        monkeypatch.setattr(BatchFutures, "acknowledge", acknowledge)
        raise ZeroDivisionError

    monkeypatch.setattr(BatchFutures, "acknowledge", break_once)
    rig.answer(request, base=7)
    error = futures[0].exception(0)
    assert isinstance(error, DeliveryError)
    assert error.may_be_stored
    assert futures[1].result(0).offset == 107
    assert rig.accumulator.used == 0


@replaces_code
def test_in_an_interruptible_thread_an_exception_is_not_taken_for_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    future = rig.send()
    rig.sender.interruptible = True
    with monkeypatch.context() as patch:
        patch.setattr(sender_module, "encode_produce", break_)
        with pytest.raises(ZeroDivisionError):
            rig.connect()
    assert rig.sender.in_step
    rig.step()
    (request,) = writes(rig.connect())
    rig.answer(request)
    assert future.result(0).offset == 0


def test_in_an_interruptible_thread_waiters_are_told_by_another() -> None:
    rig = Rig()
    future = rig.send()
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    (request,) = writes(rig.connect())
    rig.sender.interruptible = True
    rig.answer(request)
    assert future.done()
    assert (len(rig.sender.unnotified), rig.accumulator.used > 0) == (1, True)
    assert seen == []
    rig.sender.notify()
    assert rig.accumulator.callbacks.wait_for_due(10)
    assert (seen, rig.accumulator.used) == ([future], 0)


# Other threads, and the end.


def test_a_call_that_was_interrupted_is_made_again() -> None:
    rig = Rig()
    calls: list[float] = []

    def call(now: float) -> None:
        calls.append(now)
        if len(calls) == 1:
            raise Interruption

    rig.sender.call_soon(call)
    with pytest.raises(Interruption):
        rig.step()
    rig.step()
    assert calls == [rig.clock.now] * 2


def test_a_step_waits_until_the_next_timer_and_not_at_all_with_new_records() -> None:
    rig = Rig(linger=1.0)
    assert rig.sender.prepare() > rig.clock.now + 1.0  # the watch's
    rig.send()
    assert rig.sender.prepare() == -math.inf
    rig.step()
    assert rig.sender.prepare() == rig.clock.now + 1.0


def in_flight() -> tuple[Rig, list[DeliveryFuture]]:
    """Return a rig with a record in a written request, one in a request that waits for the socket, and one behind."""
    rig = Rig(2)
    futures = [rig.send(to=0)]
    (first,) = writes(rig.connect())
    rig.written(first)
    futures.append(rig.send(to=1))
    rig.step()
    futures.append(rig.send(to=0))
    return rig, futures


@pytest.mark.parametrize("interrupted", [False, True])
def test_closing_fails_the_rest_and_waits_for_answers(*, interrupted: bool) -> None:
    rig, futures = in_flight()
    (pipeline,) = rig.connected()
    if interrupted:
        rig.interrupt()
    rig.sender.fail_rest()
    assert rig.sender.expects_answers() is not interrupted
    assert all(isinstance(future.exception(0), ClosedError) for future in futures)
    stored = ["may have been stored" in str(future.exception(0)) for future in futures]
    assert stored == [True, interrupted, False]
    assert rig.accumulator.used == 0
    with pytest.raises(ClosedError):
        rig.send()
    if not interrupted:
        transport = rig.connection(pipeline).transport
        rig.sender.stop_writing()
        transport.take_more(1000)
        rig.step()
        assert len(rig.servers.arrived) == 1  # the second request is not written any more
        transport.ended = True
        rig.step()
        assert not rig.sender.expects_answers()
    rig.sender.abandon()
    assert rig.connected() == []


def test_a_broken_connection_of_a_closed_client_is_no_failure() -> None:
    rig, _ = in_flight()
    (pipeline,) = rig.connected()
    rig.sender.fail_rest()
    assert reports(rig.step()) == []
    actions = rig.lose(pipeline, ConnectError("the connection broke"))
    assert connects(actions) == []
