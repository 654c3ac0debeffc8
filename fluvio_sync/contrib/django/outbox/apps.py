# SPDX-License-Identifier: Apache-2.0
"""The app: a model with its table, the command `fluvio_outbox_relay`, and a read-only page of the admin site."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """The app of the outbox; a project that does not install it has no table."""

    name = "fluvio_sync.contrib.django.outbox"
    label = "fluvio_outbox"
    verbose_name = "Fluvio outbox"
    default_auto_field = "django.db.models.BigAutoField"
