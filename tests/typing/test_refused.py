# SPDX-License-Identifier: Apache-2.0
"""Code that type checkers refuse, and the errors that it raises without them.

Each `type: ignore` is an assertion: mypy and basedpyright complain of one that nothing needs.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import pytest

from fluvio_sync import (
    AtLeastOnce,
    ConfigError,
    Fluvio,
    FluvioError,
    ProducerConfig,
    RetryPolicy,
    SmartModule,
    TlsConfig,
    connect,
)
from fluvio_sync.testing import FakeFluvio, FakeProducer


class NoPartitioner:
    def partition(self, key: str) -> int:
        return len(key)


@pytest.fixture
def fluvio() -> FakeFluvio:
    return FakeFluvio()


def test_a_setting_of_connect_has_its_type() -> None:
    with pytest.raises(ConfigError):
        connect(9003)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        connect("127.0.0.1:9003", tls=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        connect("127.0.0.1:9003", connect_timeout="10 s")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        connect("127.0.0.1:9003", spu_address_override={"5001": "127.0.0.1:9005"})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("linger", r"it is a setting of topic_producer\(\)$"),
        ("max_retries", "it is a setting of RetryPolicy"),
        ("timeout", "did you mean 'connect_timeout', 'exit_timeout', 'metadata_timeout' or 'request_timeout'"),
    ],
)
def test_connect_says_where_a_setting_belongs(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        connect("127.0.0.1:9003", **{name: 1})  # type: ignore[arg-type]


def test_a_client_is_made_by_connect() -> None:
    with pytest.raises(TypeError, match=r"made by Fluvio\.connect\('host:port'\)"):
        Fluvio("127.0.0.1:9003")  # type: ignore[arg-type]


def test_connect_has_no_other_setting() -> None:
    with pytest.raises(ConfigError, match="did you mean 'connect_timeout'"):
        connect("127.0.0.1:9003", conect_timeout=10)  # type: ignore[arg-type]


def test_a_setting_of_a_producer_has_its_type(fluvio: FakeFluvio) -> None:
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", delivery_semantic=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", isolation=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", linger="5ms")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", batch_size=16e3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", max_request_size="1 MB")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", on_full="wait")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", max_block=None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", compression=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", compression="gzip", compression_level="best")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", server_timeout=[])  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", partitioner=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", key_serializer="utf-8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", value_serializer="utf-8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        fluvio.topic_producer("orders", smartmodules=["filter"])  # type: ignore[list-item]


def test_a_producer_has_no_other_setting(fluvio: FakeFluvio) -> None:
    with pytest.raises(ConfigError, match="did you mean 'linger'"):
        fluvio.topic_producer("orders", lingr=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="did you mean 'linger'"):
        FakeProducer("orders", lingr=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="did you mean 'linger'"):
        ProducerConfig(lingr=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="did you mean 'max_delay'"):
        RetryPolicy(max_dely=1)  # type: ignore[call-arg]


def test_a_partitioner_has_the_method_of_partitioners(fluvio: FakeFluvio) -> None:
    producer = fluvio.topic_producer("orders", partitioner=NoPartitioner())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        producer.send(b"tea")


def test_a_policy_is_a_policy() -> None:
    with pytest.raises(ConfigError):
        AtLeastOnce(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        RetryPolicy(max_retries=1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        SmartModule("filter", {"keep": 1})  # type: ignore[dict-item]


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        ProducerConfig().linger = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        RetryPolicy().max_retries = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        TlsConfig.disabled().domain = "shop.example"  # type: ignore[misc]


def test_verified_tls_needs_an_authority() -> None:
    with pytest.raises(TypeError):
        TlsConfig.verified(domain="shop.example")  # type: ignore[call-arg]


def test_what_goes_with_a_record_has_its_type(fluvio: FakeFluvio) -> None:
    producer = fluvio.topic_producer("orders")
    with pytest.raises(TypeError):
        producer.send(b"tea", b"customer 1")  # type: ignore[call-arg]
    with pytest.raises((FluvioError, TypeError)):
        producer.send(b"tea", partition="0")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        producer.send(b"tea", timestamp=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        producer.send_all(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        producer.flush("soon")  # type: ignore[arg-type]


def test_the_place_of_a_record_may_be_unknown(fluvio: FakeFluvio) -> None:
    offset = fluvio.topic_producer("orders", delivery_semantic="at-most-once").send(b"tea").result().offset
    with pytest.raises(TypeError):
        offset + 1  # type: ignore[operator]
