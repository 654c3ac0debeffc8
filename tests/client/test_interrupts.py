# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and signal handlers that send or raise, in real processes."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hostile import Server, Talk
from tests.support.scripts import run, running, values
from tests.support.waiting import SLACK, wait_until

if TYPE_CHECKING:
    from fluvio_sync.testing.cluster import LocalCluster
    from tests.support.cluster import Where

INTERRUPTED = """
    fluvio = Fluvio.connect(endpoint, buffer_memory=100_000)
    producer = fluvio.topic_producer(topic, max_request_size=99_000, max_block=60)
    producer.send("0").result(5)
    say("ready")
    input()
    future = producer.send(bytes(90_000))
    say("go")
    try:
        {call}
    except KeyboardInterrupt:
        say(time.monotonic())
    else:
        say("not interrupted")
    input()
    future.result(5)
    assert producer.send("usable").result(5).acknowledged
    assert producer.flush(5).failed == 0
    """

BLOCKING = {
    "result": "future.result()",
    "exception": "future.exception(60)",
    "wait": "import concurrent.futures; concurrent.futures.wait([future])",
    "flush": "producer.flush()",
    "send": "producer.send(bytes(20_000))",
    "send_all": "producer.send_all([bytes(20_000)] * 10)",
    "topic_producer": "fluvio.topic_producer('no-such-topic', max_request_size=99_000)",
    "topics": "fluvio.topics()",
    "create_topic": "fluvio.create_topic('another')",
}


@pytest.mark.alone
@pytest.mark.parametrize("call", BLOCKING)
def test_ctrl_c_ends_a_blocking_call_and_nothing_else(own: LocalCluster, call: str) -> None:
    own.create_topic("t")
    with running(INTERRUPTED.format(call=BLOCKING[call]), own.endpoint, "t") as process:
        assert process.hear() == "ready"
        own.hold_replies(5001)
        own.hold_replies(0)
        process.tell()
        assert process.hear() == "go"
        process.interrupt()
        own.hold_replies(5001, on=False)
        own.hold_replies(0, on=False)
        process.tell()
        assert process.end() == (0, "")


@pytest.mark.alone
@pytest.mark.parametrize("call", ["fluvio.close()", "producer.close()"])
def test_ctrl_c_ends_closing(own: LocalCluster, call: str) -> None:
    own.create_topic("t")
    script = f"""
        fluvio = Fluvio.connect(endpoint, exit_timeout=0.2)
        producer = fluvio.topic_producer(topic)
        producer.send("0").result(5)
        say("ready")
        input()
        future = producer.send("1")
        say("go")
        try:
            {call}
        except KeyboardInterrupt:
            say(time.monotonic())
        """
    with running(script, own.endpoint, "t") as process:
        process.hear()
        own.hold_replies(5001)
        process.tell()
        assert process.hear() == "go"
        process.interrupt()
        own.hold_replies(5001, on=False)
        status, _ = process.end()
        assert status == 0


@pytest.mark.alone
def test_ctrl_c_ends_connecting_to_a_silent_peer() -> None:
    def behave(talk: Talk) -> None:
        talk.wait_for_end()

    script = """
        say("go")
        for address in (endpoint, "localhost:" + endpoint.rpartition(":")[2]):
            try:
                Fluvio.connect(address, connect_timeout=60)
            except KeyboardInterrupt:
                say(time.monotonic())
        assert threading.active_count() == 1
        """
    with Server(behave) as server, running(script, server.endpoint, "") as process:
        assert process.hear() == "go"
        for connections in (1, 2):
            wait_until(lambda count=connections: server.connections == count, "it has connected")  # type: ignore[misc]
            sent = time.monotonic()
            process.process.send_signal(signal.SIGINT)
            assert float(process.hear()) - sent < SLACK
        assert process.end() == (0, "")


def report_of(script: str, where: Where, topic: str) -> Any:
    done = run(script, where.endpoint, topic)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.interrupts
def test_a_signal_handler_may_send(where: Where) -> None:
    topic = where.topic()
    script = """
        fluvio = Fluvio.connect(endpoint)
        producer = fluvio.topic_producer(topic)
        sent = refused = 0
        def handler(*_):
            global sent, refused
            try:
                producer.send("handler")
                sent += 1
            except RuntimeError:
                refused += 1
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        end = time.monotonic() + 1
        number = 0
        while time.monotonic() < end:
            producer.send(str(number))
            number += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        result = producer.flush(10)
        print(json.dumps([number, sent, refused, result.acked, fluvio._holder.engine.accumulator.used]))
        """
    number, sent, _, acked, used = report_of(script, where, topic)
    assert number > 100
    assert sent > 10
    assert acked == number + sent
    assert used == 0
    found = values(where, topic, acked)
    assert [value for value in found if value != "handler"] == [str(count) for count in range(number)]


@pytest.mark.interrupts
def test_exceptions_may_come_at_any_moment_of_a_call(where: Where) -> None:
    topic = where.topic()
    script = """
        class Now(BaseException):
            pass
        def handler(*_):
            raise Now
        fluvio = Fluvio.connect(endpoint)
        producer = fluvio.topic_producer(topic, linger=0.001, batch_size=2000)
        producer.send("warm").result(5)
        number = raised = 0
        kept = []
        def work():  # not in the `try`: CPython's table of exceptions leaves out where such a loop goes back
            global number
            while True:
                number += 1
                future = producer.send(str(number))
                kept.append([number, future])
                if number % 50 == 0:
                    future.result(5)
                elif number % 51 == 0:
                    producer.flush(5)
                elif number % 52 == 0:
                    future.add_done_callback(lambda _: None)
        signal.signal(signal.SIGALRM, handler)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + number % 7 * 0.0001)
                work()
            except Now:
                raised += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        producer.flush(10)
        assert all(future.done() for _, future in kept)
        places = [[future.result(0).offset, name] for name, future in kept]
        assert producer.send("usable").result(5).acknowledged
        used = fluvio._holder.engine.accumulator.used
        stats = producer.stats()
        print(json.dumps([raised, used, stats.records_queued + stats.records_in_flight, places]))
        fluvio.close(5)
        """
    raised, used, unresolved, places = report_of(script, where, topic)
    assert raised > 50
    assert (used, unresolved) == (0, 0)
    found = values(where, topic, len(places))
    for offset, name in places:
        assert found[offset] == str(name)
