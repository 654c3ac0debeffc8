# SPDX-License-Identifier: Apache-2.0
"""Networks that forget connections: packets vanish, new connections work.

A firewall in a network namespace of its own forgets them (Linux, root, `unshare` and `iptables`).
"""

from __future__ import annotations

import functools
import shutil
import socket
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from fluvio_sync._net.transport import SocketTransport
from tests.support.scripts import command

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.alone


@pytest.mark.skipif(sys.platform != "linux", reason="the option is Linux's")
@pytest.mark.parametrize(
    ("request_timeout", "milliseconds"), [(30.0, 30_000), (0.2, 1000), (timedelta(days=1000), 86_400_000)]
)
def test_the_system_gives_up_connections_that_nothing_acknowledges(
    own: LocalCluster, request_timeout: float | timedelta, milliseconds: int
) -> None:
    own.create_topic("t")
    with Fluvio.connect(own.endpoint, request_timeout=request_timeout) as fluvio:
        fluvio.topic_producer("t").send(b"x").result(5)
        engine = fluvio._holder.engine
        assert engine is not None
        connections = engine.sender._all_connections()
        assert [connection.peer.name for connection in connections] == ["SPU 5001", "SC"]
        for connection in connections:
            assert isinstance(connection.transport, SocketTransport)
            sock = connection.transport.sock
            assert sock is not None
            limit = milliseconds if connection.owner else min(milliseconds, 15_000)  # the SC's requests are small
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == limit
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10


@functools.cache
def why_no_firewall() -> str:
    """Return why no network namespace with a firewall can be made here, "" if one can."""
    missing = [name for name in ("unshare", "ip", "iptables") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is missing"
    tried = in_namespace(["iptables", "-L"], timeout=10)
    return "" if tried.returncode == 0 else f"no namespace can be made: {tried.stderr.strip()}"


def in_namespace(line: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command in a network of its own, which has a loopback."""
    entered = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    return subprocess.run([*entered, *line], capture_output=True, text=True, timeout=timeout, check=False)


FORGETS = """
    import logging, subprocess
    from fluvio_sync.testing import LocalCluster
    logging.basicConfig(stream=sys.stdout, format="%(message)s")

    def forget(connection):
        ports = connection.transport.sock.getsockname()[1], connection.transport.sock.getpeername()[1]
        for ours, theirs in (ports, ports[::-1]):
            rule = ["iptables", "-A", "INPUT", "-p", "tcp", "--sport", str(ours), "--dport", str(theirs), "-j", "DROP"]
            subprocess.run(rule, check=True)

    def wait_until(condition):
        began = time.monotonic()
        while not condition():
            assert time.monotonic() < began + 40
            time.sleep(0.05)

    with LocalCluster() as cluster:
        cluster.create_topic("t")
        fluvio = Fluvio.connect(cluster.endpoint, request_timeout=3)
        producer = fluvio.topic_producer("t", delivery_semantic=AtLeastOnce(RetryPolicy(timeout=30)))
        producer.send(b"before").result(5)
        engine = fluvio._holder.engine
        (sc,), (spu,) = engine.watch.connections(), engine.sender._connections.values()
        forget(sc)
        forget(spu)
        {then}
        fluvio.close()
"""


def behind_a_firewall(then: str) -> list[str]:
    """Have connections to the SC and an SPU forgotten, and run some lines; return the lines that are printed."""
    if why_no_firewall():
        pytest.skip(why_no_firewall())
    lines = f"\n{' ' * 8}".join(then.strip().splitlines())
    done = in_namespace(command(FORGETS.replace("{then}", lines), "", ""), timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_forgotten_connections_that_are_silent_are_found_by_probes() -> None:
    *_, health, used = behind_a_firewall("""
wait_until(lambda: sc not in engine.watch.connections() and engine.watch.established)
say(fluvio.health().connected)
wait_until(lambda: spu not in engine.sender._connections.values())
began = time.monotonic()
producer.send(b"after").result(20)
say(time.monotonic() - began < 2)
""")
    assert (health, used) == ("True", "True")


@pytest.mark.slow
def test_a_record_on_a_forgotten_connection_is_sent_on_another() -> None:
    *logged, used = behind_a_firewall("""
began = time.monotonic()
producer.send(b"after").result(20)
say(1 < time.monotonic() - began < 10)
""")
    assert used == "True"
    assert any("spu.disconnected" in line and "SPU 5001 at 127.0.0.1" in line for line in logged), logged
