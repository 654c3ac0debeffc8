# SPDX-License-Identifier: Apache-2.0
"""Names with several addresses, and IPv6."""

from __future__ import annotations

import errno
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from fluvio_sync import ConnectError, ConnectTimeoutError, Fluvio
from fluvio_sync.client import unconnected
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.sockets import free_port, swallowing
from tests.support.waiting import within

pytestmark = pytest.mark.alone

NAME = "sc.example"


def has_ipv6() -> bool:
    with closing(socket.socket(socket.AF_INET6)) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
        return True


needs_ipv6 = pytest.mark.skipif(not socket.has_ipv6 or not has_ipv6(), reason="this machine has no IPv6 loopback")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Have `NAME` resolve to these addresses, in this order."""
    real = socket.getaddrinfo

    def found(host: Any, *arguments: Any, **settings: Any) -> Any:
        if host != NAME:
            return real(host, *arguments, **settings)
        if settings.get("flags"):
            raise socket.gaierror
        return [entry for address in addresses for entry in real(*address, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def refusing() -> tuple[str, int]:
    return "127.0.0.1", free_port()


def address_of(cluster: LocalCluster) -> tuple[str, int]:
    host, _, port = cluster.endpoint.rpartition(":")
    return host.strip("[]"), int(port)


@needs_ipv6
def test_a_cluster_with_ipv6() -> None:
    with LocalCluster(host="::1", in_process=True) as cluster:
        assert cluster.endpoint.startswith("[::1]:")
        with Fluvio.connect(cluster.endpoint) as fluvio:
            assert fluvio.endpoint == cluster.endpoint
            fluvio.create_topic("t")
            assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0


@needs_ipv6
def test_a_name_with_ipv6_and_ipv4_where_one_serves(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ("::1", address_of(own)[1]), address_of(own))
    with within(1), Fluvio.connect(NAME) as fluvio:
        assert fluvio.topics() == []


def test_every_address_is_tried(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, refusing(), refusing(), address_of(own))
    with within(0.5), Fluvio.connect(NAME) as fluvio:
        assert fluvio.topics() == []


@pytest.mark.parametrize("failing", [1, 2])
def test_addresses_that_fail_at_once_hide_no_other(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """Their sockets' descriptors are used again."""
    at_once = ("255.255.255.255", 9)
    with closing(socket.socket()) as sock:
        sock.setblocking(False)
        assert sock.connect_ex(at_once) not in {0, errno.EINPROGRESS}
    own.create_topic("t")
    (spu,) = own.spu_endpoints.values()
    resolve_to(monkeypatch, refusing(), *[at_once] * failing, address_of(own))
    with within(0.5), Fluvio.connect(NAME) as fluvio:
        assert fluvio.topics() == ["t"]
    resolve_to(monkeypatch, refusing(), *[at_once] * failing, ("127.0.0.1", int(spu.rpartition(":")[2])))
    with within(0.5), Fluvio.connect(own.endpoint, spu_address_override={5001: f"{NAME}:9010"}) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0


def test_a_name_that_dns_cannot_have_is_an_address_that_does_not_work() -> None:
    name = "a\N{LEFT-TO-RIGHT MARK}b"  # which IDNA does not allow
    with pytest.raises(ConnectError, match=f"{name}.*its name cannot be resolved"):
        Fluvio.connect(f"{name}.example:9003")


def test_an_address_that_does_not_answer_takes_no_more_than_its_share(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with swallowing() as silent:
        resolve_to(monkeypatch, silent, address_of(own))
        with within(1, shortest=1), Fluvio.connect(NAME, connect_timeout=2) as fluvio:
            assert fluvio.endpoint == f"{NAME}:9003"


def test_no_address_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with swallowing() as silent:
        resolve_to(monkeypatch, silent, refusing(), refusing())
        with within(0.3), pytest.raises(ConnectError) as caught:
            Fluvio.connect(NAME, connect_timeout=0.6)
    assert NAME in str(caught.value)
    assert "no answer; Connection refused" in str(caught.value)


def test_threads_that_find_no_cluster_wait_no_longer_than_one() -> None:
    """As a web application's do whose client connects at its first use."""
    with swallowing() as (host, port):
        fluvio = unconnected({"endpoint": f"{host}:{port}", "connect_timeout": 0.5})

        def use(_: int) -> BaseException:
            with pytest.raises(ConnectTimeoutError, match=f"{host}:{port}") as caught:
                fluvio.topics()
            return caught.value

        with within(0.6, shortest=0.5), ThreadPoolExecutor(8) as pool:
            errors = list(pool.map(use, range(8)))
        assert len({id(error) for error in errors}) == 8  # each its own: a shared one would grow its traceback
        with within(0.5, shortest=0.5):  # a later call tries again
            use(0)


def test_spus_are_reached_by_name_too(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.create_topic("t")
    host, _, port = own.spu_endpoints[5001].rpartition(":")
    resolve_to(monkeypatch, refusing(), (host, int(port)))
    own.advertise(5001, f"{NAME}:9010")
    with Fluvio.connect(own.endpoint) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
