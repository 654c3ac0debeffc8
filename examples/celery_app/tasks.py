# SPDX-License-Identifier: Apache-2.0
"""A Celery application whose tasks produce.

    celery -A tasks worker
    celery -A tasks call tasks.ship --args='["7"]'

FLUVIO_SYNC_ENDPOINT is the address of the cluster (`fluvio-sync dev-cluster` runs one, `fluvio-sync topics create
orders` makes the topic), BROKER that of Celery's broker.
"""

from __future__ import annotations

import functools
import os

from celery import Celery

from fluvio_sync import AtLeastOnce, Fluvio, FluvioError, RetryPolicy
from fluvio_sync.contrib.celery import install

app = Celery("tasks", broker=os.environ.get("BROKER", "redis://127.0.0.1/0"))


@functools.cache
def fluvio() -> Fluvio:
    """Return this process's client."""
    return Fluvio.connect(client_id="shipping")


install(fluvio, topics=["orders"])


@app.task(autoretry_for=(FluvioError,), retry_backoff=True)
def ship(order: str) -> int | None:
    """Produce, and wait until the record is stored; after an error, Celery runs the task again later.

    That may store the record twice.  The policy's timeout is below that of `result()`, so that no record of an earlier
    run is still being sent.
    """
    producer = fluvio().topic_producer("orders", delivery_semantic=AtLeastOnce(RetryPolicy(timeout=20.0)))
    return producer.send(f"shipped {order}", key=order).result(timeout=30).offset


@app.task
def track(order: str) -> None:
    """Produce without waiting: the record is delivered while other tasks run, at the latest when the worker ends."""
    fluvio().topic_producer("orders", linger=0.05).send(f"seen {order}", key=order)
