# SPDX-License-Identifier: Apache-2.0
"""CRC-32C (Castagnoli), the checksum of a batch.

Pure.  `google_crc32c`, which is in C, does the work where it is installed (the extra `fast`).  Without it, tables in
Python do; they take a thousand times as long: some 40 us a KiB.
"""

from __future__ import annotations

import sys
from array import array
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    from fluvio_sync.protocol.primitives import Buffer

    class Checksum(Protocol):
        """A function that computes a checksum."""

        def __call__(self, data: Buffer, value: int = 0) -> int: ...  # noqa: D102


_POLYNOMIAL = 0x82F63B78
_ALL_ONES = 0xFFFFFFFF


def _byte_table() -> list[int]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)  # noqa: PLW2901
        table.append(register)
    return table


_BYTE = _byte_table()


def _advance(register: int) -> int:
    return _BYTE[register & 0xFF] ^ (register >> 8)


@cache
def _word_tables() -> tuple[array[int], array[int]]:
    """Return where 16 bits get to after 16 and after 32 more: two look-ups then take four bytes.

    Made at the first use, because it takes 20 ms and 512 KiB.
    """
    after_16 = array("I", [_advance(_advance(bits)) for bits in range(1 << 16)])
    after_32 = array("I", [after_16[x & 0xFFFF] ^ (x >> 16) for x in after_16])
    return after_16, after_32


def crc32c_pure(data: Buffer, value: int = 0) -> int:
    """Return the CRC-32C of `data`, continued from `value`, by tables in Python."""
    after_16, after_32 = _word_tables()
    whole = len(data) & ~3
    words = array("I")
    words.frombytes(memoryview(data)[:whole])
    if sys.byteorder == "big":
        words.byteswap()
    register = value ^ _ALL_ONES
    for word in words:
        register ^= word
        register = after_32[register & 0xFFFF] ^ after_16[register >> 16]
    for byte in data[whole:]:
        register = _BYTE[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ _ALL_ONES


def _choose() -> tuple[str, Checksum]:
    try:
        import google_crc32c  # noqa: PLC0415
    except ImportError:
        return "pure", crc32c_pure
    if google_crc32c.implementation != "c":  # its fallback in Python is slower than the one here
        return "pure", crc32c_pure
    extend = google_crc32c.extend

    def with_google(data: Buffer, value: int = 0) -> int:
        return int(extend(value, data if type(data) is bytes else bytes(data)))

    return "google-crc32c", with_google


IMPLEMENTATION, crc32c = _choose()
"""The implementation of the checksum, `"google-crc32c"` or `"pure"`, and the function: `crc32c(data, value=0)` returns
the CRC-32C of `data`, continued from `value`, the one of the bytes before it."""
