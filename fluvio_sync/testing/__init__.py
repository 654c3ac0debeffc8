# SPDX-License-Identifier: Apache-2.0
"""For tests and development: a Fluvio cluster on loopback, and reading back what was produced."""

from fluvio_sync.testing._reader import StoredRecord, read_partition
from fluvio_sync.testing.cluster import LocalCluster

read_records = read_partition

__all__ = ["LocalCluster", "StoredRecord", "read_partition", "read_records"]
