# SPDX-License-Identifier: Apache-2.0
"""What a health view answers.  Pure: from a client's `Health` to a status code and what is shown as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluvio_sync.stats import Health

OK, UNAVAILABLE = 200, 503


def health_answer(health: Health | None) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and a dictionary that JSON can hold.

    `health`: None if the client is not at work in this process, as before its first use: 200 and `"unused"`, because
    a probe that waited for the first use would keep the requests away that bring it.  Else 200 and `"connected"`, or
    503 and `"disconnected"` while the SC's metadata does not arrive.  A partition without a leader is shown and no
    reason for 503: another instance of the application would not find one either.
    """
    if health is None:
        return OK, {"status": "unused"}
    leaders = [
        {"topic": topic, "partition": partition, "leader": leader}
        for (topic, partition), leader in sorted(health.leaders.items())
    ]
    status = OK if health.connected else UNAVAILABLE
    return status, {
        "status": "connected" if health.connected else "disconnected",
        "leaders": leaders,
        "records_queued": health.records_queued,
        "bytes_queued": health.bytes_queued,
        "records_in_flight": health.records_in_flight,
        "last_error": health.last_error,
        "last_error_at": health.last_error_at,
    }
