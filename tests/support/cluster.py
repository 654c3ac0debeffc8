# SPDX-License-Identifier: Apache-2.0
"""A cluster that tests write to, and reading back from it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from fluvio_sync import Fluvio
from fluvio_sync.protocol.batch import iter_batches
from fluvio_sync.protocol.consume import StreamFetchRequest, StreamFetchResponse
from fluvio_sync.protocol.versions import SPU_CLIENT_RANGES, SpuApi
from fluvio_sync.testing.reader import read_partition
from tests.support.asking import Asked
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from fluvio_sync import RecordMetadata, TlsConfig
    from fluvio_sync.protocol.batch import BatchHeader
    from fluvio_sync.testing import StoredRecord


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
        """Return the variables by which a script that knows the endpoint alone speaks TLS to it."""
        tls = self.tls
        settings = {"DOMAIN": tls.domain, "CA_CERT": tls.ca_cert, "CERT": tls.cert, "KEY": tls.key}
        return {f"FLUVIO_SYNC_TLS_{name}": str(value) for name, value in settings.items() if value}

    @property
    def spus(self) -> int:
        """How many SPUs are online."""
        engine = self.admin._holder.engine
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
        """Return a partition's records, once `count` of them are replicated, and so are shown."""
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
        engine = self.admin._holder.engine
        assert engine is not None
        partitions = engine.metadata.partitions
        wait_until(lambda: (topic, partition) in partitions, f"the leader of partition {partition} of {topic}")
        leader = partitions[topic, partition].leader
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
