# SPDX-License-Identifier: Apache-2.0
"""The shop's own tests: `python manage.py test`, without a cluster."""

from __future__ import annotations

import json

from django.core.management import call_command
from django.test import TestCase

from fluvio_sync import DeliveryTimeoutError
from fluvio_sync.contrib.django.testing import FluvioTestMixin
from webshop.models import Order


class OrderTests(FluvioTestMixin, TestCase):
    """`self.fluvio` is a new fake for each test."""

    def test_now(self) -> None:
        """The answer has the partition and offset of the record."""
        answer = self.client.post("/orders/now/", {"item": "tea"})
        self.assertEqual(answer.json(), {"partition": 0, "offset": 0})
        self.assertEqual(self.fluvio.values("orders"), [b"tea"])

    def test_now_fails(self) -> None:
        """A failed delivery is answered with 503."""
        self.fluvio.fail_next(DeliveryTimeoutError)
        self.assertEqual(self.client.post("/orders/now/", {"item": "tea"}).status_code, 503)

    def test_on_commit(self) -> None:
        """Nothing is sent before the commit, which a TestCase only imitates."""
        with self.captureOnCommitCallbacks(execute=True):
            self.client.post("/orders/on-commit/", {"item": "tea"})
            self.assertEqual(self.fluvio.records, [])
        (value,) = self.fluvio.values("orders")
        self.assertEqual(json.loads(value), {"order": Order.objects.get().pk, "item": "tea"})

    def test_outbox(self) -> None:
        """The relay delivers the record that the view stored."""
        self.client.post("/orders/outbox/", {"item": "tea"})
        self.assertEqual(self.fluvio.records, [])
        call_command("fluvio_outbox_relay", once=True, verbosity=0)
        (record,) = self.fluvio.records
        self.assertEqual(record.key, str(Order.objects.get().pk).encode())
