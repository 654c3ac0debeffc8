# SPDX-License-Identifier: Apache-2.0
"""The paths of the views."""

from __future__ import annotations

from django.urls import path

from fluvio_sync.contrib.django.views import health
from webshop import views

urlpatterns = [
    path("orders/now/", views.order_now),
    path("orders/on-commit/", views.order_on_commit),
    path("orders/outbox/", views.order_by_outbox),
    path("health/", health),
]
