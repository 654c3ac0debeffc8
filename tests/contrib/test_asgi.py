# SPDX-License-Identifier: Apache-2.0
"""The lifespan, driven as a server does; tests/process/test_sigterm.py has real servers."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import ConfigError, ConnectError, Fluvio
from fluvio_sync.client import unconnected
from fluvio_sync.contrib.asgi import lifespan, with_lifespan

if TYPE_CHECKING:
    from tests.support.cluster import Where


def test_the_end_delivers_what_is_queued_and_blocks_no_loop(where: Where) -> None:
    topic = where.topic()
    client = where.connect()
    taken_by: list[threading.Thread] = []

    def get_client() -> Fluvio:
        taken_by.append(threading.current_thread())
        return client

    async def serve() -> None:
        async with lifespan(get_client)(None):
            client.topic_producer(topic, linger=60).send(b"queued")
        assert not client.running

    asyncio.run(serve())
    assert taken_by
    assert threading.current_thread() not in taken_by
    assert [record.value for record in where.records(topic)] == [b"queued"]


def test_an_application_without_a_lifespan_is_given_one(where: Where) -> None:
    topic = where.topic()
    clients = [where.connect(), where.connect()]
    asked: list[str] = []
    answered: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])

    async def serve() -> None:
        wrapped = with_lifespan(app, *[lambda client=client: client for client in clients])
        messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()

        async def send(message: Any) -> None:
            answered.append(message["type"])

        server = asyncio.ensure_future(wrapped({"type": "lifespan"}, messages.get, send))
        await messages.put({"type": "lifespan.startup"})
        await wrapped({"type": "http"}, messages.get, send)
        for client in clients:
            client.topic_producer(topic, linger=60).send(b"queued")
        await messages.put({"type": "lifespan.shutdown"})
        await server

    asyncio.run(serve())
    assert asked == ["http"]
    assert answered == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert [record.value for record in where.records(topic)] == [b"queued"] * 2


def test_a_client_that_was_never_used_is_left_alone() -> None:
    unused = unconnected({"endpoint": "127.0.0.1:1"})

    def fails() -> Fluvio:
        raise ConnectError("the cluster is away")

    async def serve() -> None:
        async with lifespan(lambda: unused, fails)(None):
            pass

    asyncio.run(serve())
    assert not unused.running


def test_a_timeout_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="drain_timeout"):
        lifespan(drain_timeout=-1)
