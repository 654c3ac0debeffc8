# SPDX-License-Identifier: Apache-2.0
"""A hostile SC costs the records for a healthy SPU little time, and the process little memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from tests.support.hostile_sc import ATTACKS, RAW
from tests.support.memory import resident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.alone]

DURATION = 5.0
"""Seconds of an attack."""
MOST_MEMORY = 64 * 1024 * 1024
PAUSE = 0.005


@contextlib.contextmanager
def attacking(attack: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Give the address of an SC, and its process, which a line makes attack."""
    line = [sys.executable, "-m", "tests.support.hostile_sc", attack]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        pushed = process.stdout.read()
        process.stdout.close()
        process.wait(10)
    assert int(pushed) >= 2, "there was no attack"


@pytest.mark.parametrize("attack", [*ATTACKS, *RAW])
def test_records_of_a_healthy_spu_go_on(attack: str, record_property: Callable[[str, object], None]) -> None:
    with attacking(attack) as (endpoint, process), Fluvio.connect(endpoint) as fluvio:
        producer = fluvio.topic_producer("t")
        producer.send(b"first", partition=0).result(5)
        before = highest = resident()
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        times = []
        pause = threading.Event()
        end = time.monotonic() + DURATION
        while time.monotonic() < end:
            began = time.monotonic()
            producer.send(b"x", partition=0).result(5)
            times.append(time.monotonic() - began)
            highest = max(highest, resident())
            pause.wait(PAUSE)
        assert fluvio.running
        p99 = sorted(times)[len(times) * 99 // 100]
    measured = f"p99 {p99 * 1000:.1f} ms, at most {max(times) * 1000:.0f} ms, {(highest - before) / 1e6:.0f} MB more"
    record_property("measured", measured)
    assert p99 < 0.1, measured
    assert highest - before < MOST_MEMORY, measured
