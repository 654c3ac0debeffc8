# SPDX-License-Identifier: Apache-2.0
"""Requests and batches for the tests of the development cluster, and a core to send them to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.protocol.batch import BatchBuilder
from fluvio_sync.protocol.compression import compressor
from fluvio_sync.protocol.frames import RequestHeader, encode_request, split_response
from fluvio_sync.protocol.primitives import Writer
from fluvio_sync.protocol.produce import PartitionData, ProduceRequest, TopicData
from fluvio_sync.protocol.versions import ScApi
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fluvio_sync.protocol.primitives import Reader
    from fluvio_sync.testing._cluster.core import ServerSession

START = 1_700_000_000_000


@pytest.fixture
def batch() -> Callable[..., bytes]:
    """Make a batch of these values, their keys counted from `k0`."""

    def make(*values: bytes, codec: int = 0) -> bytes:
        builder = BatchBuilder(START)
        for number, value in enumerate(values):
            builder.append(b"k%d" % number, value, START + number)
        buffers = builder.build(codec, compressor(codec)) if codec else builder.build()
        return b"".join(bytes(buffer) for buffer in buffers)

    return make


@pytest.fixture
def produce() -> Callable[..., ProduceRequest]:
    """Make a produce request for one topic; the entries are (partition, record set)."""

    def make(
        topic: str,
        *entries: tuple[int, bytes],
        committed: bool = False,
        timeout_ms: int = 1000,
        smartmodules: tuple[Any, ...] = (),
    ) -> ProduceRequest:
        data = tuple(PartitionData(partition, records) for partition, records in entries)
        isolation = -1 if committed else 1
        return ProduceRequest(isolation, timeout_ms, (TopicData(topic, data),), smartmodules)

    return make


@pytest.fixture
def core() -> ClusterCore:
    """A strict cluster of two SPUs, 5001 and 5002."""
    return ClusterCore([SpuAddress(5001, "127.0.0.1", 9010), SpuAddress(5002, "127.0.0.1", 9020)])


@pytest.fixture
def request_frame() -> Callable[..., bytes]:
    """Make a whole request frame, by default in the latest version."""

    def make(api: int, message: Any, *, version: int = 0, correlation_id: int = 7) -> bytes:
        writer = Writer()
        version = version or (19 if isinstance(api, ScApi) else 25)
        message.write(writer, version)
        header = RequestHeader(api, version, correlation_id, "test")
        return encode_request(header, writer.getvalue())

    return make


@pytest.fixture
def tell(request_frame: Callable[..., bytes]) -> Callable[..., list[Reader]]:
    """Hand a session a request at a time; returns the bodies of all it has to send then."""

    def give(session: ServerSession, api: int, message: Any, *, version: int = 0, now: float = 0.0) -> list[Reader]:
        session.receive(request_frame(api, message, version=version)[4:], now)
        return [split_response(frame[4:])[1] for frame in session.outgoing()]

    return give


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until a condition holds, ten seconds at most."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within 10 s"
            time.sleep(0.005)

    return wait


@pytest.fixture
def codes() -> Callable[[Iterable[Any]], list[tuple[int, int]]]:
    """Return (error code, base offset) of every entry of a produce response's topics."""

    def collect(topics: Iterable[Any]) -> list[tuple[int, int]]:
        return [(e.error_code.code, e.base_offset) for topic in topics for e in topic.partitions]

    return collect
