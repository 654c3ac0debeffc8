# SPDX-License-Identifier: Apache-2.0
"""Nothing that a server writes reaches a terminal or a log as it is."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import AtMostOnce, Fluvio, FluvioError
from fluvio_sync.doctor import diagnose
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.versions import ApiVersionKey, ScApi, SpuApi
from tests.support.client import attempts, emit_events
from tests.support.scribbler import AWAY, ESCAPED, NAME, OTHER, SPU, TEXT, Scribbler, assert_harmless
from tests.support.shell import run
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scribbler() -> Iterator[Scribbler]:
    with Scribbler() as cluster:
        yield cluster


@pytest.fixture
def fluvio(scribbler: Scribbler) -> Iterator[Fluvio]:
    client = Fluvio.connect(scribbler.endpoint)
    yield client
    client.close(0)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "fluvio_sync")
    return caplog


def assert_told(error: BaseException | None) -> None:
    """Every error of the chain is harmless, and the first tells what the server wrote."""
    assert ESCAPED in str(error)
    while error is not None:
        assert_harmless(str(error))
        assert "\n" not in str(error)
        error = error.__cause__


def assert_logs_harmless(records: list[logging.LogRecord]) -> None:
    for record in records:
        assert_harmless(record.getMessage())
        assert "\n" not in record.getMessage()
        for value in vars(record).values():
            if isinstance(value, str) and value is not record.pathname:
                assert_harmless(value)


# The commands.


@pytest.mark.parametrize(
    ("arguments", "status", "lines"),
    [
        (["doctor"], 1, 10),
        (["doctor", "--topic", "t"], 1, 12),  # with a warning of the client's
        (["topics", "list"], 0, 2),
        (["topics", "create", "abc"], 1, 1),
        (["topics", "delete", "t", "u"], 1, 2),
        (["produce", "t"], 1, 3),
    ],
)
def test_commands_print_their_own_lines_alone(
    scribbler: Scribbler, arguments: list[str], status: int, lines: int
) -> None:
    done = run(*arguments, "-c", scribbler.endpoint, data=b"hello\n")
    shown = (done.stdout + done.stderr).decode()
    assert_harmless(shown)
    assert (done.returncode, shown.count("\n")) == (status, lines), shown
    assert ESCAPED in shown


def test_a_topic_is_one_line(scribbler: Scribbler) -> None:
    done = run("topics", "list", "-c", scribbler.endpoint)
    first, second = done.stdout.decode().splitlines()
    assert (first[: len(ESCAPED)], first[-3:], second) == (ESCAPED, "xxx", "t")
    done = run("topics", "list", "--json", "-c", scribbler.endpoint)
    assert [json.loads(line)["name"] for line in done.stdout.split(b"\n")[:-1]] == [NAME, "t"]
    assert not any(byte < 32 and byte != 10 for byte in done.stdout)


def test_the_doctor_as_a_function(scribbler: Scribbler) -> None:
    steps = {step.name: step for step in diagnose("t", endpoint=scribbler.endpoint)}
    for step in steps.values():
        for text in (step.text, step.detail, step.advice):
            assert_harmless(text)
            assert "\n" not in text
    tellers = {name for name, step in steps.items() if ESCAPED in step.text}
    assert tellers == {"SC versions", "leaders", f"SPU {SPU}", f"SPU {AWAY}", "produce"}
    assert f"locally {ESCAPED}" in steps[f"SPU {SPU}"].detail


# Errors and log events.


def refuse(scribbler: Scribbler) -> None:
    scribbler.refusal = OTHER


def offer_old_versions(scribbler: Scribbler) -> None:
    scribbler.sc_keys = (ApiVersionKey(ScApi.WATCH, 1, 9),)


def push_another_kind(scribbler: Scribbler) -> None:
    scribbler.label = TEXT


@pytest.mark.parametrize("does", [refuse, offer_old_versions, push_another_kind])
def test_connecting(scribbler: Scribbler, logged: pytest.LogCaptureFixture, does: Any) -> None:
    does(scribbler)
    with pytest.raises(FluvioError) as caught:
        Fluvio.connect(scribbler.endpoint, connect_timeout=5)
    assert_told(caught.value)
    assert_logs_harmless(logged.records)


def test_administration(scribbler: Scribbler, fluvio: Fluvio) -> None:
    assert fluvio.topics() == [NAME, "t"], "names are for programs"
    for call in (fluvio.create_topic, fluvio.delete_topic):
        with pytest.raises(FluvioError) as caught:
            call("abc")
        assert_told(caught.value)
    scribbler.label = TEXT
    with pytest.raises(FluvioError) as caught:
        fluvio.topics()
    assert_told(caught.value)


@pytest.mark.parametrize(
    "code",
    [
        OTHER,
        ErrorCode(72, (TEXT, 0)),
        ErrorCode(6001, (TEXT,)),
        ErrorCode(6002, (TEXT, TEXT)),
        ErrorCode(6003, (TEXT, TEXT)),
        ErrorCode(6004, (TEXT, 1, 0, None, b"")),
        ErrorCode(12001, (TEXT, TEXT)),
    ],
    ids=lambda code: code.name,
)
def test_records(scribbler: Scribbler, fluvio: Fluvio, logged: pytest.LogCaptureFixture, code: ErrorCode) -> None:
    scribbler.answer = code
    error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send("x").exception(10)
    assert_told(error)
    emit_events(fluvio)
    assert any(ESCAPED in str(vars(record).get("error")) for record in logged.records)
    assert_logs_harmless(logged.records)
    assert ESCAPED in (fluvio.health().last_error or "")
    assert_harmless(fluvio.health().last_error or "")


def test_records_that_are_not_acknowledged(
    scribbler: Scribbler, fluvio: Fluvio, logged: pytest.LogCaptureFixture
) -> None:
    fluvio.topic_producer("t", delivery_semantic=AtMostOnce()).send("x").result(10)
    wait_until(lambda: "at_most_once.rejected" in logged.text, "the rejection is logged")
    assert any(ESCAPED in str(vars(record).get("error")) for record in logged.records)
    assert_logs_harmless(logged.records)


def test_an_answer_for_another_topic(scribbler: Scribbler, fluvio: Fluvio, logged: pytest.LogCaptureFixture) -> None:
    scribbler.topic = TEXT
    assert_told(fluvio.topic_producer("t", delivery_semantic=attempts(1)).send("x").exception(10))
    emit_events(fluvio)
    assert_logs_harmless(logged.records)


def test_an_spu_of_another_version(scribbler: Scribbler, fluvio: Fluvio) -> None:
    scribbler.spu_keys = (ApiVersionKey(SpuApi.PRODUCE, 0, 1),)
    assert_told(fluvio.topic_producer("t", delivery_semantic=attempts(1)).send("x").exception(10))


def test_an_address_that_is_none(fluvio: Fluvio) -> None:
    assert fluvio._holder.engine is not None
    peer = fluvio._holder.engine.peer_of(AWAY)
    assert_told(peer.unreachable("it is away"))
    assert peer.endpoint.host == NAME
