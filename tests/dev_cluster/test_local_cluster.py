# SPDX-License-Identifier: Apache-2.0
"""`LocalCluster`, its process, and the command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.errors import ServerError, TopicNotFoundError
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing import LocalCluster, read_records
from fluvio_sync.testing._cluster import process as cluster_process
from tests.dev_cluster.messages import batch, produce
from tests.support.asking import Asked
from tests.support.system import needs_fork
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


TIMEOUT = 10.0
COMMAND = [sys.executable, "-m", "fluvio_sync.testing.dev_cluster"]


def write(cluster: LocalCluster, request: Any) -> None:
    endpoint = cluster.spu_endpoints[5001]
    with Asked(endpoint, SPU_CLIENT_RANGES) as asked:
        asked.ask(SpuApi.PRODUCE, request)


def is_served(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("in_process", [False, True])
def test_everything_can_be_ordered_of_either_kind(*, in_process: bool) -> None:
    with LocalCluster(spus=2, in_process=in_process) as cluster:
        assert list(cluster.spu_endpoints) == [5001, 5002]
        cluster.create_topic("t", partitions=1, replication=2, compression="gzip")
        with pytest.raises(ServerError, match="already exists") as refused:
            cluster.create_topic("t")
        assert (refused.value.code, refused.value.name) == (2002, "TopicAlreadyExists")
        with pytest.raises(ValueError, match="compression"):
            cluster.create_topic("u", compression="brotli")
        cluster.create_topic("small", segment_size=1024)
        cluster.add_partitions("t", 1)
        cluster.delete_topic("small")
        with pytest.raises(ServerError, match="not found"):
            cluster.delete_topic("small")
        assert [cluster.leader("t", 0), cluster.leader("t", 1)] == [5001, 5002]
        with pytest.raises(ValueError, match="no partition 7"):
            cluster.leader("t", 7)
        cluster.move_leader("t", 1, 5001, lost=1)
        with pytest.raises(ValueError, match="without -1 batches"):
            cluster.move_leader("t", 1, 5001, lost=-1)
        for order in (cluster.kill_spu, cluster.restart_spu):
            with pytest.raises(ValueError, match="there is no SPU 5003; there are 5001, 5002"):
                order(5003)
        cluster.kill_spu(5002)
        cluster.restart_spu(5002)
        cluster.kill_sc()
        cluster.restart_sc()
        cluster.hold_replies(5001)
        cluster.hold_replies(5001, on=False)
        cluster.fail_next_produce(1000, count=1, topic="other")
        with pytest.raises(ValueError, match="payload"):
            cluster.fail_next_produce(7)
        cluster.cut_next_produce(5002)
        write(cluster, produce("t", (0, batch(b"a", codec=1))))
        ((offset, timestamp, key, value, _),) = cluster.records("t")
        assert (offset, timestamp, key, value) == (0, 1_700_000_000_000, b"k0", b"a")
        assert cluster.violations() == []


def test_it_runs_within_its_with_block() -> None:
    cluster = LocalCluster()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = cluster.endpoint
    with cluster:
        endpoints = [cluster.endpoint, *cluster.spu_endpoints.values()]
        assert all(is_served(endpoint) for endpoint in endpoints)
        with pytest.raises(RuntimeError, match="running already"):
            cluster.start()
    assert not any(is_served(endpoint) for endpoint in endpoints)
    cluster.close()
    with cluster:
        again = [cluster.endpoint, *cluster.spu_endpoints.values()]
        assert again == endpoints


@pytest.mark.parametrize("in_process", [False, True])
def test_a_taken_port_is_named(*, in_process: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = LocalCluster(port=port, in_process=in_process)
        with pytest.raises(RuntimeError, match=rf"127\.0\.0\.1:{port}: Address already in use \(asked for by the SC"):
            cluster.start()
    cluster.close()


def test_records_survive_a_crash_and_a_torn_write(tmp_path: Path) -> None:
    cluster = LocalCluster(data_dir=tmp_path)
    with cluster:
        cluster.create_topic("t")
        write(cluster, produce("t", (0, batch(b"a", b"b"))))
        cluster.kill()
        with (tmp_path / "t-0.log").open("ab") as log:
            log.write(batch(b"half")[:-1])
        cluster.start()
        assert [record.value for record in cluster.records("t")] == [b"a", b"b"]
        write(cluster, produce("t", (0, batch(b"c"))))
        assert [record.value for record in cluster.records("t")] == [b"a", b"b", b"c"]
    with LocalCluster(data_dir=tmp_path, in_process=True) as other:
        assert [record.offset for record in other.records("t")] == [0, 1, 2]


@pytest.mark.parametrize("in_process", [False, True])
def test_a_request_is_carried_out_after_its_connection_broke(*, in_process: bool) -> None:
    with LocalCluster(in_process=in_process) as cluster:
        cluster.create_topic("t")
        cluster.cut_next_produce(5001, "late", delay=0.5)
        with pytest.raises(ConnectionError, match="broke"):
            write(cluster, produce("t", (0, batch(b"late"))))
        write(cluster, produce("t", (0, batch(b"in time"))))
        assert [record.value for record in cluster.records("t")] == [b"in time"]
        wait_until(lambda: len(cluster.records("t")) > 1, "the request is carried out")
        assert [record.value for record in cluster.records("t")] == [b"in time", b"late"]


def test_what_a_new_leader_lacks_is_gone_for_good(tmp_path: Path) -> None:
    with LocalCluster(spus=2, data_dir=tmp_path, in_process=True) as cluster:
        cluster.create_topic("t", replication=2)
        for value in (b"a", b"b", b"c"):
            write(cluster, produce("t", (0, batch(value))))
        cluster.move_leader("t", 0, 5002, lost=2)
        assert [record.value for record in cluster.records("t")] == [b"a"]
    with LocalCluster(spus=2, data_dir=tmp_path, in_process=True) as again:
        assert again.leader("t") == 5002
        assert [record.value for record in again.records("t")] == [b"a"]


def test_a_strict_cluster_tells_of_violations() -> None:
    good = batch(b"a")
    with LocalCluster() as cluster:
        cluster.create_topic("t")
        with pytest.raises(ConnectionError, match="broke"):
            write(cluster, produce("t", (0, good[:17] + bytes(4) + good[21:])))
        (violation,) = cluster.violations()
        assert "checksum" in violation


# --- processes -----------------------------------------------------------------------------------


def run(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


START = "from fluvio_sync.testing import LocalCluster\nimport os, sys, signal\n"
START += "cluster = LocalCluster().start()\nprint(cluster.endpoint, flush=True)\n"


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_cluster_does_not_outlive_its_process() -> None:
    process = run(START + "sys.stdin.read()")
    endpoint = first_line(process)
    assert is_served(endpoint)
    end(process)
    wait_until(lambda: not is_served(endpoint), "the cluster ends")


@needs_fork
def test_a_fork_neither_ends_nor_keeps_the_cluster() -> None:
    script = """
if os.fork() == 0:
    cluster.close()
    print("closed", flush=True)
    sys.stdin.read()
else:
    signal.pause()
"""
    process = run(START + script)
    endpoint = first_line(process)
    assert first_line(process) == "closed"
    assert is_served(endpoint)
    process.kill()
    process.wait()
    wait_until(lambda: not is_served(endpoint), "the cluster ends")
    process.communicate()  # the fork, which had lived on, reads the end of its input


def test_the_child_finds_the_package_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with LocalCluster() as cluster:
        assert is_served(cluster.endpoint)


def test_a_late_answer_is_not_taken_for_another_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCluster() as cluster:
        os.kill(cluster._running.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        with monkeypatch.context() as patch:
            patch.setattr(cluster_process, "ORDER_TIMEOUT", 0.05)
            with pytest.raises(RuntimeError, match="mute"):
                cluster.create_topic("t")
        os.kill(cluster._running.pid, signal.SIGCONT)  # type: ignore[union-attr]
        assert cluster.violations() == []
        assert cluster.leader("t") == 5001


def test_orders_to_a_dead_cluster_fail() -> None:
    with LocalCluster() as cluster:
        os.kill(cluster._running.pid, signal.SIGKILL)  # type: ignore[union-attr]
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended with status -9"):
                cluster.create_topic("t")
    with LocalCluster(in_process=True) as cluster:
        cluster._running.stop()  # type: ignore[union-attr]
        with pytest.raises(RuntimeError, match="has ended"):
            cluster.create_topic("t")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    arguments = ["--port", "0", "--spus", "2", "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    endpoint = first_line(process)
    try:
        assert "development" in first_line(process)
        with pytest.raises(TopicNotFoundError):
            read_records(endpoint, "nope")
    finally:
        process.send_signal(number)
        out, _ = process.communicate(timeout=TIMEOUT)
    assert out == "The cluster has ended.\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--spus", "0"], "at least one SPU"),
        (["--port", "TAKEN"], "Address already in use"),
        (["--port", "0", "--data-dir", "/dev/null"], "dev-cluster: /dev/null: File exists"),
        (["--port", "65535"], "SPU 5001 cannot have the port 65536"),
        (["--port", "-1"], "the SC cannot have the port -1"),
    ],
)
def test_the_command_says_why_it_cannot_start(arguments: list[str], reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [*COMMAND, *(item.replace("TAKEN", port) for item in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert "[Errno" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_importing_brings_no_asyncio() -> None:
    code = "import sys, fluvio_sync.testing; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT, check=False, env=alone()).returncode == 0


def alone() -> dict[str, str]:
    """Return the environment of a process that coverage does not follow: it would import more."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "COV_"))}
