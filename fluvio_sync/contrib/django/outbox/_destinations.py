# SPDX-License-Identifier: Apache-2.0
"""The producers of a relay, one for each topic, and pauses after a producer could not be made.

A cluster that does not answer, or a topic that does not exist, blocks all of its records alike: the relay leaves them
untouched during a pause, and sends those of other topics.
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

# Errors about one topic of a cluster that answers.
_OF_A_TOPIC = (TopicNotFoundError, MetadataTimeoutError, ConfigError)


class _Pause(NamedTuple):
    until: float
    failures: int


class Destinations:
    """The producers and pauses of a relay; `timeout`: seconds that sending a record may take at most."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._pauses: dict[tuple[str, str | None], _Pause] = {}
        self._producers: dict[tuple[str, str], TopicProducer | None] = {}

    def look_again(self) -> None:
        """Forget the producers, so that each pass makes them anew."""
        self._producers.clear()

    def paused(self) -> list[tuple[str, str | None]]:
        """Return the aliases, and topics of aliases, whose pause lasts."""
        now = time.monotonic()
        return [place for place, pause in self._pauses.items() if pause.until > now]

    def producer(self, alias: str, topic: str) -> TopicProducer | None:
        """Return a producer, or None during a pause."""
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
            producer = found.client.topic_producer(topic, relay_config(found.config, self._timeout))
        except FluvioError as error:
            self._pause(alias, topic if isinstance(error, _OF_A_TOPIC) else None, error)
            return None
        self._resume(alias, topic)
        return producer

    def _pause(self, alias: str, topic: str | None, error: FluvioError) -> None:
        before = self._pauses.get((alias, topic))
        failures = 1 if before is None else before.failures + 1
        self._pauses[alias, topic] = _Pause(time.monotonic() + delay_after(failures), failures)
        if before is None:
            of_topic = {} if topic is None else {"topic": topic}
            _log.warning("outbox.blocked", alias=alias, **of_topic, error=f"{type(error).__name__}: {error}")

    def _resume(self, alias: str, topic: str) -> None:
        for place in ((alias, None), (alias, topic)):
            if self._pauses.pop(place, None) is not None:
                _log.info("outbox.resumed", alias=alias, topic=topic)


def relay_config(config: ProducerConfig, timeout: float) -> ProducerConfig:
    """Return the settings of an alias's producers for a relay.

    They are at-least-once, with a timeout within the claim, because the relay sends a failed record again itself.  They
    have no linger, which would delay each record of a key.
    """
    semantic = config.delivery_semantic
    policy = semantic.retry_policy if isinstance(semantic, AtLeastOnce) else RetryPolicy()
    return replace(
        for_prepared(config),
        delivery_semantic=AtLeastOnce(replace(policy, timeout=min(policy.timeout, timeout))),
        max_block=min(config.max_block, timeout),
        linger=0.0,
    )
