# SPDX-License-Identifier: Apache-2.0
"""The app: registers the system checks, and has the clients forgotten when a test changes FLUVIO."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed

from fluvio_sync.contrib.django import _clients
from fluvio_sync.contrib.django.checks import check_settings


class FluvioConfig(AppConfig):
    """The app of clients, which are made at their first use; the app itself connects nothing."""

    name = "fluvio_sync.contrib.django"
    label = "fluvio_sync"
    verbose_name = "Fluvio"

    def ready(self) -> None:
        """Register the system checks and the receiver of the signal."""
        register(check_settings, "fluvio")
        setting_changed.connect(_on_setting_changed, dispatch_uid="fluvio_sync")


def _on_setting_changed(*, setting: str, **_: Any) -> None:
    if setting == "FLUVIO":
        _clients.forget()
