# SPDX-License-Identifier: Apache-2.0
"""For tests and development: a Fluvio cluster on loopback, faults between it and a client, reading back."""

from fluvio_sync._reading.partition_log import StoredRecord
from fluvio_sync.protocol.batch import BatchIdentity
from fluvio_sync.testing._duplicates import DuplicateBatch, PartitionCheck
from fluvio_sync.testing._faults import ProduceFault
from fluvio_sync.testing.cluster import LocalCluster
from fluvio_sync.testing.fake import FakeFluvio, FakeProducer, FakeRecord
from fluvio_sync.testing.proxy import FaultProxy
from fluvio_sync.testing.reader import read_partition
from fluvio_sync.testing.verify import verify_topic

read_records = read_partition

__all__ = [
    "BatchIdentity",
    "DuplicateBatch",
    "FakeFluvio",
    "FakeProducer",
    "FakeRecord",
    "FaultProxy",
    "LocalCluster",
    "PartitionCheck",
    "ProduceFault",
    "StoredRecord",
    "read_partition",
    "read_records",
    "verify_topic",
]
