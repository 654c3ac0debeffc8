# SPDX-License-Identifier: Apache-2.0
"""The relay: each of its passes claims records, sends them and stores the outcomes."""

from __future__ import annotations

import os
import queue
import secrets
import socket
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.log import get_logger
from fluvio_sync.contrib.django.outbox import _store
from fluvio_sync.contrib.django.outbox._delivery import Delivery
from fluvio_sync.contrib.django.outbox._destinations import Destinations
from fluvio_sync.contrib.django.outbox._order import chains

if TYPE_CHECKING:
    from fluvio_sync.contrib.django.outbox._delivery import Outcome

_log = get_logger("outbox")


class Stop:
    """A request that the relay end; a signal handler may make it at any moment.  `asked`: whether it was made."""

    def __init__(self) -> None:
        self.asked = False
        # Not an Event: a signal handler may interrupt a wait that holds the lock of an Event.
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ask(self) -> None:
        """Ask the relay to end."""
        self.asked = True
        self._asked.put(None)

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or when the relay is asked to end."""
        try:
            self._asked.get(timeout=seconds)
        except queue.Empty:
            return


class Pass(NamedTuple):
    """The numbers of a pass, or of several: records claimed, delivered, rejected for good, and to be sent again."""

    claimed: int = 0
    delivered: int = 0
    rejected: int = 0
    to_retry: int = 0

    def plus(self, other: Pass) -> Pass:
        """Return the sums."""
        return Pass(*(mine + others for mine, others in zip(self, other, strict=True)))


class Relay:
    """Delivers the outbox of a database; one thread uses it.

    * `batch`: records that a pass takes at most.
    * `lease`: seconds for which it claims them.
    * `retention`: days after which delivered and skipped records are deleted.
    * `stop`: ends a pass early.
    """

    def __init__(self, database: str, *, batch: int, lease: float, retention: float, stop: Stop) -> None:
        self.name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._database = database
        self._batch = batch
        self._lease = lease
        self._retention = retention
        self._stop = stop
        self._destinations = Destinations(lease / 3)

    @property
    def is_blocked(self) -> bool:
        """Whether records wait because their cluster does not answer or their topic does not exist."""
        return bool(self._destinations.paused())

    def work(self) -> Pass:
        """Make a pass; raises Django's database errors, after which records may be delivered again."""
        self._destinations.look_again()
        claimed, records = _store.claim(
            self._database,
            self.name,
            limit=self._batch,
            lease=self._lease,
            avoided=self._destinations.paused(),
        )
        done = Pass(len(claimed))
        if records:
            delivery = Delivery(self._destinations, lease=self._lease, stopped=lambda: self._stop.asked)
            outcome = delivery.run(chains(records))
            _store.store_outcome(self._database, self.name, claimed, outcome)
            _report(outcome)
            done = Pass(len(claimed), len(outcome.delivered), len(outcome.rejected), len(outcome.to_retry))
        _store.expire(self._database, self._retention)
        return done


def _report(outcome: Outcome) -> None:
    """Log every rejected record, and one line for each topic with records that failed for the first time."""
    for record, error in outcome.rejected:
        _log.error("outbox.rejected", record=record.pk, alias=record.alias, topic=record.topic, error=error)
    first: dict[tuple[str, str], list[str]] = {}
    for record, error in outcome.to_retry:
        if not record.attempts:
            first.setdefault((record.alias, record.topic), []).append(error)
    for (alias, topic), errors in first.items():
        _log.warning("outbox.retry_scheduled", alias=alias, topic=topic, records=len(errors), error=errors[0])
