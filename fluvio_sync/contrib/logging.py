# SPDX-License-Identifier: Apache-2.0
"""A handler of the standard library's `logging` that ships records to a topic.

    LOGGING = {
        "version": 1,
        "handlers": {
            "fluvio": {
                "class": "fluvio_sync.contrib.logging.FluvioHandler",
                "topic": "app-logs",
                "endpoint": "127.0.0.1:9003",
            }
        },
        "root": {"handlers": ["fluvio"], "level": "INFO"},
    }
    logging.config.dictConfig(LOGGING)

A log call formats its record and puts it into a queue; it neither waits for the cluster nor raises.  A thread of the
handler's own connects and sends.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - see the next comment
import logging
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from fluvio_sync import retry
from fluvio_sync._base.stderr import say
from fluvio_sync._settings.checks import seconds, size, unknown_setting
from fluvio_sync._settings.topic_name import check_topic_name
from fluvio_sync.client import leave_open_at_exit, unconnected
from fluvio_sync.config import CLIENT_SETTINGS, OF_RETRY_POLICY, ProducerConfig
from fluvio_sync.contrib._backlog import Backlog, Item
from fluvio_sync.contrib._json_formatter import JsonFormatter
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from fluvio_sync.producer import TopicProducer

# All modules that the handler's thread needs are imported here, and so is the codec above: after a fork in the middle
# of a thread's import, the child can never import that module.
retry.load()

_LIBRARY = "fluvio_sync"
_LEAST_MEMORY = 4 * 1024 * 1024  # its half has to have space for the largest record
# Settings that the handler decides itself.
_OWN = frozenset({"endpoint", "buffer_memory", "exit_timeout", "on_full", "max_block"})
_OWN_SERIALIZERS = frozenset({"key_serializer", "value_serializer"})
# Seconds after which the handler's thread checks whether the handler was closed.
_MAX_BLOCK = 0.2
# Lines on standard error, in each process.
_MOST_REPORTS = 10


class FluvioHandler(logging.Handler):
    """Sends each log record to a topic, as JSON unless it has another formatter.

    * `topic`: the name of a topic; records wait until it exists.
    * `endpoint`: the SC; None (default): as for `Fluvio.connect`.
    * `level`: the level of the handler (default: every record).
    * `key`: a function of the `logging.LogRecord` that returns the key, `bytes`, `str` or None; None (default): no key.
    * `buffer_memory`: bytes that undelivered records may hold, 128 each on top (default 16 MiB, at least 4 MiB): half
      of it for records that wait for the client, half for those in the client.
    * `flush_timeout`: seconds that `flush()`, `close()` and the interpreter's end may take (default 5).
    * `settings`: of `Fluvio.connect` (`client_id` is "fluvio-sync-logging" by default) and of `ProducerConfig`
      (`delivery_semantic` is at-least-once by default), except `exit_timeout`, `on_full`, `max_block` and serializers.

    Raises `ConfigError` for a setting that does not exist or cannot work.  A log call never raises: records that cannot
    be sent are counted (`dropped`), and at most ten lines on standard error say so.  Records of the loggers
    `fluvio_sync*`, records of the handler's own threads, and records that a thread logs while it formats another are
    not sent.

    Each process of a fork sends its own records; the parent's records are sent by the parent.
    """

    ignores_fluvio_sync = True
    """For the library, which asks whether its own errors are shown."""

    def __init__(
        self,
        topic: str,
        endpoint: str | None = None,
        *,
        level: int | str = logging.NOTSET,
        key: Callable[[logging.LogRecord], bytes | str | None] | None = None,
        buffer_memory: int = 16 * 1024 * 1024,
        flush_timeout: float | timedelta = 5.0,
        **settings: Any,
    ) -> None:
        super().__init__(level)
        check_topic_name(topic)
        if key is not None and not callable(key):
            raise ConfigError(
                "key is a function of a logging.LogRecord, or None (in dictConfig: 'ext://module.function')"
            )
        of_client, of_producer = _split(settings)
        self._limit = size("buffer_memory", buffer_memory, _LEAST_MEMORY) // 2
        self._flush_timeout = seconds("flush_timeout", flush_timeout)
        self._topic = topic
        self._key = key
        self._config = ProducerConfig.from_settings(ProducerConfig(max_block=_MAX_BLOCK), of_producer)
        defaults = {"client_id": "fluvio-sync-logging", "endpoint": endpoint, "buffer_memory": self._limit}
        self._client = unconnected(defaults | of_client)
        self._own_threads = tuple(f"{self._client.client_id}-{role}" for role in ("sender", "backlog", "log"))
        self._formatting: tuple[int, int] | None = None  # the process and the thread that runs `emit`
        self._reports = 0
        self._backlog: Backlog | None = None  # until the first record: see `AtFirstUse`
        self.setFormatter(JsonFormatter())

    # Called by `logging`.

    def filter(self, record: logging.LogRecord) -> Any:
        """Return whether a record is sent; called before `logging` takes the handler's lock."""
        if self._is_own(record):
            return False
        return super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; never raises, and never waits for the cluster."""
        self._formatting = _thread_here()
        try:
            value = self.format(record).encode(errors="backslashreplace")
            key = None if self._key is None else self._key(record)
            item = Item(
                value,
                key.encode(errors="backslashreplace") if isinstance(key, str) else key,
                max(1, int(record.created * 1000)),
            )
            self._here().put(item)
        except Exception as error:  # noqa: BLE001 - a log call must not fail the application
            self._here().drop(f"it cannot be formatted: {error!r}")
        finally:
            self._formatting = None

    def flush(self) -> None:
        """Wait, for at most `flush_timeout`, until all records logged before are delivered or failed."""
        backlog = self._present()
        if backlog is not None:
            backlog.flush(self._flush_timeout)

    def close(self) -> None:
        """Take no more records, and deliver for at most `flush_timeout`; a line tells how many were dropped."""
        backlog = self._here() if self._backlog is None else self._present()
        if backlog is not None and not backlog.closed:
            dropped = backlog.close(self._flush_timeout)
            if dropped:
                self._print(f"{dropped} dropped")
        super().close()

    @property
    def dropped(self) -> int:
        """How many records of this process were not delivered: no space, too large, rejected, failed."""
        backlog = self._present()
        return 0 if backlog is None else backlog.dropped

    # Helpers.

    def _is_own(self, record: logging.LogRecord) -> bool:
        name = record.name
        return (
            name == _LIBRARY
            or name.startswith(f"{_LIBRARY}.")
            or record.threadName in self._own_threads
            or (self._formatting is not None and self._formatting == _thread_here())
        )

    def _present(self) -> Backlog | None:
        """Return this process's backlog, if a record has made it."""
        backlog = self._backlog
        return backlog if backlog is not None and backlog.pid == os.getpid() else None

    def _here(self) -> Backlog:
        """Return this process's backlog; called with the handler's lock held, which `logging` renews at a fork."""
        backlog = self._present()
        if backlog is None:
            self._reports = 0
            backlog = self._backlog = self._new_backlog()
        return backlog

    def _new_backlog(self) -> Backlog:
        if "multiprocessing.util" in sys.modules:
            _close_at_end_of_child(self)
        return Backlog(self._client, self._find_topic, self._limit, self._report)

    def _find_topic(self) -> TopicProducer:
        producer = self._client.topic_producer(self._topic, self._config)
        # `logging.shutdown` closes the handler after all other functions at exit, which may still log.
        leave_open_at_exit(self._client)
        return producer

    def _report(self, text: str) -> None:
        self._reports += 1
        if self._reports < _MOST_REPORTS:
            self._print(text)
        elif self._reports == _MOST_REPORTS:
            self._print(f"{text}; further lines are not shown")

    def _print(self, text: str) -> None:
        with contextlib.suppress(Exception):  # there may be no standard error
            say(f"log records for topic {self._topic!r}: {text}")

    def __repr__(self) -> str:
        return f"<FluvioHandler for {self._topic!r} at {self._client.endpoint} ({logging.getLevelName(self.level)})>"


def _thread_here() -> tuple[int, int]:
    """Return the process and the thread, or the greenlet; `logging` lets one at a time into `emit`."""
    return os.getpid(), threading.get_ident()


def _close_at_end_of_child(handler: FluvioHandler) -> None:
    """Close the handler's copy in a child of `multiprocessing`, which ends without `logging.shutdown`."""
    from multiprocessing import process, util  # noqa: PLC0415 - only where the application uses it

    if process.parent_process() is not None:
        known = weakref.ref(handler)

        def close() -> None:
            if (handler := known()) is not None:
                handler.close()

        util.Finalize(None, close, exitpriority=10)


def _split(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the client and those of the producer."""
    of_client = set(CLIENT_SETTINGS) - _OWN
    of_producer = set(ProducerConfig.__dataclass_fields__) - _OWN - _OWN_SERIALIZERS
    for name in settings:
        if name not in of_client | of_producer:
            own = {"topic", "endpoint", "level", "key", "buffer_memory", "flush_timeout"}
            raise unknown_setting(name, own | of_client | of_producer, OF_RETRY_POLICY)
    return (
        {name: value for name, value in settings.items() if name in of_client},
        {name: value for name, value in settings.items() if name in of_producer},
    )
