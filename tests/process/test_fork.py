# SPDX-License-Identifier: Apache-2.0
"""Forks at awkward moments, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from fluvio_sync.testing import LocalCluster

# Python 3.12 and later warn of every fork where there are threads.
PYTHON = (sys.executable, "-W", "ignore:This process:DeprecationWarning")

if not hasattr(os, "fork"):
    pytest.skip("there is no fork here", allow_module_level=True)


def run(script: str, *arguments: str) -> str:
    """Run a script in a new interpreter; it has to end well and to say nothing on standard error."""
    done = subprocess.run(
        [*PYTHON, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_child_forked_right_after_connecting_sends() -> None:
    script = """
        import os, sys
        from fluvio_sync import Fluvio
        fluvio = Fluvio.connect(sys.argv[1])
        producer = fluvio.topic_producer("t")
        before = producer.send("parent")
        child = os.fork()
        if child == 0:
            print(producer.send("child").result(10).acknowledged, flush=True)
            fluvio.close(5)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(before.result(10).acknowledged, status)
        """
    with LocalCluster() as cluster:
        cluster.create_topic("t")
        for _ in range(5):
            assert run(script, cluster.endpoint).split() == ["True", "True", "0"]
        values = [record.value for record in cluster.records("t", 0)]
    assert (values.count(b"parent"), values.count(b"child")) == (5, 5)


def test_the_sender_imports_nothing() -> None:
    """A module that is being imported by a thread when the process forks can never be imported in the child."""
    script = """
        import sys, threading
        from fluvio_sync import *
        fluvio = Fluvio.connect(sys.argv[1])
        imported = []
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if threading.current_thread() is not threading.main_thread():
                    imported.append((threading.current_thread().name, name))
        sys.meta_path.insert(0, Watch())
        retrying = AtLeastOnce(RetryPolicy(max_retries=3, initial_delay=0.01))
        for settings in ({}, {"compression": "gzip"}, {"isolation": "read-committed"}, {"delivery_semantic": retrying}):
            fluvio.topic_producer("t", **settings).send("x").result(10)
        print("ready", flush=True)
        input()
        future = fluvio.topic_producer("t", delivery_semantic=retrying).send("x")
        print(type(future.exception(10)).__name__)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        done.wait(10)
        print(imported)
        """
    with LocalCluster() as cluster:
        cluster.create_topic("t")
        with subprocess.Popen(
            [*PYTHON, "-c", textwrap.dedent(script), cluster.endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            cluster.fail_next_produce(1000, count=10)
            output, _ = process.communicate("\n", timeout=30)
    assert output.splitlines() == ["RetriesExhaustedError", "[]"]
