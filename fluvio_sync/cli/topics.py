# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync topics`: lists, describes, creates and deletes topics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fluvio_sync._base.stdout import write
from fluvio_sync._base.text import printable
from fluvio_sync._reading.nodes import nodes_of
from fluvio_sync._reading.partition_log import MAX_FRAME, PartitionLog
from fluvio_sync._settings.checks import choice
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.cli.exit_status import FAILED, OK, statuses
from fluvio_sync.cli.options import Parser, add_cluster, connect_settings
from fluvio_sync.cli.values import named, whole
from fluvio_sync.client import Fluvio
from fluvio_sync.config import Compression
from fluvio_sync.errors import ConnectError, RequestTimeoutError, ServerError, TopicNotFoundError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen

_EPILOG = f"""\
examples:
  fluvio-sync topics list
  fluvio-sync topics describe orders
  fluvio-sync topics create orders --partitions 3 --exist-ok
  fluvio-sync topics delete orders payments

{statuses("the cluster rejected it, or could not be used")}"""


def add_topics(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "topics",
        aliases=["topic"],
        usage="fluvio-sync topics list|describe|create|delete [OPTION...]",
        help="list, describe, create and delete topics",
        description="List, describe, create and delete topics; each command has its own --help.",
        epilog=_EPILOG,
    )
    actions = parser.add_subparsers(prog="fluvio-sync topics", title="commands", metavar="COMMAND", required=True)
    _add_list(actions)
    _add_describe(actions)
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
        "--json", action="store_true", help="print each topic as a line of JSON: partitions, replication, compression"
    )
    parser.set_defaults(run=list_topics)
    add_cluster(parser)


def _add_describe(actions: Commands) -> None:
    parser = _add_action(actions, "describe", "TOPIC [OPTION...]", "print the partitions of a topic")
    parser.add_argument("topic", metavar="TOPIC", help="its name")
    parser.add_argument("--json", action="store_true", help="print each partition as a line of JSON; sizes in bytes")
    parser.set_defaults(run=describe_topic)
    add_cluster(parser)


def _add_create(actions: Commands) -> None:
    parser = _add_action(actions, "create", "NAME [OPTION...]", "create a topic")
    parser.add_argument("name", metavar="NAME", help="1 to 63 of a-z, 0-9 and '-'")
    number = whole(1, 0x7FFFFFFF)
    parser.add_argument("-p", "--partitions", metavar="N", type=number, default=1, help="partitions (default: 1)")
    parser.add_argument(
        "-r", "--replication", metavar="N", type=number, default=1, help="replicas of each (default: 1)"
    )
    parser.add_argument(
        "--compression",
        "--compression-type",
        **named(["any", *(codec.value for codec in Compression)], _compression),
        default="any",
        help="the only codec that the topic accepts (default: any)",
    )
    parser.add_argument(
        "--exist-ok", "--ignore-existing", action="store_true", help="accept a topic that exists already"
    )
    parser.set_defaults(run=create_topic)
    add_cluster(parser)


def _add_delete(actions: Commands) -> None:
    parser = _add_action(actions, "delete", "TOPIC... [OPTION...]", "delete topics, with all their records")
    parser.add_argument("topics", metavar="TOPIC", nargs="+", help="if one cannot be deleted, the others still are")
    parser.set_defaults(run=delete_topics)
    add_cluster(parser)


def _compression(text: str) -> Compression | None:
    return None if text.lower() == "any" else choice(Compression, "compression", text)


def list_topics(options: argparse.Namespace, _screen: Screen) -> int:
    """Print the topics."""
    with Fluvio.connect(**connect_settings(options)) as fluvio:
        for topic in fluvio.describe_topics():
            fields: dict[str, Any] = topic._asdict()
            fields["compression"] = "any" if topic.compression is None else topic.compression.value
            _print(json.dumps(fields) if options.json else printable(topic.name))
    return OK


def describe_topic(options: argparse.Namespace, screen: Screen) -> int:
    """Print the partitions of a topic; those whose leader cannot be asked have no offsets."""
    check_topic_name(options.topic)
    rows, errors = [], []
    with nodes_of(connect_settings(options), max_frame=MAX_FRAME) as nodes:
        for number, partition in nodes.partitions(options.topic).items():
            first = end = None
            try:
                log = PartitionLog(nodes, options.topic, number, partition)
                first, end = log.first, log.end
            except (ConnectError, RequestTimeoutError, ServerError) as error:
                errors.append(f"partition {number}: {error}")
            rows.append(
                {
                    "partition": number,
                    "state": partition.status.resolution.name.lower().replace("_", " "),
                    "leader": partition.spec.leader,
                    "replicas": list(partition.spec.replicas),
                    "first_offset": first,
                    "end_offset": end,
                    "size": partition.status.size if partition.status.size >= 0 else None,
                }
            )
    for line in map(json.dumps, rows) if options.json else _table(rows):
        _print(line)
    for text in errors:
        screen.say(text)
    return FAILED if errors else OK


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table whose columns are as wide as they have to be."""
    lines = [[name.replace("_", " ") for name in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "-" if value is None else str(value)


def create_topic(options: argparse.Namespace, _screen: Screen) -> int:
    """Create a topic."""
    check_topic_name(options.name)
    text = "created"
    with Fluvio.connect(**connect_settings(options)) as fluvio:
        try:
            fluvio.create_topic(
                options.name,
                partitions=options.partitions,
                replication=options.replication,
                compression=_compression(options.compression),
            )
        except ServerError as error:
            if not (options.exist_ok and error.name == "TopicAlreadyExists"):
                raise
            text = "exists already"
    _print(f'topic "{options.name}" {text}')
    return OK


def delete_topics(options: argparse.Namespace, screen: Screen) -> int:
    """Delete topics; an error with one does not keep the others."""
    for name in options.topics:
        check_topic_name(name)  # all of them, before the first is deleted
    status = OK
    with Fluvio.connect(**connect_settings(options)) as fluvio:
        for name in options.topics:
            try:
                fluvio.delete_topic(name)
            except (ServerError, TopicNotFoundError) as error:
                screen.say(str(error))
                status = FAILED
            else:
                _print(f'topic "{name}" deleted')
    return status


def _print(line: str) -> None:
    write(line + "\n")
