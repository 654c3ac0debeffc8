# SPDX-License-Identifier: Apache-2.0
"""What the commands' options have in common: which cluster, and how a value is checked.

A value that cannot be used is refused while the command line is read, in the words of the command line.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, TypeVar

from fluvio_sync._endpoint import parse_endpoint
from fluvio_sync._environment import client_settings
from fluvio_sync.cli.durations import parse_duration
from fluvio_sync.config import TlsConfig
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    T = TypeVar("T")
    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 - what add_subparsers() returns has no public name

CLIENT_ID_VARIABLE = "FLUVIO_CLIENT_ID"
"""The official command line's variable for what the cluster sees of it."""

_WHICH_CLUSTER = """\
Without --cluster and --profile: $FLUVIO_SYNC_ENDPOINT or $FLUVIO_SYNC_PROFILE, else the current profile of Fluvio's
own profile file. --tls alone encrypts, and verifies nobody; with --domain and --ca-cert the servers are verified; with
--enable-client-cert this client shows its certificate."""

_CERTIFICATES = ("domain", "ca_cert", "client_cert", "client_key")

OK, FAILED, USAGE = 0, 1, 2
"""Exit statuses; beside them 128 and the number of the signal that ended the command."""


def statuses(failed: str) -> str:
    """Return the part of a help text about exit statuses; `failed`: what 1 means."""
    return f"exit status:\n  0         done\n  1         {failed}\n  2         wrong usage\n  130, 143  Ctrl-C, SIGTERM"


class Parser(argparse.ArgumentParser):
    """A command's: takes options by their whole names, and prints its texts as they stand."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)


# How values are checked.


def whole(minimum: int, maximum: int, unit: str = "a number") -> Callable[[str], int]:
    """Return what reads a whole number."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and minimum <= int(text[:20]) <= maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is not {unit} from {minimum} to {maximum}")
        return int(text)

    return read


def duration(text: str) -> float:
    """Return seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive_duration(text: str) -> float:
    """Return seconds, more than 0."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is too short: it has to be more than 0")
    return seconds


def one_of(names: str, read: Callable[[str], T]) -> Callable[[str], T]:
    """Return what reads a name; `names`: those to show, `read`: takes all spellings and raises `ConfigError`."""

    def check(text: str) -> T:
        try:
            return read(text)
        except ConfigError:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names.split('|'))}") from None

    return check


def endpoint(text: str) -> str:
    """Return the address of an SC."""
    try:
        return str(parse_endpoint(text))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# Which cluster.


def add_cluster(
    parser: argparse.ArgumentParser,
    *,
    timeout: str = "for connecting (10s), for each answer (30s)",
    before_command: bool = False,
) -> None:
    """Add what every command takes that talks to a cluster.

    `timeout`: what that option is for; `before_command`: silently, for those who write these options before the
    command, as the official one has them.
    """
    group = parser if before_command else parser.add_argument_group("cluster", _WHICH_CLUSTER)
    # A command that is not given one must not undo what stands before it.
    default: dict[str, Any] = {"default": None if before_command else argparse.SUPPRESS}

    def add(*names: str, help: str, **settings: Any) -> None:  # noqa: A002 - argparse's name
        group.add_argument(*names, help=argparse.SUPPRESS if before_command else help, **settings)

    add("-c", "--cluster", metavar="HOST:PORT", type=endpoint, help="the cluster's SC (default port: 9003)", **default)
    add("-P", "--profile", metavar="NAME", help="the cluster of this profile", **default)
    add("--timeout", metavar="TIME", type=positive_duration, help=timeout, **default)
    off: dict[str, Any] = {"default": False if before_command else argparse.SUPPRESS, "action": "store_true"}
    add("--tls", help="use TLS", **off)
    add("--enable-client-cert", help="show a certificate; needs the four options that follow", **off)
    add("--domain", metavar="NAME", help="the name in the SC's certificate", **default)
    add("--ca-cert", metavar="FILE", help="the authority to trust", **default)
    add("--client-cert", metavar="FILE", help="this client's certificate", **default)
    add("--client-key", metavar="FILE", help="its private key", **default)


def connect_settings(options: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the arguments for `Fluvio.connect`; `ConfigError` for options that exclude or need each other."""
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
