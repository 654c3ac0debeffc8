# SPDX-License-Identifier: Apache-2.0
"""A client under measurement, in a process of its own: `worker.py CLIENT ENDPOINT`.

Reads one JSON object a line (`topics`, `method`, `size`, `records`) and answers each with what it measured: `seconds`,
`cpu` (seconds of this process), and for single records `p50` and `p99` (seconds).  All clients get the same settings;
records have no key.  Those of Kafka get what is the same there: acknowledged by the leader, batches of 16 KiB.  `bare`
is no client: it writes frames that were encoded before and reads the answers, which is what the cluster can take, and
how long a round trip lasts.
"""

from __future__ import annotations

import importlib
import itertools
import json
import socket
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LINGER_MS = 5
"""Of all workloads but the single records, which linger not at all."""
CHUNK = 1000
"""Records of one `send_all`."""
THREADS = 8
IN_FLIGHT = 5
"""Frames that the bare client has under way."""


class FluvioSync:
    """This package."""

    def __init__(self, endpoint: str) -> None:
        from fluvio_sync import Fluvio  # noqa: PLC0415 - only one of the clients is measured here

        self._client = Fluvio.connect(endpoint)

    def producer(self, topic: str, linger_ms: int) -> Any:
        return self._client.topic_producer(topic, linger=linger_ms / 1000)

    def send(self, producer: Any, value: bytes) -> Any:
        return producer.send(value)

    def send_all(self, producer: Any, values: list[bytes]) -> Any:
        return producer.send_all(values)

    def wait(self, future: Any) -> None:
        future.result()


class Official:
    """The official wheel; an empty key is the nearest that it has to none."""

    def __init__(self, endpoint: str) -> None:
        # By name: the wheel has no types, and need not be installed.
        self._fluvio = importlib.import_module("fluvio")
        config = self._fluvio.FluvioConfig.new(endpoint)
        config.disable_tls()
        self._client = self._fluvio.Fluvio.connect_with_config(config)

    def producer(self, topic: str, linger_ms: int) -> Any:
        config = self._fluvio.TopicProducerConfigBuilder().linger(linger_ms).build()
        deadline = time.monotonic() + 10
        while True:
            try:
                return self._client.topic_producer_with_config(topic, config)
            except Exception:  # the topic is new, and this client does not wait until it hears of it
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def send(self, producer: Any, value: bytes) -> Any:
        return producer.send(b"", value)

    def send_all(self, producer: Any, values: list[bytes]) -> Any:
        return producer.send_all([(b"", value) for value in values])

    def wait(self, future: Any) -> None:
        future.wait()


class KafkaTopic(NamedTuple):
    """A producer of a client of Kafka, and the topic that it is for."""

    client: Any
    topic: str

    def flush(self) -> None:
        self.client.flush()


class KafkaPython:
    """The package kafka-python."""

    def __init__(self, endpoint: str) -> None:
        self._kafka = importlib.import_module("kafka")
        self._endpoint = endpoint

    def producer(self, topic: str, linger_ms: int) -> Any:
        client = self._kafka.KafkaProducer(
            bootstrap_servers=self._endpoint, acks=1, enable_idempotence=False, linger_ms=linger_ms
        )
        client.partitions_for(topic)  # the broker makes the topic
        return KafkaTopic(client, topic)

    def send(self, producer: KafkaTopic, value: bytes) -> Any:
        return producer.client.send(producer.topic, value)

    def wait(self, future: Any) -> None:
        future.get()


class ConfluentKafka:
    """The package confluent-kafka, a wrapper of librdkafka; without callbacks, which makes it faster."""

    def __init__(self, endpoint: str) -> None:
        self._confluent = importlib.import_module("confluent_kafka")
        self._endpoint = endpoint

    def producer(self, topic: str, linger_ms: int) -> Any:
        client = self._confluent.Producer(
            {
                "bootstrap.servers": self._endpoint,
                "acks": 1,
                "linger.ms": linger_ms,
                "batch.size": 16_384,
                "allow.auto.create.topics": True,
            }
        )
        client.list_topics(topic)  # the broker makes the topic
        return KafkaTopic(client, topic)

    def send(self, producer: KafkaTopic, value: bytes) -> Any:
        while True:
            try:
                producer.client.produce(producer.topic, value)
            except BufferError:  # its queue is full
                producer.client.poll(0.001)
            else:
                return producer

    def wait(self, producer: KafkaTopic) -> None:
        producer.flush()


class Workloads:
    """What a client is made to do; each returns what it measured besides the time, and flushes."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, producers: list[Any], value: bytes, records: int) -> None:
        """One record after the other; round the topics if they are several."""
        send = self._client.send
        if len(producers) == 1:
            producer = producers[0]
            for _ in range(records):
                send(producer, value)
        else:
            for producer in itertools.islice(itertools.cycle(producers), records):
                send(producer, value)
        for producer in producers:
            producer.flush()

    def kept(self, producers: list[Any], value: bytes, records: int) -> None:
        """Every future is kept, and waited for in the end."""
        futures = [self._client.send(producers[0], value) for _ in range(records)]
        producers[0].flush()
        for future in futures:
            self._client.wait(future)

    def send_all(self, producers: list[Any], value: bytes, records: int) -> None:
        """In chunks."""
        for _ in range(max(1, records // CHUNK)):
            self._client.send_all(producers[0], [value] * min(CHUNK, records))
        producers[0].flush()

    def threads(self, producers: list[Any], value: bytes, records: int) -> None:
        """Several threads at once."""
        work = [
            threading.Thread(target=self.send, args=(producers, value, max(1, records // THREADS)))
            for _ in range(THREADS)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()

    def wait(self, producers: list[Any], value: bytes, records: int) -> dict[str, float]:
        """Each record is waited for before the next is sent."""
        times = []
        for _ in range(records):
            began = time.perf_counter()
            self._client.wait(self._client.send(producers[0], value))
            times.append(time.perf_counter() - began)
        return percentiles(times)


class Bare:
    """Writes pre-encoded produce frames to the leader of a topic's only partition."""

    def __init__(self, endpoint: str) -> None:
        from fluvio_sync import Fluvio  # noqa: PLC0415 - see above

        self._client = Fluvio.connect(endpoint)

    def run(self, topic: str, method: str, value: bytes, records: int) -> dict[str, float]:
        """`wait`: one frame of one record at a time; `limit`: frames of one batch of `size`, several under way."""
        connection, version = self._connect(topic)
        with connection, connection.makefile("rb") as answers:
            frame = self._frame(topic, value, version)
            if method == "wait":
                return percentiles([self._round_trip(connection, answers, frame) for _ in range(records)])
            for number in range(records):
                if number >= IN_FLIGHT:
                    _read_answer(answers)
                connection.sendall(frame)
            for _ in range(min(records, IN_FLIGHT)):
                _read_answer(answers)
        return {}

    def _connect(self, topic: str) -> tuple[socket.socket, int]:
        """Have the client find the leader, and connect as it did."""
        self._client.topic_producer(topic, linger=0).send(b"x").result()
        engine: Any = self._client._holder.engine  # noqa: SLF001
        known = [item for item in engine.sender._connections.values() if item.versions is not None]  # noqa: SLF001
        endpoint = known[0].peer.endpoint
        connection = socket.create_connection((endpoint.host, endpoint.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        from fluvio_sync.protocol.versions import SpuApi  # noqa: PLC0415 - see above

        return connection, known[0].version(SpuApi.PRODUCE)

    def _frame(self, topic: str, value: bytes, version: int) -> bytes:
        from fluvio_sync.protocol.batch import BatchBuilder  # noqa: PLC0415 - see above
        from fluvio_sync.protocol.produce import IsolationCode, produce_request_buffers  # noqa: PLC0415

        builder = BatchBuilder(int(time.time() * 1000))
        builder.append(None, value, builder.first_timestamp)
        buffers = builder.build()
        partition = (0, sum(map(len, buffers)), buffers)
        return b"".join(
            produce_request_buffers(
                version=version,
                correlation_id=1,
                client_id="bare",
                isolation=IsolationCode.READ_UNCOMMITTED,
                timeout_ms=1500,
                topics=[(topic, [partition])],
            )
        )

    def _round_trip(self, connection: socket.socket, answers: BinaryIO, frame: bytes) -> float:
        began = time.perf_counter()
        connection.sendall(frame)
        _read_answer(answers)
        return time.perf_counter() - began


def _read_answer(answers: BinaryIO) -> None:
    answers.read(int.from_bytes(answers.read(4), "big"))


def percentiles(times: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in seconds."""
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}


def check_mode(name: str) -> None:
    """Refuse to measure something else than was asked for."""
    if name in {"pure", "compiled"}:
        from fluvio_sync import compiled  # noqa: PLC0415 - see above

        if compiled is not (name == "compiled"):
            sys.exit(f"this is no {name} package; `make compiled` makes one")


def _work(name: str, client: Any, order: Any, value: bytes) -> Callable[[int], dict[str, float] | None]:
    """Return what does so many records of the order; connections and metadata are ready then."""
    if name == "bare":
        return partial(client.run, order["topics"][0], order["method"], value)
    linger = 0 if order["method"] == "wait" else LINGER_MS
    producers = [client.producer(topic, linger) for topic in order["topics"]]
    method = partial(getattr(Workloads(client), order["method"]), producers, value)
    method(200)
    return method


def main(name: str, endpoint: str) -> None:
    """Carry out orders until standard input ends."""
    clients = {"official": Official, "bare": Bare, "kafka-python": KafkaPython, "confluent-kafka": ConfluentKafka}
    client: Any = clients.get(name, FluvioSync)(endpoint)
    check_mode(name)
    for line in sys.stdin:
        order = json.loads(line)
        value, records = bytes(order["size"]), order["records"]
        work = _work(name, client, order, value)
        cpu, began = time.process_time(), time.perf_counter()
        more = work(records) or {}
        measured = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, **more}
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
