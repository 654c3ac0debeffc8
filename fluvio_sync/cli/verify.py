# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync verify`: tells which batches of a topic were stored twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fluvio_sync._base import stdout
from fluvio_sync._base.text import counted
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.cli.exit_status import FAILED, OK, statuses
from fluvio_sync.cli.options import add_cluster, connect_settings
from fluvio_sync.cli.values import whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen
    from fluvio_sync.testing import DuplicateBatch, PartitionCheck

_DESCRIPTION = """\
Read a topic, and tell which batches of records stand in it twice.

A batch is recognised by the identity that its producer gave it (producer id, epoch and sequence). Batches without one,
such as those of other clients, are counted. Only headers are looked at, and nothing is written."""

_EPILOG = f"""\
examples:
  fluvio-sync verify orders
  fluvio-sync verify orders --partition 0
  fluvio-sync verify orders --json | jq 'select(.duplicates > 0)'

{statuses("a batch stands in the topic twice, or the topic could not be read")}"""


def add_verify(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        usage="fluvio-sync verify TOPIC [OPTION...]",
        help="tell which batches of a topic were stored twice",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=verify)
    parser.add_argument("topic", metavar="TOPIC", help="the topic to read")
    parser.add_argument(
        "--partition", metavar="N", type=whole(0, 0x7FFFFFFF), help="read this partition alone (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="print the result for each partition as a line of JSON")
    add_cluster(parser)


def verify(options: argparse.Namespace, screen: Screen) -> int:
    """Print the result for each partition as soon as it is read."""
    from fluvio_sync.testing import verify_topic  # noqa: PLC0415 - producing does not need it

    check_topic_name(options.topic)
    batches = duplicates = unidentified = forgotten = 0
    for found in verify_topic(options.topic, options.partition, **connect_settings(options)):
        batches += found.batches
        duplicates += found.duplicates
        unidentified += found.unidentified_batches
        forgotten += found.forgotten
        for line in [_as_json(found)] if options.json else _lines(found):
            stdout.write(line + "\n")
        stdout.flush()
    screen.say(_summary(batches, duplicates, unidentified))
    if forgotten:
        screen.say(f"not all identities could be remembered: {counted(forgotten, 'range')} of sequences were forgotten")
    return FAILED if duplicates else OK


def _summary(batches: int, duplicates: int, unidentified: int) -> str:
    found = f"{duplicates or 'none'} of {_batches(batches)} {_stand(duplicates)} twice"
    return f"{found}; {unidentified} without identity" if unidentified else found


def _batches(number: int) -> str:
    return "1 batch" if number == 1 else f"{number} batches"


def _stand(batches: int) -> str:
    return "stand there" if batches > 1 else "stands there"


def _lines(found: PartitionCheck) -> Iterator[str]:
    """Yield the result for a partition as lines for a person."""
    batches = _batches(found.batches) + _without(found.unidentified_batches)
    records = counted(found.records, "record") + _without(found.unidentified_records)
    result = f"; {_batches(found.duplicates)} {_stand(found.duplicates)} twice" if found.duplicates else ""
    yield f"partition {found.partition}: {batches}, {records}{result}"
    for item in found.examples:
        yield f"  {_described(item)}"
    if found.duplicates > len(found.examples):
        yield f"  and {found.duplicates - len(found.examples)} more"


def _without(number: int) -> str:
    return f" ({number} without identity)" if number else ""


def _described(item: DuplicateBatch) -> str:
    producer, epoch, sequence = item.identity
    first = "offset not kept" if item.first_offset is None else f"first at offset {item.first_offset}"
    return (
        f"offset {item.offset} ({counted(item.records, 'record')}): {first}; "
        f"producer {producer}, epoch {epoch}, sequence {sequence}"
    )


def _as_json(found: PartitionCheck) -> str:
    """Return the result for a partition as a line of JSON."""
    examples = [
        {"offset": item.offset, "first_offset": item.first_offset, "records": item.records, **item.identity._asdict()}
        for item in found.examples
    ]
    return json.dumps(
        {
            "partition": found.partition,
            "batches": found.batches,
            "records": found.records,
            "unidentified_batches": found.unidentified_batches,
            "unidentified_records": found.unidentified_records,
            "duplicates": found.duplicates,
            "examples": examples,
            "forgotten": found.forgotten,
        }
    )
