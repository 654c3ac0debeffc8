# SPDX-License-Identifier: Apache-2.0
"""ASGI: the client delivers its queued records when the server ends.

    app = FastAPI(lifespan=lifespan(fluvio))                       # or Starlette's
    application = with_lifespan(get_asgi_application(), client)    # Django has no lifespan of its own

`fluvio` is a function that returns the process's client.  uvicorn needs this, and so does gunicorn with uvicorn's
worker: after their own end they raise SIGTERM again, so that the interpreter's exit functions never run.  The event
loop has to be asyncio's, or uvloop.  Needs no extra.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from fluvio_sync._settings.checks import seconds
from fluvio_sync.contrib._drain import drain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
    from datetime import timedelta

    from fluvio_sync.client import Fluvio

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]
    Lifespan = Callable[[object], AbstractAsyncContextManager[None]]


def lifespan(*get_clients: Callable[[], Fluvio], drain_timeout: float | timedelta = 5.0) -> Lifespan:
    """Return a lifespan for Starlette and FastAPI, at whose end the clients deliver and are closed.

    * `get_clients`: functions that each return a client of this process, the same at every call.
    * `drain_timeout`: seconds for delivering (default 5).  A loss is logged as `records.lost`.

    In a lifespan of your own: `async with lifespan(fluvio)(app): yield`.  The event loop is not blocked meanwhile.  A
    closed client stays closed, also in a test that enters the lifespan a second time.

    Raises `ConfigError` for a timeout that is not a number of seconds.
    """
    timeout = seconds("drain_timeout", drain_timeout)

    @asynccontextmanager
    async def context(_app: object) -> AsyncIterator[None]:
        try:
            yield
        finally:
            # In threads: get_client() may connect, and close() waits.
            await asyncio.gather(*(asyncio.to_thread(drain, get_client, timeout) for get_client in get_clients))

    return context


def with_lifespan(
    app: Application, *get_clients: Callable[[], Fluvio], drain_timeout: float | timedelta = 5.0
) -> Application:
    """Return an application with a lifespan, for one that has none, such as Django's.

    * `app`: the ASGI application; it is asked for everything but the lifespan.
    * `get_clients`, `drain_timeout`: as of `lifespan`.

    Raises as `lifespan`.
    """
    context = lifespan(*get_clients, drain_timeout=drain_timeout)

    async def wrapped(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        async with context(app):
            await _next(receive, "lifespan.startup")
            await send({"type": "lifespan.startup.complete"})
            await _next(receive, "lifespan.shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    return wrapped


async def _next(receive: Receive, kind: str) -> None:
    while (await receive())["type"] != kind:
        pass
