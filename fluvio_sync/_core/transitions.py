# SPDX-License-Identifier: Apache-2.0
"""The table of the moves of a partition queue; `tools/draw_states.py` draws it into docs/delivery.md."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from fluvio_sync._core.looking import Looking
from fluvio_sync._core.partition import BackingOff, Idle, Lingering, Waiting
from fluvio_sync._core.pipeline import AwaitingCommit, InFlight, Queued

if TYPE_CHECKING:
    from fluvio_sync._core.partition import State


class Move(enum.Enum):
    """A move of a partition queue from one state to another."""

    GATHER = "its only batch is open and lingers"
    ROUTE = "a batch is ready and the leader is known"
    NO_ROUTE = "a batch is ready and there is no leader"
    LOOK = "its batches may have been written, or the connection is new: look into the log"
    SEND = "its batches go into a request"
    AWAIT_COMMIT = "the leader stored them but did not see them replicated in time"
    BACK_OFF = "an attempt failed and may be repeated"
    EMPTY = "it has no unresolved batch"

    # Enum's own is written in Python, and the table is looked into several times a record.
    __hash__ = object.__hash__


_READY: dict[Move, type[State]] = {
    Move.GATHER: Lingering,
    Move.ROUTE: Queued,
    Move.NO_ROUTE: Waiting,
    Move.EMPTY: Idle,
}

TRANSITIONS: dict[type[State], dict[Move, type[State]]] = {
    Idle: _READY,
    Lingering: _READY,
    Waiting: _READY,
    BackingOff: _READY,
    Queued: _READY | {Move.SEND: InFlight, Move.LOOK: Looking, Move.BACK_OFF: BackingOff},
    Looking: _READY | {Move.BACK_OFF: BackingOff, Move.AWAIT_COMMIT: AwaitingCommit},
    InFlight: _READY | {Move.BACK_OFF: BackingOff, Move.AWAIT_COMMIT: AwaitingCommit},
    AwaitingCommit: _READY | {Move.BACK_OFF: BackingOff},
}
