# SPDX-License-Identifier: Apache-2.0
"""TLS to the SC and the SPUs, by a cluster whose ports are behind servers that speak TLS."""

from __future__ import annotations

import contextlib
import pickle
import select
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hostile import Gone, Server, Talk
from kit import assert_settled, attempts, read_back, within

from fluvio_sync import ConnectError, Fluvio, RetriesExhaustedError, TlsConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync.testing.cluster import LocalCluster

CERTIFICATES = Path(__file__).parent.parent / "unit" / "tls"
CA, OTHER_CA, CERT, KEY = (str(CERTIFICATES / name) for name in ("ca.crt", "other-ca.crt", "client.crt", "client.key"))


def server_context(*, wants_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "server.crt", CERTIFICATES / "server.key")
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(CA)
    return context


def decrypting(context: ssl.SSLContext, target: str) -> Callable[[Talk], None]:
    """Speak TLS to the client and plain TCP to `target`."""
    host, _, port = target.rpartition(":")

    def behave(talk: Talk) -> None:
        with (
            contextlib.suppress(OSError),
            context.wrap_socket(talk.sock, server_side=True) as client,
            socket.create_connection((host, int(port))) as server,
        ):
            shovel(client, server)

    return behave


def shovel(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Pass bytes on both ways in one thread: a TLS connection does not like two."""
    while True:
        ready = [client] if client.pending() else select.select([client, server], [], [])[0]
        for source, sink in ((client, server), (server, client)):
            if source in ready:
                data = source.recv(65536)
                if not data:
                    raise Gone
                sink.sendall(data)


class Secured:
    """The cluster's addresses behind TLS."""

    def __init__(self, cluster: LocalCluster, context: ssl.SSLContext) -> None:
        self.cluster = cluster
        self.servers = [
            Server(decrypting(context, target)) for target in (cluster.endpoint, cluster.spu_endpoints[5001])
        ]
        self.endpoint, self.spu = (server.endpoint for server in self.servers)

    def connect(self, tls: TlsConfig | ssl.SSLContext, **settings: Any) -> Fluvio:
        return Fluvio.connect(self.endpoint, tls=tls, spu_address_override={5001: self.spu}, **settings)


@pytest.fixture
def wants_client() -> bool:
    return False


@pytest.fixture
def secured(own: LocalCluster, wants_client: bool) -> Iterator[Secured]:  # noqa: FBT001
    own.create_topic("t")
    found = Secured(own, server_context(wants_client=wants_client))
    yield found
    for server in found.servers:
        server.close()


def verified(**settings: Any) -> TlsConfig:
    return TlsConfig.verified(**({"domain": "cluster.test", "ca_cert": CA} | settings))


def own_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CA)
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    "tls", [TlsConfig.anonymous(), verified(), own_context()], ids=["anonymous", "verified", "own"]
)
def test_everything_works_over_tls(secured: Secured, tls: TlsConfig | ssl.SSLContext) -> None:
    with secured.connect(tls) as fluvio:
        assert fluvio.topics() == ["t"]
        producer = fluvio.topic_producer("t")
        assert producer.send(b"first").result(5).offset == 0
        futures = producer.send_all([b"x" * 100] * 5000)
        futures += [producer.send(bytes([number]) * 1_000_000) for number in range(5)]
        assert producer.flush(20).acked == 5006
        assert [future.result(0).offset for future in futures] == list(range(1, 5006))
        fluvio.topic_producer("t", delivery_semantic="at-most-once").send(b"last")
    records = read_back(secured.cluster.endpoint, "t", count=5007)
    assert [record.value for record in records[-6:-1]] == [bytes([number]) * 1_000_000 for number in range(5)]
    assert records[-1].value == b"last"
    assert secured.servers[1].connections == 1


@pytest.mark.parametrize("wants_client", [True])
def test_a_cluster_that_wants_a_certificate_of_the_client(secured: Secured) -> None:
    with secured.connect(verified(cert=CERT, key=KEY)) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
    with within(1), pytest.raises(ConnectError, match=secured.endpoint):
        secured.connect(verified(), connect_timeout=1)


@pytest.mark.parametrize(
    ("tls", "text"),
    [
        (verified(ca_cert=OTHER_CA), "certificate"),
        (verified(domain="another.test"), "'another.test'"),
        (ssl.create_default_context(cafile=CA), "certificate"),
    ],
    ids=["another authority", "another name", "the address is checked"],
)
def test_an_sc_that_cannot_prove_who_it_is(secured: Secured, tls: TlsConfig | ssl.SSLContext, text: str) -> None:
    with within(0.2), pytest.raises(ConnectError, match=text) as caught:
        secured.connect(tls)
    assert type(caught.value) is ConnectError
    assert secured.endpoint in str(caught.value)
    assert "TLS" in str(caught.value)


def test_an_spu_without_tls_is_not_spoken_to_in_plain(secured: Secured) -> None:
    heard: list[bytes] = []

    def listen(talk: Talk) -> None:
        heard.append(talk.receive())
        talk.send(b"\0\0\0\4\0\0\0\1")
        talk.wait_for_end()

    with (
        Server(listen) as server,
        Fluvio.connect(
            secured.endpoint, tls=verified(), spu_address_override={5001: server.endpoint}, connect_timeout=1
        ) as fluvio,
    ):
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(2))
        with within(0.5):
            error = producer.send(b"secret").exception(5)
        assert type(error) is RetriesExhaustedError
        assert type(error.__cause__) is ConnectError
        assert not error.may_be_stored
        assert "TLS" in str(error)
        assert server.endpoint in str(error)
    assert len(heard) == 2
    assert all(data.startswith(b"\x16\x03") for data in heard), "a TLS handshake and nothing else"


def test_an_spu_of_another_name_is_refused(own: LocalCluster) -> None:
    own.create_topic("t")
    with (
        Server(decrypting(server_context(), own.endpoint)) as sc,
        Server(decrypting(server_context(), own.spu_endpoints[5001])) as spu,
        # The certificate is for cluster.test and *.cluster.test: one level, which the SPU's name has to be.
        Fluvio.connect(
            sc.endpoint,
            tls=verified(domain="deeper.cluster.test"),
            spu_address_override={5001: spu.endpoint},
        ) as fluvio,
    ):
        error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send(b"x").exception(5)
        assert isinstance(error, RetriesExhaustedError)
        assert "custom-spu-5001.deeper.cluster.test" in str(error)


def test_connections_that_break_under_tls_are_made_again(secured: Secured) -> None:
    with secured.connect(verified()) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(100))
        for number in range(3):
            assert producer.send(b"%d" % number).result(5).acknowledged
            secured.cluster.cut_next_produce(5001, "before")
        assert producer.send(b"3").result(5).acknowledged
        assert producer.stats().reconnects == 3
        assert_settled(fluvio)
    assert [record.value for record in secured.cluster.records("t")] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("stage", ["sc", "spu"])
def test_a_handshake_that_stalls(secured: Secured, stage: str) -> None:
    def stall(talk: Talk) -> None:
        talk.wait_for_end()

    with Server(stall) as server:
        if stage == "sc":
            with within(0.3, shortest=0.3), pytest.raises(ConnectError, match=f"{server.endpoint}.*TLS handshake"):
                Fluvio.connect(server.endpoint, tls=verified(), connect_timeout=0.3)
            return
        with Fluvio.connect(
            secured.endpoint, tls=verified(), spu_address_override={5001: server.endpoint}, connect_timeout=0.3
        ) as fluvio:
            with within(0.3, shortest=0.3):
                error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send(b"x").exception(5)
            assert isinstance(error, RetriesExhaustedError)
            assert server.endpoint in str(error)


def test_a_pickled_client_keeps_its_tls(secured: Secured) -> None:
    with secured.connect(verified()) as fluvio:
        copy: Fluvio = pickle.loads(pickle.dumps(fluvio))
    with copy:
        assert copy.topic_producer("t").send(b"x").result(5).offset == 0


def test_a_profile_brings_endpoint_and_tls(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = tmp_path / "config"
    profile.write_text(
        f"""
version = "2.0"
current_profile = "other"

[profile.secured]
cluster = "secured"

[profile.other]
cluster = "other"

[cluster.secured]
endpoint = "{secured.endpoint}"

[cluster.secured.tls]
tls_policy = "verified"
tls_source = "files"

[cluster.secured.tls.certs]
domain = "cluster.test"
ca_cert = "{CA}"
cert = "{CERT}"
key = "{KEY}"

[cluster.other]
endpoint = "{secured.cluster.endpoint}"

[cluster.other.tls]
tls_policy = "disabled"
"""
    )
    override = {5001: secured.spu}
    with Fluvio.connect(profile="secured", profile_path=profile, spu_address_override=override) as fluvio:
        assert fluvio.endpoint == secured.endpoint
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
    monkeypatch.delenv("FLUVIO_SYNC_ENDPOINT", raising=False)
    monkeypatch.setenv("FLV_PROFILE_PATH", str(profile))
    with Fluvio.connect() as fluvio:
        assert fluvio.endpoint == secured.cluster.endpoint
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 1
