# SPDX-License-Identifier: Apache-2.0
"""The result of a future."""

from __future__ import annotations

from typing import NamedTuple


class RecordMetadata(NamedTuple):
    """The place of a record.

    * `topic`: the topic's name.
    * `partition`: the partition's number.
    * `offset`: its position in the partition; None if it was not acknowledged (at-most-once), or if SmartModules or
      deduplication may drop records, so that it is not known.
    * `timestamp`: milliseconds since the epoch.
    * `acknowledged`: False under at-most-once, where the client waits for no answer.
    """

    topic: str
    partition: int
    offset: int | None
    timestamp: int
    acknowledged: bool


RecordMetadata.__module__ = "fluvio_sync.futures"  # where pickles look for it
