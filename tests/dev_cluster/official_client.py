# SPDX-License-Identifier: Apache-2.0
"""The official wheel's part in the tests, in a process of its own.

The wheel's calls hold the interpreter's lock, ignore Ctrl-C and have no timeouts, so the test kills
this process if it hangs.  Arguments: the step and the SC's endpoint; the result is one JSON line.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

fluvio: Any = importlib.import_module("fluvio")

CODECS = ("None_", "Gzip", "Snappy", "Lz4", "Zstd")


def _config(endpoint: str) -> Any:
    config = fluvio.FluvioConfig.new(endpoint)
    config.disable_tls()
    return config


def _record(record: Any) -> list[Any]:
    return [record.offset(), bytes(record.key()).decode(), bytes(record.value()).decode()]


def admin(endpoint: str) -> Any:
    """Create topics, list them, delete one."""
    client = fluvio.FluvioAdmin.connect_with_config(_config(endpoint))
    client.create_topic("by-default")
    spec = fluvio.TopicSpec.create().with_partitions(3)
    client.create_topic("three", spec.build())
    before = sorted(topic.name() for topic in client.all_topics())
    filtered = sorted(topic.name() for topic in client.list_topics(["hre"]))
    errors = []
    attempts: list[Callable[[], object]] = [
        lambda: client.create_topic("three"),
        lambda: client.create_topic("Not_A_Name"),
        lambda: client.delete_topic("missing"),
    ]
    for attempt in attempts:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001 - the wheel documents no classes
            errors.append(str(error))
    client.delete_topic("by-default")
    after = sorted(topic.name() for topic in client.all_topics())
    return {"before": before, "filtered": filtered, "after": after, "errors": errors}


def produce(endpoint: str) -> Any:
    """Produce to `orders` with every codec, isolation and delivery semantic; returns the places."""
    client = fluvio.Fluvio.connect_with_config(_config(endpoint))
    places = []
    for isolation in ("ReadUncommitted", "ReadCommitted"):
        for codec in CODECS:
            config = (
                fluvio.TopicProducerConfigBuilder()
                .linger(10)
                .compression(getattr(fluvio.Compression, codec))
                .isolation(getattr(fluvio.Isolation, isolation))
                .delivery_semantic(fluvio.DeliverySemantic.AtLeastOnce)
                .build()
            )
            producer = client.topic_producer_with_config("orders", config)
            outputs = []
            for number in range(20):
                key, value = f"{codec}-{number}", f"{isolation}-{number}"
                sent = producer.send(list(key.encode()), list(value.encode()))
                outputs.append((key, value, sent))
            producer.flush()
            for key, value, sent in outputs:
                metadata = sent.wait()
                places.append([metadata.partition_id(), metadata.offset(), key, value])
    config = fluvio.TopicProducerConfigBuilder().linger(1).delivery_semantic(fluvio.DeliverySemantic.AtMostOnce).build()
    producer = client.topic_producer_with_config("fire", config)
    producer.send(list(b"fire"), list(b"and forget"))
    producer.flush()
    return places


def consume(endpoint: str) -> Any:
    """Read `lines`, partition 1: from the beginning, from an offset, and two from the end."""
    client = fluvio.Fluvio.connect_with_config(_config(endpoint))
    result = {}
    for name, offset, count in (
        ("beginning", fluvio.Offset.beginning(), 30),
        ("absolute", fluvio.Offset.absolute(17), 13),
        ("from-end", fluvio.Offset.from_end(2), 2),
    ):
        stream = client.partition_consumer("lines", 1).stream(offset)
        result[name] = [_record(next(stream)) for _ in range(count)]
    return result


def resume(endpoint: str) -> Any:
    """Read `lines`, partition 1, in two goes with one consumer, whose offset is stored between."""
    client = fluvio.Fluvio.connect_with_config(_config(endpoint))
    goes = []
    for count in (4, 5):
        builder = fluvio.ConsumerConfigExtBuilder("lines")
        builder.partition(1)
        builder.offset_start(fluvio.Offset.beginning())
        builder.offset_strategy(fluvio.OffsetManagementStrategy.MANUAL)
        builder.offset_consumer("reader")
        stream = client.consumer_with_config(builder.build())
        goes.append([_record(next(stream)) for _ in range(count)])
        stream.offset_commit()
        stream.offset_flush()
    stored = [[item.consumer_id, item.topic, item.partition, item.offset] for item in client.consumer_offsets()]
    client.delete_consumer_offset("reader", "lines", 1)
    return {"goes": goes, "stored": stored, "left": len(client.consumer_offsets())}


STEPS = {"admin": admin, "produce": produce, "consume": consume, "resume": resume}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(STEPS[sys.argv[1]](sys.argv[2])) + "\n")
