# SPDX-License-Identifier: Apache-2.0
"""The rows that the project's records are about."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """An order of something."""

    item = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"order of {self.item}"
