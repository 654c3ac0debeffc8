# SPDX-License-Identifier: Apache-2.0
"""Settings of a client in a framework's own configuration, which the integrations of Django and Flask check alike.

The configuration has the arguments of `Fluvio.connect` in capitals, behind a prefix, and PRODUCER, a dictionary of the
settings that producers have unless they are given others.  Nothing in here opens a file or connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._base.text import alike, did_you_mean, shown
from fluvio_sync.client import check_client_settings
from fluvio_sync.config import CLIENT_SETTINGS, ProducerConfig
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Keys:
    """The keys of a framework's configuration.

    * `prefix`: of every key (default: none).
    * `others`: keys that the integration has besides; they are offered when an unknown key resembles them.
    """

    def __init__(self, prefix: str = "", *others: str) -> None:
        self.producer = f"{prefix}PRODUCER"
        self._prefix = prefix
        self._arguments = {f"{prefix}{name.upper()}": name for name in CLIENT_SETTINGS}
        self._known = (*self._arguments, self.producer, *others)

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def connect_arguments(self, config: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the arguments of `Fluvio.connect`; a key that is None counts as absent."""
        return {name: config[key] for key, name in self._arguments.items() if config.get(key) is not None}

    def check_connect(self, config: Mapping[Any, Any], place: str = "") -> None:
        """Raise `ConfigError`, which names the key, for arguments that `Fluvio.connect` refuses.

        No profile is looked for.  `place`: of the configuration, for the error.
        """
        arguments = self.connect_arguments(config)
        for key, name in self._arguments.items():
            if name in arguments:
                _check({name: arguments[name]}, _at(place, key))
        _check(arguments, place)

    def producer_config(self, config: Mapping[Any, Any], place: str = "") -> ProducerConfig:
        """Return the content of PRODUCER, by default an empty one; a `ConfigError` begins with its place."""
        settings, here = config.get(self.producer), _at(place, self.producer)
        given = {} if settings is None else dictionary(here, settings, "settings")
        try:
            return ProducerConfig.from_settings(None, given)
        except ConfigError as error:
            raise ConfigError(f"{here}: {error}") from error

    def hint(self, unknown: object) -> str:
        """Return the hint for a key that does not exist: the place of a producer's setting, the nearest key, or all."""
        name = str(unknown).upper().removeprefix(self._prefix)
        if name.lower() in ProducerConfig.__dataclass_fields__:
            return f"it is a setting of producers, put it into {self.producer!r}"
        names = [key.removeprefix(self._prefix) for key in self._known]
        return nearest(name, names, "the keys are", self._prefix)


def _check(arguments: Mapping[str, Any], place: str) -> None:
    try:
        check_client_settings(arguments)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}" if place else str(error)) from error


def _at(place: str, key: str) -> str:
    return f"{place}[{key!r}]" if place else key


def nearest(name: object, known: Iterable[object], all_are: str, prefix: str = "") -> str:
    """Return the hint for a name that does not exist: the nearest one, or all; `prefix`: shown in front of each."""
    names = [str(one) for one in known]
    found = alike(str(name), names)
    if found:
        return did_you_mean([prefix + one for one in found])
    return f"{all_are} {', '.join(repr(prefix + one) for one in names) or 'none'}"


def dictionary(place: str, value: object, of: str) -> dict[Any, Any]:
    """Return `value` if it is a dictionary; `ConfigError`, which begins with its place, otherwise."""
    if not isinstance(value, dict):
        raise ConfigError(f"{place} is {shown(value)}, not a dictionary of {of}")
    return value
