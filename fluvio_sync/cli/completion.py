# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001 - argparse tells what a parser takes in no other way
"""`fluvio-sync completion`: a script by which a shell completes the command line.

Made of the parser, so that it never lags behind: where an option's value is shown as `a|b|c` these are offered, where
it is shown as FILE, files are.  A packaged generator would be one more dependency, and none knows all three shells.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen

_EPILOG = """\
To have it in every new shell:
  bash   echo 'eval "$(fluvio-sync completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(fluvio-sync completion zsh)"' >> ~/.zshrc      (after compinit)
  fish   fluvio-sync completion fish > ~/.config/fish/completions/fluvio-sync.fish"""

_FILES = ("FILE", "DATA_DIR", "DIR")


class Option(NamedTuple):
    """An option: its spellings, its values if only these are meant, and what it does."""

    names: tuple[str, ...]
    values: tuple[str, ...]
    takes_value: bool
    takes_file: bool
    does: str


class Place(NamedTuple):
    """What may stand behind some commands: `path`, such as ("topics", "list")."""

    path: tuple[str, ...]
    commands: dict[str, str]
    options: list[Option]


def add_completion(commands: Commands, whole: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the command; `whole`: makes the parser to complete for."""
    parser = commands.add_parser(
        "completion",
        usage="fluvio-sync completion bash|zsh|fish",
        help="print a script that completes this command in a shell",
        description="Print a script by which a shell completes commands, options and their values.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", metavar="bash|zsh|fish", choices=sorted(_SCRIPTS))
    parser.set_defaults(run=complete, whole=whole)


def complete(options: argparse.Namespace, _screen: Screen) -> int:
    """Print the script for a shell."""
    from fluvio_sync.testing import dev_cluster  # noqa: PLC0415 - producing does not need it

    parsers = {"dev-cluster": dev_cluster._parser()}
    sys.stdout.write(_SCRIPTS[options.shell](list(places(options.whole(), parsers))))
    return 0


def places(
    parser: argparse.ArgumentParser, replaced: dict[str, argparse.ArgumentParser], path: tuple[str, ...] = ()
) -> Iterator[Place]:
    """Yield what a parser takes and what each of its commands takes; `replaced`: commands with parsers elsewhere."""
    place = Place(path, {}, [])
    inner: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner = action.choices
            place.commands.update({choice.dest: choice.help or "" for choice in action._choices_actions})
        elif action.option_strings and action.help != argparse.SUPPRESS:
            place.options.append(_option(action))
        elif action.metavar and "|" in str(action.metavar):
            place.commands.update(dict.fromkeys(str(action.metavar).split("|"), ""))
    yield place
    for name, command in inner.items():
        yield from places(replaced.get(name, command), replaced, (*path, name))


def _option(action: argparse.Action) -> Option:
    shown = str(action.metavar or action.dest.upper())
    values = tuple(shown.split("|")) if "|" in shown else ()
    does = (action.help or "").replace("%(default)s", str(action.default))
    return Option(tuple(action.option_strings), values, action.nargs != 0, shown in _FILES, does)


# The scripts.

_BASH = """\
# fluvio-sync for bash; in ~/.bashrc: eval "$(fluvio-sync completion bash)"
_fluvio_sync() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} at= word words=
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$at $word" in {paths}) at="$at $word" ;; esac
    done
    COMPREPLY=()
    case "$at ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
    esac
    case "$at" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _fluvio_sync fluvio-sync
"""

_ZSH = """\
#compdef fluvio-sync
# fluvio-sync for zsh; in ~/.zshrc, after compinit: eval "$(fluvio-sync completion zsh)"
_fluvio_sync() {{
    local at= word
    local -a found
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$at $word" in {paths}) at="$at $word" ;; esac
    done
    case "$at ${{words[CURRENT-1]}}" in
{values}
    esac
    case "$at" in
{words}
    esac
    _describe fluvio-sync found
}}
if [[ "$funcstack[1]" == _fluvio_sync ]]; then _fluvio_sync "$@"; else compdef _fluvio_sync fluvio-sync; fi
"""


def bash(found: list[Place]) -> str:
    """Return the script for bash."""

    def offer(option: Option) -> str:
        if option.takes_file:
            return "compopt -o default; "
        return f'COMPREPLY=($(compgen -W "{" ".join(option.values)}" -- "$current")); ' if option.values else ""

    def words(place: Place) -> str:
        return f'words="{" ".join([*place.commands, *(name for option in place.options for name in option.names)])}"'

    return _fill(_BASH, found, offer, words)


def zsh(found: list[Place]) -> str:
    """Return the script for zsh."""

    def offer(option: Option) -> str:
        if option.takes_file:
            return "_files; "
        return f"compadd -- {' '.join(option.values)}; " if option.values else ""

    def words(place: Place) -> str:
        pairs = [*place.commands.items(), *((name, option.does) for option in place.options for name in option.names)]
        return f"found=({' '.join(shlex.quote(f'{name}:{does}'.rstrip(':')) for name, does in pairs)})"

    return _fill(_ZSH, found, offer, words)


def _fill(script: str, found: list[Place], offer: Callable[[Option], str], words: Callable[[Place], str]) -> str:
    """Fill a script: `offer` the values of an option, the `words` of a place."""
    before_value: dict[str, list[str]] = {}
    for place in found:
        for option in place.options:
            if option.takes_value:
                before_value.setdefault(offer(option), []).extend(_after(place, name) for name in option.names)
    return script.format(
        paths="|".join(_after(place) for place in found if place.path),
        values="\n".join(f"        {'|'.join(names)}) {does}return ;;" for does, names in before_value.items()),
        words="\n".join(f"        {_after(place)}) {words(place)} ;;" for place in found),
    )


def _after(place: Place, *word: str) -> str:
    """Return the text, quoted, by which a script knows what stands before the cursor."""
    return shlex.quote("".join(f" {part}" for part in (*place.path, *word)))


def fish(found: list[Place]) -> str:
    """Return the script for fish."""
    lines = ["# fluvio-sync for fish; in ~/.config/fish/completions/fluvio-sync.fish", "complete -c fluvio-sync -f"]
    for place in found:
        seen = [f"__fish_seen_subcommand_from {name}" for name in place.path]
        none = [f"not __fish_seen_subcommand_from {' '.join(place.commands)}"] if place.commands else []
        where = f"complete -c fluvio-sync -n {shlex.quote('; and '.join([*seen, *none]) or 'true')}"
        lines += [f"{where} -a {name} -d {_fish_text(does)}" for name, does in place.commands.items()]
        lines += [f"{where} {_fish_option(option)}" for option in place.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    value = " -x" if option.takes_value else ""
    if option.takes_file:
        value = " -r -F"
    elif option.values:
        value = f" -x -a {shlex.quote(' '.join(option.values))}"
    return f"{names}{value} -d {_fish_text(option.does)}"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS: dict[str, Callable[[list[Place]], str]] = {"bash": bash, "fish": fish, "zsh": zsh}
