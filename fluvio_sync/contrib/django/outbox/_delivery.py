# SPDX-License-Identifier: Apache-2.0
"""One pass of a relay: chains of records are sent side by side, each record once the one before it is acknowledged.

Everything happens in the caller's thread; futures report through a queue.
"""

from __future__ import annotations

import queue
import time
from functools import partial
from typing import TYPE_CHECKING

from fluvio_sync.contrib.django.outbox._order import is_final

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

    from fluvio_sync.contrib.django.outbox._destinations import Destinations
    from fluvio_sync.contrib.django.outbox.models import OutboxRecord
    from fluvio_sync.futures import RecordMetadata

    Chain = deque[OutboxRecord]


class Outcome:
    """The outcomes of a pass.

    * `delivered`: ids of records.
    * `rejected`, `to_retry`: records that failed for good, or may be sent again, each with its error's text.
    """

    def __init__(self) -> None:
        self.delivered: list[int] = []
        self.rejected: list[tuple[OutboxRecord, str]] = []
        self.to_retry: list[tuple[OutboxRecord, str]] = []


class Delivery:
    """Sends the claimed records of one pass.

    * `lease`: seconds for which the records are claimed.  Records are sent during its first third, and each takes at
      most another third (the timeout of the producers), so that all outcomes are known before the claim ends.
    * `stopped`: called before each record; True ends sending.
    """

    def __init__(self, destinations: Destinations, *, lease: float, stopped: Callable[[], bool]) -> None:
        self._destinations = destinations
        self._stopped = stopped
        now = time.monotonic()
        self._send_until = now + lease / 3
        self._wait_until = now + lease
        self._done: queue.SimpleQueue[tuple[Chain, BaseException | None]] = queue.SimpleQueue()
        self._on_way = 0
        self._outcome = Outcome()

    def run(self, chains: Iterable[Chain]) -> Outcome:
        """Send the chains until they end, fail or are stopped, and return the outcomes."""
        for chain in chains:
            self._send_next(chain)
        while self._on_way:
            try:
                chain, error = self._done.get(timeout=max(0.0, self._wait_until - time.monotonic()))
            except queue.Empty:
                break
            self._on_way -= 1
            if error is not None:
                self._fail(chain, error)
            else:
                self._outcome.delivered.append(chain.popleft().pk)
                self._send_next(chain)
        return self._outcome

    def _send_next(self, chain: Chain) -> None:
        if not chain or self._stopped() or time.monotonic() > self._send_until:
            return
        record = chain[0]
        producer = self._destinations.producer(record.alias, record.topic)
        if producer is None:
            return
        key = None if record.key is None else bytes(record.key)
        try:
            future = producer.send(bytes(record.value), key=key, timestamp=record.timestamp)
        except Exception as error:  # noqa: BLE001 - an application's partitioner may raise anything
            self._fail(chain, error)
        else:
            self._on_way += 1
            future.add_done_callback(partial(self._resolved, chain))

    def _resolved(self, chain: Chain, future: Future[RecordMetadata]) -> None:
        self._done.put((chain, future.exception()))

    def _fail(self, chain: Chain, error: BaseException) -> None:
        failures = self._outcome.rejected if is_final(error) else self._outcome.to_retry
        failures.append((chain[0], f"{type(error).__name__}: {error}"))
