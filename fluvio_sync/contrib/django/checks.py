# SPDX-License-Identifier: Apache-2.0
"""System checks of FLUVIO, with the tag "fluvio"; they read the environment and the profile file, and connect nowhere.

| id | what is wrong |
|---|---|
| fluvio.E001 | FLUVIO, an alias, or its PRODUCER is no dictionary, or an alias's name no string |
| fluvio.E002 | an alias has a key that there is not |
| fluvio.E003 | a setting, in FLUVIO or in a `FLUVIO_SYNC_*` variable, that `Fluvio.connect` refuses |
| fluvio.E004 | a setting in PRODUCER that there is not, or that a producer refuses |
| fluvio.E005 | the profile that names the cluster cannot be used |
| fluvio.W001 | nothing names the cluster: neither FLUVIO, nor the environment, nor a profile file |
| fluvio.W002 | PRODUCER of "default", which `send_on_commit` uses unless told otherwise, is at-most-once |
| fluvio.W003 | a variable `FLUVIO_SYNC_...` of the environment has no effect, and is nearly called like one that has |
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.checks import Error, Warning  # noqa: A004 - Django's name for it

from fluvio_sync._base.text import did_you_mean, sentence, shown
from fluvio_sync._settings.environment import client_settings, misspelt
from fluvio_sync.client import check_client_settings
from fluvio_sync.contrib.django._aliases import (
    DEFAULT,
    KEYS,
    PRODUCER,
    connect_settings,
    producer_config,
    setting,
    unknown_key,
)
from fluvio_sync.delivery import AtMostOnce
from fluvio_sync.errors import ConfigError
from fluvio_sync.profile import load_profile, profile_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACE = ("endpoint", "profile", "profile_path")


def check_settings(app_configs: object = None, **_: Any) -> list[Any]:  # noqa: ARG001 - as Django calls it
    """Return what is wrong with FLUVIO, as Django's check messages."""
    content = setting()
    if not isinstance(content, dict):
        text = f"The setting FLUVIO is {shown(content)}, not a dictionary of aliases."
        return [Error(text, hint="FLUVIO = {'default': {'ENDPOINT': 'host:9003'}}", id="fluvio.E001")]
    refused = list(_environment())
    if refused:
        return refused
    return [*_misspelt(), *(message for alias, told in content.items() for message in _alias(alias, told))]


def _environment() -> Iterator[Any]:
    try:
        check_client_settings({})
    except ConfigError as error:
        yield Error(f"The environment cannot be used: {error}.", id="fluvio.E003")


def _misspelt() -> Iterator[Any]:
    for variable, meant in misspelt(os.environ).items():
        yield Warning(f"The variable {variable} has no effect.", hint=did_you_mean([meant]), id="fluvio.W003")


def _alias(alias: object, told: object) -> Iterator[Any]:
    place = f"FLUVIO[{alias!r}]"
    if not isinstance(alias, str):
        yield Error(f"{place}: an alias is a string.", id="fluvio.E001")
        return
    if not isinstance(told, dict):
        yield Error(f"{place} is {shown(told)}, not a dictionary of settings.", id="fluvio.E001")
        return
    for key in told:
        if key not in KEYS and key != PRODUCER:
            yield Error(sentence(unknown_key(place, key)), id="fluvio.E002")
    refused = list(_refused(place, connect_settings(told)))
    yield from refused or _cluster(place, connect_settings(told))
    yield from _producer(alias, place, told.get(PRODUCER))


def _refused(place: str, connect: dict[str, Any]) -> Iterator[Any]:
    """Check each setting, so as to name it, then what excludes each other."""
    for name, value in connect.items():
        try:
            check_client_settings({name: value})
        except ConfigError as error:
            yield Error(sentence(f"{place}['{name.upper()}']: {error}"), id="fluvio.E003")
            return
    try:
        check_client_settings(connect)
        if connect.get("endpoint") and (connect.get("profile") or connect.get("profile_path")):
            raise ConfigError("ENDPOINT and PROFILE exclude each other: a profile names its own endpoint")
    except ConfigError as error:
        yield Error(sentence(f"{place}: {error}"), id="fluvio.E003")


def _cluster(place: str, connect: dict[str, Any]) -> Iterator[Any]:
    """Check what names the cluster, by the rules of `Fluvio.connect`."""
    named = any(name in connect for name in _PLACE)
    given = {} if named else client_settings(os.environ)
    if "endpoint" in connect or "endpoint" in given:
        return
    profile, path = connect.get("profile", given.get("profile")), connect.get("profile_path")
    try:
        load_profile(profile, path)
    except ConfigError as error:
        if profile is None and path is None and not _has_profile_file():
            yield Warning(
                f"{place} names no cluster: it has no ENDPOINT, FLUVIO_SYNC_ENDPOINT is not set, and {error}.",
                hint="Set one of the three; until then whatever uses a producer raises this as a ConfigError.",
                id="fluvio.W001",
            )
        else:
            yield Error(sentence(f"{place}: {error}"), hint="Correct the profile, or set ENDPOINT.", id="fluvio.E005")


def _has_profile_file() -> bool:
    try:
        return Path(profile_path()).exists()
    except ConfigError:  # there is no home
        return False


def _producer(alias: str, place: str, told: object) -> Iterator[Any]:
    if not isinstance(told, dict | None):
        yield Error(f"{place}['{PRODUCER}'] is {shown(told)}, not a dictionary of settings.", id="fluvio.E001")
        return
    try:
        config = producer_config(place, told)
    except ConfigError as error:
        yield Error(sentence(str(error)), id="fluvio.E004")
        return
    if alias == DEFAULT and isinstance(config.delivery_semantic, AtMostOnce):
        yield Warning(
            f"{place}['{PRODUCER}'] says at-most-once, and send_on_commit uses this alias unless it is given another: "
            "a record that is lost after the commit is then neither raised, nor logged by record, nor counted as lost.",
            hint=(
                "Give at-most-once an alias of its own, for producer(); or silence this check if send_on_commit is "
                "not used."
            ),
            id="fluvio.W002",
        )
