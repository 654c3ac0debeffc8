# SPDX-License-Identifier: Apache-2.0
"""`health`: what a probe asks a web process.

path("health/fluvio", fluvio_sync.contrib.django.views.health)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DatabaseError, InterfaceError
from django.http import JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fluvio_sync.contrib._health import OK, UNAVAILABLE, health_answer
from fluvio_sync.contrib.django import _aliases, _clients, _on_commit
from fluvio_sync.errors import FluvioError

if TYPE_CHECKING:
    from django.http import HttpRequest

    from fluvio_sync.client import Fluvio


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer with JSON and 200, or 503 if a client of this process does not reach its cluster.

    `clients`: those that were made in this process, each with its `Fluvio.health()`; one that has not been used yet is
    "unused" and no reason for 503, since the requests that would use it wait for the probe.  `on_commit_lost`: records
    that `send_on_commit` lost, by alias.  `outbox`, if its app is installed: see `outbox.health`; 503 only if the
    database does not answer, because another process delivers it.

    It does no I/O but for the outbox's query.  With `?connect=1` every alias is connected first, each for at most its
    `connect_timeout`: for the probe of a process that is not to start without its cluster.  Whoever may ask for this
    view learns endpoints from error texts, and may make it connect: leave it to probes.
    """
    connecting = request.GET.get("connect") == "1"
    clients = _connected() if connecting else {alias: _answer(one) for alias, one in _clients.in_use().items()}
    shown: dict[str, Any] = {"clients": {alias: answer for alias, (_, answer) in clients.items()}}
    shown["on_commit_lost"] = _on_commit.losses()
    statuses = [status for status, _ in clients.values()]
    if apps.is_installed("fluvio_sync.contrib.django.outbox"):
        status, shown["outbox"] = _outbox()
        statuses.append(status)
    return JsonResponse(shown, status=max(statuses, default=OK))


def _answer(client: Fluvio) -> tuple[int, dict[str, Any]]:
    return health_answer(client.health() if client.running else None)


def _connected() -> dict[str, tuple[int, dict[str, Any]]]:
    answers = {}
    for alias in _aliases.setting():
        try:
            answers[alias] = health_answer(_clients.client(alias).health())
        except FluvioError as error:
            answers[alias] = UNAVAILABLE, {"status": "disconnected", "last_error": str(error)}
    return answers


def _outbox() -> tuple[int, dict[str, Any]]:
    from fluvio_sync.contrib.django import outbox  # noqa: PLC0415 - only where its app is installed

    try:
        return OK, outbox.health()._asdict()
    except (DatabaseError, InterfaceError) as error:
        return UNAVAILABLE, {"error": type(error).__name__}
