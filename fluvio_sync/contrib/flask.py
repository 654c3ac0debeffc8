# SPDX-License-Identifier: Apache-2.0
"""Flask: a client and producers of an application's config.

    fluvio = FlaskFluvio()

    def create_app():
        app = Flask(__name__)
        app.config["FLUVIO_ENDPOINT"] = "127.0.0.1:9003"
        fluvio.init_app(app)
        return app

    # in a view
    future = fluvio.producer("orders").send(request.data)

Needs the extra `flask`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

try:
    import click
    import flask
    from flask.cli import AppGroup
except ImportError as error:
    raise ImportError("fluvio_sync.contrib.flask needs Flask: pip install 'fluvio-sync[flask]'") from error

from fluvio_sync._settings.checks import flag
from fluvio_sync.client import check_client_settings, unconnected
from fluvio_sync.contrib._observation import health_of
from fluvio_sync.contrib._settings import Keys
from fluvio_sync.doctor import diagnose
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from fluvio_sync.client import Fluvio
    from fluvio_sync.config import ProducerSettings
    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.testing import FakeFluvio

    # Of an application: "client" and "fake", each from its first use on.
    Clients = dict[str, Fluvio]

_PREFIX = "FLUVIO_"
_ENVIRONMENT = "FLUVIO_SYNC_"  # the library's own variables, which some applications copy into their config
_EXTENSION = "fluvio"
_FAKE = "FLUVIO_FAKE"
_KEYS = Keys(_PREFIX, _FAKE)


class FlaskFluvio:
    """One client for each application and process, made of the application's config.

    `init_app` checks these keys of the config, and the first use reads them:

    * `FLUVIO_ENDPOINT`, `FLUVIO_CONNECT_TIMEOUT` and so on: the arguments of `Fluvio.connect`, in capitals.  A key that
      is absent or None is taken from the environment (`FLUVIO_SYNC_ENDPOINT`), then from Fluvio's profile.
    * `FLUVIO_PRODUCER`: a dictionary of the settings that producers have unless they are given others (default: none).
    * `FLUVIO_FAKE`: whether a `FakeFluvio` takes the client's place (default: whether the application is `TESTING`).

    One object serves any number of applications; their state is in the applications.  Outside of an application context
    its properties and methods raise Flask's `RuntimeError`, and `ConfigError` without `init_app`.
    """

    def __init__(self, app: flask.Flask | None = None) -> None:
        """Call `init_app` for `app`, unless it is None."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Check an application's config, and give it the command `flask fluvio check`; nothing is connected.

        Raises `ConfigError`, which names the key, for a setting that does not exist or cannot work, and for an
        application that was initialised before.
        """
        if _EXTENSION in app.extensions:
            raise ConfigError(f"init_app was called before for the application {app.name!r}")
        _check(app.config)
        app.extensions[_EXTENSION] = {}
        app.cli.add_command(_commands)

    @property
    def client(self) -> Fluvio:
        """The current application's client, which connects at its first use, or its fake."""
        return _client(flask.current_app)

    @property
    def fake(self) -> FakeFluvio:
        """The `FakeFluvio` of the current application, for assertions; `ConfigError` if it has a real client."""
        if not _is_faked(flask.current_app):
            raise ConfigError(f"this application has a real client: set TESTING or {_FAKE} for a fake")
        return cast("FakeFluvio", _client(flask.current_app))

    def producer(self, topic: str, **settings: Unpack[ProducerSettings]) -> TopicProducer:
        """Return a producer; cheap, so each request may ask for one.

        * `topic`: the name of the topic.
        * `settings`: of `ProducerConfig`, on top of `FLUVIO_PRODUCER`.

        The first producer of a process connects.  Raises as `Fluvio.connect` and `Fluvio.topic_producer` do.
        """
        client = self.client
        return client.topic_producer(topic, _KEYS.producer_config(flask.current_app.config), **settings)

    def health_view(self) -> flask.Response:
        """Answer a probe with the client's health as JSON: 200, or 503 while the cluster is not reached.

        For `app.add_url_rule("/health", view_func=fluvio.health_view)`.  It does no I/O: a client that this process
        has not used yet is `"unused"`, with 200; one that could not connect tries again in the background.
        """
        status, shown = health_of(self.client)
        response = flask.jsonify(shown)
        response.status_code = status
        return response


def _client(app: flask.Flask) -> Fluvio:
    try:
        clients: Clients = app.extensions[_EXTENSION]
    except KeyError:
        raise ConfigError(f"FlaskFluvio.init_app was not called for the application {app.name!r}") from None
    if _is_faked(app):
        return clients.get("fake") or clients.setdefault("fake", _new_fake())
    # A fork could leave a lock locked, so there is none: all threads that race here get the first one's client, and the
    # clients of the others have no connection to close.
    return clients.get("client") or clients.setdefault("client", unconnected(_KEYS.connect_arguments(app.config)))


def _new_fake() -> FakeFluvio:
    from fluvio_sync.testing import FakeFluvio  # noqa: PLC0415 - not for production

    return FakeFluvio()


# The config.


def _is_faked(app: flask.Flask) -> bool:
    fake = app.config.get(_FAKE)
    return app.testing if fake is None else flag(_FAKE, fake)


def _check(config: Mapping[str, Any]) -> None:
    for key in config:
        if key.startswith(_PREFIX) and not key.startswith(_ENVIRONMENT) and key not in _KEYS:
            raise ConfigError(f"unknown key {key!r} in the application's config: {_KEYS.hint(key)}")
    if config.get(_FAKE) is not None:
        flag(_FAKE, config[_FAKE])
    _KEYS.producer_config(config)
    check_client_settings({})  # those of the environment
    _KEYS.check_connect(config)


# The command.

_commands = AppGroup("fluvio", help="Commands about the application's Fluvio cluster.")


@_commands.command("check")
@click.option("--topic", metavar="TOPIC", help="Also produce: this WRITES a record to the topic.")
def _check_command(topic: str | None) -> None:
    """Check each step from this machine to the cluster separately."""
    failed = False
    for step in diagnose(topic, **_KEYS.connect_arguments(flask.current_app.config)):
        click.echo(step.text)
        failed = failed or not step.ok
    if failed:
        raise SystemExit(1)
