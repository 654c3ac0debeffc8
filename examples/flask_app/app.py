# SPDX-License-Identifier: Apache-2.0
"""A Flask application that produces: its factory, one view, and a health probe.

    flask --app app run --port 8000

FLUVIO_SYNC_ENDPOINT is the address of the cluster; `fluvio-sync dev-cluster` runs one, and
`fluvio-sync topics create orders` makes the topic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, request

from fluvio_sync import FluvioError
from fluvio_sync.contrib.flask import FlaskFluvio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask.typing import ResponseReturnValue

fluvio = FlaskFluvio()


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application; `config`: on top of the defaults below."""
    app = Flask(__name__)
    # A request waits for space in the queue for a second at most.
    app.config.from_mapping(FLUVIO_CLIENT_ID="orders-app", FLUVIO_PRODUCER={"max_block": 1.0})
    app.config.from_mapping(config)
    fluvio.init_app(app)
    app.add_url_rule("/orders", view_func=order, methods=["POST"])
    app.add_url_rule("/health", view_func=fluvio.health_view)
    return app


def order() -> ResponseReturnValue:
    """Produce the request's body, and answer with the record's partition and offset."""
    try:
        metadata = (
            fluvio.producer("orders").send(request.get_data(), key=request.args.get("customer")).result(timeout=5)
        )
    except FluvioError as error:  # its text tells whether the record may be stored
        return {"error": str(error)}, 503
    except TimeoutError:
        return {"error": "not acknowledged yet; it may still be"}, 504
    return {"partition": metadata.partition, "offset": metadata.offset}, 201
