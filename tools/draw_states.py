# SPDX-License-Identifier: Apache-2.0
"""Draw the delivery state machine from its table: python tools/draw_states.py [--write] (into docs/delivery.md)."""

from __future__ import annotations

import sys
from pathlib import Path

from fluvio_sync._dispatch import TRANSITIONS, Event
from fluvio_sync._lane import LaneState

DOCUMENT = Path(__file__).parent.parent / "docs" / "delivery.md"
BEGIN, END = "<!-- drawn from the table -->\n", "<!-- end of the drawing -->\n"


def drawing() -> str:
    """Return the table of moves as a Mermaid diagram, and what its words mean."""
    lines = ["```mermaid", "stateDiagram-v2"]
    # Where a move leads depends on the event alone, so it is drawn once, from all states that have it.
    for event in Event:
        starts = [state for state, moves in TRANSITIONS.items() if event in moves]
        target = TRANSITIONS[starts[0]][event]
        if len(starts) == len(TRANSITIONS):
            lines.append(f"    any --> {target.name}: {event.name}")
        else:
            lines += [f"    {start.name} --> {target.name}: {event.name}" for start in starts]
    lines += ["```", "", "| state | the lane has |", "|---|---|"]
    lines += [f"| {state.name} | {state.value} |" for state in LaneState]
    lines += ["", "| event | it means |", "|---|---|"]
    lines += [f"| {event.name} | {event.value} |" for event in Event]
    return "\n".join(lines) + "\n"


def document() -> str:
    """Return the page with its drawing brought up to date."""
    text = DOCUMENT.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + drawing() + END + after


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(document())
    else:
        sys.stdout.write(drawing())
