# SPDX-License-Identifier: Apache-2.0
"""CRC-32C and SipHash: the implementations in C and in Python agree."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.protocol import checksum, siphash

if TYPE_CHECKING:
    from collections.abc import Callable

google_crc32c = pytest.importorskip("google_crc32c")
siphash24_package = pytest.importorskip("siphash24")

buffers = st.one_of(st.binary(max_size=70), st.integers(0, 3000).map(bytes))


def test_the_c_libraries_are_used() -> None:
    assert checksum.IMPLEMENTATION == "google-crc32c"
    assert siphash.IMPLEMENTATION == "siphash24"


@given(buffers, st.integers(0, 2**32 - 1))
def test_crc32c_in_c_and_in_python(data: bytes, value: int) -> None:
    expected = google_crc32c.extend(value, data)
    for kind in (bytes, bytearray, memoryview):
        assert checksum.crc32c(kind(data), value) == expected
        assert checksum.crc32c_pure(kind(data), value) == expected


@given(buffers, st.integers(0, 3000))
def test_crc32c_continues_from_earlier_bytes(data: bytes, cut: int) -> None:
    whole = checksum.crc32c(data)
    assert checksum.crc32c(data[cut:], checksum.crc32c(data[:cut])) == whole
    assert checksum.crc32c_pure(data[cut:], checksum.crc32c_pure(data[:cut])) == whole


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=70))
def test_siphash_in_c_and_in_python(key: bytes, message: bytes) -> None:
    hasher = siphash24_package.siphash24(message, key=key)
    expected = int.from_bytes(hasher.digest(), "little")
    assert siphash.siphash24(key, message) == expected
    assert siphash.siphash24_pure(key, message) == expected
    assert 0 <= expected < 2**64


@given(st.binary(max_size=300))
def test_a_key_is_hashed_behind_its_length(key: bytes) -> None:
    message = len(key).to_bytes(8, "little") + key
    assert siphash.hash_key(key) == siphash.siphash24_pure(bytes(16), message)


# --- other installations -------------------------------------------------------------------------


@pytest.fixture
def reloaded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that imports a module anew, with other packages installed."""

    def reload(module: types.ModuleType, **packages: Any) -> Any:
        for name, package in packages.items():
            monkeypatch.setitem(sys.modules, name, package)
        spec = importlib.util.find_spec(module.__name__)
        assert spec is not None
        assert spec.loader is not None
        fresh = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(fresh)
        return fresh

    return reload


CHECK, CHECKED = b"123456789", 0xE3069283


def test_crc32c_without_packages(reloaded: Any) -> None:
    fresh = reloaded(checksum, google_crc32c=None)
    assert fresh.IMPLEMENTATION == "pure"
    assert fresh.crc32c(CHECK) == CHECKED


def test_googles_fallback_in_python_is_passed_over(reloaded: Any) -> None:
    slow = types.SimpleNamespace(implementation="python", extend=None)
    fresh = reloaded(checksum, google_crc32c=slow)
    assert fresh.IMPLEMENTATION == "pure"


def test_siphash_without_the_package(reloaded: Any) -> None:
    fresh = reloaded(siphash, siphash24=None)
    assert fresh.IMPLEMENTATION == "pure"
    assert fresh.hash_key(b"key") == 0x1BF94D5174027FCA
