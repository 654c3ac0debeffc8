# SPDX-License-Identifier: Apache-2.0
"""The extra `flask` brings Flask, and an extension for it."""

import flask

from fluvio_sync.contrib.flask import FlaskFluvio

app = flask.Flask("shop")
app.testing = True
fluvio = FlaskFluvio(app)
app.add_url_rule("/health", view_func=fluvio.health_view)

with app.app_context():
    fluvio.producer("orders").send("tea").result(timeout=5)
    assert fluvio.fake.values("orders") == [b"tea"]
assert app.test_client().get("/health").status_code == 200
