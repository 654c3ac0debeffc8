# SPDX-License-Identifier: Apache-2.0
"""What applications read: the counters of producers, the outcomes of a flush, and the condition of a client."""

from __future__ import annotations

from typing import NamedTuple


class FlushResult(NamedTuple):
    """The outcome of a handle's records since its previous `flush()`.

    * `acked`: records that were acknowledged.
    * `unacknowledged`: records that at-most-once handed to the socket.
    * `failed`: records that failed, or that at-most-once dropped.
    * `first_error`: the error of the first that failed; None without one.
    """

    acked: int
    unacknowledged: int
    failed: int
    first_error: Exception | None


class ProducerStats(NamedTuple):
    """A snapshot of all handles of a topic that have the same settings.

    Bytes are those of keys and values.  Numbers other than queued and in flight are totals: `Fluvio.stats()` counts
    since the client was made, `TopicProducer.stats()` since the first of the producers that have these settings.

    * `records_queued`, `bytes_queued`, `batches_queued`: wait in this process now.
    * `records_in_flight`, `bytes_in_flight`, `batches_in_flight`: sent to an SPU and not answered yet.
    * `records_acked`, `bytes_acked`, `batches_acked`: acknowledged.
    * `records_failed`, `bytes_failed`, `batches_failed`: failed under at-least-once.
    * `records_unacknowledged`: handed to the socket under at-most-once.
    * `records_retried`: sent again.
    * `records_dropped`: lost by at-most-once before they were written.
    * `records_rejected`: rejected by an SPU after at-most-once had written them.
    * `records_verified`: may have been stored when their attempt failed, and were looked for in the log; those that it
      had were not sent again.  Counted at each look.
    * `records_unverified`: were sent again though they may have been stored, or may be stored twice, and could not be
      looked for.
    * `records_duplicated`: were found in the log a second time; counted for each time beyond the first.
    * `records_overwritten`: offsets of acknowledged records that a new leader gave out again: it had lost them.
    * `reconnects`: connections to SPUs that were made again.
    * `latency`: seconds from a batch being ready to its acknowledgement, `(mean, maximum)`; None before the first.
    * `checksum`: the implementation of CRC-32C: `"google-crc32c"`, `"crc32c"` or `"pure"`.
    """

    records_queued: int
    records_in_flight: int
    records_acked: int
    records_failed: int
    records_unacknowledged: int
    records_retried: int
    records_dropped: int
    records_rejected: int
    records_verified: int
    records_unverified: int
    records_duplicated: int
    records_overwritten: int
    bytes_queued: int
    bytes_in_flight: int
    bytes_acked: int
    bytes_failed: int
    batches_queued: int
    batches_in_flight: int
    batches_acked: int
    batches_failed: int
    reconnects: int
    latency: tuple[float, float] | None
    checksum: str


class Health(NamedTuple):
    """The condition of a client, for readiness probes.

    * `connected`: the SC (Streaming Controller) pushes its metadata; False once it does not, and could not be reached
      again at the first attempt.
    * `leaders`: for each partition (topic, number) that records were sent to, the id of the SPU (Stream Processing
      Unit) that leads it; None while there is none.
    * `records_queued`, `bytes_queued`: wait in this process.
    * `records_in_flight`: sent to an SPU and not answered yet.
    * `last_error`: the text of the latest failure; None before the first.
    * `last_error_at`: when it was, in milliseconds since the epoch; None before the first.
    * `disconnected_since`: when the SC was last heard, in milliseconds since the epoch; None while it is connected, and
      if it was never reached.
    * `memory_used`, `memory_limit`: bytes that unresolved records hold now, 128 each on top of key and value, and
      `buffer_memory`, which bounds them.
    * `log_events_dropped`: events of the client that the application's log handlers were too slow for, so far.
    """

    connected: bool
    leaders: dict[tuple[str, int], int | None]
    records_queued: int
    bytes_queued: int
    records_in_flight: int
    last_error: str | None
    last_error_at: int | None
    disconnected_since: int | None = None
    log_events_dropped: int = 0
    memory_used: int = 0
    memory_limit: int = 0
