# SPDX-License-Identifier: Apache-2.0
"""The options of the commands, and the settings that they become."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

import pytest

from fluvio_sync import AtLeastOnce, AtMostOnce, Compression, TlsConfig
from fluvio_sync.cli.command import build_parser
from fluvio_sync.cli.options import connect_settings
from fluvio_sync.cli.produce import producer_config
from fluvio_sync.cli.values import duration
from fluvio_sync.delivery import Isolation
from fluvio_sync.errors import ConfigError
from fluvio_sync.retry import RetryPolicy, RetryStrategy

if TYPE_CHECKING:
    from argparse import Namespace


def parsed(*arguments: str) -> Namespace:
    return build_parser().parse_args(arguments)


# Durations.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("150ms", 0.15),
        ("20s", 20.0),
        ("1m30s", 90.0),
        ("1h 1m 1s 1ms", 3661.001),
        ("2hours 5 min", 7500.0),
        ("500us", 0.0005),
        (".5s", 0.5),
        ("0.005", 0.005),
        ("0", 0.0),
        ("1d", 86_400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", " ", "s", "5 parsecs", "-1s", "1 30s", "1m 30", "1e3", "inf", "5S", "1,5s"])
def test_a_text_that_is_no_duration(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a duration"):
        duration(text)


# Options.


def test_every_option_of_a_producer_arrives() -> None:
    options = parsed(
        "produce", "t", "--linger", "5ms", "--batch-size", "1000", "--max-request-size", "2000", "--isolation",
        "ReadCommitted", "--compression", "GZIP", "--compression-level", "7", "--partition", "3", "--retries", "2",
        "--retry-strategy", "fibonacci", "--retry-initial", "1s", "--retry-max-delay", "2s", "--delivery-timeout", "1m",
        "--no-verify-retries", "--sm", "m", "-e", "a=1", "--params", "b==",
    )  # fmt: skip
    config = producer_config(options)
    assert (config.linger, config.batch_size, config.max_request_size) == (0.005, 1000, 2000)
    assert (config.isolation, config.compression, config.compression_level) == (
        Isolation.READ_COMMITTED,
        Compression.GZIP,
        7,
    )
    assert repr(config.partitioner) == "SpecificPartitioner(3)"
    assert not config.verify_retries
    policy = RetryPolicy(max_retries=2, strategy="fibonacci", initial_delay=1, max_delay=2, timeout=60)
    assert config.delivery_semantic == AtLeastOnce(policy)
    assert [(module.name, module.params) for module in config.smartmodules] == [("m", {"a": "1", "b": "="})]


@pytest.mark.parametrize(
    ("option", "name", "spellings"),
    [
        ("isolation", "read-committed", "read_committed ReadCommitted readCommitted readcommitted"),
        ("isolation", "read-uncommitted", "read_uncommitted ReadUncommitted readUncommitted readuncommitted"),
        ("delivery_semantic", "at-most-once", "at_most_once AtMostOnce atMostOnce atmostonce"),
        ("delivery_semantic", "at-least-once", "at_least_once AtLeastOnce atLeastOnce atleastonce"),
        ("compression", "zstd", "ZSTD Zstd"),
        ("retry_strategy", "constant", "fixed fixed-delay FixedDelay"),
        ("retry_strategy", "exponential", "exponential-backoff ExponentialBackoff"),
    ],
)
def test_spellings(option: str, name: str, spellings: str) -> None:
    for spelling in [name, *spellings.split()]:
        options = parsed("produce", "t", "--" + option.replace("_", "-"), spelling)
        assert getattr(options, option) == name


@pytest.mark.parametrize(
    ("arguments", "semantic"),
    [
        (["--delivery-semantic", "AtMostOnce"], AtMostOnce()),
        (["--retries", "unlimited"], AtLeastOnce(RetryPolicy(max_retries=None))),
        (["--retry-strategy", "constant"], AtLeastOnce(RetryPolicy(strategy=RetryStrategy.FIXED_DELAY))),
    ],
)
def test_names_become_settings(arguments: list[str], semantic: AtMostOnce | AtLeastOnce) -> None:
    assert producer_config(parsed("produce", "t", *arguments)).delivery_semantic == semantic


def test_the_library_has_the_defaults() -> None:
    assert connect_settings(parsed("produce", "t"), {}) == {}
    config = producer_config(parsed("produce", "t"))
    assert (config.linger, config.batch_size, config.max_request_size) == (0.0, 16_384, 1_048_576)
    assert config.delivery_semantic == AtLeastOnce()
    assert config.verify_retries


def test_the_client_id_of_the_official_command_line() -> None:
    assert connect_settings(parsed("doctor"), {"FLUVIO_CLIENT_ID": "me"}) == {"client_id": "me"}
    assert connect_settings(parsed("doctor"), {"FLUVIO_CLIENT_ID": ""}) == {}


def test_a_cluster_may_be_named_before_the_command_or_behind_it() -> None:
    options = ["-c", "example.com", "--timeout", "2s", "--tls"]
    command = ["topics", "list"]
    timeouts = {"connect_timeout": 2.0, "request_timeout": 2.0}
    for arguments in ([*options, *command], [*command, *options]):
        settings = connect_settings(parsed(*arguments), {})
        assert settings == {"endpoint": "example.com:9003", "tls": TlsConfig.anonymous(), **timeouts}


ALL_FOUR = ["--domain", "d", "--ca-cert", "a", "--client-cert", "c", "--client-key", "k"]


@pytest.mark.parametrize(
    ("options", "tls"),
    [
        ([], TlsConfig.anonymous()),
        (["--domain", "d", "--ca-cert", "a"], TlsConfig.verified(domain="d", ca_cert="a")),
        (["--enable-client-cert", *ALL_FOUR], TlsConfig.verified(domain="d", ca_cert="a", cert="c", key="k")),
    ],
)
def test_kinds_of_tls(options: list[str], tls: TlsConfig) -> None:
    assert connect_settings(parsed("doctor", "-c", "h", "--tls", *options), {})["tls"] == tls
    assert connect_settings(parsed("doctor", "--tls", *options), {"FLUVIO_SYNC_ENDPOINT": "h"})["tls"] == tls


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-c", "h", "--domain", "d"], "--domain has no effect without --tls"),
        (["-c", "h", "--enable-client-cert"], "--enable-client-cert has no effect without --tls"),
        (["-c", "h", "--tls", "--domain", "d"], "--domain needs --ca-cert as well"),
        (["-c", "h", "--tls", "--ca-cert", "a"], "--ca-cert needs --domain as well"),
        (["-c", "h", "--tls", *ALL_FOUR], "--client-cert has no effect without --enable-client-cert"),
        (
            ["-c", "h", "--tls", "--enable-client-cert", *ALL_FOUR[:6]],
            "--enable-client-cert needs --client-key as well",
        ),
        (["--tls"], "--tls needs --cluster"),
        (["-P", "p", "--tls"], "--tls needs --cluster"),
        (["-c", "h", "-P", "p"], "--cluster and --profile exclude each other"),
    ],
)
def test_options_of_the_cluster_that_do_not_fit(options: list[str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        connect_settings(parsed("topics", "list", *options), {})
