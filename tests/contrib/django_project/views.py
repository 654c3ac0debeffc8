# SPDX-License-Identifier: Apache-2.0
"""A view for each way to send; each sends the body of the request."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from fluvio_sync.contrib.django import outbox, producer, send_on_commit
from tests.contrib.django_project.models import Order

if TYPE_CHECKING:
    from django.http import HttpRequest


@csrf_exempt
def produce(request: HttpRequest, topic: str) -> JsonResponse:
    """Send, and answer with the id of the process and the record's partition and offset."""
    metadata = producer(topic).send(request.body, key=request.GET.get("key")).result(timeout=10)
    return JsonResponse({"worker": os.getpid(), "partition": metadata.partition, "offset": metadata.offset})


@csrf_exempt
def order(request: HttpRequest, topic: str) -> HttpResponse:
    """Store an order, and send it after the commit; "fail" in its text rolls it back."""
    using = request.GET.get("using", "default")
    with transaction.atomic(using=using):
        stored = Order.objects.using(using).create(item=request.body.decode())
        send_on_commit(topic, stored.item, key=request.GET.get("key"), using=using)
        if "fail" in stored.item:
            transaction.set_rollback(True, using=using)
    return HttpResponse(status=202)


@csrf_exempt
def order_by_outbox(request: HttpRequest, topic: str) -> HttpResponse:
    """Store an order, and a record of it in the outbox; "fail" in its text rolls both back."""
    using = request.GET.get("using", "default")
    with transaction.atomic(using=using):
        stored = Order.objects.using(using).create(item=request.body.decode())
        outbox.send(topic, stored.item, key=request.GET.get("key"), using=using)
        if "fail" in stored.item:
            transaction.set_rollback(True, using=using)
    return HttpResponse(status=202)
