# SPDX-License-Identifier: Apache-2.0
"""gevent and eventlet: patched before the package is imported, or after it, as gunicorn does with `--preload`."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.cluster import Where

TIMEOUT = 60

GEVENT = """
import gevent, gevent.monkey
def patch():
    gevent.monkey.patch_all()
def at_once(work, count):
    return [one.get(timeout=30) for one in [gevent.spawn(work, number) for number in range(count)]]
"""
EVENTLET = """
import warnings
warnings.simplefilter("ignore")
import eventlet
def patch():
    eventlet.monkey_patch()
def at_once(work, count):
    return [one.wait() for one in [eventlet.spawn(work, number) for number in range(count)]]
"""
MADE = """
import json, logging, os, sys
from fluvio_sync import *
from fluvio_sync.client import unconnected
from fluvio_sync.contrib.logging import FluvioHandler
endpoint, topic = sys.argv[1:3]
client = unconnected({"endpoint": endpoint})
handler = FluvioHandler(topic, endpoint)
logging.getLogger("shop").addHandler(handler)
logging.getLogger("shop").setLevel("INFO")
"""
USED = """
import threading, time
at_once(lambda number: client.running or client.health(), 20)
producer = client.topic_producer(topic, linger=0.05)
at_once(lambda number: producer.send(b"sent").result(timeout=20), 20)
called = threading.Event()
producer.send(b"sent").add_done_callback(lambda future: called.set())
assert called.wait(20), "the callback never ran"
at_once(lambda number: logging.getLogger("shop").info("logged"), 20)
handler.flush()
others = at_once(lambda number: Fluvio.connect(endpoint, client_id=f"other-{number}"), 20)
result = client.close(timeout=20)
print(json.dumps([list(result)[:3], handler.dropped]))
"""
FORKED = """
early = Fluvio.connect(endpoint)  # gunicorn's master, which forks its workers
early_producer = early.topic_producer(topic)
early_producer.send(b"master").result(timeout=20)
child = os.fork()
if child:
    _, status = os.waitpid(child, 0)
    early.close()
    sys.exit(os.waitstatus_to_exitcode(status))
client = early
"""


def run(where: Where, kind: str, *parts: str) -> None:
    pytest.importorskip(kind, reason=f"{kind} is not installed")
    library = {"gevent": GEVENT, "eventlet": EVENTLET}[kind]
    topic = where.topic()
    script = "\n".join(textwrap.dedent(part) for part in (library, *parts))
    line = [sys.executable, "-c", script, where.endpoint, topic]
    done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    result, dropped = json.loads(done.stdout)
    assert (result, dropped) == ([21, 0, 0], 0), done.stderr
    found = [record.value for record in where.records(topic)]
    assert sum(value == b"sent" for value in found) == 21
    assert sum(b"logged" in value for value in found) == 20, "log records were lost"


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
class TestPatched:
    def test_first(self, where: Where, kind: str) -> None:
        run(where, kind, "patch()", MADE, USED)

    def test_after_clients_and_log_handlers_were_made(self, where: Where, kind: str) -> None:
        run(where, kind, MADE, "patch()", USED)

    def test_in_a_fork_of_a_process_that_sent(self, where: Where, kind: str) -> None:
        run(where, kind, MADE, FORKED, "patch()", USED)

    def test_in_a_fork_of_a_patched_process_that_sent(self, where: Where, kind: str) -> None:
        run(where, kind, "patch()", MADE, FORKED, USED)


@pytest.mark.parametrize(
    ("kind", "library", "left_out"),
    [("gevent", GEVENT, "thread"), ("gevent", GEVENT, "select"), ("eventlet", EVENTLET, "select")],
)
def test_a_partly_patched_process_is_told_the_remedy(where: Where, kind: str, library: str, left_out: str) -> None:
    pytest.importorskip(kind, reason=f"{kind} is not installed")
    patch = library.replace("patch_all()", f"patch_all({left_out}=False)")
    patch = patch.replace("monkey_patch()", f"monkey_patch({left_out}=False)")
    connect = "import sys; patch(); from fluvio_sync import *; Fluvio.connect(sys.argv[1])"
    line = [sys.executable, "-c", f"{patch}\n{connect}", where.endpoint]
    done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 1
    words = ("fluvio_sync.errors.ConfigError", f"{kind} has patched", ".monkey", "() without arguments")
    assert all(word in done.stderr.splitlines()[-1] for word in words)


@pytest.mark.parametrize("left_out", ["thread=False, select=False", "socket=False"])
def test_gevent_without_modules_that_do_not_matter(where: Where, left_out: str) -> None:
    pytest.importorskip("gevent", reason="gevent is not installed")
    patch = GEVENT.replace("patch_all()", f"patch_all({left_out})")
    send = """
import sys; patch()
from fluvio_sync import *
with Fluvio.connect(sys.argv[1]) as fluvio:
    print(fluvio.topic_producer(sys.argv[2]).send(b"x").result(timeout=20).offset)
"""
    line = [sys.executable, "-c", f"{patch}\n{send}", where.endpoint, where.topic()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
