# SPDX-License-Identifier: Apache-2.0
"""An exception that leaves a `with` block waits for a short time only, and is told how many records were lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import AtMostOnce, Fluvio
from tests.support.client import wait_offline
from tests.support.scripts import run
from tests.support.waiting import within

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster

EXIT_TIMEOUT = 0.3
noted = pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes")


def notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", []))


def leave_client(own: LocalCluster, raised: BaseException, *, semantic: object = "at-least-once") -> None:
    """Leave the block of a client with 5 records that cannot be delivered."""
    with Fluvio.connect(own.endpoint, exit_timeout=EXIT_TIMEOUT) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=semantic)  # type: ignore[arg-type]
        producer.send(b"warm")
        producer.flush(10)
        own.kill_spu(5001)
        wait_offline(fluvio, 5001)
        for _ in range(5):
            producer.send(b"x")
        raise raised


@noted
@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_the_block_of_a_client_waits_for_exit_timeout_and_tells_the_loss(
    own: LocalCluster, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    own.create_topic("t")
    raised = kind()
    with within(EXIT_TIMEOUT + 3), pytest.raises(kind):
        leave_client(own, raised)
    (note,) = notes(raised)
    assert note.startswith("fluvio_sync: 5 records lost by the end of the `with` block of the client of 127.0.0.1:")
    assert f"which {kind.__name__} left: it then waits at most 0.3 s (exit_timeout); the first error: topic 't'" in note
    (event,) = [record for record in caplog.records if record.getMessage().startswith("records.lost")]
    assert vars(event)["records"] == 5


@noted
def test_lost_at_most_once_records_are_told_of(own: LocalCluster) -> None:
    own.create_topic("t")
    raised = ZeroDivisionError()
    with within(EXIT_TIMEOUT + 3), pytest.raises(ZeroDivisionError):
        leave_client(own, raised, semantic=AtMostOnce())
    assert "5 records lost" in notes(raised)[0]


@noted
def test_the_block_of_a_producer_waits_for_exit_timeout_and_tells_the_loss(
    own: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    own.create_topic("t")
    raised = ZeroDivisionError()
    with Fluvio.connect(own.endpoint, exit_timeout=EXIT_TIMEOUT) as fluvio:
        own.kill_spu(5001)
        wait_offline(fluvio, 5001)
        with within(EXIT_TIMEOUT + 1), pytest.raises(ZeroDivisionError), fluvio.topic_producer("t") as producer:  # noqa: PT012
            producer.send_all([b"x"] * 5)
            raise raised
    (note,) = notes(raised)
    assert note.startswith("fluvio_sync: 5 records lost by the end of the `with` block of the producer for topic 't'")
    (event,) = [record for record in caplog.records if record.getMessage().startswith("records.lost")]
    assert (vars(event)["records"], vars(event)["topic"]) == (5, "t")


@noted
def test_records_that_a_producers_block_told_of_are_not_told_of_again(own: LocalCluster) -> None:
    own.create_topic("t")
    own.fail_next_produce(9000, count=2)
    raised = ZeroDivisionError()

    def leave() -> None:
        with Fluvio.connect(own.endpoint) as fluvio, fluvio.topic_producer("t") as producer:
            producer.send(b"x")
            producer.flush(10)
            seen = producer.send(b"y")
            assert seen.exception(10) is not None
            raise raised

    with pytest.raises(ZeroDivisionError):
        leave()
    (note,) = notes(raised)
    assert "1 record lost" in note


def test_an_exception_that_leaves_nothing_lost_is_left_alone(
    own: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    own.create_topic("t")
    raised = ZeroDivisionError()

    def leave() -> None:
        with Fluvio.connect(own.endpoint) as fluvio, fluvio.topic_producer("t", linger=60) as producer:
            producer.send(b"x")
            raise raised

    with pytest.raises(ZeroDivisionError):
        leave()
    assert notes(raised) == []
    assert "records.lost" not in caplog.text
    assert len(own.records("t")) == 1


LINE = "fluvio_sync: 1 record lost by the end of the `with` block"


def lines_of(own: LocalCluster, end: str, logging: str = "") -> list[str]:
    own.create_topic("t")
    script = f"""
        from fluvio_sync._net.transport import SocketTransport
        {logging}
        with Fluvio.connect(endpoint, exit_timeout=0.2) as fluvio:
            producer = fluvio.topic_producer(topic)
            producer.send("warm").result(10)
            say("ready")
            SocketTransport.send = lambda *_: 0  # nothing is sent any more
            producer.send("x")
            {end}
        """
    done = run(script, own.endpoint, "t")
    # The note of the exception, which the interpreter prints, comes behind the traceback.
    return [line for line in done.stderr.partition("Traceback")[0].splitlines() if line.startswith(LINE)]


@pytest.mark.parametrize("end", ["1 / 0", "os.kill(os.getpid(), signal.SIGINT); time.sleep(10)"])
def test_the_loss_is_told_on_standard_error(own: LocalCluster, end: str) -> None:
    assert len(lines_of(own, end)) == 1


def test_the_log_tells_it_instead_where_it_shows_errors(own: LocalCluster) -> None:
    assert lines_of(own, "1 / 0", "import logging; logging.basicConfig(stream=sys.stdout)") == []
