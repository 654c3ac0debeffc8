# SPDX-License-Identifier: Apache-2.0
"""Celery: a worker process connects before its first task, and delivers its last records before it ends.

    @functools.cache
    def fluvio() -> Fluvio:
        return Fluvio.connect()

    install(fluvio, topics=["orders"])

Tasks can send without this: a client works in every pool, whether it is made before the fork or after it.  Needs the
extra `celery`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

try:
    from celery import signals
except ImportError as error:
    raise ImportError("fluvio_sync.contrib.celery needs Celery: pip install 'fluvio-sync[celery]'") from error

from fluvio_sync._base.log import get_logger
from fluvio_sync._settings.checks import seconds
from fluvio_sync.contrib._drain import drain
from fluvio_sync.errors import FluvioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta

    from fluvio_sync.client import Fluvio

_log = get_logger("celery")


def install(
    get_client: Callable[[], Fluvio],
    topics: Iterable[str] = (),
    *,
    warm_up_timeout: float | timedelta = 3.0,
    drain_timeout: float | timedelta = 5.0,
) -> None:
    """Have each process of a prefork pool connect when it begins, and deliver its queued records when it ends.

    * `get_client`: returns the process's client, the same at every call; it may be called from another thread.
    * `topics`: topics whose metadata the process reads before its first task (default none: it only connects).
    * `warm_up_timeout`: seconds after which a process begins with tasks without the cluster (default 3; Celery kills a
      process that is not ready after its own `worker_proc_alive_timeout`, 4 s by default).
    * `drain_timeout`: seconds for delivering when a process ends, by warm shutdown or `max-tasks-per-child` (default 5;
      `docker stop` kills after 10).  A loss is logged as `records.lost`.

    While the cluster is away, a process begins after `warm_up_timeout`, and that is logged.  The pools of one process
    (solo, threads) end as the interpreter does, where the client delivers within its `exit_timeout`; the solo pool
    connects at its begin as well.

    Raises `ConfigError` for a timeout that is not a number of seconds.
    """
    names = tuple(topics)
    most = seconds("warm_up_timeout", warm_up_timeout)
    last = seconds("drain_timeout", drain_timeout)

    def on_init(**_arguments: Any) -> None:
        if not _finishes(lambda: _warm_up(get_client, names), "warm-up", most):
            _log.warning("warm_up.delayed", after=most, reason="no answer yet; tasks begin meanwhile")

    def on_shutdown(**_arguments: Any) -> None:
        _finishes(lambda: drain(get_client, last), "drain", last + _LAST_STEP)

    signals.worker_process_init.connect(on_init, weak=False)
    signals.worker_process_shutdown.connect(on_shutdown, weak=False)


# Seconds for closing connections, on top of those for delivering.
_LAST_STEP = 1.0


def _finishes(work: Callable[[], None], name: str, timeout: float) -> bool:
    """Run `work` on a thread and wait for it, for at most `timeout` seconds; return whether it has ended."""
    thread = threading.Thread(target=work, name=f"fluvio-sync-{name}", daemon=True)
    thread.start()
    thread.join(timeout)
    return not thread.is_alive()


def _warm_up(get_client: Callable[[], Fluvio], topics: tuple[str, ...]) -> None:
    try:
        client = get_client()
        for topic in topics:
            client.topic_producer(topic)
    except FluvioError as error:
        _log.warning("warm_up.failed", error=str(error))
