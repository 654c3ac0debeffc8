# SPDX-License-Identifier: Apache-2.0
"""`Fluvio.connect` takes settings that it is not given from the environment."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import ConfigError, ConnectError, Fluvio, TlsConfig
from fluvio_sync.client import unconnected
from tests.support.hostile import Server, Talk

if TYPE_CHECKING:
    from pathlib import Path

    from fluvio_sync.testing.cluster import LocalCluster

NOWHERE = "127.0.0.1:1"


def write_profiles(path: Path, **endpoints: str) -> Path:
    """Write a file with a profile for each; the first is the current one."""
    sections = [f'[profile.{name}]\ncluster = "{name}"\n' for name in endpoints]
    sections += [f'[cluster.{name}]\nendpoint = "{endpoint}"\n' for name, endpoint in endpoints.items()]
    path.write_text(f'version = "2.0"\ncurrent_profile = "{next(iter(endpoints))}"\n' + "".join(sections))
    return path


def test_an_argument_counts_more_than_the_environment(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", own.endpoint)
    monkeypatch.setenv("FLUVIO_SYNC_CLIENT_ID", "shop")
    monkeypatch.setenv("FLUVIO_SYNC_BUFFER_MEMORY", "2000000")
    with Fluvio.connect(buffer_memory=3_000_000) as fluvio:
        assert fluvio.endpoint == own.endpoint
        assert fluvio._holder.config.client_id == "shop"
        assert fluvio._holder.config.buffer_memory == 3_000_000
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", NOWHERE)
    with Fluvio.connect(own.endpoint) as fluvio:
        assert fluvio.endpoint == own.endpoint
        assert fluvio._holder.config.buffer_memory == 2_000_000


def test_the_environment_counts_more_than_the_profile(
    own: LocalCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_profiles(tmp_path / "config", current=NOWHERE, other=own.endpoint)
    monkeypatch.setenv("FLV_PROFILE_PATH", str(file))
    monkeypatch.setenv("FLUVIO_SYNC_PROFILE", "other")
    with Fluvio.connect() as fluvio:
        assert fluvio.endpoint == own.endpoint
    monkeypatch.setenv("FLUVIO_SYNC_PROFILE", "missing")
    with Fluvio.connect(profile="other") as fluvio:
        assert fluvio.endpoint == own.endpoint
    with pytest.raises(ConfigError, match="it has no profile 'missing'; it has 'current', 'other'"):
        Fluvio.connect()
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", NOWHERE)
    monkeypatch.delenv("FLUVIO_SYNC_PROFILE")
    with Fluvio.connect(profile="other") as fluvio:  # told where, so not the environment's endpoint
        assert fluvio.endpoint == own.endpoint


def test_spus_are_where_the_environment_says(own: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own.create_topic("t")
    spu = own.spu_endpoints[5001]
    monkeypatch.setenv("FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE", f"5001={spu.replace('127.0.0.1', 'localhost')}")
    with Fluvio.connect(own.endpoint) as fluvio:
        assert fluvio.topic_producer("t").send(b"x").result(5).offset == 0
        assert fluvio._holder.engine is not None
        (connection,) = fluvio._holder.engine.sender._connections.values()
        assert connection.peer.endpoint.host == "localhost"


def test_tls_from_the_environment_is_for_an_endpoint_that_is_named(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_TLS", "anonymous")
    with Server(Talk.wait_for_end) as server, pytest.raises(ConnectError, match="TLS handshake"):
        Fluvio.connect(server.endpoint, connect_timeout=0.2)
    with Fluvio.connect(own.endpoint, tls=TlsConfig.disabled()) as fluvio:
        assert fluvio.topics() == []


def test_a_misspelt_variable_is_warned_of(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_CLIENTID", "shop")
    with caplog.at_level(logging.WARNING, "fluvio_sync"), Fluvio.connect(own.endpoint):
        pass
    assert "FLUVIO_SYNC_CLIENTID" in caplog.text
    assert "FLUVIO_SYNC_CLIENT_ID" in caplog.text


def test_a_client_that_connects_later_warns_then_and_once(
    own: LocalCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_CLIENTID", "shop")
    with caplog.at_level(logging.WARNING, "fluvio_sync"), unconnected({"endpoint": own.endpoint}) as fluvio:
        assert "FLUVIO_SYNC_CLIENTID" not in caplog.text
        assert fluvio.topics() == fluvio.topics() == []
    assert caplog.text.count("FLUVIO_SYNC_CLIENTID") == 1


def test_no_cluster_is_named_and_a_variable_nearly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLV_PROFILE_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("FLUVIO_SYNC_ENPOINT", "127.0.0.1:9003")
    meant = "; FLUVIO_SYNC_ENPOINT is set: did you mean 'FLUVIO_SYNC_ENDPOINT'\\?$"
    with pytest.raises(ConfigError, match=meant):
        Fluvio.connect()
    with pytest.raises(ConfigError, match=r"at the shell$"):
        Fluvio.connect(profile="mine")


def test_a_setting_that_does_not_exist_is_refused_whatever_its_value(own: LocalCluster) -> None:
    with pytest.raises(ConfigError, match="did you mean 'connect_timeout'"):
        Fluvio.connect(own.endpoint, conect_timeout=None)  # type: ignore[arg-type]
