# SPDX-License-Identifier: Apache-2.0
"""A record that is to be sent later: checked and serialised now, while who made it can be told.

By the code that `TopicProducer.send` runs, so that nothing is refused later that was taken here, but for what only the
cluster knows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._core.topic import check_size
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.producer import to_bytes, to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime

    from fluvio_sync.config import ProducerConfig


class Record(NamedTuple):
    """What is sent; `timestamp`: milliseconds since the epoch, None for the time at which it is sent."""

    topic: str
    key: bytes | None
    value: bytes
    timestamp: int | None


def prepare(topic: str, value: Any, key: Any, timestamp: int | datetime | None, config: ProducerConfig) -> Record:
    """Return a record; arguments as those of `TopicProducer.send`.

    Raises `ConfigError` for the topic's name, `TypeError` for a value or key of another type, `ValueError` for a
    timestamp, `RecordTooLargeError`, and whatever a serializer raises.
    """
    check_topic_name(topic)
    sent = to_bytes("value", value, config.value_serializer)
    sent_key = None if key is None else to_bytes("key", key, config.key_serializer)
    check_size(sent_key, sent, config.max_request_size)
    return Record(topic, sent_key, sent, None if timestamp is None else to_milliseconds(timestamp))


def for_prepared(config: ProducerConfig) -> ProducerConfig:
    """Return the same settings for records that are serialised already."""
    return replace(config, value_serializer=None, key_serializer=None)
