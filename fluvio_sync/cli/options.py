# SPDX-License-Identifier: Apache-2.0
"""The parser that all commands share, and their options for the cluster and the connection to it."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from fluvio_sync._base.stdout import write
from fluvio_sync._base.text import without_users
from fluvio_sync._settings.environment import client_settings
from fluvio_sync.cli.values import endpoint, positive_duration
from fluvio_sync.config import TlsConfig
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - no public name

CLIENT_ID_VARIABLE = "FLUVIO_CLIENT_ID"
"""The variable by which Fluvio's own command line is given its client id."""

_WHICH_CLUSTER = """\
Without --cluster and --profile: $FLUVIO_SYNC_ENDPOINT or $FLUVIO_SYNC_PROFILE, else the current profile of Fluvio's
own profile file. --tls alone encrypts but verifies no server; --domain and --ca-cert verify the servers;
--enable-client-cert presents this client's certificate."""

_CERTIFICATES = ("domain", "ca_cert", "client_cert", "client_key")


class Parser(argparse.ArgumentParser):
    """A command's parser: takes options by their whole names only, and prints its texts as they are written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """End the program; the message shows arguments, and no password of an address in them."""
        super().error(without_users(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            write(message)  # argparse would hide that it fails
        else:
            super()._print_message(message, file)


def add_cluster(
    parser: argparse.ArgumentParser,
    *,
    timeout: str = "limit for connecting (default: 10s) and for each reply (default: 30s)",
    before_command: bool = False,
) -> None:
    """Add the options of every command that connects to a cluster.

    `timeout`: the help text of the option of this name.
    `before_command`: add them without help, because Fluvio's own command line takes them before the command as well.
    """
    group = parser if before_command else parser.add_argument_group("cluster", _WHICH_CLUSTER)
    # An option that is missing behind the command must not reset the one that stands before it.
    default: dict[str, Any] = {"default": None if before_command else argparse.SUPPRESS}

    def add(*names: str, help: str, **settings: Any) -> None:  # noqa: A002 - argparse's name
        group.add_argument(*names, help=argparse.SUPPRESS if before_command else help, **settings)

    sc = "the cluster's SC (Streaming Controller; default port: 9003)"
    add("-c", "--cluster", metavar="HOST:PORT", type=endpoint, help=sc, **default)
    add("-P", "--profile", metavar="NAME", help="connect to the cluster of this profile", **default)
    add("--timeout", metavar="TIME", type=positive_duration, help=timeout, **default)
    off: dict[str, Any] = {"default": False if before_command else argparse.SUPPRESS, "action": "store_true"}
    add("--tls", help="use TLS", **off)
    add("--enable-client-cert", help="present a client certificate; needs the four options below", **off)
    add("--domain", metavar="NAME", help="the name in the SC's certificate", **default)
    add("--ca-cert", metavar="FILE", help="the certificate authority to trust", **default)
    add("--client-cert", metavar="FILE", help="this client's certificate", **default)
    add("--client-key", metavar="FILE", help="the certificate's private key", **default)


def connect_settings(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the arguments for `Fluvio.connect`.

    Raises `ConfigError` for options that exclude each other, and for one that needs another.
    """
    if options.cluster is not None and options.profile is not None:
        raise ConfigError("--cluster and --profile exclude each other: a profile names its own cluster")
    settings = {
        "endpoint": options.cluster,
        "profile": options.profile,
        "tls": _tls(options, environ),
        "client_id": environ.get(CLIENT_ID_VARIABLE) or None,
        "connect_timeout": options.timeout,
        "request_timeout": options.timeout,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _tls(options: argparse.Namespace, environ: Mapping[str, str]) -> TlsConfig | None:
    given = [name for name in _CERTIFICATES if getattr(options, name) is not None]
    if not options.tls:
        if given or options.enable_client_cert:
            raise ConfigError(f"{_option(given[0] if given else 'enable_client_cert')} has no effect without --tls")
        return None
    if options.cluster is None and (options.profile is not None or "endpoint" not in client_settings(environ)):
        raise ConfigError("--tls needs --cluster: a profile has TLS settings of its own")
    of_client = [name for name in given if name.startswith("client")]
    if of_client and not options.enable_client_cert:
        raise ConfigError(f"{_option(of_client[0])} has no effect without --enable-client-cert")
    if not given and not options.enable_client_cert:
        return TlsConfig.anonymous()
    needed = _CERTIFICATES if options.enable_client_cert else _CERTIFICATES[:2]
    missing = [_option(name) for name in needed if name not in given]
    if missing:
        because = "--enable-client-cert" if options.enable_client_cert else _option(given[0])
        raise ConfigError(f"{because} needs {' and '.join(missing)} as well")
    return TlsConfig.verified(
        domain=options.domain, ca_cert=options.ca_cert, cert=options.client_cert, key=options.client_key
    )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
