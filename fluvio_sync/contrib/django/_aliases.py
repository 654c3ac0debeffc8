# SPDX-License-Identifier: Apache-2.0
"""The setting FLUVIO: a dictionary of aliases, as Django's DATABASES and CACHES are.

The keys of an alias are the arguments of `Fluvio.connect` in capitals, and PRODUCER, the settings that its producers
have unless they are given others.  Nothing is kept: the setting is read at each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from fluvio_sync._base.text import shown
from fluvio_sync.contrib._settings import Keys, dictionary, nearest
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from fluvio_sync.config import ProducerConfig

DEFAULT = "default"
"""The alias of a call that names none."""

KEYS = Keys()
"""The keys of an alias."""


class Alias(NamedTuple):
    """The content of an alias: the arguments of `Fluvio.connect`, and the settings of its producers."""

    connect: dict[str, Any]
    producer: ProducerConfig


def setting() -> dict[Any, Any]:
    """Return FLUVIO; without it there is the alias "default", whose cluster the environment names.

    Raises `ConfigError` if it is no dictionary.
    """
    return dictionary("the setting FLUVIO", getattr(settings, "FLUVIO", {DEFAULT: {}}), "aliases")


def read(alias: str) -> Alias:
    """Return the content of an alias.

    Raises `ConfigError`, which names the place, for an alias that does not exist and for a FLUVIO that cannot work.
    """
    content = setting()
    if alias not in content:
        hint = nearest(alias, content, "its aliases are")
        raise ConfigError(f"the setting FLUVIO has no alias {shown(alias)}: {hint}")
    place = place_of(alias)
    keys = dictionary(place, content[alias], "settings")
    for key in keys:
        if key not in KEYS:
            raise ConfigError(unknown_key(place, key))
    return Alias(KEYS.connect_arguments(keys), KEYS.producer_config(keys, place))


def place_of(alias: object) -> str:
    """Return the place of an alias, as errors name it."""
    return f"FLUVIO[{alias!r}]"


def unknown_key(place: str, key: object) -> str:
    """Return the message about a key that an alias does not have."""
    return f"{place} has an unknown key {shown(key)}: {KEYS.hint(key)}"
