# SPDX-License-Identifier: Apache-2.0
"""System checks of FLUVIO, with the tag "fluvio"; they read the environment and the profile file, and connect nowhere.

docs/django.md says what each of the ids fluvio.E001 to E005 and W001 to W003 means.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.checks import Error, Warning  # noqa: A004 - Django's name for it

from fluvio_sync._base.text import did_you_mean, sentence
from fluvio_sync._settings.environment import client_settings, misspelt
from fluvio_sync.client import check_client_settings
from fluvio_sync.contrib._settings import dictionary
from fluvio_sync.contrib.django._aliases import DEFAULT, KEYS, place_of, setting, unknown_key
from fluvio_sync.delivery import AtMostOnce
from fluvio_sync.errors import ConfigError
from fluvio_sync.profile import load_profile, profile_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLUSTER = ("endpoint", "profile", "profile_path")


def check_settings(app_configs: object = None, **_: Any) -> list[Any]:  # noqa: ARG001 - as Django calls it
    """Return the mistakes in FLUVIO, as Django's check messages."""
    try:
        content = setting()
    except ConfigError as error:
        return [_error("E001", error, hint="FLUVIO = {'default': {'ENDPOINT': 'host:9003'}}")]
    try:
        check_client_settings({})
    except ConfigError as error:
        return [Error(f"The environment cannot be used: {error}.", id="fluvio.E003")]
    return [*_misspelt(), *(message for alias, keys in content.items() for message in _alias(alias, keys))]


def _error(number: str, error: ConfigError, hint: str | None = None) -> Error:
    text = str(error)
    return Error(sentence(text[0].upper() + text[1:]), hint=hint, id=f"fluvio.{number}")


def _misspelt() -> Iterator[Any]:
    for variable, meant in misspelt(os.environ).items():
        yield Warning(f"The variable {variable} has no effect.", hint=did_you_mean([meant]), id="fluvio.W003")


def _alias(alias: object, content: object) -> Iterator[Any]:
    place = place_of(alias)
    if not isinstance(alias, str):
        yield Error(f"{place}: an alias is a string.", id="fluvio.E001")
        return
    try:
        keys = dictionary(place, content, "settings")
    except ConfigError as error:
        yield _error("E001", error)
        return
    for key in keys:
        if key not in KEYS:
            yield Error(sentence(unknown_key(place, key)), id="fluvio.E002")
    yield from _connect(place, keys)
    yield from _producer(alias, place, keys)


def _connect(place: str, keys: dict[Any, Any]) -> Iterator[Any]:
    """Check the arguments of `Fluvio.connect`, each by itself and then together, and the cluster that they name."""
    try:
        KEYS.check_connect(keys, place)
    except ConfigError as error:
        yield _error("E003", error)
    else:
        yield from _cluster(place, KEYS.connect_arguments(keys))


def _cluster(place: str, connect: dict[str, Any]) -> Iterator[Any]:
    """Check the name of the cluster, by the rules of `Fluvio.connect`."""
    named = any(name in connect for name in _CLUSTER)
    given = connect if named else client_settings(os.environ)
    if "endpoint" in given:
        return
    profile, path = given.get("profile"), given.get("profile_path")
    try:
        load_profile(profile, path)
    except ConfigError as error:
        if profile is None and path is None and not _has_profile_file():
            yield Warning(
                f"{place} names no cluster: it has no ENDPOINT, FLUVIO_SYNC_ENDPOINT is not set, and {error}.",
                hint="Set one of the three; until then every use of a producer raises this as a ConfigError.",
                id="fluvio.W001",
            )
        else:
            yield Error(sentence(f"{place}: {error}"), hint="Correct the profile, or set ENDPOINT.", id="fluvio.E005")


def _has_profile_file() -> bool:
    try:
        return Path(profile_path()).exists()
    except ConfigError:  # there is no home
        return False


def _producer(alias: str, place: str, keys: dict[Any, Any]) -> Iterator[Any]:
    try:
        config = KEYS.producer_config(keys, place)
    except ConfigError as error:
        yield _error("E004" if isinstance(keys[KEYS.producer], dict) else "E001", error)
        return
    if alias == DEFAULT and isinstance(config.delivery_semantic, AtMostOnce):
        yield Warning(
            f"PRODUCER of {place} is at-most-once, and send_on_commit uses this alias unless it is given another: the "
            "loss of a record after the commit is then neither raised, nor logged by record, nor counted.",
            hint=(
                "Give at-most-once an alias of its own, for producer(); or silence this check if send_on_commit is "
                "not used."
            ),
            id="fluvio.W002",
        )
