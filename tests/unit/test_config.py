# SPDX-License-Identifier: Apache-2.0
"""ProducerConfig, Compression and SmartModule: accepted, kept and rejected values."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fluvio_sync.client import Fluvio
from fluvio_sync.config import CLIENT_SETTINGS, Compression, ProducerConfig, ProducerSettings, SmartModule
from fluvio_sync.delivery import AtLeastOnce, AtMostOnce, Isolation
from fluvio_sync.errors import ConfigError
from fluvio_sync.partitioner import SiphashRoundRobinPartitioner, SpecificPartitioner
from fluvio_sync.protocol.compression import Codec
from fluvio_sync.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_the_defaults() -> None:
    config = ProducerConfig()
    found = {setting.name: getattr(config, setting.name) for setting in dataclasses.fields(config)}
    assert found == {
        "delivery_semantic": AtLeastOnce(RetryPolicy()),
        "isolation": Isolation.READ_UNCOMMITTED,
        "linger": 0.0,
        "batch_size": 16_384,
        "max_request_size": 1_048_576,
        "on_full": "block",
        "max_block": 30.0,
        "compression": None,
        "compression_level": None,
        "server_timeout": 1.5,
        "verify_retries": True,
        "partitioner": None,
        "key_serializer": None,
        "value_serializer": None,
        "smartmodules": (),
    }


def test_the_typed_settings_are_the_settings() -> None:
    names = {setting.name for setting in dataclasses.fields(ProducerConfig)}
    assert ProducerSettings.__optional_keys__ == names


def test_values_are_kept_in_one_form() -> None:
    config = ProducerConfig(
        delivery_semantic="AtMostOnce",
        isolation="read_committed",
        linger=timedelta(milliseconds=5),
        max_block=1,
        compression="GZIP",
        smartmodules=[SmartModule("a")],
    )
    assert config == ProducerConfig(
        delivery_semantic=AtMostOnce(),
        isolation=Isolation.READ_COMMITTED,
        linger=0.005,
        max_block=1.0,
        compression=Compression.GZIP,
        smartmodules=(SmartModule("a"),),
    )
    assert ProducerConfig(compression="none").compression is Compression.NONE  # None is the topic's setting
    assert type(config.max_block) is float
    assert type(config.smartmodules) is tuple
    assert hash(config) == hash(dataclasses.replace(config))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("delivery_semantic", "exactly-once"),
        ("isolation", "serializable"),
        ("linger", -0.001),
        ("batch_size", 0),
        ("max_request_size", 61),
        ("max_request_size", 33_554_433),
        ("on_full", "drop"),
        ("on_full", ["block"]),
        ("max_block", float("nan")),
        ("compression", "brotli"),
        ("compression", 1),
        ("compression_level", "high"),
        ("server_timeout", -1),
        ("server_timeout", 2_147_484),
        ("verify_retries", "no"),
        ("verify_retries", None),
        ("partitioner", "round-robin"),
        ("partitioner", SpecificPartitioner),
        ("partitioner", lambda *_: 0),
        ("key_serializer", "utf-8"),
        ("value_serializer", b""),
        ("smartmodules", "my-module"),
        ("smartmodules", ["my-module"]),
        ("smartmodules", SmartModule("my-module")),
        ("smartmodules", None),
    ],
)
def test_errors_name_the_setting(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{setting} cannot be "):
        ProducerConfig(**{setting: value})


def test_the_limits_themselves_are_taken() -> None:
    ProducerConfig(max_request_size=62, batch_size=62)
    ProducerConfig(max_request_size=33_554_432, batch_size=33_554_432)
    ProducerConfig(server_timeout=0, linger=0, max_block=0)
    assert ProducerConfig(server_timeout=2_147_483.647).server_timeout * 1000 == 2**31 - 1


def test_a_batch_fits_in_a_request() -> None:
    with pytest.raises(ConfigError, match=r"^batch_size \(16384 bytes\) is larger than max_req.*16383"):
        ProducerConfig(max_request_size=16_383)


def test_a_level_belongs_to_a_codec_that_has_it() -> None:
    assert ProducerConfig(compression="zstd", compression_level=22).compression_level == 22
    for compression, level in (("zstd", 23), ("none", 0), (None, 1)):
        with pytest.raises(ConfigError, match=r"compression.level"):
            ProducerConfig(compression=compression, compression_level=level)


@pytest.mark.parametrize("compression", ["snappy", "lz4", "zstd"])
def test_a_codec_without_its_library_is_refused_at_once(compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(ConfigError, match=r"fluvio-sync\[compression\]"):
        ProducerConfig(compression=compression)
    assert ProducerConfig(compression="gzip").compression is Compression.GZIP


def test_codecs_have_their_number_in_a_batch() -> None:
    assert [compression.codec for compression in Compression] == [0, 1, 2, 3, 4]
    assert Compression.ZSTD.codec is Codec.ZSTD


def test_settings_change_a_config() -> None:
    base = ProducerConfig(linger=1, batch_size=100)
    changed = ProducerConfig.from_settings(base, {"linger": 2, "compression": "gzip"})
    assert changed == ProducerConfig(linger=2, batch_size=100, compression="gzip")
    assert base == ProducerConfig(linger=1, batch_size=100)
    assert ProducerConfig.from_settings(None, {"linger": 2}) == ProducerConfig(linger=2)


def test_settings_are_checked_together() -> None:
    with pytest.raises(ConfigError, match=r"^batch_size "):
        ProducerConfig.from_settings(ProducerConfig(batch_size=100), {"max_request_size": 99})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("linger_ms", "did you mean 'linger'"),
        ("batchsize", "did you mean 'batch_size'"),
        ("Isolation", "did you mean 'isolation'"),
        ("delivery", "did you mean 'delivery_semantic'"),
        ("acks", "the settings are batch_size, compression, "),
        ("size", "did you mean 'batch_size' or 'max_request_size'?"),
        ("max_retries", "it is a setting of RetryPolicy: AtLeastOnce(RetryPolicy(...))"),
        ("timeout", "it is a setting of RetryPolicy: AtLeastOnce(RetryPolicy(...)), or did you mean 'server_timeout'?"),
        ("metadata_timeout", "it is a setting of Fluvio.connect()"),
    ],
)
def test_an_unknown_setting_names_the_nearest_and_where_it_belongs(name: str, hint: str) -> None:
    settings: Any = {name: 1}
    with pytest.raises(ConfigError, match=f"^unknown setting '{name}': {re.escape(hint)}"):
        ProducerConfig(**settings)
    with pytest.raises(ConfigError, match=f"^unknown setting '{name}': {re.escape(hint)}"):
        ProducerConfig.from_settings(None, settings)


def test_the_settings_of_a_client_are_those_that_connect_takes() -> None:
    assert (*CLIENT_SETTINGS, "unknown") == tuple(inspect.signature(Fluvio.connect).parameters)


@pytest.mark.parametrize("config", [{}, {"linger": 1}, 5, ProducerConfig])
def test_a_config_is_a_config(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"^config cannot be .* it is a ProducerConfig$"):
        ProducerConfig.from_settings(config, {})


def test_a_config_is_copied_and_pickled() -> None:
    config = ProducerConfig(
        delivery_semantic=AtLeastOnce(RetryPolicy(timeout=5)),
        isolation="read-committed",
        compression="gzip",
        compression_level=9,
        partitioner=SpecificPartitioner(2),
        key_serializer=str,
        smartmodules=[SmartModule("m", {"b": "2", "a": "1"})],
    )
    assert pickle.loads(pickle.dumps(config)) == config
    assert hash(pickle.loads(pickle.dumps(config))) == hash(config)
    assert copy.deepcopy(config) == config


def test_partitioners_make_configs_differ() -> None:
    one, other = SiphashRoundRobinPartitioner(), SiphashRoundRobinPartitioner()
    assert ProducerConfig(partitioner=one) == ProducerConfig(partitioner=one)
    assert ProducerConfig(partitioner=one) != ProducerConfig(partitioner=other)


@dataclasses.dataclass
class Unhashable:
    """A partitioner as an application may write it: compared by value, and therefore not hashable."""

    number: int

    def partition(self, key: bytes | None, value: bytes, partition_count: int, available: Sequence[int]) -> int:
        return self.number


def test_a_partitioner_need_not_be_hashable() -> None:
    config = ProducerConfig(partitioner=Unhashable(1))
    assert hash(config) == hash(ProducerConfig(partitioner=Unhashable(1)))
    assert config == ProducerConfig(partitioner=Unhashable(1))
    assert config != ProducerConfig(partitioner=Unhashable(2))


def test_a_smartmodule_is_a_value() -> None:
    module = SmartModule("group/filter@0.1.0", {"b": "2", "a": "1"})
    same = SmartModule("group/filter@0.1.0", {"a": "1", "b": "2"})
    assert module == same
    assert hash(module) == hash(same)
    assert module != SmartModule("group/filter@0.1.0")
    assert list(module.params.items()) == [("a", "1"), ("b", "2")]
    assert repr(module) == "SmartModule('group/filter@0.1.0', {'a': '1', 'b': '2'})"
    assert pickle.loads(pickle.dumps(module)) == module


def test_a_smartmodule_keeps_its_own_params() -> None:
    params = {"a": "1"}
    module = SmartModule("m", params)
    params["b"] = "2"
    module.params["c"] = "3"
    assert module.params == {"a": "1"}


@pytest.mark.parametrize("name", ["", None, 5, b"m"])
def test_a_smartmodule_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigError, match=r"^a SmartModule's name cannot be "):
        SmartModule(name)


@pytest.mark.parametrize("params", ["a=1", [("a", "1")], {"a": 1}, {1: "a"}, {"a": None}, 5])
def test_the_params_of_a_smartmodule_are_strings(params: Any) -> None:
    with pytest.raises(ConfigError, match=r"^the params of the SmartModule 'm' cannot be "):
        SmartModule("m", params)
