# SPDX-License-Identifier: Apache-2.0
"""Where a relay's records go: a producer for each topic, and a pause where there is none to be had.

A cluster that does not answer or a topic that is not there concerns all of its records alike: they are left alone for a
while, untouched, and those of other topics go on.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from fluvio_sync._base.log import get_logger
from fluvio_sync.contrib.django import _clients
from fluvio_sync.contrib.django._record import for_prepared
from fluvio_sync.contrib.django.outbox._order import delay_after
from fluvio_sync.delivery import AtLeastOnce
from fluvio_sync.errors import ConfigError, FluvioError, MetadataTimeoutError, TopicNotFoundError
from fluvio_sync.retry import RetryPolicy

if TYPE_CHECKING:
    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.producer import TopicProducer

_log = get_logger("outbox")

# What is wrong with one topic of a cluster that answers.
_OF_A_TOPIC = (TopicNotFoundError, MetadataTimeoutError, ConfigError)


class _Pause(NamedTuple):
    until: float
    failures: int


class Destinations:
    """`patience`: seconds that sending a record may take, whatever the alias's PRODUCER allows."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._pauses: dict[tuple[str, str | None], _Pause] = {}
        self._producers: dict[tuple[str, str], TopicProducer | None] = {}

    def look_again(self) -> None:
        """Ask for producers anew; called once a pass."""
        self._producers.clear()

    def paused(self) -> list[tuple[str, str | None]]:
        """Return the aliases, and topics of them, that are to be left alone now."""
        now = time.monotonic()
        return [place for place, pause in self._pauses.items() if pause.until > now]

    def producer(self, alias: str, topic: str) -> TopicProducer | None:
        """Return a producer, or None where there is none to be had now."""
        if (alias, topic) not in self._producers:
            self._producers[alias, topic] = self._ask(alias, topic)
        return self._producers[alias, topic]

    def _ask(self, alias: str, topic: str) -> TopicProducer | None:
        paused = self.paused()
        if (alias, None) in paused or (alias, topic) in paused:
            return None
        try:
            found = _clients.configured(alias)
        except FluvioError as error:
            self._pause(alias, None, error)
            return None
        try:
            producer = found.client.topic_producer(topic, patient(found.config, self._patience))
        except FluvioError as error:
            self._pause(alias, topic if isinstance(error, _OF_A_TOPIC) else None, error)
            return None
        self._go_on(alias, topic)
        return producer

    def _pause(self, alias: str, topic: str | None, error: FluvioError) -> None:
        before = self._pauses.get((alias, topic))
        failures = 1 if before is None else before.failures + 1
        self._pauses[alias, topic] = _Pause(time.monotonic() + delay_after(failures), failures)
        if before is None:
            which = {} if topic is None else {"topic": topic}
            _log.warning("outbox.held_up", alias=alias, **which, error=f"{type(error).__name__}: {error}")

    def _go_on(self, alias: str, topic: str) -> None:
        for place in ((alias, None), (alias, topic)):
            if self._pauses.pop(place, None) is not None:
                _log.info("outbox.goes_on", alias=alias, topic=topic)


def patient(config: ProducerConfig, patience: float) -> ProducerConfig:
    """Return an alias's settings as a relay needs them.

    At-least-once, whatever the alias says, and no longer than the claim lasts, because the relay comes back to what
    fails.  Without linger, which would delay each record of a key.
    """
    semantic = config.delivery_semantic
    policy = semantic.retry_policy if isinstance(semantic, AtLeastOnce) else RetryPolicy()
    return replace(
        for_prepared(config),
        delivery_semantic=AtLeastOnce(replace(policy, timeout=min(policy.timeout, patience))),
        max_block=min(config.max_block, patience),
        linger=0.0,
    )
