# SPDX-License-Identifier: Apache-2.0
"""The cluster's TLS: clients that it serves, clients that it rejects, and stalled ones, which delay no others."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from fluvio_sync import TlsConfig
from fluvio_sync.errors import ConfigError, ConnectError
from fluvio_sync.protocol.frames import FrameReader
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing import LocalCluster, read_partition
from tests.dev_cluster.messages import batch, codes, produce, request_frame
from tests.support.asking import Asked
from tests.support.sockets import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Certificates


COMMAND = [sys.executable, "-m", "fluvio_sync.testing.dev_cluster"]


@pytest.fixture
def cluster(certificates: Certificates) -> Iterator[LocalCluster]:
    with LocalCluster(in_process=True, **certificates.of_cluster("tls")) as running:
        running.create_topic("t")
        yield running


def anyone() -> ssl.SSLContext:
    """Return a context of clients that verify no server."""
    context = TlsConfig.anonymous().ssl_context()
    assert context is not None
    return context


def dial(endpoint: str) -> ssl.SSLSocket:
    return anyone().wrap_socket(connect(endpoint))


def heard_until_the_end(sock: socket.socket) -> bytes:
    heard = b""
    try:
        while data := sock.recv(4096):
            heard += data
    except (ConnectionResetError, BrokenPipeError):  # OpenSSL 3.5 may write when it reads the end
        pass
    return heard


def spu(cluster: LocalCluster) -> Asked:
    return Asked(cluster.spu_endpoints[5001], SPU_CLIENT_RANGES, tls=anyone())


def offset(asked: Asked, request: Any) -> Any:
    """Return where an SPU put a batch."""
    ((code, base_offset),) = codes(asked.ask(SpuApi.PRODUCE, request))
    assert code == 0
    return base_offset


# --- clients that it serves ------------------------------------------------------------------------------


@pytest.mark.parametrize("in_process", [False, True])
def test_it_serves_clients_that_verify_it_and_clients_that_do_not(
    certificates: Certificates, *, in_process: bool
) -> None:
    with LocalCluster(in_process=in_process, **certificates.of_cluster("tls")) as cluster:
        cluster.create_topic("t")
        with spu(cluster) as asked:
            assert offset(asked, produce("t", (0, batch(b"a")))) == 0
        assert [record.value for record in cluster.records("t")] == [b"a"]
        assert cluster.records("t", tls=certificates.verified()) == cluster.records("t")
        assert cluster.violations() == []


def test_a_key_may_be_in_its_certificates_file(certificates: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text("".join(Path(path).read_text() for path in certificates.server))
    with LocalCluster(tls_cert=both) as cluster:
        cluster.create_topic("t")
        assert cluster.records("t", tls=certificates.verified()) == []


def test_a_reader_verifies_the_names_of_sc_and_spu(cluster: LocalCluster, certificates: Certificates) -> None:
    with pytest.raises(ConnectError, match=f"{cluster.endpoint}.*not valid for 'another.test'"):
        cluster.records("t", tls=certificates.verified(domain="another.test"))
    spu_endpoint, deeper = cluster.spu_endpoints[5001], "deeper.cluster.test"  # which is right for the SC
    with pytest.raises(ConnectError, match=f"{spu_endpoint}.*not valid for 'custom-spu-5001.{deeper}'"):
        cluster.records("t", tls=certificates.verified(domain=deeper))


def test_it_can_demand_certificates_of_its_clients(certificates: Certificates) -> None:
    with LocalCluster(**certificates.of_cluster("mutual")) as cluster:
        cluster.create_topic("t")
        assert cluster.records("t", tls=certificates.of_client("mutual")) == []
        with pytest.raises(ConfigError, match="demands a certificate of its clients"):
            cluster.records("t")
        for tls in (certificates.verified(), certificates.verified(**certificates.stranger._asdict())):
            with pytest.raises(ConnectError, match=cluster.endpoint):
                read_partition(cluster.endpoint, "t", tls=tls)


def test_the_authority_of_the_clients_may_be_one_between(certificates: Certificates, tmp_path: Path) -> None:
    between = trustme.CA().create_child_ca()
    client = between.issue_cert("client@cluster.test")
    between.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    files = certificates.of_cluster("tls") | {"tls_client_ca": tmp_path / "ca.crt"}
    with LocalCluster(in_process=True, **files) as cluster:
        cluster.create_topic("t")
        assert cluster.records("t", tls=certificates.verified(cert=tmp_path / "client.pem")) == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tls_key": "KEY"}, "tls_key without tls_cert: the servers' certificate is missing"),
        ({"tls_client_ca": "CA"}, "tls_client_ca without tls_cert: the servers' certificate is missing"),
        ({"tls_cert": "CERT", "tls_key": "OTHER"}, "tls_cert 'CERT' and tls_key 'OTHER' cannot be used: key values"),
        ({"tls_cert": "CERT", "tls_key": "KEY", "tls_client_ca": "KEY"}, "tls_client_ca 'KEY' cannot be used: "),
    ],
)
def test_files_that_cannot_be_used_are_named(certificates: Certificates, settings: dict[str, str], reason: str) -> None:
    files = {
        "CERT": certificates.server.cert,
        "KEY": certificates.server.key,
        "OTHER": certificates.client.key,
        "CA": certificates.ca,
    }
    for word, file in files.items():
        reason = reason.replace(f"'{word}'", f"'{file}'")
    with pytest.raises(RuntimeError) as caught:
        LocalCluster(in_process=True, **{name: files[word] for name, word in settings.items()}).start()  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"the development cluster did not start: {reason}")


def test_the_command_serves(certificates: Certificates) -> None:
    files = ["--tls-cert", certificates.server.cert, "--tls-key", certificates.server.key]
    command = [*COMMAND, "--port", "0", *files, "--tls-client-ca", certificates.ca]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        endpoint = process.stdout.readline().strip()
        try:
            context = certificates.of_client("mutual").ssl_context()
            assert context is not None
            with context.wrap_socket(connect(endpoint), server_hostname="cluster.test") as sock:
                assert sock.version() == "TLSv1.3"
        finally:
            process.terminate()


# --- peers that do not shake hands ---------------------------------------------------------------


def test_plain_text_is_answered_by_closing_without_a_byte(cluster: LocalCluster) -> None:
    with spu(cluster) as asked, connect(cluster.spu_endpoints[5001]) as sock:
        sock.sendall(b"\0\0\0\x2d\0\x12\0\2\0\0\0\1\0\6fluvio")
        assert heard_until_the_end(sock) == b""
        assert offset(asked, produce("t", (0, batch(b"a")))) == 0
    assert cluster.violations() == []


def test_peers_that_stall_in_the_handshake_delay_no_others(cluster: LocalCluster) -> None:
    greeting, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        anyone().wrap_bio(incoming, greeting).do_handshake()
    socks = [connect(cluster.spu_endpoints[5001]) for _ in range(3)]
    hello = greeting.read()
    socks[1].sendall(hello[:20])
    socks[2].sendall(hello)  # and the server's answer is never read
    with spu(cluster) as asked:
        assert offset(asked, produce("t", (0, batch(b"a")))) == 0
    for sock in socks:
        sock.close()
    assert cluster.violations() == []


def test_peers_that_leave_in_the_handshake_delay_no_others(cluster: LocalCluster) -> None:
    for _ in range(20):
        sock = connect(cluster.endpoint)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        sock.close()
    assert cluster.records("t") == []


# --- requests and answers ------------------------------------------------------------------------


def test_a_half_closed_connection_gets_its_replies_then_ends(cluster: LocalCluster) -> None:
    frame = request_frame(SpuApi.PRODUCE, produce("t", (0, batch(b"a"))))
    with dial(cluster.spu_endpoints[5001]) as sock:
        sock.sendall(frame * 50)
        socket.socket.shutdown(sock, socket.SHUT_WR)
        assert len(FrameReader().feed(memoryview(heard_until_the_end(sock)))) == 50
    assert len(cluster.records("t")) == 50
