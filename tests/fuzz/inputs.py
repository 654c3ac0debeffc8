# SPDX-License-Identifier: Apache-2.0
"""Bytes for decoders, drawn by hypothesis: pieces that mean something, and what a decoder accepts, damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.fuzz.seeds import Seed

PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"\0\1t",
            b"\0\5Topic",
            b"\0\3SPU",
            b"\0\x09Partition",
            b"\0\0\0\1",
            b"\0\0\0\0",
            b"\0",
            b"\1",
            b"\2",
            b"\0\1",
            b"\x17\x74",  # the error code of a SmartModule that failed
            b"\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"\x80\0\0\0",
        ]
    ),
)
"""Pieces that steer the decoders deeper than plain noise does: names that exist, small and absurd counts."""

BODIES = st.lists(PIECES, max_size=12).map(b"".join)
"""Bodies of requests and responses, made of them."""

_EDITS = st.lists(
    st.tuples(st.integers(-64, 2**16), PIECES | st.binary(min_size=1, max_size=1), st.booleans()), max_size=4
)


def damaged(known: list[Seed]) -> st.SearchStrategy[Seed]:
    """Return what a decoder accepts, with up to four pieces over or between its bytes."""

    def edited(seed: Seed, edits: list[tuple[int, bytes, bool]]) -> Seed:
        data, number = seed
        for place, piece, over in edits:
            at = place % (len(data) + 1)
            data = data[:at] + piece + data[at + (len(piece) if over else 0) :]
        return data, number

    return st.builds(edited, st.sampled_from(known), _EDITS)
