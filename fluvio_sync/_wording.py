# SPDX-License-Identifier: Apache-2.0
"""How values and numbers stand in messages for people.

Pure: no socket, thread, clock, randomness or log; any thread.
"""

from __future__ import annotations


def shown(value: object) -> str:
    """Return `value` as an error message shows it: its repr, shortened."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def counted(number: int, thing: str) -> str:
    """Return "1 record", "2 records"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
