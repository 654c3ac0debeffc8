# SPDX-License-Identifier: Apache-2.0
"""`fluvio-sync doctor`: prints the steps of the doctor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fluvio_sync._base import stdout
from fluvio_sync._base.text import counted
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.cli.exit_status import FAILED, OK, statuses
from fluvio_sync.cli.options import add_cluster, connect_settings
from fluvio_sync.doctor import diagnose

if TYPE_CHECKING:
    import argparse

    from fluvio_sync.cli.options import Commands
    from fluvio_sync.cli.screen import Screen
    from fluvio_sync.doctor import Step

_TIMEOUT = 5.0

_DESCRIPTION = """\
Check each step from this machine to the cluster separately.

The steps are the settings and where they come from, the host name, the connection, TLS, the protocol versions, the
metadata, partitions without a leader, and the connection to each SPU (Stream Processing Unit). Each prints its result
and how long it took. Only --topic writes to the cluster."""

_EPILOG = f"""\
examples:
  fluvio-sync doctor
  fluvio-sync doctor --cluster fluvio.example.com:9003 --topic test
  fluvio-sync doctor --json | jq 'select(.ok | not)'

{statuses("a step failed")}"""


def add_doctor(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        usage="fluvio-sync doctor [OPTION...]",
        help="check each step from this machine to a cluster",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.set_defaults(run=doctor)
    parser.add_argument("--topic", metavar="TOPIC", help="also produce: this WRITES a record to the topic")
    parser.add_argument("--json", action="store_true", help="print each step as a line of JSON")
    add_cluster(parser, timeout="limit for each step (default: 5s)")


def doctor(options: argparse.Namespace, screen: Screen) -> int:
    """Print each step as it ends."""
    if options.topic is not None:
        check_topic_name(options.topic)
    settings = connect_settings(options)
    failed = taken = 0
    for step in diagnose(options.topic, timeout=options.timeout or _TIMEOUT, **settings):
        taken += 1
        failed += not step.ok
        stdout.write((as_json(step) if options.json else step.text) + "\n")
        stdout.flush()
    screen.say(f"{failed} of {counted(taken, 'step')} failed" if failed else f"all {counted(taken, 'step')} went well")
    return FAILED if failed else OK


def as_json(step: Step) -> str:
    """Return a step as a line of JSON."""
    milliseconds = round(step.seconds * 1000, 3)
    return json.dumps(
        {"step": step.name, "ok": step.ok, "ms": milliseconds, "detail": step.detail, "advice": step.advice}
    )
