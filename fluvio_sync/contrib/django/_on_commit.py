# SPDX-License-Identifier: Apache-2.0
"""`send_on_commit`: records of a transaction, sent once it is committed.

An invalid record raises at the call, where the transaction can still be rolled back.  After the commit there is no
caller to raise to: a failure is logged and counted.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from fluvio_sync._base.log import get_logger
from fluvio_sync._base.threads import AtFirstUse, OwnedLock
from fluvio_sync.contrib.django import _clients
from fluvio_sync.contrib.django._aliases import DEFAULT
from fluvio_sync.contrib.django._record import Record, for_prepared, prepare
from fluvio_sync.delivery import AtMostOnce

if TYPE_CHECKING:
    from concurrent.futures import Future
    from datetime import datetime

    from fluvio_sync.config import ProducerConfig
    from fluvio_sync.futures import RecordMetadata

_log = get_logger("django")


def send_on_commit(
    topic: str,
    value: Any,
    *,
    key: Any = None,
    timestamp: int | datetime | None = None,
    using: str | None = None,
    alias: str = DEFAULT,
) -> None:
    """Send a record when the transaction is committed, and not at all if it is rolled back.

    * `topic`: the name of the topic.
    * `value`, `key`, `timestamp`: as of `TopicProducer.send`; serialised by the call, so that later changes of an
      object have no effect.
    * `using`: the database of the transaction (default: Django's default database); outside of a transaction the record
      is sent at once.
    * `alias`: of FLUVIO (default "default"); its PRODUCER decides how the record is sent.

    Raises, with nothing to be sent: `ConfigError` for the topic's name, the alias or its settings, `TypeError`,
    `ValueError` and `RecordTooLargeError` for the record, and Django's `TransactionManagementError` if the application
    manages its transactions by hand.  After the commit it raises nothing: a record that cannot be sent or delivered is
    logged as `on_commit.failed` with topic and error, and counted in the health view.  The commit may block as
    `TopicProducer.send` does: `connect_timeout` for the first record of a process, `max_block` while memory is full.

    A record is lost if the process dies between the commit and the acknowledgement: where that matters, use
    `fluvio_sync.contrib.django.outbox`.
    """
    config = _clients.configured(alias).config
    if isinstance(config.delivery_semantic, AtMostOnce):
        _failures.warn_of_at_most_once(alias)
    record = prepare(topic, value, key, timestamp, config)
    transaction.on_commit(partial(_send, record, config, alias), using=using)


def failures() -> dict[str, int]:
    """Return by alias how many records of `send_on_commit` were not sent or not delivered so far."""
    return _failures.counted()


def _send(record: Record, config: ProducerConfig, alias: str) -> None:
    try:
        producer = _clients.client(alias).topic_producer(record.topic, for_prepared(config))
        future = producer.send(record.value, key=record.key, timestamp=record.timestamp)
    except Exception as error:  # noqa: BLE001 - the transaction is committed, and no error may change that
        _failures.add(record.topic, alias, error)
    else:
        future.add_done_callback(partial(_resolved, record.topic, alias))


def _resolved(topic: str, alias: str, future: Future[RecordMetadata]) -> None:
    error = future.exception()
    if error is not None:
        _failures.add(topic, alias, error)


class _Failures:
    """Counts records that failed after the commit; any thread.  A child of a fork begins at 0, with a new lock."""

    _lock = AtFirstUse(OwnedLock)

    def __init__(self) -> None:
        self.reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.reset)

    def reset(self) -> None:
        vars(self).pop("_lock", None)
        self._counts: Counter[str] = Counter()
        self._warned: set[str] = set()

    def add(self, topic: str, alias: str, error: BaseException) -> None:
        with self._lock:
            self._counts[alias] += 1
        _log.error("on_commit.failed", topic=topic, alias=alias, error=f"{type(error).__name__}: {error}")

    def counted(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def warn_of_at_most_once(self, alias: str) -> None:
        with self._lock:
            known = alias in self._warned
            self._warned.add(alias)
        if not known:
            _log.warning(
                "on_commit.at_most_once",
                alias=alias,
                reason="send_on_commit with at-most-once loses records without logging each",
            )


_failures = _Failures()
