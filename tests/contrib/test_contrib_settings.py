# SPDX-License-Identifier: Apache-2.0
"""Settings in a framework's configuration: their errors name the place of the mistake and a way to correct it."""

from __future__ import annotations

from typing import Any

import pytest

from fluvio_sync import ConfigError
from fluvio_sync.contrib._settings import Keys

KEYS = Keys("FLUVIO_", "FLUVIO_FAKE")
ENDPOINT = {"FLUVIO_ENDPOINT": "127.0.0.1:9003"}


def test_arguments_of_connect() -> None:
    config: dict[str, Any] = {
        "FLUVIO_CLIENT_ID": "shop",
        "FLUVIO_CONNECT_TIMEOUT": None,
        "FLUVIO_PRODUCER": {},
        "DEBUG": True,
    }
    assert KEYS.connect_arguments(config) == {"client_id": "shop"}
    assert Keys().connect_arguments({"CLIENT_ID": "shop"}) == {"client_id": "shop"}
    assert all(key in KEYS for key in ("FLUVIO_CLIENT_ID", "FLUVIO_PRODUCER", "FLUVIO_FAKE"))
    assert "FLUVIO_LINGER" not in KEYS


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("FLUVIO_CONECT_TIMEOUT", "did you mean 'FLUVIO_CONNECT_TIMEOUT'?"),
        ("FLUVIO_TIMEOUT", "did you mean 'FLUVIO_CONNECT_TIMEOUT', 'FLUVIO_EXIT_TIMEOUT', "),
        ("FLUVIO_FAK", "did you mean 'FLUVIO_FAKE'?"),
        ("FLUVIO_XYZZY", "the keys are 'FLUVIO_ENDPOINT', "),
        ("fluvio_linger", "it is a setting of producers, put it into 'FLUVIO_PRODUCER'"),
    ],
)
def test_the_hint_for_an_unknown_key(key: str, hint: str) -> None:
    assert KEYS.hint(key).startswith(hint)


def test_hints_without_a_prefix() -> None:
    assert Keys().hint("endpoint") == "did you mean 'ENDPOINT'?"
    assert Keys().hint("LINGER") == "it is a setting of producers, put it into 'PRODUCER'"


@pytest.mark.parametrize(
    ("config", "place", "text"),
    [
        ({"FLUVIO_ENDPOINT": "a:b"}, "", "^FLUVIO_ENDPOINT: "),
        ({"FLUVIO_CONNECT_TIMEOUT": "3"}, "", "^FLUVIO_CONNECT_TIMEOUT: .*'3'"),
        ({"FLUVIO_TLS": "verified"}, "ONE", r"^ONE\['FLUVIO_TLS'\]: tls is a TlsConfig"),
        (ENDPOINT | {"FLUVIO_PROFILE": "b"}, "", "^endpoint and profile exclude each other"),
        (ENDPOINT | {"FLUVIO_PROFILE": "b"}, "ONE", "^ONE: endpoint and profile exclude each other"),
    ],
)
def test_the_error_for_an_argument_names_its_place(config: dict[str, Any], place: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        KEYS.check_connect(config, place)


def test_no_profile_is_looked_for() -> None:
    KEYS.check_connect({"FLUVIO_PROFILE": "missing"})


def test_settings_of_producers() -> None:
    assert KEYS.producer_config({}).linger == 0.0
    assert KEYS.producer_config({"FLUVIO_PRODUCER": None}).linger == 0.0
    assert KEYS.producer_config({"FLUVIO_PRODUCER": {"linger": 0.5}}).linger == 0.5


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("linger", "^FLUVIO_PRODUCER is 'linger', not a dictionary of settings$"),
        ({"lingr": 3}, "^FLUVIO_PRODUCER: unknown setting 'lingr': did you mean 'linger'"),
        ({"linger": -3}, "^FLUVIO_PRODUCER: linger cannot be -3"),
    ],
)
def test_the_error_for_settings_of_producers_names_their_place(settings: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        KEYS.producer_config({"FLUVIO_PRODUCER": settings})
