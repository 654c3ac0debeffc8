# SPDX-License-Identifier: Apache-2.0
"""The extra `fast` brings checksums and hashes in C."""

from fluvio_sync.protocol import checksum, siphash
from fluvio_sync.testing import FakeFluvio

producer = FakeFluvio({"orders": 3}).topic_producer("orders")
producer.send("tea", key="customer 1").result(timeout=5)
assert producer.stats().checksum == checksum.IMPLEMENTATION == "google-crc32c"
assert siphash.IMPLEMENTATION == "siphash24"
