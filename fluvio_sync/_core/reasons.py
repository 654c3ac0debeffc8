# SPDX-License-Identifier: Apache-2.0
"""Why a batch is not acknowledged yet though no attempt of its own has failed: the state of its queue tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync._core.partition import BackingOff, Waiting
from fluvio_sync._core.pipeline import AwaitingCommit
from fluvio_sync._core.routing import pipeline_of
from fluvio_sync.errors import ConnectError, FluvioError

if TYPE_CHECKING:
    from fluvio_sync._core.partition import Batch
    from fluvio_sync._core.routing import Router


def reason(batch: Batch, router: Router, now: float) -> FluvioError | None:
    """Return the last failure of a batch, else the error that describes the awaited event."""
    if batch.last_error is not None:
        return batch.last_error
    queue = batch.queue
    if isinstance(queue.state, Waiting):
        return ConnectError(router.reason(queue, now))
    if isinstance(queue.state, BackingOff):
        return queue.state.error  # of the batches before it
    if isinstance(queue.state, AwaitingCommit):
        return queue.state.batches[0].last_error
    pipeline = pipeline_of(queue)
    return None if pipeline is None else pipeline.awaited(now)
