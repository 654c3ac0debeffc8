# SPDX-License-Identifier: Apache-2.0
"""What the dispatcher wants done; the sender does it, in order, without the client's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._lane import Acknowledge, Drop, Fail, HandOver

if TYPE_CHECKING:
    from fluvio_sync._link import Link, Request, Settlement


class Connect(NamedTuple):
    """Make the link's connection; answered by `connected` or `disconnected` with this generation."""

    link: Link
    generation: int


class Disconnect(NamedTuple):
    """Close the link's connection; nothing is reported back for it."""

    link: Link


class Write(NamedTuple):
    """Encode and write a request; answered by `written` and `replied`, or by `disconnected`."""

    request: Request


class Ask(NamedTuple):
    """Ask the SPU for the partition's high watermark; answered by `offsets_replied`."""

    settlement: Settlement


class Report(NamedTuple):
    """A change of state worth a line in the log."""

    level: str
    event: str
    fields: dict[str, object]


Action = Connect | Disconnect | Write | Ask | Report | Acknowledge | HandOver | Fail | Drop
