# SPDX-License-Identifier: Apache-2.0
"""The settings: those of a small Django project, and FLUVIO."""

from __future__ import annotations

import os
from pathlib import Path

INSTALLED_APPS = [
    "fluvio_sync.contrib.django",
    "fluvio_sync.contrib.django.outbox",  # for its table and its relay
    "webshop",
]

FLUVIO = {
    "default": {
        "ENDPOINT": os.environ.get("FLUVIO_SYNC_ENDPOINT", "127.0.0.1:9003"),
        "CLIENT_ID": "webshop",
        "CONNECT_TIMEOUT": 3.0,
        # A request waits for space in the queue for a second at most.
        "PRODUCER": {"linger": 0.005, "max_block": 1.0},
    },
}

SECRET_KEY = "not a secret: this is an example"  # noqa: S105
DEBUG = True
ROOT_URLCONF = "webshop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent.parent / "db.sqlite3"},
}
USE_TZ = True
