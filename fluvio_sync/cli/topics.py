# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync topics`: list, create and delete."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from fluvio_sync._settings import choice
from fluvio_sync._topic_name import check_topic_name
from fluvio_sync.cli.options import FAILED, OK, Parser, add_cluster, connect_settings, one_of, statuses, whole
from fluvio_sync.client import Fluvio
from fluvio_sync.config import Compression
from fluvio_sync.errors import ServerError, TopicNotFoundError
from fluvio_sync.protocol.error_code import Code

if TYPE_CHECKING:
    import argparse

    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen

_EPILOG = f"""\
examples:
  fluvio-sync topics list
  fluvio-sync topics create orders --partitions 3 --exist-ok
  fluvio-sync topics delete orders payments

{statuses("the cluster refused it, or could not be used")}"""


# The command line.


def add_topics(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "topics",
        aliases=["topic"],
        usage="fluvio-sync topics list|create|delete [OPTION...]",
        help="list, create and delete topics",
        description="List, create and delete topics; each has a --help of its own.",
        epilog=_EPILOG,
    )
    actions = parser.add_subparsers(prog="fluvio-sync topics", title="commands", metavar="COMMAND", required=True)
    _add_list(actions)
    _add_create(actions)
    _add_delete(actions)


def _add_action(actions: Commands, name: str, usage: str, does: str) -> Parser:
    return actions.add_parser(
        name,
        usage=f"fluvio-sync topics {name} {usage}",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EPILOG,
    )


def _add_list(actions: Commands) -> None:
    parser = _add_action(actions, "list", "[OPTION...]", "print the names of the topics, sorted")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each: partitions, replication, compression"
    )
    parser.set_defaults(run=list_topics)
    add_cluster(parser)


def _add_create(actions: Commands) -> None:
    parser = _add_action(actions, "create", "NAME [OPTION...]", "create a topic")
    parser.add_argument("name", metavar="NAME", help="1 to 63 of a-z, 0-9 and '-'")
    number = whole(1, 0x7FFFFFFF)
    parser.add_argument("-p", "--partitions", metavar="N", type=number, default=1, help="default: 1")
    parser.add_argument("-r", "--replication", metavar="N", type=number, default=1, help="copies of each (default: 1)")
    codecs = "|".join(["any", *(codec.value for codec in Compression)])
    parser.add_argument(
        "--compression",
        "--compression-type",
        metavar=codecs,
        type=one_of(codecs, _compression),
        help="the only codec that the topic takes (default: any)",
    )
    parser.add_argument("--exist-ok", "--ignore-existing", action="store_true", help="a topic of that name is no error")
    parser.set_defaults(run=create_topic)
    add_cluster(parser)


def _add_delete(actions: Commands) -> None:
    parser = _add_action(actions, "delete", "NAME... [OPTION...]", "delete topics, with all their records")
    parser.add_argument("names", metavar="NAME", nargs="+", help="the others are deleted, too, if one cannot be")
    parser.set_defaults(run=delete_topics)
    add_cluster(parser)


def _compression(text: str) -> Compression | None:
    return None if text.lower() == "any" else choice(Compression, "compression", text)


# What they do.


def list_topics(options: argparse.Namespace, _screen: Screen) -> int:
    """Print the topics."""
    with Fluvio.connect(**connect_settings(options)) as fluvio:
        for topic in fluvio.describe_topics():
            fields: dict[str, Any] = topic._asdict()
            fields["compression"] = "any" if topic.compression is None else topic.compression.value
            _print(json.dumps(fields) if options.json else topic.name)
    return OK


def create_topic(options: argparse.Namespace, _screen: Screen) -> int:
    """Create a topic."""
    check_topic_name(options.name)
    outcome = "created"
    with Fluvio.connect(**connect_settings(options)) as fluvio:
        try:
            fluvio.create_topic(
                options.name,
                partitions=options.partitions,
                replication=options.replication,
                compression=options.compression,
            )
        except ServerError as error:
            if not (options.exist_ok and error.code == Code.TOPIC_ALREADY_EXISTS):
                raise
            outcome = "is there already"
    _print(f'topic "{options.name}" {outcome}')
    return OK


def delete_topics(options: argparse.Namespace, screen: Screen) -> int:
    """Delete topics, each that can be."""
    for name in options.names:
        check_topic_name(name)  # all, before anything is deleted
    status = OK
    with Fluvio.connect(**connect_settings(options)) as fluvio:
        for name in options.names:
            try:
                fluvio.delete_topic(name)
            except (ServerError, TopicNotFoundError) as error:
                screen.say(str(error))
                status = FAILED
            else:
                _print(f'topic "{name}" deleted')
    return status


def _print(line: str) -> None:
    if sys.stdout is not None:  # closed
        sys.stdout.write(line + "\n")
