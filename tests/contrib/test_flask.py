# SPDX-License-Identifier: Apache-2.0
"""Flask applications: config, client, fake, command and probe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync import BufferFullError, ConfigError, ConnectError, Fluvio, TopicNotFoundError
from fluvio_sync.client import unconnected
from fluvio_sync.contrib._observation import health_answer
from fluvio_sync.stats import Health
from fluvio_sync.testing import FakeFluvio, FaultProxy
from tests.support.scribbler import ESCAPED, Scribbler, assert_harmless
from tests.support.waiting import wait_until

pytest.importorskip("flask", reason="Flask is not installed")

import flask

from fluvio_sync.contrib import flask as flask_module
from fluvio_sync.contrib.flask import FlaskFluvio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.test import TestResponse

    from fluvio_sync.testing import LocalCluster
    from tests.support.cluster import Where

ROOT = Path(__file__).parent.parent.parent
NOWHERE = "127.0.0.1:1"

fluvio = FlaskFluvio()


def make_app(**config: Any) -> flask.Flask:
    app = flask.Flask("shop")
    app.config.update(config)
    fluvio.init_app(app)
    app.add_url_rule("/health", view_func=fluvio.health_view)
    app.add_url_rule("/send/<topic>", view_func=send, methods=["POST"])
    return app


def send(topic: str) -> list[int | None]:
    metadata = fluvio.producer(topic, linger=0.001).send(flask.request.get_data()).result(timeout=10)
    return [metadata.partition, metadata.offset]


@pytest.fixture
def app(where: Where) -> Iterator[flask.Flask]:
    app = make_app(FLUVIO_ENDPOINT=where.endpoint, FLUVIO_TLS=where.tls, FLUVIO_CLIENT_ID="shop")
    yield app
    with app.app_context():
        fluvio.client.close(5)


# The client.


def test_a_view_produces(app: flask.Flask, where: Where) -> None:
    topic = where.topic()
    for number in range(3):
        assert app.test_client().post(f"/send/{topic}", data=b"order %d" % number).json == [0, number]
    assert [record.value for record in where.records(topic, count=3)] == [b"order 0", b"order 1", b"order 2"]


def test_the_client_connects_at_its_first_use(app: flask.Flask, where: Where) -> None:
    before = threading.active_count()
    with app.app_context():
        client = fluvio.client
        assert (client.running, client.endpoint, client.client_id) == (False, where.endpoint, "shop")
        assert threading.active_count() == before
        assert where.topic() in client.topics()
        assert client.running
        assert fluvio.client is client


def test_one_of_the_clients_that_racing_threads_make_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(4)

    def together(settings: Any) -> Fluvio:
        barrier.wait(10)
        return unconnected(settings)

    def first_use(app: flask.Flask) -> Fluvio:
        with app.app_context():
            return fluvio.client

    monkeypatch.setattr(flask_module, "unconnected", together)
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(first_use, [make_app(FLUVIO_ENDPOINT=NOWHERE)] * 4))
    assert len(made) == 1


def test_applications_have_clients_of_their_own(app: flask.Flask) -> None:
    other = make_app(FLUVIO_ENDPOINT=NOWHERE)
    with app.app_context():
        client = fluvio.client
        with other.app_context():
            assert fluvio.client.endpoint == NOWHERE
        assert fluvio.client is client


def test_absent_keys_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_ENDPOINT", "sc.example:9003")
    with make_app(FLUVIO_ENDPOINT=None).app_context():
        assert fluvio.client.endpoint == "sc.example:9003"
    with make_app(FLUVIO_ENDPOINT=NOWHERE).app_context():
        assert fluvio.client.endpoint == NOWHERE


def test_settings_of_producers(app: flask.Flask, where: Where) -> None:
    app.config["FLUVIO_PRODUCER"] = {"linger": 0.5, "compression": "gzip"}
    topic = where.topic()
    with app.app_context():
        assert (config := fluvio.producer(topic, linger=0.25).config).linger == 0.25
        assert config.compression is not None
        assert config.compression.value == "gzip"
        with pytest.raises(ConfigError, match="did you mean 'linger'"):
            fluvio.producer(topic, lingr=1)  # type: ignore[call-arg]


def test_errors_of_the_cluster_reach_the_view(app: flask.Flask) -> None:
    app.config["FLUVIO_METADATA_TIMEOUT"] = 0
    with app.app_context(), pytest.raises(TopicNotFoundError):
        fluvio.producer("there-is-no-such-topic")
    with make_app(FLUVIO_ENDPOINT=NOWHERE).app_context(), pytest.raises(ConnectError):
        fluvio.producer("orders")


# The config.


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"FLUVIO_CONECT_TIMEOUT": 3}, "'FLUVIO_CONECT_TIMEOUT'.*did you mean 'FLUVIO_CONNECT_TIMEOUT'"),
        ({"FLUVIO_ENDPOINT": "a:b"}, "FLUVIO_ENDPOINT: "),
        ({"FLUVIO_PRODUCER": {"linger": -3}}, "FLUVIO_PRODUCER: .*-3"),
        ({"FLUVIO_FAKE": "no"}, "FLUVIO_FAKE"),
    ],
)
def test_init_app_refuses_a_bad_config(config: dict[str, Any], words: str) -> None:
    app = flask.Flask("shop")
    app.config.update(config)
    with pytest.raises(ConfigError, match=words):
        fluvio.init_app(app)
    assert "fluvio" not in app.extensions


def test_init_app_looks_for_no_profile_and_ignores_the_librarys_own_variables() -> None:
    make_app(FLUVIO_PROFILE="there-is-no-such-profile", FLUVIO_SYNC_ENDPOINT="x")


def test_a_bad_variable_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUVIO_SYNC_CONNECT_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match=r"^FLUVIO_SYNC_CONNECT_TIMEOUT"):
        make_app(FLUVIO_CLIENT_ID="x")


def test_an_application_is_initialised_once() -> None:
    app = flask.Flask("shop")
    extension = FlaskFluvio(app)
    with pytest.raises(ConfigError, match="'shop'"):
        extension.init_app(app)
    with flask.Flask("other").app_context(), pytest.raises(ConfigError, match=r"init_app was not called.*'other'"):
        fluvio.client  # noqa: B018 - which raises


def test_outside_of_an_application_flask_raises() -> None:
    with pytest.raises(RuntimeError, match="application context"):
        fluvio.client  # noqa: B018 - which raises


# The fake.


def test_testing_makes_a_fake() -> None:
    app = make_app(FLUVIO_ENDPOINT=NOWHERE)
    app.testing = True  # after init_app, as many tests do
    assert app.test_client().post("/send/orders", data=b"book").json == [0, 0]
    with app.app_context():
        assert isinstance(fluvio.client, FakeFluvio)
        assert fluvio.fake is fluvio.client
        assert fluvio.fake.values("orders") == [b"book"]
        fluvio.fake.fail_next(BufferFullError("full"))
        with pytest.raises(BufferFullError):
            fluvio.producer("orders").send(b"x")
    with make_app(TESTING=True).app_context():
        assert fluvio.fake.records == []


def test_the_config_decides_about_the_fake() -> None:
    with make_app(TESTING=True, FLUVIO_FAKE=False, FLUVIO_ENDPOINT=NOWHERE).app_context():
        assert not isinstance(fluvio.client, FakeFluvio)
        with pytest.raises(ConfigError, match="FLUVIO_FAKE"):
            fluvio.fake  # noqa: B018 - which raises
    with make_app(FLUVIO_FAKE=True).app_context():
        assert isinstance(fluvio.client, FakeFluvio)


# The probe.


def probe(app: flask.Flask) -> tuple[int, dict[str, Any]]:
    answer: TestResponse = app.test_client().get("/health")
    return answer.status_code, dict(answer.json or {})


def test_a_probe_makes_no_connection() -> None:
    app = make_app(FLUVIO_ENDPOINT=NOWHERE)
    assert probe(app) == (200, {"status": "unused"})
    with app.app_context():
        assert not fluvio.client.running


def test_a_probe_tells_of_a_client_that_could_not_connect_and_has_it_try_again(own: LocalCluster) -> None:
    with FaultProxy(own.endpoint) as sc:
        app = make_app(FLUVIO_ENDPOINT=sc.endpoint)
        own.create_topic("orders")
        sc.refuse()
        assert app.test_client().post("/send/orders", data=b"x").status_code == 500
        status, shown = probe(app)
        assert (status, shown["status"], shown["disconnected_since"]) == (503, "disconnected", None)
        assert sc.endpoint in shown["last_error"]
        assert shown["last_error_at"] > 1_700_000_000_000
        assert (shown["memory_used"], shown["memory_limit"]) == (0, 32 * 1024 * 1024)
        sc.refuse(on=False)
        wait_until(lambda: probe(app)[0] == 200, "it connects by itself, since no request makes it")
        assert probe(app)[1]["status"] == "connected"
        with app.app_context():
            fluvio.client.close(5)


def test_a_probe_follows_the_cluster(own: LocalCluster) -> None:
    own.create_topic("orders")
    app = make_app(FLUVIO_ENDPOINT=own.endpoint)
    app.test_client().post("/send/orders", data=b"x")
    status, shown = probe(app)
    assert (status, shown["status"], shown["last_error"]) == (200, "connected", None)
    assert shown["leaders"] == [{"topic": "orders", "partition": 0, "leader": 5001}]
    own.kill_sc()
    wait_until(lambda: probe(app)[0] == 503, "the probe notices")
    assert probe(app)[1]["status"] == "disconnected"
    assert probe(app)[1]["last_error"]
    own.restart_sc()
    wait_until(lambda: probe(app)[0] == 200, "the probe notices")
    with app.app_context():
        fluvio.client.close(5)


def test_a_partition_without_a_leader_is_shown_with_status_200() -> None:
    health = Health(
        connected=True,
        leaders={("b", 1): None, ("a", 0): 5001},
        records_queued=1,
        bytes_queued=2,
        records_in_flight=3,
        last_error="closed",
        last_error_at=4,
    )
    assert health_answer(health) == (
        200,
        {
            "status": "connected",
            "leaders": [
                {"topic": "a", "partition": 0, "leader": 5001},
                {"topic": "b", "partition": 1, "leader": None},
            ],
            "records_queued": 1,
            "bytes_queued": 2,
            "records_in_flight": 3,
            "memory_used": 0,
            "memory_limit": 0,
            "last_error": "closed",
            "last_error_at": 4,
            "disconnected_since": None,
        },
    )


# The command.


def test_the_command_finds_a_cluster(app: flask.Flask, where: Where) -> None:
    topic = where.topic()
    runner = app.test_cli_runner()
    done = runner.invoke(args=["fluvio", "check"])
    assert (done.exit_code, "FAIL" in done.output) == (0, False), done.output
    assert where.endpoint in done.output
    done = runner.invoke(args=["fluvio", "check", "--topic", topic])
    assert done.exit_code == 0, done.output
    assert f"topic {topic!r}" in done.output
    assert len(where.records(topic, count=1)) == 1


def test_the_command_fails_without_a_cluster() -> None:
    done = make_app(FLUVIO_ENDPOINT=NOWHERE).test_cli_runner().invoke(args=["fluvio", "check"])
    assert (done.exit_code, "FAIL" in done.output) == (1, True), done.output


def test_the_command_shows_no_text_of_a_server_as_it_is() -> None:
    with Scribbler() as cluster:
        done = make_app(FLUVIO_ENDPOINT=cluster.endpoint).test_cli_runner().invoke(args=["fluvio", "check"])
    assert ESCAPED in done.output
    assert_harmless(done.output)


# The examples.


@pytest.mark.slow
@pytest.mark.parametrize("example", ["flask_app", "testing_your_code"])
def test_an_examples_own_tests_pass(example: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull, "."]
    done = subprocess.run(
        command, cwd=ROOT / "examples" / example, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[3-9] passed", done.stdout, re.MULTILINE), done.stdout
