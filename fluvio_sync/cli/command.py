# SPDX-License-Identifier: Apache-2.0
"""The command `fluvio-sync`: its command line, and what becomes of its errors.

Exit status: 0; 1 if a record or a step failed, a line was skipped or the cluster could not be used; 2 for wrong usage;
128 and the signal's number if Ctrl-C or SIGTERM ended it.  What goes wrong is one line on standard error.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from fluvio_sync._version import __version__
from fluvio_sync.cli import exit_status
from fluvio_sync.cli.completion import add_completion
from fluvio_sync.cli.doctor import add_doctor
from fluvio_sync.cli.options import FAILED, USAGE, Parser, add_cluster, statuses
from fluvio_sync.cli.produce import add_produce
from fluvio_sync.cli.screen import Screen, show_warnings
from fluvio_sync.cli.topics import add_topics
from fluvio_sync.errors import ConfigError, FluvioError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_EPILOG = f"""\
begin here:
  fluvio-sync dev-cluster                       a cluster on this machine, at 127.0.0.1:9003, until Ctrl-C
  export FLUVIO_SYNC_ENDPOINT=127.0.0.1:9003    in another terminal; or have Fluvio's own profile file
  fluvio-sync topics create orders
  echo hello | fluvio-sync produce orders
  fluvio-sync doctor                            if something does not work

"fluvio-sync COMMAND --help" shows a command's options. Which cluster it is may also be said before the command.

{statuses("something failed; standard error says what")}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["dev-cluster"]:
        return dev_cluster(arguments[1:])
    screen = Screen(sys.stderr)
    if not arguments:
        screen.line(_parser().format_help())
        screen.say("a command is missing")
        return USAGE
    options = _parser().parse_args(arguments)
    return _run(options, screen)


def _run(options: argparse.Namespace, screen: Screen) -> int:
    show_warnings(screen)
    exit_status.catch_sigterm()
    try:
        status: int = options.run(options, screen)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ConfigError as error:
        screen.say(str(error))
        return USAGE
    except FluvioError as error:
        screen.say(str(error))
        return FAILED
    except BrokenPipeError:  # whoever read standard output has seen enough
        assert sys.stdout is not None
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt as stop:
        screen.say("interrupted")
        return exit_status.status_of(stop)
    return status


def _parser() -> Parser:
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
    add_topics(commands)
    add_doctor(commands)
    commands.add_parser("dev-cluster", help="run a cluster on this machine, for development and tests")
    add_completion(commands, _parser)
    return parser


def dev_cluster(arguments: Sequence[str]) -> int:
    """Run a development cluster until it is interrupted."""
    from fluvio_sync.testing import dev_cluster as command  # noqa: PLC0415 - producing does not need it

    return command.main(arguments)
