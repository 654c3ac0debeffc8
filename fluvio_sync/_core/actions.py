# SPDX-License-Identifier: Apache-2.0
"""What the dispatcher wants done; the sender does it, in order, without the client's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.batch import Batch
    from fluvio_sync._core.pipeline import Link, Request, Settlement
    from fluvio_sync.errors import FluvioError


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


# What becomes of a batch, decided once.


class Acknowledge(NamedTuple):
    """Resolve a batch: its first record is at `base_offset` (None: stored, but nobody knows where)."""

    batch: Batch
    base_offset: int | None


class HandOver(NamedTuple):
    """An at-most-once batch was written."""

    batch: Batch


class Fail(NamedTuple):
    """Fail a batch; `failure(index)` makes the error of one of its records."""

    batch: Batch
    failure: Callable[[int], FluvioError]


class Drop(NamedTuple):
    """An at-most-once batch was lost."""

    batch: Batch
    error: FluvioError


Decision = Acknowledge | HandOver | Fail | Drop
Action = Connect | Disconnect | Write | Ask | Report | Acknowledge | HandOver | Fail | Drop
