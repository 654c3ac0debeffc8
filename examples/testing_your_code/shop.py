# SPDX-License-Identifier: Apache-2.0
"""Code that produces with the client that it is given: test_shop.py tests it with a fake and with a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fluvio_sync import BufferFullError, DeliveryError

if TYPE_CHECKING:
    from fluvio_sync import Fluvio


class Shop:
    """Takes orders, and knows which of them are stored."""

    def __init__(self, fluvio: Fluvio) -> None:
        self._orders = fluvio.topic_producer("orders", on_full="raise", value_serializer=json.dumps)
        self.stored = 0

    def order(self, customer: str, item: str) -> bool:
        """Produce an order; return False unless it is known to be stored, so that the customer can be told."""
        try:
            future = self._orders.send({"customer": customer, "item": item}, key=customer)
            future.result(timeout=5)
        except (BufferFullError, DeliveryError, TimeoutError):
            return False
        self.stored += 1
        return True
