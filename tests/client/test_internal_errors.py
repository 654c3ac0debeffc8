# SPDX-License-Identifier: Apache-2.0
"""Bugs of the library itself, planted: each costs its own records, and nothing else hangs or is lost."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import AtLeastOnce, ConnectError, DeliveryError, Fluvio, RetriesExhaustedError, RetryPolicy
from fluvio_sync._core.dispatcher import Dispatcher
from fluvio_sync._core.pipeline import Request
from fluvio_sync._net.connection import Connection
from fluvio_sync._runtime import sender
from fluvio_sync._runtime.spu_requests import encode_produce
from fluvio_sync.futures import BatchFutures
from tests.support.client import parked

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.testing import LocalCluster


def failing_once(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that raises at its first call and calls the original afterwards."""
    calls: list[None] = []

    def function(*arguments: Any, **keywords: Any) -> Any:
        calls.append(None)
        if len(calls) == 1:
            raise ZeroDivisionError
        return original(*arguments, **keywords)

    return function


def elsewhere(action: Callable[[], Any]) -> Any:
    """Do something in a thread that no signal interrupts: there, every exception is known to be a bug."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(action).result(10)


@pytest.mark.parametrize("name", ["records_queued", "_connected", "_replied", "tick", "take_actions", "_arm"])
def test_an_error_in_the_middle_of_a_decision_is_overcome(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    own.create_topic("t", partitions=2)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t")
        with caplog.at_level(logging.WARNING, logger="fluvio_sync"):
            monkeypatch.setattr(Dispatcher, name, failing_once(getattr(Dispatcher, name)))
            futures = elsewhere(lambda: producer.send_all([b"x"] * 20))
            assert elsewhere(lambda: producer.flush(5)) == (20, 0, 0, None)
        assert [future.exception(0) for future in futures] == [None] * 20
        engine = fluvio._holder.engine
        assert engine is not None
        assert engine.accumulator.used == 0
        assert caplog.text.count("sender.internal_error") == 1
        assert caplog.text.count("sender.interrupted") == 1


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (sender, "encode_produce"),
        (sender, "Connection"),
        (Connection, "send"),
        (BatchFutures, "acknowledge"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_in_carrying_out_one_action_stops_no_other(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, owner: Any, name: str
) -> None:
    own.create_topic("t", partitions=2)
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t")
        if name != "Connection":
            producer.send(b"warm", partition=0).result(5)
        with caplog.at_level(logging.ERROR, logger="fluvio_sync"):
            monkeypatch.setattr(owner, name, failing_once(getattr(owner, name)))
            futures = elsewhere(lambda: producer.send_all([b"x"] * 20))
            elsewhere(lambda: producer.flush(5))
        errors = [error for future in futures if (error := future.exception(0)) is not None]
        if name == "acknowledge":  # the records of that batch are stored, and only that could not be told
            assert 0 < len(errors) < 20
            assert all(isinstance(error, DeliveryError) and error.may_be_stored for error in errors)
        else:
            assert errors == []
        assert producer.send(b"after").result(5).acknowledged
        engine = fluvio._holder.engine
        assert engine is not None
        assert engine.accumulator.used == 0
        assert caplog.text.count("sender.internal_error") == 1


def test_an_error_in_the_main_thread_is_raised_there_and_overcome(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the exception of a signal handler, a timeout say, which must not be taken for a bug."""
    own.create_topic("t")
    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", linger=0)
        for _ in range(20):
            producer.send(b"warm").result(5)
        monkeypatch.setattr(sender, "encode_produce", failing_once(encode_produce))
        with parked(fluvio, monkeypatch), pytest.raises(ZeroDivisionError):
            producer.send(b"x").result(5)
        assert producer.flush(5) == (21, 0, 0, None)
        assert producer.send(b"after").result(5).acknowledged


def test_what_was_written_before_a_connection_broke_within_a_write_may_be_stored(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write takes as many system calls as it needs, and only the last may fail."""
    own.create_topic("t")
    send = Connection.send

    def break_after(connection: Connection, buffers: Any, tag: object) -> None:
        send(connection, buffers, tag)
        if isinstance(tag, Request):
            raise ConnectError("it broke", address="spu:1")

    with Fluvio.connect(own.endpoint) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=AtLeastOnce(RetryPolicy(max_retries=0)))
        assert producer.send(b"0").result(5).offset == 0
        monkeypatch.setattr(Connection, "send", break_after)
        error = producer.send(b"1").exception(5)
    assert isinstance(error, RetriesExhaustedError)
    assert error.may_be_stored
