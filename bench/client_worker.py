# SPDX-License-Identifier: Apache-2.0
"""A client under measurement, in a process of its own: `client_worker.py fluvio_sync|official ENDPOINT`.

Reads one JSON object a line (`topic`, `method`, `size`, `records`) and answers each with the seconds it took.  Both
clients get the same settings; records have no key.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

LINGER_MS = 5
"""Of send and send_all; whoever waits for each record lingers not at all."""


class FluvioSync:
    """This package."""

    def __init__(self, endpoint: str) -> None:
        from fluvio_sync import Fluvio  # noqa: PLC0415 - only one of the two is measured here

        self._client = Fluvio.connect(endpoint)

    def producer(self, topic: str, linger_ms: int) -> Any:
        return self._client.topic_producer(topic, linger=linger_ms / 1000)

    def send(self, producer: Any, value: bytes, count: int) -> None:
        for _ in range(count):
            producer.send(value)
        producer.flush()

    def send_all(self, producer: Any, value: bytes, count: int) -> None:
        producer.send_all([value] * count)
        producer.flush()

    def send_then_wait(self, producer: Any, value: bytes, count: int) -> None:
        for _ in range(count):
            producer.send(value).result()


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

    def send(self, producer: Any, value: bytes, count: int) -> None:
        for _ in range(count):
            producer.send(b"", value)
        producer.flush()

    def send_all(self, producer: Any, value: bytes, count: int) -> None:
        producer.send_all([(b"", value)] * count)
        producer.flush()

    def send_then_wait(self, producer: Any, value: bytes, count: int) -> None:
        for _ in range(count):
            producer.send(b"", value).wait()


def main(name: str, endpoint: str) -> None:
    """Carry out orders until standard input ends."""
    client: FluvioSync | Official = FluvioSync(endpoint) if name == "fluvio_sync" else Official(endpoint)
    for line in sys.stdin:
        order = json.loads(line)
        waits = order["method"] == "send_then_wait"
        producer = client.producer(order["topic"], 0 if waits else LINGER_MS)
        method, value = getattr(client, order["method"]), bytes(order["size"])
        method(producer, value, 1)  # connections and metadata are not what is measured
        began = time.perf_counter()
        method(producer, value, order["records"])
        print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
