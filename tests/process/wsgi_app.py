# SPDX-License-Identifier: Apache-2.0
"""An application as gunicorn and uWSGI run it: client and producer are made when the master imports the module."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from fluvio_sync import ClosedError, ConfigError, Fluvio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

fluvio = Fluvio.connect()  # FLUVIO_SYNC_ENDPOINT
producer = fluvio.topic_producer(os.environ["TOPIC"], linger=0.001)
refused = ""
if "SEND_AT_IMPORT" in os.environ:
    try:
        # With gunicorn's --preload this happens before the fork: still on its way while workers are made.
        producer.send(f"imported by {os.getpid()}")
    except ConfigError as error:  # uWSGI's master cannot send
        refused = str(error)


def application(
    environ: dict[str, str], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Produce the path that was asked for and answer where it is."""
    try:
        metadata = producer.send(environ["PATH_INFO"]).result(timeout=10)
    except ClosedError:  # uWSGI ends Python, and the client with it, while threads still take requests
        start_response("503 Service Unavailable", [])
        return []
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([os.getpid(), metadata.partition, metadata.offset, refused]).encode()]
