# SPDX-License-Identifier: Apache-2.0
"""Every system check: it finds its mistake, and reports nothing without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import registry, run_checks
from django.test import override_settings

from fluvio_sync import TlsConfig
from fluvio_sync.contrib.django import checks
from tests.support.django_kit import manage

ROOT = Path(__file__).parent.parent.parent
HERE = {"ENDPOINT": "127.0.0.1:9003"}


@pytest.fixture(autouse=True)
def profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The path of a missing profile file."""
    for name in ("ENDPOINT", "PROFILE"):
        monkeypatch.delenv(f"FLUVIO_SYNC_{name}", raising=False)
    path = tmp_path / "config"
    monkeypatch.setenv("FLV_PROFILE_PATH", str(path))
    return path


def found(setting: Any) -> list[tuple[str, str]]:
    with override_settings(FLUVIO=setting):
        return [(message.id, message.msg) for message in run_checks(tags=["fluvio"])]


@pytest.mark.parametrize(
    "setting",
    [
        {"default": HERE},
        {"default": HERE | {"PRODUCER": {"linger": 0.005, "delivery_semantic": "at-least-once"}}},
        {"default": HERE | {"PRODUCER": None, "CLIENT_ID": None}},
        {"default": HERE, "telemetry": HERE | {"PRODUCER": {"delivery_semantic": "at-most-once"}}},
        {"default": HERE | {"TLS": TlsConfig.anonymous(), "CONNECT_TIMEOUT": 3}},
    ],
)
def test_a_valid_setting(setting: Any) -> None:
    assert found(setting) == []


@pytest.mark.parametrize(
    ("setting", "identity", "text"),
    [
        ([], "E001", "The setting FLUVIO is [], not a dictionary of aliases."),
        ({3: HERE}, "E001", "FLUVIO[3]: an alias is a string."),
        ({"default": "127.0.0.1"}, "E001", "FLUVIO['default'] is '127.0.0.1', not a dictionary"),
        (
            {"default": HERE | {"PRODUCER": 3}},
            "E001",
            "FLUVIO['default']['PRODUCER'] is 3, not a dictionary of settings.",
        ),
        ({"default": HERE | {"endpoint": ""}}, "E002", "unknown key 'endpoint': did you mean 'ENDPOINT'?"),
        ({"default": HERE | {"linger": 1}}, "E002", "it is a setting of producers, put it into 'PRODUCER'."),
        ({"default": {"ENDPOINT": "a:b:c"}}, "E003", "FLUVIO['default']['ENDPOINT']: "),
        (
            {"default": HERE | {"CONNECT_TIMEOUT": "1 s"}},
            "E003",
            "['CONNECT_TIMEOUT']: connect_timeout cannot be '1 s'",
        ),
        ({"default": HERE | {"PROFILE": "local"}}, "E003", "FLUVIO['default']: "),
        ({"default": HERE | {"PRODUCER": {"lingr": 0}}}, "E004", "did you mean 'linger'?"),
        ({"default": {"PROFILE": "local"}}, "E005", "there is no such file"),
        ({"default": {"PROFILE_PATH": "missing.toml"}}, "E005", "missing.toml: there is no such file"),
        ({"default": {}}, "W001", "it has no ENDPOINT, FLUVIO_SYNC_ENDPOINT is not set, and the profile file"),
        ({"default": HERE | {"PRODUCER": {"delivery_semantic": "at-most-once"}}}, "W002", "send_on_commit uses this"),
    ],
)
def test_a_mistake_is_found(setting: Any, identity: str, text: str) -> None:
    ((found_id, message),) = found(setting)
    assert found_id == f"fluvio.{identity}"
    assert text in message
    assert message.endswith("?" if text.endswith("?") else ".")


def test_all_mistakes_are_found() -> None:
    setting = {"one": {"X": 1, "CONNECT_TIMEOUT": -1, "PRODUCER": {"x": 1}}, "two": {}}
    assert [found_id for found_id, _ in found(setting)] == ["fluvio.E002", "fluvio.E003", "fluvio.E004", "fluvio.W001"]


def test_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_CONNECT_TIMEOUT", "soon")
    ((found_id, message),) = found({"default": {}, "other": {}})
    assert found_id == "fluvio.E003"
    assert "FLUVIO_SYNC_CONNECT_TIMEOUT" in message


def test_the_environment_may_name_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", "127.0.0.1:9003")
    assert found({"default": {}}) == []


def test_a_profile_may_name_the_cluster(profile: Path) -> None:
    profile.write_text(
        'current_profile = "local"\n[profile.local]\ncluster = "local"\n'
        '[cluster.local]\nendpoint = "127.0.0.1:9003"\n[cluster.local.tls]\ntls_policy = "disabled"\n'
    )
    assert found({"default": {}, "other": {"PROFILE": "local"}}) == []
    ((found_id, message),) = found({"default": {"PROFILE": "lokal"}})
    assert found_id == "fluvio.E005"
    assert "it has no profile 'lokal'; it has 'local'" in message


@pytest.mark.parametrize("text", ["", "not = [toml", "current_profile = 'gone'"])
def test_a_bad_profile(profile: Path, text: str) -> None:
    profile.write_text(text)
    ((found_id, message),) = found({"default": {}})
    assert found_id == "fluvio.E005"
    assert str(profile) in message


def test_without_a_home_nothing_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("FLV_PROFILE_PATH")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    ((found_id, message),) = found({"default": {}})
    assert found_id == "fluvio.W001"
    assert "no home" in message


def test_a_misspelt_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_CONECT_TIMEOUT", "3")
    with override_settings(FLUVIO={"default": HERE}):
        (message,) = run_checks(tags=["fluvio"])
    assert (message.id, message.hint) == ("fluvio.W003", "did you mean 'FLUVIO_SYNC_CONNECT_TIMEOUT'?")
    assert "FLUVIO_SYNC_CONECT_TIMEOUT" in message.msg


def test_django_runs_them() -> None:
    status, _, errors = manage("check", "--tag", "fluvio")
    assert status == 0
    assert "(fluvio.W001)" in errors
    assert "fluvio" in registry.registry.tags_available()


def test_every_id_is_documented() -> None:
    used = set(re.findall(r'"(?:fluvio\.)?([EW]\d{3})"', Path(checks.__file__).read_text()))
    assert len(used) == 8
    guide = (ROOT / "docs" / "django.md").read_text()
    assert set(re.findall(r"^\| `fluvio\.([EW]\d+)` ", guide, re.MULTILINE)) == used
