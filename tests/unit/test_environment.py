# SPDX-License-Identifier: Apache-2.0
"""Settings from the environment."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from fluvio_sync import ConfigError, Fluvio, TlsConfig
from fluvio_sync._settings.environment import client_settings, misspelt


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ENDPOINT", "sc.example.com", "sc.example.com:9003"),
        ("PROFILE", "prod", "prod"),
        ("CLIENT_ID", " shop ", "shop"),
        ("USE_SPU_LOCAL_ADDRESS", "True", True),
        ("USE_SPU_LOCAL_ADDRESS", "0", False),
        ("SPU_ADDRESS_OVERRIDE", "5001=a:1, 5002=[::1]:2", {5001: "a:1", 5002: "[::1]:2"}),
        ("CONNECT_TIMEOUT", "2.5", 2.5),
        ("REQUEST_TIMEOUT", "7", 7.0),
        ("METADATA_TIMEOUT", "0", 0.0),
        ("EXIT_TIMEOUT", "1e1", 10.0),
        ("BUFFER_MEMORY", "1048576", 1_048_576),
        ("TLS", "anonymous", TlsConfig.anonymous()),
        ("TLS", "Disabled", TlsConfig.disabled()),
    ],
)
def test_a_variable_is_a_setting(name: str, text: str, value: Any) -> None:
    settings = client_settings({f"FLUVIO_SYNC_{name}": text})
    assert settings == {name.lower(): value}
    assert set(settings) <= set(inspect.signature(Fluvio.connect).parameters)


def test_nothing_is_set() -> None:
    assert client_settings({"FLUVIO_SYNC_ENDPOINT": "", "FLUVIO_SYNC_TLS": " ", "HOME": "/"}) == {}


def test_tls_that_is_verified() -> None:
    described = {"FLUVIO_SYNC_TLS_DOMAIN": "example.com", "FLUVIO_SYNC_TLS_CA_CERT": "ca.crt"}
    expected = TlsConfig.verified(domain="example.com", ca_cert="ca.crt")
    assert client_settings(described) == {"tls": expected}
    assert client_settings(described | {"FLUVIO_SYNC_TLS": "verified"}) == {"tls": expected}
    both = described | {"FLUVIO_SYNC_TLS_CERT": "c.crt", "FLUVIO_SYNC_TLS_KEY": "c.key"}
    assert client_settings(both)["tls"] == TlsConfig.verified(
        domain="example.com", ca_cert="ca.crt", cert="c.crt", key="c.key"
    )


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"ENDPOINT": "http://host"}, "FLUVIO_SYNC_ENDPOINT: the endpoint 'http://host' is not 'host:port'"),
        ({"ENDPOINT": "host", "PROFILE": "p"}, "FLUVIO_SYNC_ENDPOINT and FLUVIO_SYNC_PROFILE exclude each other"),
        ({"CONNECT_TIMEOUT": "5s"}, "FLUVIO_SYNC_CONNECT_TIMEOUT cannot be '5s': it is a number of seconds"),
        ({"CONNECT_TIMEOUT": "0"}, "FLUVIO_SYNC_CONNECT_TIMEOUT cannot be 0.0: it is seconds"),
        ({"METADATA_TIMEOUT": "nan"}, "FLUVIO_SYNC_METADATA_TIMEOUT cannot be nan"),
        ({"BUFFER_MEMORY": "32M"}, "FLUVIO_SYNC_BUFFER_MEMORY cannot be '32M': it is a number of bytes"),
        ({"BUFFER_MEMORY": "0"}, "FLUVIO_SYNC_BUFFER_MEMORY cannot be 0"),
        ({"USE_SPU_LOCAL_ADDRESS": "maybe"}, "FLUVIO_SYNC_USE_SPU_LOCAL_ADDRESS cannot be 'maybe'"),
        (
            {"SPU_ADDRESS_OVERRIDE": "host:1"},
            "FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE cannot be 'host:1': it is a list such as",
        ),
        ({"SPU_ADDRESS_OVERRIDE": "5001=host:x"}, "FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE: the endpoint 'host:x'"),
        ({"SPU_ADDRESS_OVERRIDE": "5001=host"}, "FLUVIO_SYNC_SPU_ADDRESS_OVERRIDE: .*'host'.*: the port is missing"),
        ({"TLS": "on"}, "FLUVIO_SYNC_TLS cannot be 'on': it is one of 'disabled', 'anonymous', 'verified'$"),
        ({"TLS": "verified"}, "FLUVIO_SYNC_TLS_DOMAIN is not set: .* FLUVIO_SYNC_TLS=verified asks for that"),
        ({"TLS_DOMAIN": "x"}, "FLUVIO_SYNC_TLS_CA_CERT is not set: .* FLUVIO_SYNC_TLS_DOMAIN asks for that"),
        ({"TLS": "anonymous", "TLS_CA_CERT": "x"}, "FLUVIO_SYNC_TLS is 'anonymous', so FLUVIO_SYNC_TLS_CA_CERT would"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(variables: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        client_settings({f"FLUVIO_SYNC_{name}": value for name, value in variables.items()})


def test_a_misspelt_variable_is_noticed_and_unrelated_ones_are_not() -> None:
    environ = {
        "FLUVIO_SYNC_CONECT_TIMEOUT": "1",
        "FLUVIO_SYNC_TLS_CACERT": "x",
        "FLUVIO_SYNC_ENDPOINT": "host",
        "FLUVIO_SYNC_PORT": "tcp://10.0.0.1:80",
        "FLUVIO_SYNC_SERVICE_HOST": "10.0.0.1",
        "FLUVIO_SYNC_TEST_ENDPOINT": "host",
        "FLUVIO_SYNK_ENDPOINT": "host",
    }
    assert misspelt(environ) == {
        "FLUVIO_SYNC_CONECT_TIMEOUT": "FLUVIO_SYNC_CONNECT_TIMEOUT",
        "FLUVIO_SYNC_TLS_CACERT": "FLUVIO_SYNC_TLS_CA_CERT",
    }
