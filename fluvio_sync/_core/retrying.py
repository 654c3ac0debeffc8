# SPDX-License-Identifier: Apache-2.0
"""Retrying: whether a batch whose attempt failed has another one, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core import failures

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync._core.partition import Batch
    from fluvio_sync.errors import FluvioError


def wait_after(
    batch: Batch, error: FluvioError, now: float, floor: float, *, moved: bool
) -> float | Callable[[int], FluvioError]:
    """Use up a retry; return the seconds until the next attempt, or the maker of the batch's error without one.

    * `floor`: the least seconds.
    * `moved`: another leader is known, for which a delay would wait.
    """
    batch.last_error = error
    batch.in_request = False
    if batch.deadline <= now:  # the deadline is the reason, even if the retries are exhausted as well
        return failures.delivery_timed_out(batch, error, now)
    delay = batch.next_delay()
    if delay is None:
        return failures.retries_exhausted(batch, error, now)
    if moved:
        return 0.0
    wait = batch.queue.wait_for(max(delay, floor), batch.deadline - now)
    return failures.delivery_timed_out(batch, error, now) if wait is None else wait
