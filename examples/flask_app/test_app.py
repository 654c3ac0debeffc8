# SPDX-License-Identifier: Apache-2.0
"""The application's own tests, without a cluster: under TESTING a fake takes the client's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from app import create_app, fluvio

from fluvio_sync import BufferFullError, DeliveryTimeoutError, RetriesExhaustedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from fluvio_sync import DeliveryError, FluvioError


@pytest.fixture
def app() -> Iterator[Flask]:
    app = create_app({"TESTING": True})
    with app.app_context():
        yield app


def test_an_order_is_produced(app: Flask) -> None:
    answer = app.test_client().post("/orders?customer=7", data=b"3 books")
    assert answer.status_code == 201
    assert answer.json == {"partition": 0, "offset": 0}
    assert [(record.key, record.value) for record in fluvio.fake.records] == [(b"7", b"3 books")]


@pytest.mark.parametrize("error", [RetriesExhaustedError, DeliveryTimeoutError, BufferFullError("full")])
def test_an_order_that_cannot_be_stored(app: Flask, error: FluvioError | type[DeliveryError]) -> None:
    fluvio.fake.fail_next(error)
    answer = app.test_client().post("/orders", data=b"3 books")
    assert answer.status_code == 503
    assert fluvio.fake.records == []


def test_health(app: Flask) -> None:
    assert app.test_client().get("/health").status_code == 200
