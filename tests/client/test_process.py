# SPDX-License-Identifier: Apache-2.0
"""The life of real processes: their exit, forks, Ctrl-C, and their output."""

from __future__ import annotations

import json
import multiprocessing.util
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import pytest

from fluvio_sync import Fluvio
from tests.support.hostile import Server, Talk
from tests.support.waiting import SLACK, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fluvio_sync.testing.cluster import LocalCluster
    from tests.support.cluster import Where

TIMEOUT = 15

PREAMBLE = """
import json, os, signal, sys, threading, time
from fluvio_sync import *
# A test run in the background of a shell inherits that SIGINT is ignored; these scripts have a terminal's.
signal.signal(signal.SIGINT, signal.default_int_handler)
endpoint, topic = sys.argv[1:3]
def say(*words):
    print(*words, flush=True)
def patient(delay=0.02):
    return AtLeastOnce(RetryPolicy(max_retries=1000, initial_delay=delay, max_delay=delay, timeout=30))
"""


def command(script: str, *arguments: str, flags: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *flags, "-c", PREAMBLE + textwrap.dedent(script), *arguments]


def run(script: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script to its end; it finds `endpoint` and `topic`."""
    return subprocess.run(
        command(script, *arguments, flags=flags), capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


class Running:
    """A process that runs a script, and talks in lines."""

    def __init__(self, script: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command(script, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """Return the next line that it says."""
        stdout = self._pipe(self.process.stdout)
        return stdout.readline().strip()

    def tell(self) -> None:
        """Let it go on: it waits in `input()`."""
        stdin = self._pipe(self.process.stdin)
        stdin.write("\n")
        stdin.flush()

    def end(self) -> tuple[int, str]:
        """Return its exit status and its standard error."""
        _, stderr = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, stderr

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


@contextmanager
def running(script: str, *arguments: str) -> Iterator[Running]:
    process = Running(script, *arguments)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


def values(where: Where, topic: str, count: int) -> list[str]:
    """Return the topic's values, once there are `count`."""
    return [record.value.decode() for record in where.records(topic, count=count)]


# --- the exit ------------------------------------------------------------------------------------

ENDINGS = {
    "plain": """
        fluvio = Fluvio.connect(endpoint)
        producer = fluvio.topic_producer(topic, linger=0.3)
        for number in range(1000):
            producer.send(str(number))
        """,
    "nobody holds the client": """
        def work():
            producer = Fluvio.connect(endpoint).topic_producer(topic, linger=0.3)
            for number in range(1000):
                producer.send(str(number))
        work()
        """,
    "nobody holds the producer": """
        fluvio = Fluvio.connect(endpoint)
        for number in range(1000):
            fluvio.topic_producer(topic, linger=0.3).send(str(number))
        """,
    "at most once": """
        producer = Fluvio.connect(endpoint).topic_producer(topic, delivery_semantic="at-most-once", linger=0.3)
        for number in range(1000):
            producer.send(str(number))
        """,
    "a thread": """
        producer = Fluvio.connect(endpoint).topic_producer(topic, linger=0.3)
        def work():
            for number in range(1000):
                producer.send(str(number))
        threading.Thread(target=work).start()
        """,
    "callbacks": """
        producer = Fluvio.connect(endpoint).topic_producer(topic, linger=0.3)
        seen = []
        for number in range(1000):
            producer.send(str(number)).add_done_callback(seen.append)
        """,
    "many clients": """
        clients = [Fluvio.connect(endpoint) for _ in range(10)]
        for number in range(1000):
            clients[number // 100].topic_producer(topic, linger=0.1 + number // 100 / 100).send(str(number))
        """,
    "a name instead of an address": """
        port = endpoint.rpartition(":")[2]
        names = lambda spu, advertised: advertised.replace("127.0.0.1", "localhost")
        producer = Fluvio.connect("localhost:" + port, spu_address_override=names).topic_producer(topic, linger=0.3)
        for number in range(1000):
            producer.send(str(number))
        """,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_script_that_ends_without_flush_loses_nothing_and_says_nothing(where: Where, ending: str) -> None:
    topic = where.topic()
    done = run(ENDINGS[ending], where.endpoint, topic, flags=("-X", "dev", "-W", "error"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = values(where, topic, 1000)
    assert sorted(found, key=int) == [str(number) for number in range(1000)]
    if ending != "many clients":
        assert found == sorted(found, key=int)


@pytest.mark.parametrize(("end", "status"), [("sys.exit(3)", 3), ("1 / 0", 1), ("raise KeyboardInterrupt", -2)])
def test_other_endings_lose_nothing_either(where: Where, end: str, status: int) -> None:
    topic = where.topic()
    script = f"""
        producer = Fluvio.connect(endpoint).topic_producer(topic, linger=0.3)
        for number in range(100):
            producer.send(str(number))
        {end}
        """
    done = run(script, where.endpoint, topic)
    assert done.returncode == status
    assert "fluvio_sync" not in done.stderr
    assert values(where, topic, 100) == [str(number) for number in range(100)]


def test_a_signal_handler_that_exits_loses_nothing(where: Where) -> None:
    topic = where.topic()
    script = """
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        producer = Fluvio.connect(endpoint).topic_producer(topic, linger=60)
        producer.send("queued")
        say("ready")
        signal.pause()
        """
    with running(script, where.endpoint, topic) as process:
        assert process.hear() == "ready"
        process.process.terminate()
        assert process.end() == (0, "")
    assert values(where, topic, 1) == ["queued"]


DYING = """
    producer = Fluvio.connect(endpoint, exit_timeout=0.5).topic_producer(topic)
    producer.send("warm").result(5)
    say("ready")
    input()
    for number in range(5):
        producer.send(str(number))
    while not {condition}:
        time.sleep(0.001)
    say(time.monotonic())
    """


@pytest.mark.alone
def test_leaving_a_dead_cluster_is_bounded_and_says_what_is_lost(own: LocalCluster) -> None:
    own.create_topic("t")
    script = DYING.format(condition="producer.stats().records_queued == 5")
    with running(script, own.endpoint, "t") as process:
        process.hear()
        own.kill_spu(5001)
        process.tell()
        started = float(process.hear())
        status, stderr = process.end()
        took = time.monotonic() - started
    assert status == 0
    assert 0.5 <= took <= 0.5 + 2 * SLACK
    (line,) = stderr.splitlines()
    assert line.startswith("fluvio_sync: 5 records not acknowledged within 0.5 s")
    assert "exit_timeout" in line


@pytest.mark.alone
def test_leaving_a_cluster_that_does_not_answer_is_bounded(own: LocalCluster) -> None:
    own.create_topic("t")
    script = DYING.format(condition="producer.stats().records_in_flight")
    with running(script, own.endpoint, "t") as process:
        process.hear()
        own.hold_replies(5001)
        process.tell()
        started = float(process.hear())
        status, stderr = process.end()
        took = time.monotonic() - started
    assert status == 0
    assert 0.5 <= took <= 0.5 + 2 + 2 * SLACK, "replies are waited for 2 s at most"
    assert len(stderr.splitlines()) == 1
    assert "5 records" in stderr


@pytest.mark.alone
def test_many_clients_leave_together(own: LocalCluster) -> None:
    own.create_topic("t")
    script = """
        clients = [Fluvio.connect(endpoint, exit_timeout=0.5) for _ in range(4)]
        producers = [fluvio.topic_producer(topic) for fluvio in clients]
        say("ready")
        input()
        for producer in producers:
            producer.send("lost")
        say(time.monotonic())
        """
    with running(script, own.endpoint, "t") as process:
        process.hear()
        own.kill_spu(5001)
        process.tell()
        started = float(process.hear())
        status, stderr = process.end()
        took = time.monotonic() - started
    assert status == 0
    assert took <= 0.5 + 2 * SLACK
    assert stderr.startswith("fluvio_sync: 1 record not acknowledged within 0.5 s (exit_timeout), and lost")


def test_an_at_most_once_record_that_is_lost_at_exit_is_told_of(own: LocalCluster) -> None:
    own.create_topic("t")
    script = """
        fluvio = Fluvio.connect(endpoint, exit_timeout=0.3)
        producer = fluvio.topic_producer(topic, delivery_semantic=AtMostOnce())
        say("ready")
        input()
        # What nobody has heard of yet is tried at once, and dropped where nobody listens, which is only logged.
        while fluvio._holder.engine.metadata.spu_online(5001):
            threading.Event().wait(0.005)
        producer.send("lost")
        """
    with running(script, own.endpoint, "t") as process:
        process.hear()
        own.kill_spu(5001)
        process.tell()
        status, stderr = process.end()
    assert status == 0
    assert "1 record" in stderr
    assert len(stderr.splitlines()) == 1


# --- silence -------------------------------------------------------------------------------------


def test_the_library_is_silent_whatever_happens(own: LocalCluster) -> None:
    own.create_topic("t")
    script = """
        import fluvio_sync
        try:
            Fluvio.connect("127.0.0.1:1")
        except ConnectError:
            pass
        with Fluvio.connect(endpoint, metadata_timeout=0.1) as fluvio:
            producer = fluvio.topic_producer(topic, delivery_semantic=patient())
            producer.send("0").result(5)
            say("ready")
            input()
            future = producer.send("1")
            try:
                future.result(0.2)
            except TimeoutError:
                pass
            say("waiting")
            future.result(10)
            say("retried")
            input()
            assert isinstance(producer.send("bad").exception(5), RejectedError)
            try:
                fluvio.topic_producer("no-such-topic")
            except TopicNotFoundError:
                pass
            future = producer.send("2")
            future.add_done_callback(lambda _: None)
            fluvio.topic_producer(topic, delivery_semantic="at-most-once", isolation="read-committed")
        """
    with running(script, own.endpoint, "t") as process:
        assert process.hear() == "ready"
        own.kill_spu(5001)
        process.tell()
        assert process.hear() == "waiting"
        own.restart_spu(5001)
        assert process.hear() == "retried"
        own.fail_next_produce(9000)
        process.tell()
        assert process.end() == (0, "")
    assert [record.value for record in own.records("t")] == [b"0", b"1", b"2"]


# --- fork ----------------------------------------------------------------------------------------

NO_FORK_WARNING = ("-W", "ignore::DeprecationWarning")  # which newer Pythons give when a process has threads


def test_parent_and_child_of_a_fork(where: Where) -> None:
    topic = where.topic()
    script = """
        import concurrent.futures
        fluvio = Fluvio.connect(endpoint)
        producer = fluvio.topic_producer(topic, linger=0.5)
        early = producer.send("early")
        producer.flush(5)
        pending = [producer.send(f"parent {number}") for number in range(3)]
        heard = []
        pending[0].add_done_callback(lambda _: heard.append(os.getpid()))
        watched = threading.Thread(target=lambda: concurrent.futures.wait(pending))
        watched.start()
        child = os.fork()
        if child == 0:
            report = {"early": early.result(0).offset}
            def kind(call):
                try:
                    call()
                except BaseException as error:
                    return type(error).__name__
            report["done"] = [future.done() for future in pending]
            report["result"] = [kind(lambda: future.result(1)) for future in pending]
            report["exception"] = type(pending[1].exception(1)).__name__
            report["text"] = str(pending[1].exception(1))
            report["wait"] = len(concurrent.futures.wait(pending, 1).done)
            report["as_completed"] = len(list(concurrent.futures.as_completed(pending, 1)))
            called = []
            pending[2].add_done_callback(called.append)
            report["called"] = len(called)
            report["stats"] = producer.stats().records_queued
            report["flush"] = list(producer.flush(5)[:3])
            report["own"] = producer.send("child").result(5).acknowledged
            report["topics"] = topic in fluvio.topics()
            report["callbacks"] = heard
            print(json.dumps(report), flush=True)
            sys.exit(0)
        watched.join()
        offsets = [future.result(5).offset for future in pending]
        producer.flush(5)
        assert heard == [os.getpid()]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert producer.send("parent again").result(5).acknowledged
        """
    done = run(script, where.endpoint, topic, flags=NO_FORK_WARNING)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert "fork" in report.pop("text")
    assert report == {
        "early": 0,
        "done": [True] * 3,
        "result": ["ForkedError"] * 3,
        "exception": "ForkedError",
        "wait": 3,
        "as_completed": 3,
        "called": 1,
        "stats": 0,
        "flush": [0, 0, 0],
        "own": True,
        "topics": True,
        "callbacks": [],
    }
    expected = ["early", "parent 0", "parent 1", "parent 2", "child", "parent again"]
    assert sorted(values(where, topic, 6)) == sorted(expected)


@pytest.mark.slow
def test_children_forked_in_the_middle_of_things(where: Where) -> None:
    topic = where.topic(partitions=2)
    script = """
        fluvio = Fluvio.connect(endpoint)
        stop = threading.Event()
        counts = []
        def work(worker):
            producer = fluvio.topic_producer(topic, linger=0.001 * worker)
            number = 0
            while not stop.is_set():
                producer.send(f"{worker} {number}").add_done_callback(lambda _: None)
                number += 1
            counts.append([worker, number])
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
        for thread in threads:
            thread.start()
        mine = fluvio.topic_producer(topic)
        children = []
        for number in range(10):
            mine.send(f"mine {number}").result(5)
            child = os.fork()
            if child == 0:
                stop.set()
                mine.send(f"child {number}")  # and exits without a flush
                sys.exit(0)
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        stop.set()
        for thread in threads:
            thread.join()
        fluvio.close()
        print(json.dumps([statuses, counts]))
        """
    done = run(script, where.endpoint, topic, flags=NO_FORK_WARNING)
    assert (done.returncode, done.stderr) == (0, "")
    statuses, counts = json.loads(done.stdout)
    assert statuses == [0] * 10
    expected = [f"{who} {number}" for who in ("mine", "child") for number in range(10)]
    expected += [f"{worker} {number}" for worker, count in counts for number in range(count)]
    found = [record.value.decode() for records in where.read_all(topic, 2, len(expected)) for record in records]
    assert sorted(found) == sorted(expected)


MULTIPROCESSING = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from fluvio_sync import Fluvio

def with_client(fluvio, topic, name):
    fluvio.topic_producer(topic, linger=0.2).send(name + " client")

def with_producer(producer, name):
    producer.send(name + " producer")

def inherited(name):
    inheritance.send(name + " inherited")

if __name__ == "__main__":
    endpoint, topic, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    fluvio = Fluvio.connect(endpoint)
    inheritance = fluvio.topic_producer(topic, linger=0.2)
    inheritance.send("parent")
    processes = [
        context.Process(target=with_client, args=(fluvio, topic, method)),
        context.Process(target=with_producer, args=(inheritance, method)),
    ]
    if method == "fork":
        processes.append(context.Process(target=inherited, args=("process",)))
    for process in processes:
        process.start()
    for process in processes:
        process.join(15)
        assert process.exitcode == 0, process.exitcode
    if method == "fork":
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(inherited, "pool").result(15)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(where: Where, tmp_path: Path, method: str) -> None:
    topic = where.topic()
    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESSING)
    done = subprocess.run(
        [sys.executable, *NO_FORK_WARNING, str(script), where.endpoint, topic, method],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expected = ["parent", f"{method} client", f"{method} producer"]
    if method == "fork":
        expected += ["process inherited", "pool inherited"]
    assert sorted(values(where, topic, len(expected))) == sorted(expected)


# --- Ctrl-C --------------------------------------------------------------------------------------

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


def test_many_clients_leave_nothing_behind_in_multiprocessing(own: LocalCluster) -> None:
    registry: dict[object, object] = multiprocessing.util._finalizer_registry  # type: ignore[attr-defined]
    Fluvio.connect(own.endpoint).close()
    before = len(registry)
    for _ in range(3):
        Fluvio.connect(own.endpoint).close()
    assert len(registry) == before


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
        with pytest.raises(subprocess.TimeoutExpired):
            process.process.wait(0.15)
        sent = time.monotonic()
        process.process.send_signal(signal.SIGINT)
        assert float(process.hear()) - sent < SLACK
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
        with pytest.raises(subprocess.TimeoutExpired):
            process.process.wait(0.15)
        sent = time.monotonic()
        process.process.send_signal(signal.SIGINT)
        assert float(process.hear()) - sent < SLACK
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
        signal.signal(signal.SIGALRM, handler)
        end = time.monotonic() + 2
        number = raised = 0
        kept = []
        while time.monotonic() < end:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0003 + number % 7 * 0.0001)
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
            except Now:
                raised += 1
            except RuntimeError:  # threading.Condition's own, if the signal comes right when it has let its lock go
                assert sys.exc_info()[1].__context__.__class__ is Now
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
