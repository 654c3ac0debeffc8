# SPDX-License-Identifier: Apache-2.0
"""Addresses as a person writes them."""

from __future__ import annotations

import string
from ipaddress import IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync._settings.endpoint import Endpoint, parse_endpoint
from fluvio_sync.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9003", "127.0.0.1", 9003),
        ("localhost", "localhost", 9003),
        ("localhost:1", "localhost", 1),
        ("sc.example.com:65535", "sc.example.com", 65535),
        ("sc.example.com.:9005", "sc.example.com.", 9005),
        ("fluvio_sc_1:9003", "fluvio_sc_1", 9003),
        ("bücher.example:9003", "bücher.example", 9003),
        ("[::1]:9010", "::1", 9010),
        ("[::1]", "::1", 9003),
        ("::1", "::1", 9003),
        ("fe80::1%eth0", "fe80::1%eth0", 9003),
        ("[fe80::1%eth0]:9005", "fe80::1%eth0", 9005),
    ],
)
def test_endpoints(text: str, host: str, port: int) -> None:
    assert parse_endpoint(text) == Endpoint(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("host :9003", "white space"),
        ("host:9003\n", "white space"),
        ("ho\x7fst:9003", "does not show"),
        ("\u202ehost:9003", "does not show"),
        ("fe80::1%\x7f", "does not show"),
        ("http://host:9003", "URL"),
        ("host:9003/path", "port '9003/path'"),
        ("host/path", "'host/path' is no name"),
        ("user@host:9003", "leave out everything up to the '@'"),
        (":9003", "the host is missing"),
        ("host:", "port ''"),
        ("host:0", "port '0'"),
        ("host:65536", "port '65536'"),
        ("host:-1", "port '-1'"),
        ("host:+1", "port"),
        ("host:1_0", "port"),
        ("host:abc", "port 'abc'"),
        ("host:٩٠٠٣", "port"),
        ("host:" + "9" * 5000, "port"),
        ("a:9003,b:9003", "IPv6"),
        ("a,b", "no name"),
        ("a..b:9003", "no name"),
        (".:9003", "no name"),
        ("a" * 64 + ":9003", "no name"),
        ("a." * 130 + "a:9003", "no name"),
        ("::1:9003:x", "IPv6"),
        ("[::1", "brackets"),
        ("[::1]9003", "brackets"),
        ("[host]:9003", "brackets"),
        ("[::1]:", "port ''"),
        ("::1]:9003", "IPv6"),
        ("host\x00:9003", "no name"),
    ],
)
def test_anything_else_raises_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_endpoint(text)
    assert "is not 'host:port'" in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize("value", [None, 9003, b"host:9003", ("host", 9003)])
def test_only_strings_are_endpoints(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^an endpoint is a string such as '127\.0\.0\.1:9003'"):
        parse_endpoint(value)


label = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20)
host = st.lists(label, min_size=1, max_size=4).map(".".join)
ipv6 = st.integers(min_value=0, max_value=2**128 - 1).map(lambda number: str(IPv6Address(number)))


@given(host | ipv6, st.integers(min_value=1, max_value=65535))
def test_a_written_endpoint_is_read_again(host: str, port: int) -> None:
    assert parse_endpoint(str(Endpoint(host, port))) == Endpoint(host, port)


@given(st.text() | st.text("[]:.a1/ %"))
def test_any_text_is_an_endpoint_or_a_config_error(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except ConfigError:
        return
    assert parse_endpoint(str(endpoint)) == endpoint
