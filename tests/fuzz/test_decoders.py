# SPDX-License-Identifier: Apache-2.0
"""Every decoder makes a value or a ProtocolError of any bytes, in little time."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluvio_sync.protocol.message import Message
from tests.fuzz.decoders import BESIDE_READERS, DECODERS, beside_readers, messages, survives
from tests.fuzz.inputs import BODIES, damaged
from tests.fuzz.seeds import Seed, seeds
from tests.protocol.test_roundtrip import MESSAGES

LIMIT = 0.5
"""Seconds of the processor that a decoder may take for a few thousand bytes."""

SEEDS = seeds()
NUMBERS = st.integers(0, 255)


def test_every_function_that_takes_bytes_is_a_decoder_here() -> None:
    assert beside_readers() == set(BESIDE_READERS)


def test_every_message_is_read_back_and_written_in_the_round_trips() -> None:
    complete = {kind for kind in messages() if kind is not Message and not kind.__subclasses__()}
    assert complete - set(MESSAGES) == set()


def test_there_are_seeds_of_decoders_alone() -> None:
    assert set(SEEDS) <= set(DECODERS)


@pytest.mark.parametrize("name", DECODERS)
def test_any_bytes_make_a_value_or_a_protocol_error(name: str) -> None:
    drawn: st.SearchStrategy[Seed] = st.tuples(BODIES | st.binary(max_size=300), NUMBERS)
    if name in SEEDS:
        drawn |= damaged(SEEDS[name])

    @settings(max_examples=150 if name in SEEDS else 30, deadline=None)
    @given(drawn)
    def check(seed: Seed) -> None:
        gc.disable()  # what other tests left may take half a second to collect
        try:
            begun = time.thread_time()
            survives(name, *seed)
            assert time.thread_time() - begun < LIMIT
        finally:
            gc.enable()

    check()
