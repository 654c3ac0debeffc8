# SPDX-License-Identifier: Apache-2.0
"""TLS to the SC and the SPUs, and the errors when it fails."""

from __future__ import annotations

import errno
import pickle
import select
import socket
import ssl
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import ConnectError, ConnectTimeoutError, Fluvio, RetriesExhaustedError, TlsConfig
from fluvio_sync.testing import FaultProxy, LocalCluster
from tests.support.certificates import DOMAIN, Certificates
from tests.support.client import assert_settled, attempts
from tests.support.hostile import Server, Talk
from tests.support.profiles import write_profile
from tests.support.waiting import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.alone


def started(**settings: Any) -> Iterator[LocalCluster]:
    with LocalCluster(in_process=True, **settings) as cluster:
        cluster.create_topic("t")
        yield cluster
        assert cluster.violations() == [], "the client broke the protocol"


@pytest.fixture
def secured(certificates: Certificates) -> Iterator[LocalCluster]:
    """A cluster that speaks TLS, with a topic `t`."""
    yield from started(**certificates.of_cluster("tls"))


@pytest.fixture
def mutual(certificates: Certificates) -> Iterator[LocalCluster]:
    """A cluster that demands a certificate of the client, with a topic `t`."""
    yield from started(**certificates.of_cluster("mutual"))


def own_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)
    context.check_hostname = False
    return context


# --- connections ---------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Certificates], TlsConfig | ssl.SSLContext]] = {
    "anonymous": lambda _: TlsConfig.anonymous(),
    "verified": lambda certificates: certificates.verified(),
    "own": own_context,
}


@pytest.mark.parametrize("way", WAYS)
def test_everything_works_over_tls(secured: LocalCluster, certificates: Certificates, way: str) -> None:
    tls = WAYS[way](certificates)
    with (
        FaultProxy(secured.spu_endpoints[5001]) as spu,
        Fluvio.connect(secured.endpoint, tls=tls, spu_address_override={5001: spu.endpoint}) as fluvio,
    ):
        assert fluvio.topics() == ["t"]
        producer = fluvio.topic_producer("t")
        assert producer.send(b"first").result(5).offset == 0
        futures = producer.send_all([b"x" * 100] * 5000)
        futures += [producer.send(bytes([number]) * 1_000_000) for number in range(5)]
        assert producer.flush(20).acked == 5006
        assert [future.result(0).offset for future in futures] == list(range(1, 5006))
        fluvio.topic_producer("t", delivery_semantic="at-most-once").send(b"last")
        assert (spu.connections, producer.stats().reconnects) == (1, 0)
    records = secured.records("t")
    assert len(records) == 5007
    assert [record.value for record in records[-6:-1]] == [bytes([number]) * 1_000_000 for number in range(5)]
    assert records[-1].value == b"last"


def test_a_peer_that_leaves_before_the_handshake_costs_no_socket(certificates: Certificates) -> None:
    context = certificates.verified().ssl_context()
    assert context is not None
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        peer, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        peer.close()
        assert select.select([ours], [], [], 5)[0]
        with (
            context.wrap_socket(ours, server_hostname=DOMAIN, do_handshake_on_connect=False) as wrapped,
            pytest.raises(OSError, match=r"(?i)reset|pipe|EOF"),
        ):
            wrapped.do_handshake()


def test_a_cluster_that_demands_a_certificate_of_the_client(mutual: LocalCluster, certificates: Certificates) -> None:
    tls = certificates.of_client("mutual")
    with Fluvio.connect(mutual.endpoint, tls=tls) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
    assert [record.value for record in mutual.records("t", tls=tls)] == [b"x"]


def test_connections_that_break_under_tls_are_made_again(secured: LocalCluster, certificates: Certificates) -> None:
    with Fluvio.connect(secured.endpoint, tls=certificates.verified()) as fluvio:
        producer = fluvio.topic_producer("t", delivery_semantic=attempts(100))
        for number in range(3):
            assert producer.send(b"%d" % number).result(5).acknowledged
            secured.cut_next_produce(5001, "before")
        assert producer.send(b"3").result(5).acknowledged
        assert producer.stats().reconnects == 3
        assert_settled(fluvio)
    assert [record.value for record in secured.records("t")] == [b"0", b"1", b"2", b"3"]


def test_a_pickled_client_keeps_its_tls(secured: LocalCluster, certificates: Certificates) -> None:
    with Fluvio.connect(secured.endpoint, tls=certificates.verified()) as fluvio:
        copy: Fluvio = pickle.loads(pickle.dumps(fluvio))
    with copy:
        assert copy.topic_producer("t").send(b"x").result(5).offset == 0


def test_a_profile_brings_endpoint_and_tls(mutual: LocalCluster, certificates: Certificates, tmp_path: Path) -> None:
    tls = certificates.of_client("mutual")
    profile = write_profile(tmp_path, mutual.endpoint, tls, certificates.client)
    with Fluvio.connect(profile="tests", profile_path=profile) as fluvio:
        assert fluvio.endpoint == mutual.endpoint
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0


def test_no_signal_handler_can_raise_while_tls_takes_a_socket_over(
    secured: LocalCluster, certificates: Certificates
) -> None:
    """In there two objects own one descriptor, and each would close it."""
    threads: list[int] = []

    class Context(ssl.SSLContext):
        def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
            threads.append(threading.get_ident())
            return super().wrap_socket(*args, **kwargs)

    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.ca)
    context.check_hostname = False
    with Fluvio.connect(secured.endpoint, tls=context) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
    assert len(threads) == 2
    assert threading.main_thread().ident not in threads


# --- refusals ------------------------------------------------------------------------------------


def refusal(endpoint: str, tls: TlsConfig | ssl.SSLContext | None) -> str:
    """Return the error, which comes at once, of a cluster that cannot be connected to."""
    with within(0.2), pytest.raises(ConnectError) as caught:
        Fluvio.connect(endpoint, tls=tls)
    assert type(caught.value) is ConnectError
    assert caught.value.address == endpoint
    assert caught.value.hint
    text = str(caught.value)
    assert text.startswith(f"cannot connect to the SC at {endpoint}: ")
    return text


def test_an_authority_that_was_given_as_text_is_not_shown(secured: LocalCluster, certificates: Certificates) -> None:
    text = refusal(secured.endpoint, certificates.verified(ca_cert=Path(certificates.other_ca).read_text()))
    assert "the authority that is trusted did not sign it" in text
    assert text.endswith("be signed by ca_cert <inline>")


def test_with_a_context_of_ones_own_the_address_is_checked(secured: LocalCluster, certificates: Certificates) -> None:
    text = refusal(secured.endpoint, ssl.create_default_context(cafile=certificates.ca))
    assert "its TLS certificate is not accepted: IP address mismatch" in text
    assert "for '127.0.0.1' and be signed by an authority of the SSLContext that was given" in text


def test_a_certificate_of_the_client_that_is_missing(mutual: LocalCluster) -> None:
    text = refusal(mutual.endpoint, TlsConfig.anonymous())
    assert "the server demands a certificate of the client, and none was given" in text
    assert text.endswith("; the server's certificate is not checked")


def test_a_certificate_of_the_client_that_is_missing_before_tls_1_3(
    mutual: LocalCluster, certificates: Certificates
) -> None:
    context = own_context(certificates)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    text = refusal(mutual.endpoint, context)
    assert "handshake failure; it may demand a certificate of the client (TlsConfig.verified(cert=" in text
    assert text.endswith("the server's certificate must be signed by an authority of the SSLContext that was given")


def test_a_refusal_that_comes_before_the_first_write(mutual: LocalCluster, certificates: Certificates) -> None:
    """The server has closed by then, and the write fails: its alert is read all the same."""

    class Late(ssl.SSLSocket):
        def send(self, data: Any, flags: int = 0) -> int:
            assert select.select([self], [], [], 5)[0]
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    context = own_context(certificates)
    context.sslsocket_class = Late
    assert "the server demands a certificate of the client" in refusal(mutual.endpoint, context)


def test_tls_to_a_plain_port_that_closes(certificates: Certificates) -> None:
    with LocalCluster(in_process=True) as cluster:
        text = refusal(cluster.endpoint, certificates.verified())
    assert "it closed the connection in the TLS handshake; it may not speak TLS" in text
    assert f"for 'cluster.test' and be signed by ca_cert '{certificates.ca}'" in text


def test_tls_to_a_server_that_answers_in_plain(certificates: Certificates) -> None:
    def answer(talk: Talk) -> None:
        talk.receive()
        talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        talk.wait_for_end()

    with Server(answer) as server:
        text = refusal(server.endpoint, certificates.verified())
    assert "the TLS handshake failed: " in text
    assert "it may not speak TLS" in text


def test_a_server_that_closes_after_the_handshake(certificates: Certificates) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificates.server)
    with Server(lambda talk: context.wrap_socket(talk.sock, server_side=True).close()) as server:
        text = refusal(server.endpoint, certificates.verified())
    assert "it closed the connection without an answer" in text
    assert "it may demand a certificate of the client (TlsConfig.verified(cert=..., key=...))" in text


@pytest.mark.parametrize("stage", ["sc", "spu"])
def test_a_handshake_that_stalls(secured: LocalCluster, certificates: Certificates, stage: str) -> None:
    """A real server that speaks no TLS waits for more, for ever."""
    tls = certificates.verified()
    with Server(lambda talk: talk.wait_for_end()) as server:
        said = f"{server.endpoint}.*got no answer to the TLS handshake \\(it may not speak TLS\\) within 0.3 s"
        if stage == "sc":
            with within(0.3, shortest=0.3), pytest.raises(ConnectTimeoutError, match=said):
                Fluvio.connect(server.endpoint, tls=tls, connect_timeout=0.3)
            return
        override = {5001: server.endpoint}
        with Fluvio.connect(secured.endpoint, tls=tls, spu_address_override=override, connect_timeout=0.3) as fluvio:
            with within(0.3, shortest=0.3):
                error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send(b"x").exception(5)
            assert isinstance(error, RetriesExhaustedError)
            assert server.endpoint in str(error)


# --- SPUs ----------------------------------------------------------------------------------------


def test_an_spu_without_tls_is_not_spoken_to_in_plain(secured: LocalCluster, certificates: Certificates) -> None:
    heard: list[bytes] = []

    def listen(talk: Talk) -> None:
        heard.append(talk.receive())
        talk.send(struct.pack(">ii", 4, 1))
        talk.wait_for_end()

    with (
        Server(listen) as server,
        Fluvio.connect(
            secured.endpoint,
            tls=certificates.verified(),
            spu_address_override={5001: server.endpoint},
            connect_timeout=1,
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


def test_an_spu_of_another_name_is_refused(secured: LocalCluster, certificates: Certificates) -> None:
    # The certificate is for cluster.test and *.cluster.test: one level, which the SPU's name has to be.
    tls = certificates.verified(domain="deeper.cluster.test")
    with Fluvio.connect(secured.endpoint, tls=tls) as fluvio:
        error = fluvio.topic_producer("t", delivery_semantic=attempts(1)).send(b"x").exception(5)
    assert isinstance(error, RetriesExhaustedError)
    assert secured.spu_endpoints[5001] in str(error)
    assert f"for 'custom-spu-5001.deeper.cluster.test' and be signed by ca_cert '{certificates.ca}'" in str(error)
