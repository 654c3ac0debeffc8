# SPDX-License-Identifier: Apache-2.0
"""Addresses as people write them: `host:port`.

Pure: no socket, thread, clock, randomness or log; no name is resolved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.text import printable, shown
from fluvio_sync.errors import ConfigError, ConnectError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_PORT = 9003
"""The public port of an SC (Streaming Controller)."""

# Names may have other letters than RFC 1123 allows: container networks use "_", and Python encodes international names.
_LABEL = re.compile(r"[^\s.:/\\@?#,;%\[\]()<>\"'\x00-\x1f]{1,63}")
_LONGEST_NAME = 253


class Endpoint(NamedTuple):
    """The address of a server.

    * `host`: a name or an address (IPv6 without brackets).
    * `port`: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = printable(self.host, _LONGEST_NAME + 1)  # a server may have named it
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def overridden(
    override: Mapping[int, str] | Callable[[int, str], str | None] | None, spu: int, advertised: Endpoint | None
) -> Endpoint | None:
    """Return the address that the setting `spu_address_override` gives an SPU, None if it gives none.

    * `advertised`: the address that the SC gives.

    Raises `ConnectError` if the setting is of no use, or the application's function fails.
    """
    if override is None:
        return None
    try:
        text = override(spu, str(advertised or "")) if callable(override) else override.get(spu)
        return None if text is None else parse_endpoint(text, default_port=None)
    except Exception as error:
        raise ConnectError(f"spu_address_override gives no address for SPU {spu}: {error!r}") from error


def parse_endpoint(text: str, default_port: int | None = DEFAULT_PORT) -> Endpoint:
    """Return the endpoint that a text names.

    * `text`: `"host:port"`, `"host"`, `"[::1]:9003"`, `"[::1]"` or `"::1"`.
    * `default_port`: the port of a text without one (default 9003, an SC's); None if the text must have one.

    Raises `ConfigError`, which shows the text, but no user and password in it, and explains the mistake, for anything
    else, such as a URL or a list.
    """
    if not isinstance(text, str):
        raise ConfigError(f"an endpoint is a string such as '127.0.0.1:9003', not {shown(text)}")
    host, port = _split(text)
    if ":" in host:
        _check_ipv6(text, host)
    else:
        _check_name(text, host)
    if printable(host, len(host)) != host:
        raise _malformed(text, "it contains a character that does not show")
    if port is not None:
        return Endpoint(host, _port(text, port))
    if default_port is None:
        raise _malformed(text, "the port is missing")
    return Endpoint(host, default_port)


def _malformed(text: str, why: str) -> ConfigError:
    return ConfigError(f"the endpoint {shown(text)} is not 'host:port': {why}")


def _split(text: str) -> tuple[str, str | None]:
    if not text:
        raise _malformed(text, "it is empty")
    if "@" in text:  # first: what stands before it may be a password, and is in no other error
        why = "Fluvio has no users and passwords; leave out everything up to the '@'"
        raise _malformed(text, f"{why}, and the scheme of a URL" if "://" in text else why)
    if "?" in text:
        raise _malformed(f"{text.partition('?')[0]}?...", "nothing may follow the port")
    if any(character.isspace() for character in text):
        raise _malformed(text, "it contains white space")
    if "://" in text:
        raise _malformed(text, "it is a URL; leave out the scheme")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise _malformed(text, "brackets hold an IPv6 address, and ':port' may follow them")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None  # IPv6, or wrong
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _check_ipv6(text: str, host: str) -> None:
    from ipaddress import IPv6Address  # noqa: PLC0415 - rarely needed

    try:
        IPv6Address(host)
    except ValueError as error:
        raise _malformed(text, f"as an IPv6 address, {error}") from error


def _check_name(text: str, host: str) -> None:
    if not host:
        raise _malformed(text, "the host is missing")
    labels = host.removesuffix(".").split(".")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise _malformed(text, f"{shown(host)} is no name of a host")


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise _malformed(text, f"the port {shown(port)} is not a number from 1 to 65535")
    return int(port)
