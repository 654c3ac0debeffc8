# SPDX-License-Identifier: Apache-2.0
"""What the client's tests share: a cluster to read back from, and waiting for a condition."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asking import Asked

from fluvio_sync import AtLeastOnce, Fluvio, RetryPolicy
from fluvio_sync._clock import SystemClock
from fluvio_sync.protocol.batch import iter_batches
from fluvio_sync.protocol.consume import StreamFetchRequest, StreamFetchResponse
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing.reader import read_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from fluvio_sync import RecordMetadata, TlsConfig
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.testing.reader import StoredRecord

_CLOCK = SystemClock()  # which no test freezes

SLACK = 0.25
"""Seconds that a call may take beyond its own deadline on a busy machine."""


def wait_until(condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Poll until the condition holds; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        pause.wait(0.002)


@contextmanager
def within(longest: float, shortest: float = 0.0) -> Iterator[None]:
    """Fail unless the block takes between `shortest` and `longest` seconds, give or take `SLACK` above."""
    start = _CLOCK.monotonic()
    try:
        yield
    finally:
        took = _CLOCK.monotonic() - start
        assert shortest <= took <= longest + SLACK, f"took {took:.3f} s, not {shortest} to {longest} s"


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Run `work` in a daemon thread."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def attempts(number: int, *, delay: float = 0.01, timeout: float = 10.0) -> AtLeastOnce:
    """Return a policy of so many attempts with a fixed delay between them."""
    policy = RetryPolicy(
        max_retries=number - 1, initial_delay=delay, max_delay=delay, timeout=timeout, strategy="fixed-delay"
    )
    return AtLeastOnce(policy)


def bring_online(client: Fluvio, topic: str, partitions: int) -> None:
    """Write to each partition, and wait until the client knows that all are online.

    A real SC sometimes calls a new partition online only after the first write.
    """
    producer = client.topic_producer(topic)
    for partition in range(partitions):
        producer.send(b"", partition=partition)
    producer.flush(10)
    wait_online(client, topic, partitions)


def wait_online(client: Fluvio, topic: str, partitions: int) -> None:
    """Wait until the client knows that so many of the topic's partitions are online."""
    engine = client._session.engine
    assert engine is not None
    wait_until(lambda: len(engine.metadata.available(topic)) == partitions, f"{partitions} partitions are online")


def wait_offline(client: Fluvio, spu: int) -> None:
    """Wait until the SC has told the client that an SPU is offline."""
    engine = client._session.engine
    assert engine is not None
    wait_until(lambda: not engine.metadata.spu_online(spu), f"SPU {spu} is offline")


def used_memory(client: Fluvio) -> int:
    """Return the bytes that unresolved records are charged."""
    assert client._session.engine is not None
    return client._session.engine.accumulator.used


def assert_settled(client: Fluvio) -> None:
    """The client holds nothing any more.  The account follows the futures by a moment."""
    wait_until(lambda: used_memory(client) == 0, "the memory account is back at 0")


class Where:
    """A cluster: its SC's `endpoint`, its `tls`, and how to make topics there and read them back."""

    def __init__(self, endpoint: str, admin: Fluvio, tls: TlsConfig) -> None:
        self.endpoint = endpoint
        self.admin = admin
        self.tls = tls
        self._topics: list[str] = []

    def connect(self, **settings: Any) -> Fluvio:
        """Return a client of it."""
        return Fluvio.connect(self.endpoint, tls=self.tls, **settings)

    @property
    def environment(self) -> dict[str, str]:
        """What has scripts that know nothing but its endpoint speak its TLS."""
        tls = self.tls
        settings = {"DOMAIN": tls.domain, "CA_CERT": tls.ca_cert, "CERT": tls.cert, "KEY": tls.key}
        return {f"FLUVIO_SYNC_TLS_{name}": value for name, value in settings.items() if value}

    @property
    def spus(self) -> int:
        """How many SPUs are online."""
        engine = self.admin._session.engine
        assert engine is not None
        return sum(engine.metadata.spu_online(spu) for spu in engine.metadata.spus)

    def name(self) -> str:
        """Return a name for a topic; if the test creates it, it is deleted in the end."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self._topics.append(name)
        return name

    def topic(self, partitions: int = 1, *, compression: str | None = None, replication: int = 1) -> str:
        """Create a topic and return its name."""
        name = self.name()
        self.admin.create_topic(name, partitions=partitions, compression=compression, replication=replication)
        return name

    def delete_topics(self) -> None:
        existing = set(self.admin.topics()) if self._topics else set()
        for name in self._topics:
            if name in existing:
                self.admin.delete_topic(name)
        self._topics.clear()

    def records(self, topic: str, partition: int = 0, count: int = 0) -> list[StoredRecord]:
        """Return a partition's records, once there are `count`: what is not replicated yet is not shown."""
        return read_back(self.endpoint, topic, partition, count, tls=self.tls)

    def read_all(self, topic: str, partitions: int, count: int) -> list[list[StoredRecord]]:
        """Return the records of all partitions, once there are `count` in all."""
        found: list[list[StoredRecord]] = []

        def enough() -> bool:
            found[:] = [read_partition(self.endpoint, topic, index, tls=self.tls) for index in range(partitions)]
            return sum(map(len, found)) >= count

        wait_until(enough, f"{count} records in topic {topic}")
        return found

    def batches(self, topic: str, partition: int = 0) -> list[BatchHeader]:
        """Return the headers of a partition's batches, as they are stored."""
        engine = self.admin._session.engine
        assert engine is not None
        leader = engine.metadata.partitions[topic, partition].spec.leader
        context, server_name = self.tls.ssl_context(), self.tls.server_name(engine.metadata.spu_name(leader))
        address = str(engine.metadata.advertised(leader))
        with Asked(address, SPU_CLIENT_RANGES, tls=context, server_name=server_name) as spu:
            request = StreamFetchRequest(topic, partition, 0, 16 * 1024 * 1024)
            reader = spu.ask(SpuApi.STREAM_FETCH, request)
            response = StreamFetchResponse.read(reader, spu.version(SpuApi.STREAM_FETCH))
        return [header for header, _ in iter_batches(response.partition.records)]


def read_back(
    endpoint: str, topic: str, partition: int = 0, count: int = 0, *, tls: TlsConfig | None = None
) -> list[StoredRecord]:
    """Return a partition's records, once there are `count`."""
    records: list[StoredRecord] = []

    def enough() -> bool:
        records[:] = read_partition(endpoint, topic, partition, tls=tls)
        return len(records) >= count

    wait_until(enough, f"{count} records in topic {topic}, partition {partition}")
    return records


def place(metadata: RecordMetadata) -> tuple[int, int]:
    """Return partition and offset of an acknowledged record."""
    assert metadata.acknowledged
    assert metadata.offset is not None
    return metadata.partition, metadata.offset


@contextmanager
def parked(fluvio: Fluvio, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the background thread from working."""
    engine = fluvio._session.engine
    assert engine is not None
    here, go_on = threading.Event(), threading.Event()

    def park() -> None:
        here.set()
        go_on.wait(10)

    with monkeypatch.context() as patch:
        patch.setattr(engine.thread, "_take_turn", park)
        engine.poller.ring()
        assert here.wait(10)
        try:
            yield
        finally:
            go_on.set()
