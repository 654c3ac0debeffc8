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

from fluvio_sync._doctor import diagnose
from fluvio_sync._settings import flag
from fluvio_sync._unconnected import check_client_settings, unconnected
from fluvio_sync.contrib._health import health_answer
from fluvio_sync.contrib._settings import Keys, producer_config
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from fluvio_sync.client import Fluvio
    from fluvio_sync.config import ProducerConfig, ProducerSettings
    from fluvio_sync.producer import TopicProducer
    from fluvio_sync.testing import FakeFluvio

    # What an application has: "client" or "fake", once it is used.
    Clients = dict[str, Fluvio]

_PREFIX = "FLUVIO_"
_ENVIRONMENT = "FLUVIO_SYNC_"  # variables of the library itself, which some applications copy into their config
_EXTENSION = "fluvio"
_FAKE = "FLUVIO_FAKE"
_KEYS = Keys(_PREFIX, _FAKE)


class FlaskFluvio:
    """One client for each application and process, made of the application's config.

    Of the config it reads, when `init_app` is called and again at the first use:

    * `FLUVIO_ENDPOINT`, `FLUVIO_CONNECT_TIMEOUT` and so on: the arguments of `Fluvio.connect`, in capitals; what is
      absent or None comes from the environment (`FLUVIO_SYNC_ENDPOINT`), then from Fluvio's profile.
    * `FLUVIO_PRODUCER`: a dictionary of the settings that producers have unless they are given others (default: none).
    * `FLUVIO_FAKE`: whether a `FakeFluvio` takes the client's place (default: whether the application is `TESTING`).

    The object itself holds nothing of an application, so that one of them serves several.  Outside of an application
    context its properties and methods raise Flask's `RuntimeError`; for an application that it was not initialised
    for, `ConfigError`.
    """

    def __init__(self, app: flask.Flask | None = None) -> None:
        """`app`: what to call `init_app` for."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Check an application's config, and give it the command `flask fluvio check`; nothing is connected.

        Raises `ConfigError`, which names the key, for a setting that does not exist or cannot work, and if the
        application was initialised before.
        """
        if _EXTENSION in app.extensions:
            raise ConfigError(f"init_app was called before for the application {app.name!r}")
        _check(app.config)
        app.extensions[_EXTENSION] = {}
        app.cli.add_command(_commands)

    @property
    def client(self) -> Fluvio:
        """The current application's client, which connects at its first use; the fake if that takes its place."""
        return _client(flask.current_app)

    @property
    def fake(self) -> FakeFluvio:
        """The `FakeFluvio` of the current application, for assertions; `ConfigError` if it has a real client."""
        if not _is_faked(flask.current_app):
            raise ConfigError(f"this application has a real client: set TESTING or {_FAKE} for a fake")
        return cast("FakeFluvio", _client(flask.current_app))

    def producer(self, topic: str, **settings: Unpack[ProducerSettings]) -> TopicProducer:
        """Return a producer: `FLUVIO_PRODUCER` with these settings changed; cheap, so each request may ask for one.

        The first of a process connects.  Raises as `Fluvio.connect` and `Fluvio.topic_producer` do.
        """
        client = self.client
        return client.topic_producer(topic, _producer_config(flask.current_app.config), **settings)

    def health_view(self) -> flask.Response:
        """Answer a probe with the client's health as JSON: 200, or 503 while the cluster is not reached.

        For `app.add_url_rule("/health", view_func=fluvio.health_view)`.  It does no I/O: a client that this process
        has not used yet is `"unused"`, with 200.
        """
        client = self.client
        status, shown = health_answer(client.health() if client.running else None)
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
    # No lock, which a fork could leave locked: of threads that race here all get the first one's client, and what the
    # others made has no connection to close.
    return clients.get("client") or clients.setdefault("client", unconnected(_KEYS.connect_arguments(app.config)))


def _new_fake() -> FakeFluvio:
    from fluvio_sync.testing import FakeFluvio  # noqa: PLC0415 - in production nobody needs it

    return FakeFluvio()


# The config.


def _is_faked(app: flask.Flask) -> bool:
    fake = app.config.get(_FAKE)
    return app.testing if fake is None else flag(_FAKE, fake)


def _producer_config(config: Mapping[str, Any]) -> ProducerConfig:
    return producer_config(_KEYS.producer, config.get(_KEYS.producer))


def _check(config: Mapping[str, Any]) -> None:
    for key in config:
        if key.startswith(_PREFIX) and not key.startswith(_ENVIRONMENT) and key not in _KEYS:
            raise ConfigError(f"unknown key {key!r} in the application's config: {_KEYS.hint(key)}")
    if config.get(_FAKE) is not None:
        flag(_FAKE, config[_FAKE])
    _producer_config(config)
    check_client_settings({})  # those of the environment
    _KEYS.check_connect(config)


# The command.

_commands = AppGroup("fluvio", help="What is between the application and its Fluvio cluster.")


@_commands.command("check")
@click.option("--topic", metavar="TOPIC", help="Produce, too: this WRITES a record to the topic.")
def _check_command(topic: str | None) -> None:
    """Take each step to the cluster alone and say what it found."""
    failed = False
    for step in diagnose(topic, **_KEYS.connect_arguments(flask.current_app.config)):
        click.echo(step.text)
        failed = failed or not step.ok
    if failed:
        raise SystemExit(1)
