# SPDX-License-Identifier: Apache-2.0
"""The setting FLUVIO: what each alias says.

Its structure is what Django's DATABASES and CACHES are like: a dictionary of aliases.  The keys of an alias are the
arguments of `Fluvio.connect` in capitals, and PRODUCER, the settings that its producers have unless they are given
others.  Nothing is kept: the setting is read at each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from fluvio_sync._base.text import alike, did_you_mean, shown
from fluvio_sync.config import CLIENT_SETTINGS, ProducerConfig
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT = "default"
"""The alias of who names none."""

PRODUCER = "PRODUCER"
KEYS = {name.upper(): name for name in CLIENT_SETTINGS}
"""The keys of an alias, but for PRODUCER, with the argument that each is."""


class Alias(NamedTuple):
    """What an alias says: the arguments of `Fluvio.connect`, and what its producers are like."""

    connect: dict[str, Any]
    producer: ProducerConfig


def setting() -> object:
    """Return FLUVIO, as it is; without it there is the alias "default", whose cluster the environment names."""
    return getattr(settings, "FLUVIO", {DEFAULT: {}})


def aliases() -> list[str]:
    """Return the aliases; none if FLUVIO is no dictionary, which the system checks report."""
    content = setting()
    return list(content) if isinstance(content, dict) else []


def read(alias: str) -> Alias:
    """Return what an alias says.

    Raises `ConfigError`, which names what is wrong, for an alias that there is not and for what FLUVIO cannot be.
    """
    content = setting()
    if not isinstance(content, dict):
        raise ConfigError(f"the setting FLUVIO is a dictionary of aliases, not {type(content).__name__}")
    if alias not in content:
        raise ConfigError(
            f"the setting FLUVIO has no alias {shown(alias)}: {nearest(alias, content, 'its aliases are')}"
        )
    place = f"FLUVIO[{alias!r}]"
    told = content[alias]
    if not isinstance(told, dict):
        raise ConfigError(f"{place} is a dictionary of settings, not {type(told).__name__}")
    for key in told:
        if key not in KEYS and key != PRODUCER:
            raise ConfigError(unknown_key(place, key))
    return Alias(connect_settings(told), producer_config(place, told.get(PRODUCER)))


def connect_settings(told: dict[str, Any]) -> dict[str, Any]:
    """Return what `Fluvio.connect` is to be given; a key that is None is as absent."""
    return {KEYS[key]: value for key, value in told.items() if key in KEYS and value is not None}


def producer_config(place: str, told: object) -> ProducerConfig:
    """Return what PRODUCER says; `ConfigError`, which begins with the place of the alias, for what it cannot be."""
    if told is None:
        return ProducerConfig()
    if not isinstance(told, dict):
        raise ConfigError(f"{place}['{PRODUCER}'] is a dictionary of a producer's settings, not {type(told).__name__}")
    try:
        return ProducerConfig.from_settings(None, told)
    except ConfigError as error:
        raise ConfigError(f"{place}['{PRODUCER}']: {error}") from error


def unknown_key(place: str, key: object) -> str:
    """Return what to say of a key that an alias does not have."""
    name = str(key)
    if name.lower() in ProducerConfig.__dataclass_fields__:
        hint = f"it is a setting of producers: {{'{PRODUCER}': {{{name.lower()!r}: ...}}}}"
    else:
        hint = nearest(name.upper(), [*KEYS, PRODUCER], "the keys are")
    return f"{place} has an unknown key {shown(key)}: {hint}"


def nearest(name: object, known: Iterable[object], all_are: str) -> str:
    """Return a hint to what was meant, or to all that there is."""
    names = [str(one) for one in known]
    found = alike(str(name), names)
    return did_you_mean(found) if found else f"{all_are} {', '.join(map(repr, names)) or 'none'}"
