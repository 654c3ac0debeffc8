# SPDX-License-Identifier: Apache-2.0
"""Where the cluster listens: what its clients are told, and what whoever starts it is told of who can reach it."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from fluvio_sync.protocol.metadata import SpuObject
from fluvio_sync.protocol.versions import SC_CLIENT_RANGES, ScApi
from fluvio_sync.protocol.watch import ListRequest, ListResponse, WatchRequest, WatchUpdate
from fluvio_sync.testing import LocalCluster
from tests.support.asking import Asked
from tests.support.sockets import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluvio_sync.protocol.metadata import MetadataObject
    from tests.support.certificates import Certificates

WARNING = "authenticates nobody: whoever reaches that address can read, write and delete all records"

LOOPBACK = ["127.0.0.1", "127.0.0.2"] if sys.platform == "linux" else ["127.0.0.1"]


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def hosts_of(objects: Iterable[MetadataObject]) -> set[str | None]:
    """Return all addresses of SPUs."""
    hosts: set[str | None] = set()
    for spu in objects:
        assert isinstance(spu, SpuObject)
        hosts |= {spu.spec.private_endpoint.host, spu.spec.public_endpoint.ingress[0].hostname}
    return hosts


def spu_hosts(endpoint: str) -> set[str | None]:
    """Return all addresses of SPUs that a client of this endpoint is told: in a list, and as a watcher."""
    with Asked(endpoint, SC_CLIENT_RANGES) as asked:
        listed = ListResponse.read(asked.ask(ScApi.LIST, ListRequest(SpuObject.LABEL)), asked.version(ScApi.LIST))
        watched = WatchUpdate.read(asked.ask(ScApi.WATCH, WatchRequest(SpuObject.LABEL)), asked.version(ScApi.WATCH))
    return hosts_of((*listed.items, *watched.all))


@pytest.mark.parametrize("in_process", [False, True])
@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("0.0.0.0", LOOPBACK),
        pytest.param("::", ["::1", "127.0.0.1"], marks=needs_ipv6),
    ],
)
def test_a_cluster_at_all_addresses_tells_each_client_the_one_that_it_came_to(
    host: str, reached: list[str], capfd: pytest.CaptureFixture[str], *, in_process: bool
) -> None:
    with LocalCluster(host=host, in_process=in_process) as cluster:
        endpoints = [cluster.endpoint, *cluster.spu_endpoints.values()]
        own = f"[{reached[0]}]" if ":" in reached[0] else reached[0]
        assert {endpoint.rpartition(":")[0] for endpoint in endpoints} == {own}
        port = cluster.endpoint.rpartition(":")[2]
        for address in reached:
            shown = f"[{address}]" if ":" in address else address
            assert spu_hosts(f"{shown}:{port}") == {address}
            cluster.create_topic(name := f"t{reached.index(address)}")
            with Fluvio.connect(f"{shown}:{port}") as client:
                client.topic_producer(name).send(b"a").result(TIMEOUT)
            assert [record.value for record in cluster.records(name)] == [b"a"]
    assert f"warning: it listens at {host} and {WARNING}" in capfd.readouterr().err


def test_a_watcher_is_told_the_same_of_an_spu_that_goes_down() -> None:
    with LocalCluster(host="0.0.0.0", spus=2) as cluster, Asked(cluster.endpoint, SC_CLIENT_RANGES) as asked:
        correlation = asked.send(ScApi.WATCH, WatchRequest(SpuObject.LABEL))
        asked.receive(correlation)
        cluster.kill_spu(5002)
        update = WatchUpdate.read(asked.receive(correlation), asked.version(ScApi.WATCH))
    assert hosts_of(change.content for change in update.changes) == {"127.0.0.1"}


def test_an_advertised_address_stays_as_it_is_said() -> None:
    with LocalCluster(host="0.0.0.0") as cluster:
        cluster.advertise(5001, "broker.test:9010")
        assert spu_hosts(cluster.endpoint) == {"broker.test", "127.0.0.1"}


@pytest.mark.parametrize("host", [*LOOPBACK, "localhost", pytest.param("::1", marks=needs_ipv6)])
def test_a_cluster_on_loopback_tells_its_own_address_and_warns_of_nothing(
    host: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with LocalCluster(host=host) as cluster:
        assert spu_hosts(cluster.endpoint) == {host}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("kind", "warned"), [("tls", True), ("mutual", False)])
def test_only_certificates_of_clients_authenticate_them(
    certificates: Certificates, capfd: pytest.CaptureFixture[str], kind: str, *, warned: bool
) -> None:
    with LocalCluster(host="0.0.0.0", **certificates.of_cluster(kind)):
        pass
    assert (WARNING in capfd.readouterr().err) == warned
