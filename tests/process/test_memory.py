# SPDX-License-Identifier: Apache-2.0
"""A million records for a dead cluster: the process stays within its bound."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from fluvio_sync.testing import LocalCluster

pytestmark = pytest.mark.slow

SCRIPT = """
    import json, resource, sys
    from fluvio_sync import *
    MEMORY = 4 * 1024 * 1024
    fluvio = Fluvio.connect(sys.argv[1], buffer_memory=MEMORY, exit_timeout=0)
    producer = fluvio.topic_producer("t", on_full="raise", delivery_semantic=AtLeastOnce(RetryPolicy(timeout=3600)))
    print("ready", flush=True)
    input()
    def size():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    before = size()
    taken = refused = 0
    value = b"x" * 100
    for _ in range(1_000_000):
        try:
            producer.send(value)
            taken += 1
        except BufferFullError:
            refused += 1
    print(json.dumps([taken, refused, fluvio.health().bytes_queued, (size() - before) / MEMORY]))
"""


def test_a_million_records_to_a_dead_cluster_stay_within_the_bound() -> None:
    with LocalCluster() as cluster:
        cluster.create_topic("t")
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), cluster.endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            cluster.kill_spu(5001)
            output, errors = process.communicate("\n", timeout=100)
    taken, refused, queued, growth = json.loads(output)
    assert taken + refused == 1_000_000
    assert queued == taken * 100
    # 228 bytes are accounted for a record of 100; it takes little more in fact.
    assert taken <= 4 * 1024 * 1024 // 228
    assert growth < 3
    assert f"{taken} records not acknowledged" in errors
