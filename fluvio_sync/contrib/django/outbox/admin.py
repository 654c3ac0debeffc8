# SPDX-License-Identifier: Apache-2.0
"""The admin site shows the records, without their contents, and changes none."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from fluvio_sync.contrib.django.outbox.models import OutboxRecord


@admin.register(OutboxRecord)
class OutboxRecordAdmin(admin.ModelAdmin):
    """A read-only view; `manage.py fluvio_outbox_relay` retries and skips records."""

    list_display = ("id", "created", "alias", "topic", "state", "attempts", "due", "error")
    list_filter = ("state", "alias", "topic")
    ordering = ("-id",)
    show_full_result_count = False

    def has_add_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002 - as Django calls it
        """Return False: a record belongs to a transaction of the application."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002 - as Django calls it
        """Return False, which leaves the permission to view."""
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002 - as Django calls it
        """Return False: a relay may be sending it."""
        return False
