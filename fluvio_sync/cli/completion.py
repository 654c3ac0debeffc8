# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001 - argparse has no public way to walk through a parser
"""`fluvio-sync completion`: prints a script, written by shtab, by which a shell completes the command line.

An option completes its `choices`; a value whose metavar is FILE, DIR or TOPIC completes files, folders or topics.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.stdout import write
from fluvio_sync.cli.exit_status import FAILED, OK

if TYPE_CHECKING:
    from fluvio_sync.cli.options import Commands, Parser
    from fluvio_sync.cli.screen import Screen

_SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\
To complete in every new shell:
  bash   echo 'eval "$(fluvio-sync completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(fluvio-sync completion zsh)"' >> ~/.zshrc      (after compinit)
  fish   fluvio-sync completion fish > ~/.config/fish/completions/fluvio-sync.fish

It completes the names of topics if "fluvio-sync topics list" finds the cluster without options."""

_LIST_TOPICS = "fluvio-sync topics list --timeout 1s 2>/dev/null"
_TOPICS = {
    "bash": "_fluvio_sync_topics",
    "zsh": "_fluvio_sync_topics",
    "fish": f"({_LIST_TOPICS})",
    "preamble": {
        "bash": f'_fluvio_sync_topics() {{ compgen -W "$({_LIST_TOPICS})" -- "$1"; }}',
        "zsh": f"_fluvio_sync_topics() {{ compadd -- $({_LIST_TOPICS}) }}",
    },
}


def add_completion(commands: Commands, parser: Parser) -> None:
    """Add the command; `parser`: the whole command line, whose `commands` these are."""
    command = commands.add_parser(
        "completion",
        usage=f"fluvio-sync completion {'|'.join(_SHELLS)}",
        help="print a script that completes this command in a shell",
        description="Print a script by which a shell completes commands, options and their values.",
        epilog=_EPILOG,
    )
    command.add_argument("shell", metavar="|".join(_SHELLS), choices=_SHELLS, help="the shell to complete in")
    command.set_defaults(run=complete, commands=commands, parser=parser)


def complete(options: argparse.Namespace, screen: Screen) -> int:
    """Print the script for a shell."""
    try:
        import shtab  # noqa: PLC0415 - optional, and only this command needs it
    except ImportError:
        screen.say("completion needs shtab: pip install 'fluvio-sync[cli]'")
        return FAILED
    from fluvio_sync.testing import dev_cluster  # noqa: PLC0415 - producing does not need it

    options.commands.choices["dev-cluster"] = dev_cluster.build_parser()  # in place of one without options
    _say_how_to_complete(options.parser, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "TOPIC": _TOPICS})
    write(shtab.complete(options.parser, options.shell) + "\n")
    return OK


def _say_how_to_complete(parser: argparse.ArgumentParser, completions: dict[str, Any]) -> None:
    """Tell shtab how the values of a parser and of its commands are completed; `completions`: by metavar."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _say_how_to_complete(command, completions)
        elif isinstance(action.metavar, str):
            if action.metavar in completions:
                action.complete = completions[action.metavar]  # type: ignore[attr-defined]
            action.metavar = action.metavar.replace(":", " ")  # which would end a field of zsh's specifications
