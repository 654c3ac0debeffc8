# SPDX-License-Identifier: Apache-2.0
"""A client for frameworks and the doctor: its settings are checked at once, and it connects at its first use.

An application is put together long before it sends, often in another process: in the parent of a fork, on a build
machine, in a test.  Nothing in here connects, starts a thread or reads a certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluvio_sync._session import EngineHolder
from fluvio_sync.client import Fluvio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluvio_sync._engine import ClientConfig

_PLACE = ("endpoint", "profile", "profile_path")


class _Checked(Fluvio):
    """Takes settings as `Fluvio.connect` does, and goes no further."""

    def _begin(self) -> None:
        pass


def checked_config(settings: Mapping[str, Any]) -> ClientConfig:
    """Return these settings of `Fluvio.connect`, completed from the environment.

    Raises `ConfigError` for what `Fluvio.connect` refuses, a profile that is not there included.
    """
    return _Checked.connect(**settings)._session.config  # noqa: SLF001 - the same class


def unconnected(settings: Mapping[str, Any]) -> Fluvio:
    """Return a client of such settings, which connects at its first use; raises as `checked_config`."""
    return Fluvio(EngineHolder(checked_config(settings)))


def check_client_settings(settings: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for settings that `Fluvio.connect` refuses; no profile is looked for."""
    if settings.get("endpoint") is None:
        given = {name: value for name, value in settings.items() if name not in _PLACE}
        _Checked.connect("unknown.invalid", **given)
    else:
        _Checked.connect(**settings)
