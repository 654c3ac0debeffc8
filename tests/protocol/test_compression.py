# SPDX-License-Identifier: Apache-2.0
"""The codecs: round trips, levels, bombs, a missing library."""

from __future__ import annotations

import builtins
import contextlib
import gzip
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluvio_sync.errors import ConfigError, ProtocolError
from fluvio_sync.protocol.compression import Codec, compressor, decompress

COMPRESSING = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]
MAGIC = {
    Codec.GZIP: b"\x1f\x8b\x08",
    Codec.SNAPPY: b"\xff\x06\x00\x00sNaPpY",
    Codec.LZ4: b"\x04\x22\x4d\x18",
    Codec.ZSTD: b"\x28\xb5\x2f\xfd",
}
LONG = b"".join(b"record %d; " % (i * i % 1009) for i in range(30_000))

codecs = st.sampled_from(COMPRESSING)
payloads = st.one_of(st.binary(max_size=200), st.sampled_from([LONG, bytes(65536), bytes(65537), bytes(131073)]))


@given(codecs, payloads)
def test_round_trip(codec: Codec, data: bytes) -> None:
    compressed = compressor(codec)(data)
    # The snappy library makes nothing of nothing; a records section is never empty.
    assert compressed.startswith(MAGIC[codec]) or (codec is Codec.SNAPPY and not data)
    assert decompress(codec, memoryview(compressed), len(data)) == data


def test_no_codec() -> None:
    assert compressor(Codec.NONE)(b"abc") == b"abc"
    assert decompress(Codec.NONE, memoryview(b"abc"), 0) == b"abc"


@pytest.mark.parametrize("codec", COMPRESSING)
def test_it_compresses(codec: Codec) -> None:
    assert len(compressor(codec)(LONG)) < len(LONG) / 2


def test_gzip_has_no_time_in_it() -> None:
    assert compressor(Codec.GZIP)(LONG)[4:8] == bytes(4)
    assert gzip.decompress(compressor(Codec.GZIP)(LONG)) == LONG


@pytest.mark.parametrize(("codec", "levels"), [(Codec.GZIP, (0, 1, 9)), (Codec.LZ4, (0, 12)), (Codec.ZSTD, (1, 22))])
def test_levels(codec: Codec, levels: tuple[int, ...]) -> None:
    sizes = []
    for level in levels:
        compressed = compressor(codec, level)(LONG)
        assert decompress(codec, compressed, len(LONG)) == LONG
        sizes.append(len(compressed))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    for level in (levels[0] - 1, levels[-1] + 1):
        with pytest.raises(ConfigError, match=f"goes from {levels[0]} to {levels[-1]}"):
            compressor(codec, level)


def test_default_levels_are_those_of_the_official_client() -> None:
    assert compressor(Codec.GZIP)(LONG) == compressor(Codec.GZIP, 6)(LONG)
    assert compressor(Codec.ZSTD)(LONG) == compressor(Codec.ZSTD, 1)(LONG)
    assert compressor(Codec.LZ4)(LONG) == compressor(Codec.LZ4, 0)(LONG) != compressor(Codec.LZ4, 12)(LONG)


@pytest.mark.parametrize("codec", [Codec.SNAPPY, Codec.NONE])
def test_a_codec_without_levels(codec: Codec) -> None:
    with pytest.raises(ConfigError, match="no compression level"):
        compressor(codec, 1)


@pytest.mark.parametrize("codec", [-1, 5, 6, 7])
def test_an_unknown_codec(codec: int) -> None:
    with pytest.raises(ProtocolError, match=f"unknown compression codec {codec}"):
        decompress(codec, b"abc", 100)
    with pytest.raises(ValueError, match="is not a valid Codec"):
        compressor(codec)


@pytest.mark.parametrize("codec", COMPRESSING)
def test_data_of_another_format(codec: Codec) -> None:
    for other in COMPRESSING:
        if other is not codec:
            with pytest.raises(ProtocolError, match=codec.name.lower()):
                decompress(codec, compressor(other)(LONG), len(LONG))


@pytest.mark.parametrize("codec", COMPRESSING)
def test_data_cut_short(codec: Codec) -> None:
    compressed = compressor(codec)(b"some text, some text" * 3)
    for length in range(len(compressed)):
        try:
            out = decompress(codec, compressed[:length], 1000)
        except ProtocolError:
            continue
        # Framed snappy has no end mark, so a cut between its chunks shows only as missing records.
        assert codec is Codec.SNAPPY
        assert out == b""


def test_bytes_behind_gzip() -> None:
    with pytest.raises(ProtocolError, match="bytes follow"):
        decompress(Codec.GZIP, compressor(Codec.GZIP)(b"x") + b"y", 100)


@pytest.mark.parametrize("codec", COMPRESSING)
def test_a_bomb_is_bounded(codec: Codec) -> None:
    size, limit = 64 * 1024 * 1024, 1024 * 1024
    bomb = compressor(codec)(bytes(size))
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=f"^{codec.name.lower()} data .* more than {limit} bytes"):
            decompress(codec, bomb, limit)
        assert tracemalloc.get_traced_memory()[1] < 3 * limit + len(bomb)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", COMPRESSING)
def test_the_limit_is_exact(codec: Codec) -> None:
    compressed = compressor(codec)(LONG)
    assert decompress(codec, compressed, len(LONG)) == LONG
    for limit in (len(LONG) - 1, 65536, 1, 0):
        with pytest.raises(ProtocolError, match=f"more than {limit} bytes"):
            decompress(codec, compressed, limit)


@given(codecs, st.binary(max_size=60), st.integers(0, 2**32))
def test_garbage(codec: Codec, data: bytes, seed: int) -> None:
    compressed = bytearray(compressor(codec)(b"compress me " * 20))
    compressed[seed % len(compressed)] ^= 1 + seed % 255
    for garbage in (data, MAGIC[codec] + data, bytes(compressed)):
        with contextlib.suppress(ProtocolError):
            assert len(decompress(codec, garbage, 10_000)) <= 10_000


@pytest.mark.parametrize("codec", [Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_a_missing_library_names_the_extra_to_install(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def fake_import(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "cramjam":
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", fake_import)
    hint = f"{codec.name.lower()} needs .*pip install 'fluvio-sync\\[compression\\]'"
    with pytest.raises(ConfigError, match=hint):
        compressor(codec)
    with pytest.raises(ConfigError, match=hint):
        decompress(codec, b"", 10)
    assert decompress(Codec.GZIP, compressor(Codec.GZIP)(b"x"), 10) == b"x"
