# SPDX-License-Identifier: Apache-2.0
"""SipHash-2-4, the hash of keys in the default partitioner.

Pure.  The C package `siphash24` does the work if it is installed (0.5 us a key); otherwise the
functions here do (some 10 us).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MASK = 0xFFFFFFFFFFFFFFFF
_ZERO_KEY = bytes(16)
_LENGTH = struct.Struct("<Q")

_State = tuple[int, int, int, int]


def _rounds(state: _State, count: int) -> _State:
    v0, v1, v2, v3 = state
    for _ in range(count):
        v0 = (v0 + v1) & _MASK
        v1 = ((v1 << 13 | v1 >> 51) & _MASK) ^ v0
        v0 = (v0 << 32 | v0 >> 32) & _MASK
        v2 = (v2 + v3) & _MASK
        v3 = ((v3 << 16 | v3 >> 48) & _MASK) ^ v2
        v0 = (v0 + v3) & _MASK
        v3 = ((v3 << 21 | v3 >> 43) & _MASK) ^ v0
        v2 = (v2 + v1) & _MASK
        v1 = ((v1 << 17 | v1 >> 47) & _MASK) ^ v2
        v2 = (v2 << 32 | v2 >> 32) & _MASK
    return v0, v1, v2, v3


def siphash24_pure(key16: bytes, message: bytes) -> int:
    """Return the SipHash-2-4 of `message` under a key of 16 bytes, as an unsigned 64-bit number."""
    k0, k1 = struct.unpack("<QQ", key16)
    state = (
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    )
    size = len(message)
    padded = message + bytes(7 - size % 8) + bytes((size & 0xFF,))
    for (word,) in struct.iter_unpack("<Q", padded):
        v0, v1, v2, v3 = _rounds((state[0], state[1], state[2], state[3] ^ word), 2)
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = _rounds((state[0], state[1], state[2] ^ 0xFF, state[3]), 4)
    return v0 ^ v1 ^ v2 ^ v3


def _choose() -> tuple[str, Callable[[bytes, bytes], int]]:
    try:
        import siphash24 as package  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    except ImportError:
        return "pure", siphash24_pure
    hasher = package.siphash24

    def with_package(key16: bytes, message: bytes) -> int:
        # The package's number is signed, Fluvio's is not; their remainders differ.
        return int(hasher(message, key=key16).intdigest()) & _MASK

    return "siphash24", with_package


IMPLEMENTATION, siphash24 = _choose()
"""The implementation of the hash, `"siphash24"` or `"pure"`, and the function: as `siphash24_pure`."""


def hash_key(key: bytes) -> int:
    """Return the hash of a record's key, of which the partition is the remainder.

    The SipHash key is zero.  The message is the key behind its length as 8 bytes, little endian:
    that is how Rust hashes a slice of bytes on a 64-bit machine.
    """
    return siphash24(_ZERO_KEY, _LENGTH.pack(len(key)) + key)
