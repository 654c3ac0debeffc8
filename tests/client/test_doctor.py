# SPDX-License-Identifier: Apache-2.0
"""`diagnose` and `fluvio-sync doctor`: their findings in clusters that work and in some that do not."""

from __future__ import annotations

import json
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import Fluvio, TlsConfig, doctor
from fluvio_sync._base.compiled import COMPILED
from fluvio_sync.doctor import RECORD, Step, diagnose
from fluvio_sync.testing import LocalCluster
from tests.support.hostile import Server, Talk
from tests.support.shell import LONGEST, cluster_options, line_of, run, started
from tests.support.waiting import wait_until, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.certificates import Certificates
    from tests.support.cluster import Where

MODE = "compiled" if COMPILED else "pure Python"
BEFORE = ["configuration", "name", "SC connection", "SC TLS", "SC versions", "metadata", "leaders"]


def steps(topic: str | None = None, **settings: Any) -> dict[str, Step]:
    """Return the steps by their names, in their order."""
    found = list(diagnose(topic, **settings))
    assert all(step.seconds >= 0 and step.detail for step in found)
    assert all(bool(step.advice) is not step.ok for step in found), "advice where something failed, and only there"
    return {step.name: step for step in found}


def failed(found: dict[str, Step]) -> list[str]:
    return [name for name, step in found.items() if not step.ok]


@pytest.fixture
def unused() -> Iterator[str]:
    """An address without a server."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


# A cluster that works.


def test_a_cluster_that_works(where: Where) -> None:
    where.topic(partitions=2)
    found = steps(endpoint=where.endpoint, tls=where.tls)
    spus = [f"SPU {spu}" for spu in sorted(where.admin._holder.engine.metadata.spus)]  # type: ignore[union-attr]
    assert list(found) == [*BEFORE, *spus]
    assert failed(found) == []
    assert found["configuration"].detail == f"{where.endpoint}, as given; client id 'fluvio-sync'; {MODE}"
    assert re.match(r"platform \d+\.\d+\.\d+.*, Create \d+, .*Watch 1\d", found["SC versions"].detail)
    assert re.match(r"SPUs: \d+, online: \d+; topics: \d+, partitions: \d+ ", found["metadata"].detail)
    for spu in spus:
        assert re.search(r"the address that the SC advertises.*Produce 25, .*it answered ", found[spu].detail)


def test_nothing_is_written_unless_a_topic_is_named(own: LocalCluster) -> None:
    own.create_topic("orders")
    assert failed(steps(endpoint=own.endpoint)) == []
    assert own.records("orders") == []
    found = steps("orders", endpoint=own.endpoint)
    assert found["produce"].detail == "wrote a record to topic 'orders', partition 0, offset 0"
    assert [record.value for record in own.records("orders")] == [RECORD]


def test_an_spu_that_leads_something_is_asked_for_offsets(own: LocalCluster) -> None:
    own.create_topic("orders")
    assert "it answered FetchOffsets in " in steps(endpoint=own.endpoint)["SPU 5001"].detail


def test_where_the_endpoint_comes_from(own: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    file.write_text(
        'version = "2.0"\ncurrent_profile = "dev"\n[profile.dev]\ncluster = "mine"\n[profile.other]\n'
        f'cluster = "mine"\n[cluster.mine]\nendpoint = "{own.endpoint}"\n'
    )
    monkeypatch.setenv("FLV_PROFILE_PATH", str(file))
    current = steps()["configuration"].detail
    assert f"from cluster 'mine' of profile 'dev', the current one, in {file}" in current
    named = steps(profile="other")["configuration"].detail
    assert f"from cluster 'mine' of profile 'other', in {file}" in named
    monkeypatch.setenv("FLUVIO_SYNC_PROFILE", "other")
    assert "of profile 'other', named by $FLUVIO_SYNC_PROFILE" in steps()["configuration"].detail
    monkeypatch.delenv("FLUVIO_SYNC_PROFILE")
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", own.endpoint)
    assert "from $FLUVIO_SYNC_ENDPOINT" in steps()["configuration"].detail


# Clusters that do not.


def test_settings_that_cannot_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config"
    monkeypatch.setenv("FLV_PROFILE_PATH", str(file))
    assert "there is no such file" in steps()["configuration"].detail
    file.write_text('version = "2.0"\n[profile.dev]\ncluster = "mine"\n[cluster.mine]\nendpoint = "h:1"\n')
    found = steps(profile="nope")
    assert list(found) == ["configuration"]
    assert f"the profile file {file}: it has no profile 'nope'; it has 'dev'" in found["configuration"].detail
    assert "ca_cert '/no/file' cannot be read" in (
        steps(endpoint="h:1", tls=TlsConfig.verified(domain="d", ca_cert="/no/file"))["configuration"].detail
    )
    assert "unknown setting 'endpiont'" in steps(endpiont="h:1")["configuration"].detail


def test_a_name_that_does_not_resolve() -> None:
    found = steps(endpoint="no-such-host.invalid:9003")
    assert list(found) == ["configuration", "name"]
    assert "the name 'no-such-host.invalid' cannot be resolved" in found["name"].detail


@pytest.mark.alone
def test_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        import threading

        threading.Event().wait(5)

    monkeypatch.setattr("fluvio_sync._net.resolver.Resolution._look_up", never)
    with within(1.0):
        found = steps(endpoint="slow.invalid:9003", timeout=0.1)
    assert found["name"].detail == "the name 'slow.invalid' was not resolved within 0.1 s"


def test_an_spu_in_the_place_of_the_sc(own: LocalCluster) -> None:
    found = steps(endpoint=own.spu_endpoints[5001])
    assert failed(found) == ["SC versions"]
    assert found["SC versions"].detail.endswith("this is an SPU (Stream Processing Unit) and not the SC")
    assert found["SC versions"].advice == "give the address of the SC, which usually is 127.0.0.1:9003"


def test_the_sc_in_the_place_of_an_spu(own: LocalCluster) -> None:
    found = steps(endpoint=own.endpoint, spu_address_override={5001: own.endpoint})
    assert failed(found) == ["SPU 5001"]
    assert found["SPU 5001"].detail.endswith("this is an SC (Streaming Controller) and not an SPU")
    assert "public address of the SPU" in found["SPU 5001"].advice


def test_every_address_of_a_name(own: LocalCluster) -> None:
    port = own.endpoint.rpartition(":")[2]
    addresses = {entry[4][0] for entry in socket.getaddrinfo("localhost", None)}
    found = steps(endpoint=f"localhost:{port}")
    assert failed(found) == []
    assert set(found["name"].detail.removeprefix("localhost is ").split(", ")) == addresses
    assert found["SC connection"].detail == f"connected to 127.0.0.1, port {port}"


def test_a_port_that_is_closed(unused: str) -> None:
    found = steps(endpoint=unused)
    assert list(found) == BEFORE[:3]
    assert failed(found) == ["SC connection"]
    assert "Connection refused" in found["SC connection"].detail
    assert "is a cluster running there?" in found["SC connection"].advice


@pytest.mark.alone
def test_an_sc_that_never_answers(own: LocalCluster) -> None:
    own.hold_replies(0)
    with within(2.0):
        found = steps(endpoint=own.endpoint, timeout=0.2)
    (name,) = failed(found)
    assert name in ("SC versions", "metadata")  # it carries out one request of a connection
    assert "within 0.2 s" in found[name].detail
    assert found[name].advice.startswith("a server accepts connections there and does not answer")


def test_something_else_than_an_sc() -> None:
    def talk(talk: Talk) -> None:
        talk.receive()
        talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        talk.receive()

    server = Server(talk)
    try:
        found = steps(endpoint=server.endpoint)
    finally:
        server.close()
    assert failed(found) == ["SC versions"]
    assert "does not speak Fluvio's protocol" in found["SC versions"].detail
    assert "no Fluvio SC or SPU" in found["SC versions"].advice


def test_a_cluster_that_is_too_old() -> None:
    with LocalCluster(in_process=True, sc_version=11) as cluster:
        found = steps(endpoint=cluster.endpoint)
    assert failed(found) == ["SC versions"]
    assert "WATCH" in found["SC versions"].detail
    assert found["SC versions"].advice == "upgrade the older side"


def test_an_spu_that_is_down(pair: LocalCluster) -> None:
    pair.create_topic("orders", partitions=2)
    lost = pair.leader("orders", 1)
    with Fluvio.connect(pair.endpoint) as fluvio:
        pair.kill_spu(lost)
        wait_until(lambda: not fluvio._holder.engine.metadata.spu_online(lost), "the SC knows it")  # type: ignore[union-attr]
    found = steps(endpoint=pair.endpoint)
    assert failed(found) == ["leaders", f"SPU {lost}"]
    assert "partition 1 of topic 'orders': leader offline" in found["leaders"].detail
    assert re.search(r"Connection refused.*; the SC says that it is offline$", found[f"SPU {lost}"].detail)
    assert found[f"SPU {lost}"].advice == "start this SPU, or look at its log"


def test_a_long_list_of_spus_is_not_visited_to_its_end(pair: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_VISITED", 1)
    *_, visited, rest = diagnose(endpoint=pair.endpoint)
    assert (visited.name, rest.ok, rest.detail) == ("SPU 5001", True, "1 more SPUs were not visited")


def test_an_spu_that_the_sc_has_lost(pair: LocalCluster) -> None:
    with Fluvio.connect(pair.endpoint) as fluvio:
        pair.kill_spu(5002)
        wait_until(lambda: not fluvio._holder.engine.metadata.spu_online(5002), "the SC knows it")  # type: ignore[union-attr]
    found = steps(endpoint=pair.endpoint, spu_address_override={5002: pair.spu_endpoints[5001]})  # where one answers
    assert failed(found) == ["SPU 5002"]
    assert found["SPU 5002"].detail.endswith("; the SC says that it is offline")
    assert "it cannot reach the SC's private port" in found["SPU 5002"].advice


def test_an_spu_whose_address_does_not_work_from_here(pair: LocalCluster, unused: str) -> None:
    found = steps(endpoint=pair.endpoint, spu_address_override={5002: unused})
    assert failed(found) == ["SPU 5002"]
    advertised = pair.spu_endpoints[5002]
    assert f"SPU 5002 at {unused} (from spu_address_override; the SC advertises {advertised})" in (
        found["SPU 5002"].detail
    )
    assert "set spu_address_override or $FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE=5002=host:port" in found["SPU 5002"].advice


@pytest.mark.alone
def test_an_spu_that_never_answers(pair: LocalCluster) -> None:
    pair.hold_replies(5002)
    with within(2.0):
        found = steps(endpoint=pair.endpoint, timeout=0.2)
    assert set(failed(found)) <= {"SPU 5002"}  # it carries out one request of a connection
    pair.hold_replies(5002, on=False)


def test_a_topic_that_does_not_exist(own: LocalCluster) -> None:
    found = steps("nope", endpoint=own.endpoint, timeout=0.5)
    assert failed(found) == ["produce"]
    assert "has no topic 'nope'" in found["produce"].detail
    assert found["produce"].advice == "create it: fluvio-sync topics create nope"


def test_a_record_that_is_not_acknowledged(own: LocalCluster) -> None:
    own.create_topic("orders")
    own.fail_next_produce(9000)
    found = steps("orders", endpoint=own.endpoint)
    assert failed(found) == ["produce"]
    assert "topic 'orders', partition 0" in found["produce"].detail


# TLS.


@pytest.fixture
def secured(certificates: Certificates) -> Iterator[LocalCluster]:
    """A cluster that demands certificates."""
    with LocalCluster(in_process=True, **certificates.of_cluster("mutual")) as cluster:
        yield cluster


def test_tls_is_described(secured: LocalCluster, certificates: Certificates) -> None:
    found = steps(endpoint=secured.endpoint, tls=certificates.of_client("mutual"))
    assert failed(found) == []
    detail = found["SC TLS"].detail
    assert detail.startswith("TLSv1.3; ")
    assert "'cluster.test'" in detail
    assert re.search(r"; signed by .*; expires in \d+ days \(", detail)


def test_anonymous_tls_is_described(certificates: Certificates) -> None:
    with LocalCluster(in_process=True, **certificates.of_cluster("tls")) as cluster:
        found = steps(endpoint=cluster.endpoint, tls=TlsConfig.anonymous())
    assert failed(found) == []
    assert found["SC TLS"].detail == "TLSv1.3, anonymous: encrypted, the server is not verified"


@pytest.mark.parametrize(
    ("changed", "failing", "advice"),
    [
        ({"domain": "another.test"}, "SC TLS", "domain has to be a name in the certificate"),
        ({"ca_cert": "OTHER"}, "SC TLS", "ca_cert has to be the authority"),
        ({"cert": None, "key": None}, "SC versions", "cert and key, or --enable-client-cert"),
        ({"cert": "STRANGER", "key": "STRANGER"}, "SC versions", "signed by an authority that the cluster trusts"),
    ],
)
def test_tls_that_does_not_fit(
    changed: dict[str, Any], failing: str, advice: str, secured: LocalCluster, certificates: Certificates
) -> None:
    paths = {
        "OTHER": {"ca_cert": certificates.other_ca},
        "STRANGER": {"cert": certificates.stranger.cert, "key": certificates.stranger.key},
    }
    settings = certificates.client._asdict() | changed
    settings = {name: paths.get(str(value), {}).get(name, value) for name, value in settings.items()}
    found = steps(endpoint=secured.endpoint, tls=certificates.verified(**settings))
    assert failed(found) == [failing]
    assert advice in found[failing].advice


def test_a_certificate_that_has_ended(certificates: Certificates) -> None:
    server = certificates.expired
    with LocalCluster(in_process=True, tls_cert=server.cert, tls_key=server.key) as cluster:
        found = steps(endpoint=cluster.endpoint, tls=certificates.verified())
    assert failed(found) == ["SC TLS"]
    assert "renew the certificate" in found["SC TLS"].advice


def test_plain_tcp_to_a_port_that_speaks_tls(secured: LocalCluster) -> None:
    found = steps(endpoint=secured.endpoint)
    assert failed(found) == ["SC versions"]
    assert "set tls, or --tls and its options" in found["SC versions"].advice


def test_tls_to_a_port_that_does_not_speak_it() -> None:
    with LocalCluster(in_process=True) as cluster:
        found = steps(endpoint=cluster.endpoint, tls=TlsConfig.anonymous())
    assert failed(found) == ["SC TLS"]
    assert found["SC TLS"].advice == "use the cluster's TLS port, or leave TLS out"


# The command.


def test_the_command_prints_a_line_for_each_step(where: Where) -> None:
    done = run("doctor", *cluster_options(where), FLUVIO_CLIENT_ID="me")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, lines
    assert all(re.match(r"ok    \S+( \S+)? +\d+\.\d ms  \S", line) for line in lines)
    assert lines[0].endswith(f"; client id 'me'; {MODE}")
    assert re.fullmatch(rb"fluvio-sync: all \d+ steps went well\n", done.stderr)


def test_the_command_fails_if_a_step_does(unused: str) -> None:
    done = run("doctor", "-c", unused)
    *_, line = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (1, b"fluvio-sync: 1 of 3 steps failed\n")
    assert re.fullmatch(
        r"FAIL  SC connection  +\d+\.\d ms  .*: Connection refused -> is a cluster running there\?.*", line
    )


def test_the_command_prints_json(own: LocalCluster) -> None:
    own.create_topic("orders")
    done = run("doctor", "-c", own.endpoint, "--json", "--topic", "orders")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [row["step"] for row in rows] == [*BEFORE, "SPU 5001", "produce"]
    assert all(row["ok"] is True and row["ms"] >= 0 and row["detail"] and row["advice"] == "" for row in rows)
    assert len(own.records("orders")) == 1


def test_a_profile_that_does_not_exist_is_a_finding(tmp_path: Path) -> None:
    done = run("doctor", "-P", "nope", FLV_PROFILE_PATH=str(tmp_path / "config"))
    assert done.returncode == 1
    assert done.stdout.startswith(b"FAIL  configuration ")


def test_the_command_has_a_limit_for_every_step(own: LocalCluster) -> None:
    own.hold_replies(0)
    done = run("doctor", "-c", own.endpoint, "--timeout", "200ms")
    assert done.returncode == 1
    assert b"within 0.2 s" in done.stdout


def test_ctrl_c_ends_the_command(own: LocalCluster) -> None:
    own.hold_replies(0)
    with started("doctor", "-c", own.endpoint, "--timeout", "25s") as process:
        assert line_of(process.stdout).startswith("ok    configuration")
        process.send_signal(signal.SIGINT)
        with within(10.0):
            _, errors = process.communicate(timeout=LONGEST)
    assert (process.returncode, errors) == (130, "fluvio-sync: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [["--topic", "Not_A_Topic"], ["-c", "not an endpoint"], ["--timeout", "0"], ["-c", "h", "-P", "p"], ["orders"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run("doctor", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
