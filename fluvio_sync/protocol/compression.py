# SPDX-License-Identifier: Apache-2.0
"""The codecs of a batch's records section.

Pure.  The standard library does gzip.  `cramjam` does framed snappy, the lz4 frame and zstd; it is imported when one of
them is first asked for.
"""

from __future__ import annotations

import enum
import zlib
from typing import TYPE_CHECKING, Any

from fluvio_sync.errors import ConfigError, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.protocol.primitives import Buffer

_GZIP_WBITS = 31
_LEAST_OUTPUT = 64 * 1024


class Codec(enum.IntEnum):
    """The codec's number in a batch's attributes.  A topic's setting numbers them differently."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


_LEVELS = {Codec.GZIP: (0, 9, 6), Codec.LZ4: (0, 12, 0), Codec.ZSTD: (1, 22, 1)}
"""Codec: lowest level, highest, default.  The defaults are the official client's."""


def _library(codec: Codec) -> Any:
    try:
        import cramjam  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"{codec.name.lower()} needs the package cramjam: pip install 'fluvio-sync[compression]'"
        ) from error
    return getattr(cramjam, codec.name.lower())


def compressor(codec: int, level: int | None = None) -> Callable[[bytes], bytes]:
    """Return the function that compresses a records section.

    `level`: gzip 0 to 9 (default 6), lz4 0 to 12 (default 0), zstd 1 to 22 (default 1); snappy has
    none.  ConfigError for a level out of range and where the library is missing.
    """
    codec = Codec(codec)
    level = _checked_level(codec, level)
    if codec is Codec.NONE:
        return bytes
    if codec is Codec.GZIP:
        return lambda data: _gzip(data, level)
    compress = _library(codec).compress
    if codec is Codec.SNAPPY:
        return lambda data: bytes(compress(data))
    return lambda data: bytes(compress(data, level=level))


def _checked_level(codec: Codec, level: int | None) -> int:
    if codec not in _LEVELS:
        if level is None:
            return 0
        raise ConfigError(f"the codec {codec.name.lower()} has no compression level")
    lowest, highest, default = _LEVELS[codec]
    if level is None:
        return default
    if not lowest <= level <= highest:
        raise ConfigError(
            f"the compression level of {codec.name.lower()} goes from {lowest} to {highest}, it cannot be {level}"
        )
    return level


def _gzip(data: bytes, level: int) -> bytes:
    # zlib's own gzip header has the time 0, so equal records make equal batches.
    deflate = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WBITS)
    return deflate.compress(data) + deflate.flush()


def decompress(codec: int, data: Buffer, max_size: int) -> bytes:
    """Return the decompressed `data`.

    ProtocolError if it is not in that format, is cut short, or would be larger than `max_size` bytes (no more than
    about twice that is ever held); ConfigError where the library is missing.
    """
    if codec == Codec.NONE:
        return bytes(data)
    if codec == Codec.GZIP:
        return _gunzip(data, max_size)
    try:
        known = Codec(codec)
    except ValueError:
        raise ProtocolError(f"unknown compression codec {codec}") from None
    return _decompress_framed(known, bytes(data), max_size)


def _gunzip(data: Buffer, max_size: int) -> bytes:
    inflate = zlib.decompressobj(_GZIP_WBITS)
    try:
        out = inflate.decompress(data, max_size + 1)
    except zlib.error as error:
        raise ProtocolError(f"not gzip: {error}") from error
    if len(out) > max_size:
        raise _too_large(Codec.GZIP, max_size)
    if not inflate.eof:
        raise ProtocolError("the gzip data is cut short")
    if inflate.unused_data:
        raise ProtocolError("bytes follow the gzip data")
    return out


def _decompress_framed(codec: Codec, data: bytes, max_size: int) -> bytes:
    library = _library(codec)
    # The library writes into a buffer of a given size and fails when that is full, which is the
    # only way to bound it; so the size is guessed, and the guess raised.
    size = min(max_size, max(_LEAST_OUTPUT, 4 * len(data)))
    while True:
        out = bytearray(size)
        try:
            used = int(library.decompress_into(data, out))
        except Exception as error:
            if "write whole buffer" not in str(error):
                raise ProtocolError(f"not {codec.name.lower()}: {error}") from error
        else:
            del out[used:]
            return bytes(out)
        if size >= max_size:
            raise _too_large(codec, max_size)
        size = min(max_size, 4 * size)


def _too_large(codec: Codec, max_size: int) -> ProtocolError:
    return ProtocolError(f"{codec.name.lower()} data decompresses to more than {max_size} bytes")
