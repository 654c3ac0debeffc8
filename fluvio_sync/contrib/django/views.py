# SPDX-License-Identifier: Apache-2.0
"""`health`: the view that answers the probes of a web process.

path("health/fluvio/", fluvio_sync.contrib.django.views.health)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import DatabaseError, InterfaceError
from django.http import JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from fluvio_sync.contrib._observation import OK, UNAVAILABLE, health_answer, health_of
from fluvio_sync.contrib.django import _aliases, _clients, _on_commit
from fluvio_sync.errors import FluvioError

if TYPE_CHECKING:
    from django.http import HttpRequest


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer with JSON and 200, or 503 if a client of this process does not reach its cluster.

    * `clients`: the clients that were made in this process, by alias, each with its `Fluvio.health()`.  An unused one
      is "unused" and no reason for 503: otherwise the probe would keep away the requests that make it connect.  One
      that could not connect tries again in the background.
    * `on_commit_failed`: numbers of records that `send_on_commit` could not send or deliver, by alias.
    * `outbox`, if its app is installed: see `outbox.health`.  503 only if the database does not answer, because
      another process delivers the records.

    Its only I/O is the outbox's query.  With `?connect=1` every alias is connected first, each within its
    `connect_timeout`: for the probe of a process that must not start without its cluster.  Error texts show endpoints:
    keep the view from the public.
    """
    connecting = request.GET.get("connect") == "1"
    clients = _connected() if connecting else {alias: health_of(one) for alias, one in _clients.in_use().items()}
    shown: dict[str, Any] = {"clients": {alias: answer for alias, (_, answer) in clients.items()}}
    shown["on_commit_failed"] = _on_commit.failures()
    statuses = [status for status, _ in clients.values()]
    if apps.is_installed("fluvio_sync.contrib.django.outbox"):
        status, shown["outbox"] = _outbox()
        statuses.append(status)
    return JsonResponse(shown, status=max(statuses, default=OK))


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
