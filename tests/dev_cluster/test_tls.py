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
from fluvio_sync.protocol.frames import split_response
from fluvio_sync.protocol.produce import ProduceResponse
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, ScApi, SpuApi
from fluvio_sync.protocol.watch import ListRequest
from fluvio_sync.testing import LocalCluster, read_partition
from fluvio_sync.testing._cluster import server as cluster_server
from tests.support.asking import Asked
from tests.support.sockets import TIMEOUT, connect, receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import Certificates

    Make = Callable[..., Any]

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
    except ConnectionResetError:
        pass
    return heard


def spu(cluster: LocalCluster) -> Asked:
    return Asked(cluster.spu_endpoints[5001], SPU_CLIENT_RANGES, tls=anyone())


def offset(asked: Asked, request: Any, codes: Make) -> Any:
    """Return where an SPU put a batch."""
    ((code, base_offset),) = codes(ProduceResponse.read(asked.ask(SpuApi.PRODUCE, request), 25).topics)
    assert code == 0
    return base_offset


# --- clients that it serves ------------------------------------------------------------------------------


@pytest.mark.parametrize("in_process", [False, True])
def test_it_serves_clients_that_verify_it_and_clients_that_do_not(
    certificates: Certificates, batch: Make, produce: Make, codes: Make, *, in_process: bool
) -> None:
    with LocalCluster(in_process=in_process, **certificates.of_cluster("tls")) as cluster:
        cluster.create_topic("t")
        with spu(cluster) as asked:
            assert offset(asked, produce("t", (0, batch(b"a"))), codes) == 0
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


@pytest.mark.parametrize("in_process", [False, True])
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"tls_key": "KEY"}, "tls_key without tls_cert: the servers' certificate is missing"),
        ({"tls_client_ca": "CA"}, "tls_client_ca without tls_cert: the servers' certificate is missing"),
        ({"tls_cert": "CERT"}, "tls_cert 'CERT' cannot be used: "),
        ({"tls_cert": "CERT", "tls_key": "OTHER"}, "tls_cert 'CERT' and tls_key 'OTHER' cannot be used: key values"),
        ({"tls_cert": "NONE", "tls_key": "KEY"}, "tls_cert 'NONE' cannot be read: No such file"),
        ({"tls_cert": "CERT", "tls_key": "NONE"}, "tls_key 'NONE' cannot be read: No such file"),
        ({"tls_cert": "CERT", "tls_key": "KEY", "tls_client_ca": "NONE"}, "tls_client_ca 'NONE' cannot be read"),
        ({"tls_cert": "CERT", "tls_key": "KEY", "tls_client_ca": "KEY"}, "tls_client_ca 'KEY' cannot be used: "),
    ],
)
def test_files_that_cannot_be_used_are_named(
    certificates: Certificates, tmp_path: Path, settings: dict[str, str], reason: str, *, in_process: bool
) -> None:
    files = {
        "CERT": certificates.server.cert,
        "KEY": certificates.server.key,
        "OTHER": certificates.client.key,
        "CA": certificates.ca,
        "NONE": str(tmp_path / "none.pem"),
    }
    for word, file in files.items():
        reason = reason.replace(f"'{word}'", f"'{file}'")
    with pytest.raises(RuntimeError) as caught:
        LocalCluster(in_process=in_process, **{name: files[word] for name, word in settings.items()}).start()  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"the development cluster did not start: {reason}")


def test_the_command_says_why_it_cannot_start(certificates: Certificates) -> None:
    command = [*COMMAND, "--port", "0", "--tls-key", certificates.server.key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("fluvio-sync dev-cluster: tls_key without tls_cert: the servers' certificate is missing\n")


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


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\x2d\0\x12\0\2\0\0\0\1\0\6fluvio", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100_000],
    ids=["Fluvio", "HTTP", "nonsense"],
)
def test_plain_text_is_answered_by_closing_without_a_byte(
    cluster: LocalCluster, batch: Make, produce: Make, codes: Make, data: bytes
) -> None:
    with spu(cluster) as asked, connect(cluster.spu_endpoints[5001]) as sock:
        sock.sendall(data)
        assert heard_until_the_end(sock) == b""
        assert offset(asked, produce("t", (0, batch(b"a"))), codes) == 0
    assert cluster.violations() == []


def test_peers_that_stall_in_the_handshake_delay_no_others(
    cluster: LocalCluster, batch: Make, produce: Make, codes: Make
) -> None:
    greeting, incoming = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        anyone().wrap_bio(incoming, greeting).do_handshake()
    socks = [connect(cluster.spu_endpoints[5001]) for _ in range(3)]
    hello = greeting.read()
    socks[1].sendall(hello[:20])
    socks[2].sendall(hello)  # and the server's answer is never read
    with spu(cluster) as asked:
        assert offset(asked, produce("t", (0, batch(b"a"))), codes) == 0
    for sock in socks:
        sock.close()
    assert cluster.violations() == []


def test_peers_that_leave_in_the_handshake_delay_no_others(cluster: LocalCluster) -> None:
    for _ in range(20):
        sock = connect(cluster.endpoint)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets
        sock.close()
    assert cluster.records("t") == []


def test_a_handshake_may_come_byte_by_byte(cluster: LocalCluster) -> None:
    arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = anyone().wrap_bio(arrived, leaving)
    with connect(cluster.endpoint) as sock:
        shake_hands(tls, sock, arrived, leaving)
    assert tls.version() == "TLSv1.3"


def shake_hands(tls: ssl.SSLObject, sock: socket.socket, arrived: ssl.MemoryBIO, leaving: ssl.MemoryBIO) -> int:
    """Carry a handshake out and return how many bytes of it were received."""
    received = 0
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            send_slowly(sock, leaving.read())
            received += arrived.write(sock.recv(4096))
    send_slowly(sock, leaving.read())
    return received


def send_slowly(sock: socket.socket, data: bytes) -> None:
    for position in range(len(data)):
        sock.sendall(data[position : position + 1])


def test_a_handshake_that_has_to_wait_to_be_written(
    certificates: Certificates, tmp_path: Path, batch: Make, produce: Make, codes: Make
) -> None:
    """The certificates are more than the buffers between the two take."""
    long_chain = tmp_path / "chain.pem"
    long_chain.write_text(Path(certificates.server.cert).read_text() + Path(certificates.ca).read_text() * 100)
    with LocalCluster(in_process=True, tls_cert=long_chain, tls_key=certificates.server.key) as cluster:
        cluster.create_topic("t")
        server: Any = cluster._running._server  # type: ignore[union-attr]
        listener = server._ports[5001]._sock
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with socket.socket() as slow:
            slow.settimeout(TIMEOUT)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            slow.connect(listener.getsockname())
            arrived, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = anyone().wrap_bio(arrived, leaving)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            slow.sendall(leaving.read())
            with spu(cluster) as asked:
                assert offset(asked, produce("t", (0, batch(b"a"))), codes) == 0
            received = shake_hands(tls, slow, arrived, leaving)
            assert tls.version() == "TLSv1.3"
            buffers = listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            buffers += slow.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            assert received > buffers


# --- requests and answers ------------------------------------------------------------------------


def test_requests_may_arrive_in_pieces_or_many_at_once(
    cluster: LocalCluster, batch: Make, produce: Make, request_frame: Make, codes: Make
) -> None:
    frames = b"".join(
        request_frame(SpuApi.PRODUCE, produce("t", (0, batch(b"%d" % n))), correlation_id=n) for n in range(3)
    )
    with dial(cluster.spu_endpoints[5001]) as sock:
        send_slowly(sock, frames)
        sock.sendall(frames * 1000)  # many records of TLS, none of which ends where a request does
        answers = [split_response(frame) for frame in receive(sock, 3003)]
    assert [number for number, _ in answers] == [0, 1, 2] * 1001
    offsets = [codes(ProduceResponse.read(body, 25).topics)[0] for _, body in answers]
    assert offsets == [(0, n) for n in range(3003)]


@pytest.mark.parametrize("size", [16_000, 16_383, 16_384, 16_385, 1_048_576, 33_000_000])
def test_batches_of_any_size_are_taken_and_given_back(
    cluster: LocalCluster, batch: Make, produce: Make, codes: Make, size: int
) -> None:
    with spu(cluster) as asked:
        assert offset(asked, produce("t", (0, batch(b"x" * size))), codes) == 0
        assert offset(asked, produce("t", (0, batch(b"y"))), codes) == 1
    first, second = cluster.records("t")
    assert first.value == b"x" * size
    assert second.value == b"y"


def test_a_half_closed_connection_gets_its_replies_then_ends(
    cluster: LocalCluster, batch: Make, produce: Make, request_frame: Make
) -> None:
    frame = request_frame(SpuApi.PRODUCE, produce("t", (0, batch(b"a"))))
    with dial(cluster.spu_endpoints[5001]) as sock:
        sock.sendall(frame * 50)
        socket.socket.shutdown(sock, socket.SHUT_WR)
        assert len(receive(sock, 51)) == 50
    assert len(cluster.records("t")) == 50


def test_a_peer_that_does_not_read_is_not_read_from(
    cluster: LocalCluster, request_frame: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_server, "MAX_UNSENT", 64 * 1024)
    cluster.create_topic("many", partitions=500)
    frame = request_frame(ScApi.LIST, ListRequest("Partition"))
    # Bytes behind a request are ignored, so these fill the sockets' buffers with few requests.
    length = 128 * 1024
    frame = struct.pack(">i", length - 4) + frame[4:] + bytes(length - len(frame))
    with dial(cluster.endpoint) as sock:
        sock.settimeout(0.3)
        sent, most = 0, 2000
        try:
            for _ in range(most):
                sock.sendall(frame)
                sent += 1
        except TimeoutError:
            pass
        assert sent < most
        assert cluster.records("t") == []  # others are served meanwhile


def test_nodes_that_are_killed_come_back_with_tls(cluster: LocalCluster) -> None:
    with spu(cluster) as asked:
        cluster.kill_spu(5001)
        with pytest.raises(ConnectError, match="lost"):
            asked.receive(99)
    cluster.restart_spu(5001)
    cluster.kill_sc()
    cluster.restart_sc()
    assert cluster.records("t") == []
