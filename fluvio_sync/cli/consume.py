# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync consume`: prints the records of a topic, for people and scripts that look at them."""

from __future__ import annotations

import base64
import json
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

from fluvio_sync._base import stdout
from fluvio_sync._base.text import printable
from fluvio_sync._reading.nodes import nodes_of
from fluvio_sync._reading.partition_log import MAX_FRAME, PartitionLog
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.cli.exit_status import OK, statuses
from fluvio_sync.cli.options import add_cluster, connect_settings
from fluvio_sync.cli.values import moment, whole
from fluvio_sync.errors import ConfigError, ConnectError, RequestTimeoutError, ServerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from fluvio_sync._reading.nodes import Nodes
    from fluvio_sync._reading.partition_log import StoredRecord
    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen

    Show = Callable[[int, StoredRecord], bytes]

_DESCRIPTION = """\
Print the records of a topic, each as a line: to look at them, not as a consumer for applications. No position is
stored, and no record is acknowledged.

It prints all partitions, one after the other, up to the records that were there when it began. --head, --tail, --start
and --since choose where it begins in each partition."""

_EPILOG = f"""\
examples:
  fluvio-sync consume orders
  fluvio-sync consume orders --tail 10 --follow
  fluvio-sync consume orders --since 10m --json | jq .value
  fluvio-sync consume orders --partition 0 --start 1000 --key
  fluvio-sync consume orders --count

{statuses("the topic could not be read")}"""

_LONGEST_ESCAPE = len(repr("\U0010ffff")) - 2
"""Characters that take the place of one that a terminal would obey, at most."""

_PAUSE = 0.2
"""Seconds between two looks for new records with --follow."""

_LOOKS = 50
"""Looks for new records between two at the partitions that the topic has and their leaders."""

_AWAY_PAUSE = 1.0
"""Seconds until a cluster that failed is looked at again with --follow."""


def add_consume(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "consume",
        usage="fluvio-sync consume TOPIC [OPTION...]",
        help="print the records of a topic, to look at them",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    number, offset = whole(1, 2**63 - 1), whole(0, 2**63 - 1)
    parser.set_defaults(run=consume)
    parser.add_argument("topic", metavar="TOPIC", help="the topic to read")
    parser.add_argument(
        "-p", "--partition", metavar="N", type=whole(0, 0x7FFFFFFF), help="read this partition alone (default: all)"
    )
    place = parser.add_argument_group("place in each partition (default: the beginning)").add_mutually_exclusive_group()
    place.add_argument("--head", metavar="N", type=number, help="the first N records")
    place.add_argument("-T", "--tail", metavar="N", type=number, help="the last N records")
    place.add_argument("--start", metavar="OFFSET", type=offset, help="the records from this offset on")
    place.add_argument(
        "--since",
        metavar="TIME",
        type=moment,
        help="the records from this time on: 2026-11-30T12:00, or 10m for ten minutes ago; found by the times of the "
        "batches, which are taken to ascend",
    )
    output = parser.add_argument_group("output (default: the value of each record, as it is)")
    output.add_argument("-k", "--key", "--key-value", action="store_true", help='print "[key] value"')
    output.add_argument(
        "--json",
        action="store_true",
        help="print lines of JSON: partition, offset, timestamp (ms), key, value; bytes that are no text are in "
        "key_base64 and value_base64",
    )
    output.add_argument("--count", action="store_true", help="print the number of the records alone")
    output.add_argument("--follow", action="store_true", help="go on with new records until Ctrl-C")
    add_cluster(parser)


def consume(options: argparse.Namespace, screen: Screen) -> int:
    """Print the records."""
    check_topic_name(options.topic)
    _check(options)
    settings = connect_settings(options)
    show = _shown(options)
    with nodes_of(settings, max_frame=MAX_FRAME) as nodes:
        logs = _logs(nodes, options)
        if options.count:
            stdout.write(f"{sum(_counts(logs, options))}\n")
            return OK
        reached = {}
        for log in logs:
            start, end = _range(log, options)
            _print(log.number, _since(log.records(start, end), options), show)
            reached[log.number] = max(end, start)
    if options.follow:
        _follow(settings, options, reached, show, screen)
    return OK


def _check(options: argparse.Namespace) -> None:
    for name, given in (("--head", options.head is not None), ("--count", options.count)):
        if options.follow and given:
            raise ConfigError(f"--follow has no end, and {name} needs one")
    if options.count and (options.json or options.key):
        raise ConfigError("--count prints a number alone, without --json and --key")
    if options.json and options.key:
        raise ConfigError("--json prints the keys already, without --key")


def _logs(nodes: Nodes, options: argparse.Namespace) -> list[PartitionLog]:
    if options.partition is None:
        partitions = nodes.partitions(options.topic)
    else:
        partitions = {options.partition: nodes.partition(options.topic, options.partition)}
    return [PartitionLog(nodes, options.topic, number, partition) for number, partition in partitions.items()]


def _range(log: PartitionLog, options: argparse.Namespace) -> tuple[int, int]:
    """Return the offsets of the first record of a partition, and behind the last one."""
    if options.head is not None:
        return log.first, min(log.first + options.head, log.end)
    if options.tail is not None:
        return max(log.first, log.end - options.tail), log.end
    if options.since is not None:
        return log.first_at(options.since), log.end
    return max(log.first, options.start or 0), log.end


def _since(records: Iterable[StoredRecord], options: argparse.Namespace) -> Iterator[StoredRecord]:
    return (record for record in records if options.since is None or record.timestamp >= options.since)


def _counts(logs: Iterable[PartitionLog], options: argparse.Namespace) -> Iterator[int]:
    for log in logs:
        start, end = _range(log, options)
        if options.since is None:
            yield max(0, end - start)
        else:
            yield sum(1 for _ in _since(log.records(start, end), options))


def _print(partition: int, records: Iterable[StoredRecord], show: Show) -> None:
    """Print records; those that are there are printed in blocks, which is faster."""
    records = iter(records)
    while block := list(islice(records, 1000)):
        stdout.write_bytes(show(partition, record) for record in block)
    stdout.flush()


def _follow(
    settings: dict[str, Any], options: argparse.Namespace, reached: dict[int, int], show: Show, screen: Screen
) -> None:
    """Print new records until an exception ends it, also of partitions that are added; failures do not end it."""
    failing = False
    while True:
        try:
            with nodes_of(settings, max_frame=MAX_FRAME) as nodes:
                while True:
                    logs = _logs(nodes, options)
                    for _ in range(_LOOKS):
                        for log in logs:
                            _print_new(log, reached, show)
                        if failing:
                            screen.say("the cluster answers again")
                            failing = False
                        time.sleep(_PAUSE)
        except (ConnectError, RequestTimeoutError, ServerError) as error:
            if not failing:
                screen.say(f"{error}; looking again until it answers")
                failing = True
            time.sleep(_AWAY_PAUSE)


def _print_new(log: PartitionLog, reached: dict[int, int], show: Show) -> None:
    """Print the records behind those that were printed, and note how far that is."""
    for records, end in log.batches(max(log.first, reached.get(log.number, 0))):
        _print(log.number, records, show)
        reached[log.number] = end


def _shown(options: argparse.Namespace) -> Show:
    """Return what makes a line of a record: one that does nothing else to a terminal than to appear there."""
    if options.json:
        return _as_json
    line = _as_key_and_value if options.key else _as_value
    if not sys.stdout.isatty():
        return line

    def shown(partition: int, record: StoredRecord) -> bytes:
        text = line(partition, record)[:-1].decode(errors="backslashreplace")
        return printable(text, _LONGEST_ESCAPE * len(text)).encode() + b"\n"

    return shown


def _as_value(_partition: int, record: StoredRecord) -> bytes:
    return record.value + b"\n"


def _as_key_and_value(_partition: int, record: StoredRecord) -> bytes:
    return b"[%b] %b\n" % (b"null" if record.key is None else record.key, record.value)


def _as_json(partition: int, record: StoredRecord) -> bytes:
    fields: dict[str, Any] = {"partition": partition, "offset": record.offset, "timestamp": record.timestamp}
    if record.key is None:
        fields["key"] = None
    for name, data in (("key", record.key), ("value", record.value)):
        if data is not None:
            try:
                fields[name] = data.decode()
            except UnicodeDecodeError:
                fields[f"{name}_base64"] = base64.b64encode(data).decode()
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"
