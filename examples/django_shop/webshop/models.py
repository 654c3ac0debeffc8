# SPDX-License-Identifier: Apache-2.0
"""The table of the shop."""

from __future__ import annotations

import json

from django.db import models


class Order(models.Model):
    """An order of an item."""

    item = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.item}"

    def as_event(self) -> str:
        """Return the record about the order."""
        return json.dumps({"order": self.pk, "item": self.item})
