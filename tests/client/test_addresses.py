# SPDX-License-Identifier: Apache-2.0
"""Names with several addresses, and IPv6."""

from __future__ import annotations

import errno
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from fluvio_sync import (
    AtLeastOnce,
    ConnectError,
    ConnectTimeoutError,
    DeliveryTimeoutError,
    Fluvio,
    RetriesExhaustedError,
    RetryPolicy,
)
from fluvio_sync.client import unconnected
from fluvio_sync.testing.cluster import LocalCluster
from tests.support.client import attempts
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
    name = "a\N{REPLACEMENT CHARACTER}b"  # which IDNA does not allow
    with pytest.raises(ConnectError, match=f"{name}.*its name cannot be resolved"):
        Fluvio.connect(f"{name}.example:9003")


def test_an_address_that_does_not_answer_delays_the_next_by_a_quarter_of_a_second(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the address that worked is the first to be tried next time, for SPUs as for the SC."""
    own.create_topic("t")
    host, _, port = own.spu_endpoints[5001].rpartition(":")
    with swallowing() as silent:
        resolve_to(monkeypatch, silent, silent, address_of(own))
        with within(0.5, shortest=0.25), Fluvio.connect(NAME):
            pass
        with within(0.2), Fluvio.connect(NAME):
            pass
        resolve_to(monkeypatch, silent, (host, int(port)))
        with Fluvio.connect(own.endpoint, spu_address_override={5001: f"{NAME}:9010"}) as fluvio:
            assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0


def test_a_short_connect_timeout_is_shared_out(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with swallowing() as one, swallowing() as two, swallowing() as three:
        resolve_to(monkeypatch, one, two, three, address_of(own))
        with Fluvio.connect(f"{NAME}:9004", connect_timeout=0.8) as fluvio:
            assert fluvio.topics() == []


def test_no_address_works(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, refusing(), ("255.255.255.255", 9))
    with within(0.3), pytest.raises(ConnectError) as caught:
        Fluvio.connect(f"{NAME}:9005", connect_timeout=5)
    assert f"{NAME}:9005: 127.0.0.1: Connection refused; 255.255.255.255: " in str(caught.value)


def test_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which addresses were tried, and why each failed."""
    with swallowing() as silent:
        resolve_to(monkeypatch, silent, refusing())
        with within(0.6, shortest=0.6), pytest.raises(ConnectTimeoutError) as caught:
            Fluvio.connect(f"{NAME}:9006", connect_timeout=0.6)
    assert "still connecting after 0.6 s (connect_timeout): 127.0.0.1: Connection refused; 127.0.0.1: no answer" in str(
        caught.value
    )


def hang(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Have the look-up of `NAME` hang until the event is set."""
    real = socket.getaddrinfo
    found = threading.Event()

    def look_up(host: Any, *arguments: Any, **settings: Any) -> Any:
        if host == NAME:
            if settings.get("flags"):
                raise socket.gaierror
            found.wait(10)
            raise socket.gaierror(socket.EAI_AGAIN, "the test is over")
        return real(host, *arguments, **settings)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return found


SLOW_RESOLVER = rf"looking up '{NAME}' has taken 0\.[3-9] s: the resolver does not answer"


def test_a_look_up_that_hangs_is_named(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.create_topic("t")
    found = hang(monkeypatch)
    with pytest.raises(ConnectTimeoutError, match=f"SC at {NAME}:9003: {SLOW_RESOLVER}") as caught:
        Fluvio.connect(NAME, connect_timeout=0.3)
    assert "DNS servers" in caught.value.hint
    own.advertise(5001, f"{NAME}:9010")
    with Fluvio.connect(own.endpoint, connect_timeout=0.3) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(1))
        with pytest.raises(RetriesExhaustedError, match=f"SPU 5001 at {NAME}:9010 .*: {SLOW_RESOLVER}"):
            producer.send(b"x").result(5)
    with Fluvio.connect(own.endpoint) as fluvio:  # a policy's timeout may be shorter than connect_timeout
        producer = fluvio.topic_producer("t", delivery_semantic=AtLeastOnce(RetryPolicy(timeout=0.3)))
        with pytest.raises(DeliveryTimeoutError, match=f"SPU 5001 at {NAME}:9010 .*: {SLOW_RESOLVER}; it is not"):
            producer.send(b"x").result(5)
    found.set()


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
