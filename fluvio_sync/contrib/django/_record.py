# SPDX-License-Identifier: Apache-2.0
"""A record that is sent later, by `send_on_commit` or the outbox: checked and serialised at the call.

The checks are those of `TopicProducer.send`, so that only the cluster can reject a prepared record.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.producer import check_size, to_bytes, to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime

    from fluvio_sync.config import ProducerConfig


class Record(NamedTuple):
    """A serialised record; `timestamp`: milliseconds since the epoch, None for the time at which it is sent."""

    topic: str
    key: bytes | None
    value: bytes
    timestamp: int | None


def prepare(topic: str, value: Any, key: Any, timestamp: int | datetime | None, config: ProducerConfig) -> Record:
    """Return a serialised record.

    * `topic`: the name of its topic.
    * `value`, `key`, `timestamp`: as of `TopicProducer.send`.
    * `config`: has the serializers and `max_request_size`.

    Raises `ConfigError` for the topic's name, `TypeError` for a value or key of another type, `ValueError` for a
    timestamp, `RecordTooLargeError`, and the errors of a serializer.
    """
    check_topic_name(topic)
    value_bytes = to_bytes("value", value, config.value_serializer)
    key_bytes = None if key is None else to_bytes("key", key, config.key_serializer)
    check_size(key_bytes, value_bytes, config.max_request_size)
    return Record(topic, key_bytes, value_bytes, None if timestamp is None else to_milliseconds(timestamp))


def for_prepared(config: ProducerConfig) -> ProducerConfig:
    """Return the same settings without serializers, for records that are serialised already."""
    return replace(config, value_serializer=None, key_serializer=None)
