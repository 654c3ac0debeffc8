# SPDX-License-Identifier: Apache-2.0
"""The sender's step over real sockets, left by an exception at any of its lines, as Ctrl-C does.

`FLUVIO_SYNC_EVERY_LINE=1` raises at each line; otherwise at one in a few, others in every part.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import Fluvio
from fluvio_sync._runtime.exit import remove_engine
from fluvio_sync._runtime.sender_thread import SenderThread
from fluvio_sync.testing import read_records
from tests.support.interruption import interrupted
from tests.support.system import traces_lines

if TYPE_CHECKING:
    from fluvio_sync.testing import LocalCluster

STRIDE = 1 if os.environ.get("FLUVIO_SYNC_EVERY_LINE") else 5
PARTS = 4


@traces_lines
@pytest.mark.parametrize("part", range(PARTS))
def test_a_step_may_end_anywhere(own: LocalCluster, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    """Nothing is lost, nothing hangs, every record is counted once, and the memory is given back."""
    own.create_topic("t", partitions=2)
    monkeypatch.setattr(SenderThread, "start", lambda _thread: None)  # this thread runs the steps
    sent = 0
    at = part * STRIDE
    was_interrupted = True
    while was_interrupted:
        fluvio = Fluvio.connect(own.endpoint)
        producer = fluvio.topic_producer("t", linger=0)
        engine = fluvio._holder.engine
        assert engine is not None
        futures = [producer.send(b"%d" % (sent + n), partition=n % 2) for n in range(3)]
        sent += 3

        def deliver(limit: float = time.monotonic() + 20.0) -> None:
            while engine.sender.in_step or not engine.accumulator.is_empty():  # noqa: B023
                assert time.monotonic() < limit
                engine.sender.work(max(0.0, engine.sender.prepare() - engine.clock.monotonic()))  # noqa: B023

        was_interrupted = interrupted(deliver, at)
        deliver()
        assert [future.exception(0) for future in futures] == [None] * 3
        assert engine.accumulator.used == 0
        assert engine.handle_stats.take() == (3, 0, 0, None)
        assert producer.stats().records_acked == 3
        engine.sender.abandon()
        remove_engine(engine)  # it has no thread that could drain it at exit
        at += STRIDE * PARTS
    assert at > 500
    for partition in range(2):
        values = [int(record.value) for record in read_records(own.endpoint, "t", partition)]
        assert set(values) == {n for n in range(sent) if n % 3 % 2 == partition}
        assert list(dict.fromkeys(values)) == sorted(set(values))
