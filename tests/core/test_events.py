# SPDX-License-Identifier: Apache-2.0
"""The table of moves, and events as values: a trace of either can be read."""

from __future__ import annotations

from typing import get_args

from fluvio_sync._core.events import (
    Connected,
    Disconnected,
    Event,
    LogRead,
    MetadataChanged,
    OffsetsReplied,
    Progressed,
    Replied,
    Written,
)
from fluvio_sync._core.looking import Look, Looking
from fluvio_sync._core.metadata import MetadataDiff
from fluvio_sync._core.partition import BackingOff, Idle, Lingering, State, Waiting
from fluvio_sync._core.pipeline import AwaitingCommit, InFlight, Queued
from fluvio_sync._core.transitions import TRANSITIONS, Move
from fluvio_sync.errors import ConnectError
from fluvio_sync.protocol.error_code import ErrorCode
from fluvio_sync.protocol.metadata import SpuResolution
from tests.support.rig import Rig, asks, replicated_to, writes
from tests.support.servers import response, spu


def test_every_state_can_be_reached_and_left_and_every_move_is_made_somewhere() -> None:
    states = set(State.__subclasses__())
    assert states == {Idle, Lingering, Waiting, Queued, Looking, InFlight, BackingOff, AwaitingCommit}
    assert set(TRANSITIONS) == {target for moves in TRANSITIONS.values() for target in moves.values()} == states
    assert all(set(moves.values()) - {state} for state, moves in TRANSITIONS.items())
    assert {move for moves in TRANSITIONS.values() for move in moves} == set(Move)


def test_a_move_leads_to_one_state_wherever_it_begins() -> None:
    targets = {(move, target) for moves in TRANSITIONS.values() for move, target in moves.items()}
    assert len(targets) == len(Move)


def test_a_queue_goes_through_every_state_and_comes_back() -> None:
    """Read-committed records that linger; the SPU rejects them once, and then sees them replicated late."""
    rig = Rig(isolation="read-committed", linger=1.0)
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    rig.send()
    rig.run(1.0)
    rig.push("SPU", [spu(5001)])
    (request,) = writes(rig.connect())
    rig.answer(request, 6)
    (request,) = writes(rig.run(1.0))
    (wait,) = asks(rig.answer(request, 7, base=40))
    rig.watermark(wait, 41)
    passed = [(before.__name__, move.name, after.__name__) for before, move, after in rig.dispatcher.moves]
    assert passed == [
        ("Idle", "GATHER", "Lingering"),
        ("Lingering", "NO_ROUTE", "Waiting"),
        ("Waiting", "ROUTE", "Queued"),
        ("Queued", "SEND", "InFlight"),
        ("InFlight", "BACK_OFF", "BackingOff"),
        ("BackingOff", "ROUTE", "Queued"),
        ("Queued", "SEND", "InFlight"),
        ("InFlight", "AWAIT_COMMIT", "AwaitingCommit"),
        ("AwaitingCommit", "EMPTY", "Idle"),
    ]


def test_a_state_has_the_data_that_has_a_meaning_in_it() -> None:
    rig = Rig(isolation="read-committed", linger=1.0)
    rig.send()
    rig.step()
    state = rig.queue().state
    assert isinstance(state, Lingering)
    assert state.until == rig.clock.now + 1.0
    rig.run(1.0)
    state = rig.queue().state
    assert isinstance(state, Queued)
    assert [state.pipeline] == rig.connected()
    (request,) = writes(rig.connect())
    state = rig.queue().state
    assert isinstance(state, InFlight)
    assert (state.request, state.batches) == (request, rig.queue().unresolved)
    (wait,) = asks(rig.answer(request, 7, base=40))
    state = rig.queue().state
    assert isinstance(state, AwaitingCommit)
    assert (state.wait, state.batches) == (wait, rig.queue().unresolved)
    rig.lose(request.pipeline, ConnectError("the connection broke"))
    state = rig.queue().state
    assert isinstance(state, BackingOff)
    assert state.until > rig.clock.now
    assert not rig.queue().in_flight
    rig.push("SPU", [spu(5001, SpuResolution.OFFLINE)])
    state = rig.queue().state
    assert isinstance(state, Waiting)
    assert state.since == rig.clock.now


def test_events_print_themselves() -> None:
    rig = Rig(2, isolation="read-committed")
    rig.send()
    rig.send(to=1)
    (request,) = writes(rig.connect())
    (wait,) = asks(rig.answer(request, 7, 0, base=40))
    pipeline = request.pipeline
    assert [
        repr(event) for event in (Connected(pipeline, 2), Written(request), OffsetsReplied(wait, replicated_to(41)))
    ] == [
        "Connected(generation=2, pipeline=SPU 5001 (read-committed))",
        "Written(request=<request to SPU 5001 (read-committed) of t-0: 1, t-1: 1>)",
        f"OffsetsReplied(offsets={replicated_to(41)!r}, question=<commit wait of t-0 from offset 40>)",
    ]
    progressed = Progressed(pipeline, 2, 4096)
    assert repr(progressed) == "Progressed(arrived=4096, generation=2, pipeline=SPU 5001 (read-committed))"
    lost = Disconnected(pipeline, 2, ConnectError("it closed the connection"))
    assert "it closed the connection" in repr(lost)
    replied = Replied(request, response(request, 6))
    assert repr(request) in repr(replied)
    assert "ErrorCode(code=6)" in repr(replied)
    read = LogRead(Look(rig.queue(), pipeline, [], None, 0.0, sent_to=()), [], 0, ErrorCode.NONE)
    assert "look=<look for 0 batches of t-0 from offset None>" in repr(read)
    changed = MetadataChanged(MetadataDiff(partitions={("t", 0)}))
    assert "partitions={('t', 0)}" in repr(changed)
    events = (
        Connected(pipeline, 2),
        Written(request),
        OffsetsReplied(wait, replicated_to(41)),
        progressed,
        lost,
        replied,
        read,
        changed,
    )
    assert {type(event) for event in events} == set(get_args(Event))
    assert not any(" at 0x" in repr(event) for event in events)
