# SPDX-License-Identifier: Apache-2.0
"""The life of real processes: their exit, their output, and forks."""

from __future__ import annotations

import json
import multiprocessing.util
import sys
import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from tests.support.scripts import finish, run, running, values
from tests.support.system import needs_fork
from tests.support.waiting import SLACK

if TYPE_CHECKING:
    from pathlib import Path

    from fluvio_sync.testing.cluster import LocalCluster
    from tests.support.cluster import Where

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


@pytest.mark.alone
@pytest.mark.parametrize(
    ("fault", "clients", "longest"),
    [("dead", 1, 0.5), ("dead", 4, 0.5), ("mute", 1, 2.5)],  # replies are waited for 2 s at most
)
def test_leaving_a_cluster_that_fails_is_bounded_and_tells_the_loss(
    own: LocalCluster, fault: str, clients: int, longest: float
) -> None:
    own.create_topic("t")
    script = f"""
        producers = [Fluvio.connect(endpoint, exit_timeout=0.5).topic_producer(topic) for _ in range({clients})]
        for producer in producers:
            producer.send("warm").result(5)
        say("ready")
        input()
        for number in range(5):
            for producer in producers:
                producer.send(str(number))
        pending = "records_queued" if "{fault}" == "dead" else "records_in_flight"
        while not all(getattr(producer.stats(), pending) for producer in producers):
            time.sleep(0.001)
        say(time.monotonic())
        """
    with running(script, own.endpoint, "t") as process:
        process.hear()
        if fault == "dead":
            own.kill_spu(5001)
        else:
            own.hold_replies(5001)
        process.tell()
        started = float(process.hear())
        status, stderr = process.end()
        took = time.monotonic() - started
    assert status == 0
    assert 0.5 <= took <= longest + 2 * SLACK
    lines = stderr.splitlines()
    assert len(lines) == clients
    for line in lines:
        assert line.startswith("fluvio_sync: 5 records not acknowledged within 0.5 s (exit_timeout), and lost")


def test_an_at_most_once_record_that_is_lost_at_exit_is_told_of(own: LocalCluster) -> None:
    own.create_topic("t")
    script = """
        fluvio = Fluvio.connect(endpoint, exit_timeout=0.3)
        producer = fluvio.topic_producer(topic, delivery_semantic=AtMostOnce())
        say("ready")
        input()
        # A leader that is not known to be offline is tried at once, and the record dropped, which is only logged.
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


@needs_fork
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


@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=needs_fork), "spawn", pytest.param("forkserver", marks=needs_fork)]
)
def test_multiprocessing(where: Where, tmp_path: Path, method: str) -> None:
    topic = where.topic()
    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESSING)
    done = finish([sys.executable, *NO_FORK_WARNING, str(script), where.endpoint, topic, method])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expected = ["parent", f"{method} client", f"{method} producer"]
    if method == "fork":
        expected += ["process inherited", "pool inherited"]
    assert sorted(values(where, topic, len(expected))) == sorted(expected)


def test_many_clients_leave_nothing_behind_in_multiprocessing(own: LocalCluster) -> None:
    registry: dict[object, object] = multiprocessing.util._finalizer_registry  # type: ignore[attr-defined]
    Fluvio.connect(own.endpoint).close()
    before = len(registry)
    for _ in range(3):
        Fluvio.connect(own.endpoint).close()
    assert len(registry) == before


@needs_fork
def test_a_child_forked_right_after_connecting_sends(own: LocalCluster) -> None:
    own.create_topic("t")
    script = """
        fluvio = Fluvio.connect(endpoint)
        producer = fluvio.topic_producer(topic)
        before = producer.send("parent")
        child = os.fork()
        if child == 0:
            say(producer.send("child").result(10).acknowledged)
            fluvio.close(5)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say(before.result(10).acknowledged, status)
        """
    for _ in range(5):
        done = run(script, own.endpoint, "t", flags=NO_FORK_WARNING)
        assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True", "True", "0"], "")
    assert sorted(record.value for record in own.records("t")) == [b"child"] * 5 + [b"parent"] * 5


@needs_fork
def test_a_poller_that_does_not_outlive_a_fork_is_no_error_in_the_child(own: LocalCluster) -> None:
    """So is a kqueue, which CPython before 3.12.1 closes in the child all the same."""
    own.create_topic("t")
    script = """
        import errno, select, selectors
        class Kqueue(selectors.SelectSelector):
            def __init__(self):
                super().__init__()
                self.pid = os.getpid()
            def close(self):
                super().close()
                if os.getpid() != self.pid:
                    raise OSError(errno.EBADF, "Bad file descriptor")
        selectors.DefaultSelector = Kqueue
        clients = [Fluvio.connect(endpoint) for _ in range(3)]
        producers = [client.topic_producer(topic) for client in clients]
        say(*[producer.send("parent").result(10).acknowledged for producer in producers])
        child = os.fork()
        if child == 0:
            say(*[client.running for client in clients])
            say(*[producer.send("child").result(10).acknowledged for producer in producers])
            os._exit(0)
        say(os.waitpid(child, 0)[1])
        """
    done = run(script, own.endpoint, "t", flags=NO_FORK_WARNING)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True True True", "False False False", "True True True", "0"]


@needs_fork
def test_one_client_that_cannot_be_left_behind_does_not_keep_the_others(own: LocalCluster) -> None:
    script = """
        from fluvio_sync._runtime.engine import Engine
        def fail(self):
            raise ValueError("a fault of the test")
        clients = [Fluvio.connect(endpoint) for _ in range(3)]
        for client in clients[:2]:
            client._holder.engine.abandon = fail.__get__(client)
        child = os.fork()
        if child == 0:
            say(*[client.running for client in clients], clients[2]._holder.engine)
            os._exit(0)
        say(os.waitpid(child, 0)[1])
        """
    done = run(script, own.endpoint, "t", flags=NO_FORK_WARNING)
    assert "a fault of the test" in done.stderr
    assert done.stdout.splitlines() == ["False False False None", "0"]


def test_the_sender_imports_nothing(own: LocalCluster) -> None:
    """A module that is being imported by a thread when the process forks can never be imported in the child."""
    own.create_topic("t")
    script = """
        fluvio = Fluvio.connect(endpoint)
        from tests.support.import_watch import watch_imports
        imported = watch_imports()
        retrying = AtLeastOnce(RetryPolicy(max_retries=3, initial_delay=0.01))
        for settings in ({}, {"compression": "gzip"}, {"isolation": "read-committed"}, {"delivery_semantic": retrying}):
            fluvio.topic_producer(topic, **settings).send("x").result(10)
        say("ready")
        input()
        future = fluvio.topic_producer(topic, delivery_semantic=retrying).send("x")
        say(type(future.exception(10)).__name__)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        done.wait(10)
        say(imported)
        """
    with running(script, own.endpoint, "t") as process:
        assert process.hear() == "ready"
        own.fail_next_produce(1000, count=10)
        process.tell()
        assert process.hear() == "RetriesExhaustedError"
        assert process.hear() == "[]"
