# SPDX-License-Identifier: Apache-2.0
"""What a record costs in instructions of the processor, which unlike seconds do not depend on the machine's load.

The bounds are some 14 % above what CPython 3.11 took on x86-64 when this test was written.  A commit that raises
one says why in its message.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fluvio_sync._base.compiled import COMPILED

if TYPE_CHECKING:
    from pathlib import Path

    from fluvio_sync.testing import LocalCluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.alone,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind, which counts instructions, is not installed"),
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11) or platform.machine() != "x86_64",
        reason="the bounds are of CPython 3.11 on x86-64",
    ),
]

PROGRAM = """
import sys, time
from fluvio_sync import Fluvio
endpoint, workload, records = sys.argv[1], sys.argv[2], int(sys.argv[3])
value = bytes(100)
with Fluvio.connect(endpoint, buffer_memory=1 << 30, connect_timeout=60, request_timeout=60) as fluvio:
    fluvio.create_topic("counted", exist_ok=True)
    if workload == "lone":
        producer = fluvio.topic_producer("counted")
        for _ in range(records):
            producer.send(value).result()
    else:
        producer = fluvio.topic_producer("counted", linger=600, batch_size=900_000)
        first = producer.send(value)
        while not fluvio._holder.engine.dispatcher.timers.heap:
            time.sleep(0.1)  # until the sender has seen the first record, those of send_all are queued one by one
        if workload == "send_all":
            producer.send_all([value] * records)
        else:
            for _ in range(records):
                producer.send(value)
    producer.flush()
"""
FEW = 300
BOUNDS = {  # the workload, its records, and the most instructions of each: compiled, pure
    "send": (4000, 7_800, 23_000),
    "send_all": (4000, 5_100, 16_200),
    "lone": (1000, 174_000, 392_000),
}


def instructions(cluster: LocalCluster, workload: str, records: int, folder: Path) -> int:
    """Return how many instructions a producer of so many records takes, its start and end included."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder), "PYTHONHASHSEED": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # to compile the modules takes longer than all else
    program = [sys.executable, "-c", PROGRAM, cluster.endpoint, workload, str(records)]
    counted = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    found = re.search(r"Collected : (\d+)", counted.stdout)
    assert found is not None, counted.stdout
    return int(found[1])


@pytest.mark.parametrize("workload", BOUNDS)
def test_a_record_takes_few_instructions(own: LocalCluster, workload: str, tmp_path: Path) -> None:
    records, compiled, pure = BOUNDS[workload]
    instructions(own, workload, 1, tmp_path)  # which leaves the modules' bytecode behind
    few, many = (instructions(own, workload, count, tmp_path) for count in (FEW, records))
    each = (many - few) / (records - FEW)
    most = compiled if COMPILED else pure
    assert most / 2 < each < most, f"{each:.0f} instructions a record"
