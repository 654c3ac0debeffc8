# SPDX-License-Identifier: Apache-2.0
"""An application whose views leave records in the client's queue, as ASGI and WSGI servers run it."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from fluvio_sync import Fluvio
from fluvio_sync.contrib.asgi import with_lifespan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

fluvio = functools.cache(Fluvio.connect)  # FLUVIO_SYNC_ENDPOINT
ANSWER = json.dumps([os.getpid(), 0, 0]).encode()

if "EXIT_ON_SIGTERM" in os.environ:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def produce(path: str) -> None:
    fluvio().topic_producer(os.environ["TOPIC"], linger=3.0).send(path.lstrip("/"))


def wsgi(environ: dict[str, str], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    produce(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "application/json")])
    return [ANSWER]


async def view(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http", "a framework without a lifespan, such as Django"
    await asyncio.to_thread(produce, scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": ANSWER})


asgi = with_lifespan(view, fluvio)
