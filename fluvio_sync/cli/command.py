# SPDX-License-Identifier: Apache-2.0
"""The command `fluvio-sync`: parses the command line, runs a command, and turns errors into exit statuses.

Exit status: 0; 1 if a record or a step failed, a line was skipped, a batch stands in a topic twice or the cluster could
not be used; 2 for wrong usage; 128 and the signal's number if Ctrl-C or SIGTERM ended it.  An error is one line on
standard error.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from fluvio_sync import __version__
from fluvio_sync._base import stdout
from fluvio_sync._base.stdout import OutputError
from fluvio_sync.cli.completion import add_completion
from fluvio_sync.cli.consume import add_consume
from fluvio_sync.cli.doctor import add_doctor
from fluvio_sync.cli.exit_status import FAILED, USAGE, catch_sigterm, status_of, statuses
from fluvio_sync.cli.options import Parser, add_cluster
from fluvio_sync.cli.produce import add_produce
from fluvio_sync.cli.screen import Screen, show_warnings
from fluvio_sync.cli.topics import add_topics
from fluvio_sync.cli.verify import add_verify
from fluvio_sync.errors import ConfigError, FluvioError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_EPILOG = f"""\
getting started:
  fluvio-sync dev-cluster                       a cluster on this machine, at 127.0.0.1:9003, until Ctrl-C
  export FLUVIO_SYNC_ENDPOINT=127.0.0.1:9003    in another terminal; not needed with a profile file of Fluvio's own
  fluvio-sync topics create orders
  echo hello | fluvio-sync produce orders
  fluvio-sync doctor                            if something does not work

"fluvio-sync COMMAND --help" shows the options of a command. Those that choose the cluster may also stand before it.

{statuses("something failed; standard error says why")}"""


def main(argv: Sequence[str] | None) -> int:
    """Run a command line, None for the process's own, and return the exit status."""
    screen = Screen(sys.stderr)
    try:
        return _main(list(sys.argv[1:] if argv is None else argv), screen)
    except OutputError as error:
        stdout.discard()
        if not error.closed:
            screen.say(str(error))
        return FAILED


def _main(arguments: list[str], screen: Screen) -> int:
    if not arguments:
        for line in build_parser().format_help().split("\n"):
            screen.line(line)
        screen.say("a command is missing")
        return USAGE
    try:
        if arguments[0] == "dev-cluster":
            from fluvio_sync.testing import dev_cluster  # noqa: PLC0415 - producing does not need it

            return dev_cluster.main(arguments[1:])
        options = build_parser().parse_args(arguments)
    except SystemExit:  # after a help text, the version or an error of the usage
        stdout.flush()
        raise
    return _run(options, screen)


def _run(options: argparse.Namespace, screen: Screen) -> int:
    show_warnings(screen)
    catch_sigterm()
    try:
        status: int = options.run(options, screen)
        stdout.flush()
    except ConfigError as error:
        screen.say(str(error))
        return USAGE
    except FluvioError as error:
        screen.say(str(error))
        return FAILED
    except KeyboardInterrupt as stop:
        screen.say("interrupted")
        return status_of(stop)
    return status


def _reject_options_before(_options: argparse.Namespace, _screen: Screen) -> int:
    raise ConfigError("dev-cluster takes no options before it: it connects to no cluster")


def build_parser() -> Parser:
    """Return the parser of the whole command line; `dev-cluster` has one of its own."""
    parser = Parser(
        prog="fluvio-sync",
        usage="fluvio-sync COMMAND [OPTION...]",
        description="Produce to a Fluvio cluster.",
        epilog=_EPILOG,
    )
    parser.add_argument("-V", "--version", action="version", version=f"fluvio-sync {__version__}")
    add_cluster(parser, before_command=True)
    commands = parser.add_subparsers(prog="fluvio-sync", title="commands", metavar="COMMAND", required=True)
    add_produce(commands)
    add_consume(commands)
    add_topics(commands)
    add_verify(commands)
    add_doctor(commands)
    dev_cluster = commands.add_parser("dev-cluster", help="run a cluster on this machine, for development and tests")
    dev_cluster.set_defaults(run=_reject_options_before)
    add_completion(commands, parser)
    return parser
