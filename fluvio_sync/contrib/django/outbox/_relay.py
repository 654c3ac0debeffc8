# SPDX-License-Identifier: Apache-2.0
"""The relay: claims, delivers, notes; again and again, until it is stopped."""

from __future__ import annotations

import os
import secrets
import socket
from queue import Empty, SimpleQueue
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
    """Somebody's wish that the relay end; `asked` says so.  A signal handler may express it at any moment."""

    def __init__(self) -> None:
        self.asked = False
        # Not an Event, whose lock a signal handler could find taken by the very wait that it interrupts.
        self._bell: SimpleQueue[None] = SimpleQueue()

    def ask(self) -> None:
        """Wish it."""
        self.asked = True
        self._bell.put(None)

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or when it is asked for."""
        try:
            self._bell.get(timeout=seconds)
        except Empty:
            return


class Pass(NamedTuple):
    """What a pass did: how many records it claimed, delivered, was refused for good, and postponed."""

    claimed: int = 0
    delivered: int = 0
    refused: int = 0
    postponed: int = 0

    def plus(self, other: Pass) -> Pass:
        """Return the sums."""
        return Pass(*(mine + others for mine, others in zip(self, other, strict=True)))


class Relay:
    """Delivers the outbox of a database; one thread uses it.

    `batch`: records that a pass takes; `lease`: seconds for which it claims them; `retention`: days after which what is
    done with is deleted; `stop`: ends a pass early.
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
    def is_held_up(self) -> bool:
        """Whether records are left alone because their cluster or topic is not to be had."""
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
            _store.settle(self._database, self.name, claimed, outcome)
            _report(outcome)
            done = Pass(len(claimed), len(outcome.delivered), len(outcome.refused), len(outcome.postponed))
        _store.expire(self._database, self._retention)
        return done


def _report(outcome: Outcome) -> None:
    """Log every record that was refused, and one line for each topic of which records fail for the first time."""
    for record, error in outcome.refused:
        _log.error("outbox.refused", record=record.pk, alias=record.alias, topic=record.topic, error=error)
    first: dict[tuple[str, str], list[str]] = {}
    for record, error in outcome.postponed:
        if not record.attempts:
            first.setdefault((record.alias, record.topic), []).append(error)
    for (alias, topic), errors in first.items():
        _log.warning("outbox.postponed", alias=alias, topic=topic, records=len(errors), error=errors[0])
