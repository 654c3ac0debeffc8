# SPDX-License-Identifier: Apache-2.0
"""Three ways to produce a record about an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.http import JsonResponse
from django.views.decorators.http import require_POST

from fluvio_sync import FluvioError
from fluvio_sync.contrib.django import outbox, producer, send_on_commit
from webshop.models import Order

if TYPE_CHECKING:
    from django.http import HttpRequest

TOPIC = "orders"


@require_POST
def order_now(request: HttpRequest) -> JsonResponse:
    """Produce, wait, and answer with the record's partition and offset; no row is stored."""
    try:
        metadata = producer(TOPIC).send(request.POST["item"]).result(timeout=5)
    except (FluvioError, TimeoutError) as error:
        return JsonResponse({"error": str(error)}, status=503)
    return JsonResponse({"partition": metadata.partition, "offset": metadata.offset}, status=201)


@require_POST
def order_on_commit(request: HttpRequest) -> JsonResponse:
    """Store the order, and produce after the commit: quick, but a process that dies in between loses the record."""
    with transaction.atomic():
        order = Order.objects.create(item=request.POST["item"])
        send_on_commit(TOPIC, order.as_event(), key=str(order.pk))
    return JsonResponse({"order": order.pk}, status=202)


@require_POST
def order_by_outbox(request: HttpRequest) -> JsonResponse:
    """Store the order and its record in one transaction; the relay delivers the record later."""
    with transaction.atomic():
        order = Order.objects.create(item=request.POST["item"])
        outbox.send(TOPIC, order.as_event(), key=str(order.pk))
    return JsonResponse({"order": order.pk}, status=202)
