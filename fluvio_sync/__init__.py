# SPDX-License-Identifier: Apache-2.0
"""A synchronous, threaded producer for Fluvio in pure Python.

A Fluvio cluster has an SC (Streaming Controller), which holds the metadata of topics, and SPUs (Stream Processing
Units), which store the records.  A client connects to the SC and sends each record to the SPU that leads its partition.

This sends one record and prints its place:

    from fluvio_sync import Fluvio

    with Fluvio.connect("127.0.0.1:9003") as fluvio:
        producer = fluvio.topic_producer("orders")
        future = producer.send(b"value", key=b"user-42")
        print(future.result(timeout=5))
"""

from typing import Final

from fluvio_sync._base.compiled import COMPILED
from fluvio_sync.client import Fluvio, connect
from fluvio_sync.config import Compression, ProducerConfig, SmartModule, TlsConfig
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, Isolation
from fluvio_sync.errors import (
    BufferFullError,
    ClosedError,
    CommitTimeoutError,
    ConfigError,
    ConnectError,
    ConnectTimeoutError,
    DeliveryError,
    DeliveryTimeoutError,
    FlushTimeoutError,
    FluvioError,
    ForkedError,
    MetadataTimeoutError,
    PartitionNotFoundError,
    ProtocolError,
    RecordTooLargeError,
    RejectedError,
    RequestTimeoutError,
    RetriesExhaustedError,
    ServerError,
    TopicNotFoundError,
    UnsupportedVersionError,
)
from fluvio_sync.futures import DeliveryFuture, RecordMetadata
from fluvio_sync.partitioner import Partitioner, SiphashRoundRobinPartitioner, SpecificPartitioner
from fluvio_sync.producer import TopicProducer
from fluvio_sync.retry import RetryPolicy, RetryStrategy
from fluvio_sync.stats import FlushResult, Health, ProducerStats
from fluvio_sync.topics import TopicDescription

__version__ = "0.1.0"
compiled: Final = COMPILED
"""Whether the modules that records pass through are compiled, as in wheels that were made for one platform."""

__all__ = [
    "AtLeastOnce",
    "AtMostOnce",
    "BufferFullError",
    "ClosedError",
    "CommitTimeoutError",
    "Compression",
    "ConfigError",
    "ConnectError",
    "ConnectTimeoutError",
    "DeliveryError",
    "DeliveryFuture",
    "DeliveryTimeoutError",
    "FlushResult",
    "FlushTimeoutError",
    "Fluvio",
    "FluvioError",
    "ForkedError",
    "Health",
    "Isolation",
    "MetadataTimeoutError",
    "PartitionNotFoundError",
    "Partitioner",
    "ProducerConfig",
    "ProducerStats",
    "ProtocolError",
    "RecordMetadata",
    "RecordTooLargeError",
    "RejectedError",
    "RequestTimeoutError",
    "RetriesExhaustedError",
    "RetryPolicy",
    "RetryStrategy",
    "ServerError",
    "SiphashRoundRobinPartitioner",
    "SmartModule",
    "SpecificPartitioner",
    "TlsConfig",
    "TopicDescription",
    "TopicNotFoundError",
    "TopicProducer",
    "UnsupportedVersionError",
    "__version__",
    "compiled",
    "connect",
]
