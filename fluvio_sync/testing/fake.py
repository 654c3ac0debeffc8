# SPDX-License-Identifier: Apache-2.0
"""`FakeFluvio` and `FakeProducer`: for tests of code that sends, without a cluster.

Records end up in a list at once; failures happen on demand.  The real client's code checks and serialises the records
and chooses their partitions; futures, counts and errors are the real ones.  No thread, no socket, no waiting.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from fluvio_sync._runtime.engine import ClientConfig
from fluvio_sync._runtime.holder import EngineHolder
from fluvio_sync._settings.endpoint import Endpoint
from fluvio_sync.client import Fluvio
from fluvio_sync.config import ProducerConfig
from fluvio_sync.producer import TopicProducer, refuse_single
from fluvio_sync.testing._fake_engine import Failure, FakeEngine, FakeRecord
from fluvio_sync.tls import TlsConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from typing_extensions import Unpack

    from fluvio_sync._runtime.engine import Engine
    from fluvio_sync.config import ProducerSettings
    from fluvio_sync.errors import DeliveryError, FluvioError
    from fluvio_sync.futures import DeliveryFuture

__all__ = ["FakeFluvio", "FakeProducer", "FakeRecord"]


class FakeFluvio(Fluvio):
    """Stands in for a `Fluvio` client; `FakeFluvio.connect(...)` takes the arguments of `Fluvio.connect`.

    * `topics`: the topics with their numbers of partitions; None (default): any topic, with one partition.
    * `buffer_memory`: bytes, which held records can use up (default 32 MiB).
    """

    def __init__(self, topics: Mapping[str, int] | None = None, *, buffer_memory: int = 32 * 1024 * 1024) -> None:
        config = ClientConfig(
            endpoint=Endpoint("fake.invalid", 9003),
            tls=TlsConfig.disabled(),
            client_id="fake",
            use_spu_local_address=False,
            spu_address_override=None,
            connect_timeout=10.0,
            request_timeout=30.0,
            metadata_timeout=0.0,  # a topic that is not there will not come
            exit_timeout=5.0,
            buffer_memory=buffer_memory,
        )
        self._fake = FakeEngine(config, topics)
        super().__init__(_FakeHolder(config, self._fake))

    @classmethod
    def connect(cls, endpoint: str | None = None, **settings: Any) -> FakeFluvio:  # noqa: ARG003 - as the real one
        """Return a fake; the arguments have no effect."""
        return cls()

    # For tests.

    @property
    def records(self) -> list[FakeRecord]:
        """The delivered records, in order; the list itself: a test may clear it."""
        return self._fake.records

    def values(self, topic: str) -> list[bytes]:
        """Return the values that were delivered to a topic, in order."""
        return [record.value for record in self.records if record.topic == topic]

    def fail_next(
        self, error: FluvioError | type[DeliveryError] | int, *, count: int = 1, topic: str | None = None
    ) -> None:
        """Have the next records fail.

        * `error`: an error; a subclass of `DeliveryError`, such as `DeliveryTimeoutError`, of which one is made; or a
          server's code, which makes a `RejectedError`.
        * `count`: the number of records (default 1).
        * `topic`: only records of this topic; None (default): of any.

        The future raises a `DeliveryError`; `send()` raises any other error, such as `BufferFullError("full")`.  An
        at-most-once record is dropped instead, and counted.
        """
        self._fake.failures.append(Failure(error, count, topic))

    def hold(self) -> None:
        """Deliver no record until `release()`: futures stay pending, and memory fills up."""
        self._fake.held = True

    def release(self) -> None:
        """Deliver the held records."""
        self._fake.release()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold records within the block."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    if TYPE_CHECKING:

        def topic_producer(  # noqa: D102
            self, topic: str, config: ProducerConfig | None = None, **settings: Unpack[ProducerSettings]
        ) -> FakeProducer: ...

    def _make_producer(self, topic: str, config: ProducerConfig) -> FakeProducer:
        return FakeProducer(topic, config, fluvio=self)

    def __repr__(self) -> str:
        return f"<FakeFluvio with {len(self.records)} records>"


class _FakeHolder(EngineHolder):
    """Holds an engine from the start, which goes on in the child of a fork."""

    def __init__(self, config: ClientConfig, engine: FakeEngine) -> None:
        super().__init__(config)
        self.engine = engine

    def present(self) -> Engine | None:
        return self.engine

    def forget(self) -> None:
        pass

    def __reduce__(self) -> NoReturn:
        raise TypeError("a fake cannot be pickled: its records would be in another process")


class FakeProducer(TopicProducer):
    """Stands in for a `TopicProducer`: `FakeProducer("orders")`, or made by a `FakeFluvio`'s `topic_producer`.

    * `topic`: the topic's name.
    * `config`, `settings`: as for `Fluvio.topic_producer`.
    * `partitions`: the topic's number of partitions (default 1).
    * `fluvio`: its client; None (default): one of its own, with this topic.
    """

    def __init__(
        self,
        topic: str,
        config: ProducerConfig | None = None,
        *,
        partitions: int = 1,
        fluvio: FakeFluvio | None = None,
        **settings: Unpack[ProducerSettings],
    ) -> None:
        self.fluvio: FakeFluvio = fluvio or FakeFluvio({topic: partitions})
        holder = self.fluvio._holder  # noqa: SLF001 - the two are one
        super().__init__(holder, topic, ProducerConfig.from_settings(config, settings))
        self._attach()

    @property
    def records(self) -> list[FakeRecord]:
        """The records that were delivered to this topic, in order."""
        return [record for record in self.fluvio.records if record.topic == self.topic]

    @property
    def values(self) -> list[bytes]:
        """The values that were delivered to this topic, in order."""
        return self.fluvio.values(self.topic)

    def fail_next(self, error: FluvioError | type[DeliveryError] | int, *, count: int = 1) -> None:
        """Have the next `count` records of this topic fail: see `FakeFluvio.fail_next`."""
        self.fluvio.fail_next(error, count=count, topic=self.topic)

    def send(
        self,
        value: Any,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: int | datetime | None = None,
    ) -> DeliveryFuture:
        """Deliver a record and return its future: see `TopicProducer.send`."""
        error = self.fluvio._fake.take_failure(self.topic, 0, by_send=True)  # noqa: SLF001 - the two are one
        if error is not None:
            raise error
        future = super().send(value, key=key, partition=partition, timestamp=timestamp)
        if not future.done() and not self.fluvio._fake.held:  # noqa: SLF001 - the two are one
            self.fluvio._fake.thread.run()  # noqa: SLF001 - after the thread that took the record for delivery
        return future

    def send_all(self, records: Iterable[Any]) -> list[DeliveryFuture]:
        """Deliver many records: see `TopicProducer.send_all`.  A future raises an error that `send()` would raise."""
        refuse_single(records)
        futures: list[DeliveryFuture] = []
        for record in records:
            error = self.fluvio._fake.take_failure(self.topic, 0, by_send=True)  # noqa: SLF001 - the two are one
            futures += super().send_all([record]) if error is None else [self._failed(error)]
        return futures
