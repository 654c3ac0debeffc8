# SPDX-License-Identifier: Apache-2.0
"""Settings of the project.

The environment: DJANGO_PROJECT_SQLITE, the path of a database file; DJANGO_PROJECT_POSTGRES, the folder of a
PostgreSQL server's socket, for the database "postgres"; DJANGO_PROJECT_LOG, a file for the library's events;
FLUVIO_SYNC_ENDPOINT.
"""

from __future__ import annotations

import os
from typing import Any

SECRET_KEY = "for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"  # which Django sets for the process, and so for other tests
ROOT_URLCONF = "tests.contrib.django_project.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "fluvio_sync.contrib.django",
    "fluvio_sync.contrib.django.outbox",
    "tests.contrib.django_project",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DJANGO_PROJECT_SQLITE", ":memory:"),
        "OPTIONS": {"timeout": 30},
    },
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "USER": "tests",
        "HOST": os.environ.get("DJANGO_PROJECT_POSTGRES", ""),
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

FLUVIO: dict[str, Any] = {
    "default": {"CONNECT_TIMEOUT": 5.0, "PRODUCER": {"linger": 0.001}},
    "telemetry": {"CLIENT_ID": "telemetry", "PRODUCER": {"delivery_semantic": "at-most-once"}},
}

LOGGING: dict[str, Any] = {"version": 1, "disable_existing_loggers": False}
if "DJANGO_PROJECT_LOG" in os.environ:
    LOGGING["handlers"] = {"file": {"class": "logging.FileHandler", "filename": os.environ["DJANGO_PROJECT_LOG"]}}
    LOGGING["loggers"] = {"fluvio_sync": {"handlers": ["file"], "level": "INFO"}}
