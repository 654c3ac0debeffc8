# SPDX-License-Identifier: Apache-2.0
"""The paths of the project's views."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from fluvio_sync.contrib.django.views import health
from tests.contrib.django_project import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", health),
    path("produce/<str:topic>/", views.produce),
    path("order/<str:topic>/", views.order),
    path("outbox/<str:topic>/", views.order_by_outbox),
]
