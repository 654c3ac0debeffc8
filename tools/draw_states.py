# SPDX-License-Identifier: Apache-2.0
"""Draw the delivery state machine from its table: docs/states.svg and the tables of docs/delivery.md are written."""

from __future__ import annotations

from pathlib import Path

from fluvio_sync._core.looking import Looking
from fluvio_sync._core.partition import BackingOff, Idle, Lingering, Waiting
from fluvio_sync._core.pipeline import AwaitingCommit, InFlight, Queued
from fluvio_sync._core.transitions import TRANSITIONS, Move

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- made from the code -->\n", "<!-- end of the part that is made from the code -->\n"

ANY = "any state"
PLACES = {
    ANY: (62, 130),
    Lingering.__name__: (280, 25),
    Queued.__name__: (280, 95),
    Waiting.__name__: (280, 165),
    Idle.__name__: (280, 235),
    Looking.__name__: (495, 25),
    InFlight.__name__: (495, 95),
    BackingOff.__name__: (700, 200),
    AwaitingCommit.__name__: (880, 95),
}
"""The middle of each box."""

WIDTH, HEIGHT = 945, 260
HALF_WIDTH, HALF_HEIGHT = 54, 16  # of a box
LIFT = 9  # of a label over its arrow, if that is level: on a slope it stands in the middle of it

_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" \
font-family="sans-serif" font-size="12" text-anchor="middle">
<defs><marker id="head" viewBox="0 0 10 10" refX="10" refY="5" markerWidth="8" markerHeight="8" orient="auto">\
<path d="M0 0 10 5 0 10z" fill="#456"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>
"""


def moves() -> list[tuple[str, str, str]]:
    """Return from where to where each move leads; from `ANY` if it may come in every state."""
    found = []
    for move in Move:
        starts = [state for state, targets in TRANSITIONS.items() if move in targets]
        target = TRANSITIONS[starts[0]][move]  # which depends on the move alone
        names = [ANY] if len(starts) == len(TRANSITIONS) else [start.__name__ for start in starts]
        found += [(name, target.__name__, move.name) for name in names]
    return found


def picture() -> str:
    """Return the drawing as SVG."""
    arrows = [_arrow(*move) for move in moves()]
    return _HEAD + "\n".join([*arrows, *map(_box, PLACES)]) + "\n</svg>\n"


def _box(name: str) -> str:
    x, y = PLACES[name]
    dashes = ' stroke-dasharray="4"' if name == ANY else ""
    return (
        f'<rect x="{x - HALF_WIDTH}" y="{y - HALF_HEIGHT}" width="{2 * HALF_WIDTH}" height="{2 * HALF_HEIGHT}" rx="6" '
        f'fill="#eef" stroke="#456"{dashes}/><text x="{x}" y="{y + 4}" fill="#123">{name}</text>'
    )


def _arrow(start: str, end: str, label: str) -> str:
    (x1, y1), (x2, y2) = _border(start, end), _border(end, start)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2 - (LIFT if y1 == y2 else 0)
    half = 3.5 * len(label) + 2  # of the label's width
    return (
        f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="#456" marker-end="url(#head)"/>'
        f'<rect x="{x - half:.0f}" y="{y - 7:.0f}" width="{2 * half:.0f}" height="14" fill="#fff"/>'
        f'<text x="{x:.0f}" y="{y + 3:.0f}" font-size="10" fill="#123">{label}</text>'
    )


def _border(name: str, towards: str) -> tuple[float, float]:
    """Return where an arrow between two boxes meets the first one.

    Those of `ANY` fan out from the middle of its side; others lie on the line between the middles of the boxes.
    """
    (x, y), (other_x, other_y) = PLACES[name], PLACES[towards]
    if ANY in (name, towards):
        return x + (HALF_WIDTH if name == ANY else -HALF_WIDTH), y
    dx, dy = other_x - x, other_y - y
    share = min(HALF_WIDTH / abs(dx) if dx else 1.0, HALF_HEIGHT / abs(dy) if dy else 1.0)
    return x + dx * share, y + dy * share


def tables() -> str:
    """Return the meaning of the words of the drawing."""
    lines = ["| state | of the partition queue |", "|---|---|"]
    lines += [f"| {state.__name__} | {(state.__doc__ or '').splitlines()[0]} |" for state in TRANSITIONS]
    lines += ["", "| move | of the partition queue |", "|---|---|"]
    lines += [f"| {move.name} | {move.value} |" for move in Move]
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """Return the files that are made of the table, and their contents."""
    page = DOCS / "delivery.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return {DOCS / "states.svg": picture(), page: before + BEGIN + tables() + END + after}


if __name__ == "__main__":
    for path, content in files().items():
        path.write_text(content, encoding="utf-8")
