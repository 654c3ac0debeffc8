# SPDX-License-Identifier: Apache-2.0
"""The helpers for the tests of an application: `FluvioTestMixin` and `fake_fluvio`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.test import SimpleTestCase, TestCase, override_settings

from fluvio_sync import ConfigError, DeliveryTimeoutError
from fluvio_sync.contrib.django import client, producer, send_on_commit
from fluvio_sync.contrib.django.testing import FluvioTestMixin, fake_fluvio
from fluvio_sync.testing import FakeFluvio
from tests.contrib.django_project.models import Order
from tests.support.django_kit import close_connections

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def _database(sqlite: None) -> Iterator[None]:
    yield
    close_connections()


class ViewTests(FluvioTestMixin, TestCase):
    """Each test has its own fake, in any order of the tests."""

    def test_produce(self) -> None:
        answer = self.client.post("/produce/orders/?key=k", b"tea", content_type="text/plain")
        assert answer.json()["offset"] == 0
        assert self.fluvio.values("orders") == [b"tea"]
        assert self.fluvio.records[0].key == b"k"

    def test_on_commit(self) -> None:
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            self.client.post("/order/orders/", b"tea", content_type="text/plain")
            assert self.fluvio.records == []
        assert len(callbacks) == 1
        assert self.fluvio.values("orders") == [b"tea"]

    def test_without_a_commit(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            send_on_commit("orders", b"tea")
        assert len(callbacks) == 1
        assert self.fluvio.records == []
        callbacks[0]()
        assert self.fluvio.values("orders") == [b"tea"]

    def test_outbox(self) -> None:
        self.client.post("/outbox/orders/", b"tea", content_type="text/plain")
        assert Order.objects.count() == 1
        call_command("fluvio_outbox_relay", once=True, verbosity=0)
        assert self.fluvio.values("orders") == [b"tea"]

    def test_failures(self) -> None:
        self.fluvio.fail_next(DeliveryTimeoutError)
        with pytest.raises(DeliveryTimeoutError):
            self.client.post("/produce/orders/", b"tea", content_type="text/plain")

    def test_health(self) -> None:
        assert self.client.get("/health/").json()["clients"]["default"]["status"] == "connected"


class SeveralAliases(FluvioTestMixin, SimpleTestCase):
    fluvio_aliases = ("default", "telemetry")

    def test_each_has_its_fake(self) -> None:
        producer("orders").send(b"order")
        producer("seen", "telemetry").send(b"seen")
        assert self.fluvio is self.fluvios["default"]
        assert self.fluvio.values("orders") == [b"order"]
        assert self.fluvios["telemetry"].values("seen") == [b"seen"]
        assert self.fluvios["telemetry"].values("orders") == []


def test_the_mixin_leaves_nothing_behind() -> None:
    case = SeveralAliases("test_each_has_its_fake")
    result = case.run()
    assert result is not None
    assert result.wasSuccessful()
    with override_settings(FLUVIO={"default": {"ENDPOINT": "127.0.0.1:1"}}):
        assert not isinstance(client(), FakeFluvio)


def test_fakes_nest() -> None:
    with fake_fluvio(topics={"orders": 3}) as outer:
        assert client() is outer
        with fake_fluvio() as inner:
            assert client() is inner
        assert client() is outer
        assert outer.topics() == ["orders"]


def test_an_error_ends_the_faking() -> None:
    with pytest.raises(ZeroDivisionError), fake_fluvio() as fake:
        raise ZeroDivisionError
    with fake_fluvio() as other:
        assert client() is other is not fake


@fake_fluvio()
def test_as_a_decorator() -> None:
    producer("orders").send(b"tea")
    fake = client()
    assert isinstance(fake, FakeFluvio)
    assert fake.values("orders") == [b"tea"]


def test_a_missing_alias() -> None:
    with pytest.raises(ConfigError, match="no alias 'telemtry': did you mean 'telemetry'"), fake_fluvio("telemtry"):
        pass


def test_a_fake_stays_when_the_setting_is_overridden() -> None:
    with fake_fluvio() as fake, override_settings(FLUVIO={"default": {"PRODUCER": {"linger": 0.25}}}):
        assert client() is fake
        assert producer("orders").config.linger == 0.25
