# SPDX-License-Identifier: Apache-2.0
"""Celery: the first task of a worker process is as fast as the others, and its last records are delivered.

    @functools.cache
    def fluvio() -> Fluvio:
        return Fluvio.connect()

    install(fluvio, topics=["orders"])

Sending from tasks needs none of this: a client works in every pool, made before the fork or after it.  Needs the extra
`celery`.
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
    """Have each process of a prefork pool connect when it begins, and deliver what is left when it ends.

    * `get_client`: returns the process's client, the same at every call; it may be called from another thread.
    * `topics`: those that are to be known before the first task; none (default) for the connection alone.
    * `warm_up_timeout`: seconds after which a process begins with tasks all the same (default 3; Celery kills one that
      is not ready after its own `worker_proc_alive_timeout`, 4).
    * `drain_timeout`: seconds for what is left when a process ends, by warm shutdown or `max-tasks-per-child`
      (default 5; `docker stop` kills after 10).  Its loss is logged: `records.lost`.

    A cluster that is away costs these seconds and nothing else; it is logged.  The pools of one process (solo, threads)
    end as the interpreter does, where the client delivers within its `exit_timeout`; solo is warmed up, too.

    Raises `ConfigError` for a time-out that is none.
    """
    names = tuple(topics)
    most = seconds("warm_up_timeout", warm_up_timeout)
    last = seconds("drain_timeout", drain_timeout)

    # Signals name their arguments, of which none is wanted.
    def on_init(**_arguments: Any) -> None:
        if not _finishes(lambda: _warm_up(get_client, names), "warm-up", most):
            _log.warning("warm_up.delayed", after=most, reason="the cluster did not answer; it goes on meanwhile")

    def on_shutdown(**_arguments: Any) -> None:
        _finishes(lambda: _drain(get_client, last), "drain", last + _LAST_STEP)

    signals.worker_process_init.connect(on_init, weak=False)
    signals.worker_process_shutdown.connect(on_shutdown, weak=False)


# Seconds for closing connections once what they carry is delivered or given up.
_LAST_STEP = 1.0


def _finishes(work: Callable[[], None], name: str, timeout: float) -> bool:
    """Do something on a thread that is not waited for longer than `timeout` seconds; False if it takes longer."""
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


def _drain(get_client: Callable[[], Fluvio], timeout: float) -> None:
    try:
        client = get_client()
    except FluvioError:
        return  # it never connected, so nothing was ever sent
    if client.running:
        client.close(timeout)
