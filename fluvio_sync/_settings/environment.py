# SPDX-License-Identifier: Apache-2.0
"""The settings of a client that the environment may give: `FLUVIO_SYNC_*`.

They are the decisions of a deployment: the cluster's address, TLS, timeouts, memory.  Settings on which an
application's code relies (delivery semantic, isolation, topics) have no variable.

Pure: the environment is an argument.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.text import shown
from fluvio_sync._settings import checks
from fluvio_sync._settings.endpoint import DEFAULT_PORT, parse_endpoint
from fluvio_sync.errors import ConfigError
from fluvio_sync.tls import TlsConfig, TlsPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "FLUVIO_SYNC_"

_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")
_ALIKE = 0.85  # of a misspelt variable's name; a Kubernetes service called "fluvio-sync" sets FLUVIO_SYNC_PORT


def client_settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings, by the names of `Fluvio.connect`'s arguments; an empty variable counts as not set.

    `ConfigError`, which names the variable, for a value that cannot be used, and for variables that exclude each other.
    """
    settings = {name: read(_variable(name), text) for name, read in _READERS.items() if (text := _get(environ, name))}
    if "endpoint" in settings and "profile" in settings:
        raise ConfigError(
            f"{PREFIX}ENDPOINT and {PREFIX}PROFILE exclude each other: a profile names its own endpoint; unset one"
        )
    tls = _tls(environ)
    return settings if tls is None else settings | {"tls": tls}


def misspelt(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without effect whose names nearly match a known variable, with that variable."""
    known = (*_READERS, "tls", *_CERTIFICATES)
    ours = {name: name.removeprefix(PREFIX).lower() for name in environ if name.startswith(PREFIX)}
    unknown = {variable: name for variable, name in ours.items() if name not in known}
    if not unknown:
        return {}
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    alike = {variable: get_close_matches(name, known, n=1, cutoff=_ALIKE) for variable, name in unknown.items()}
    return {variable: _variable(names[0]) for variable, names in alike.items() if names}


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _get(environ: Mapping[str, str], name: str) -> str:
    return environ.get(_variable(name), "").strip()


def _text(_variable: str, text: str) -> str:
    return text


def _endpoint(variable: str, text: str, default_port: int | None = DEFAULT_PORT) -> str:
    try:
        return str(parse_endpoint(text, default_port))
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}") from error


def _seconds(variable: str, text: str, *, positive: bool) -> float:
    try:
        duration = float(text)
    except ValueError:
        raise ConfigError(f"{variable} cannot be {shown(text)}: it is a number of seconds, such as 5 or 2.5") from None
    return checks.seconds(variable, duration, positive=positive)


def _size(variable: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{variable} cannot be {shown(text)}: it is a number of bytes, such as 33554432")
    return checks.size(variable, int(text))


def _flag(variable: str, text: str) -> bool:
    if text.lower() not in _YES + _NO:
        raise ConfigError(f"{variable} cannot be {shown(text)}: it is 'true' or 'false'")
    return text.lower() in _YES


def _addresses(variable: str, text: str) -> dict[int, str]:
    addresses = {}
    for item in text.split(","):
        spu, equals, address = item.strip().partition("=")
        if not (equals and spu.isascii() and spu.isdigit()):
            example = "5001=127.0.0.1:9010,5002=127.0.0.1:9020"
            raise ConfigError(f"{variable} cannot be {shown(text)}: it is a list such as {example}")
        addresses[int(spu)] = _endpoint(variable, address, default_port=None)
    return addresses


_READERS: dict[str, Callable[[str, str], Any]] = {
    "endpoint": _endpoint,
    "profile": _text,
    "client_id": _text,
    "use_spu_local_address": _flag,
    "spu_address_override": _addresses,
    "connect_timeout": partial(_seconds, positive=True),
    "request_timeout": partial(_seconds, positive=True),
    "metadata_timeout": partial(_seconds, positive=False),
    "exit_timeout": partial(_seconds, positive=False),
    "buffer_memory": _size,
}
_POLICIES = {policy.value: policy for policy in TlsPolicy}
_CERTIFICATES = {"tls_domain": "domain", "tls_ca_cert": "ca_cert", "tls_cert": "cert", "tls_key": "key"}


def _tls(environ: Mapping[str, str]) -> TlsConfig | None:
    """Return the `TlsConfig` that the variables describe; None if they describe none."""
    given = {name: text for key, name in _CERTIFICATES.items() if (text := _get(environ, key))}
    policy = _get(environ, "tls")
    if not policy and not given:
        return None
    variable = _variable("tls")
    chosen = _POLICIES.get(checks.spelling(policy)) if policy else TlsPolicy.VERIFIED
    if chosen is None:
        raise ConfigError(f"{variable} cannot be {shown(policy)}: it is one of {', '.join(map(repr, _POLICIES))}")
    set_here = [_variable(key) for key in _CERTIFICATES if _get(environ, key)]
    if chosen is not TlsPolicy.VERIFIED:
        if set_here:
            raise ConfigError(f"{variable} is {policy!r}, so {', '.join(set_here)} would have no effect: unset one")
        return TlsConfig.anonymous() if chosen is TlsPolicy.ANONYMOUS else TlsConfig.disabled()
    for key in ("tls_domain", "tls_ca_cert"):
        if not _get(environ, key):
            because = ", ".join(set_here) or f"{variable}={policy}"
            raise ConfigError(
                f"{_variable(key)} is not set: TLS that is verified needs it, and {because} asks for that"
            )
    return TlsConfig.verified(**given)
