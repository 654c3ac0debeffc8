# SPDX-License-Identifier: Apache-2.0
"""Texts for people: values, numbers and guesses in messages.

Pure: no socket, thread, clock, randomness or log; any thread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# What stands before the last "@" of a text, and before the "@" in words of a message, each without the scheme of a URL.
_USER = re.compile(r"""(['"]?(?:[A-Za-z][A-Za-z0-9+.-]*://)?).*@""", re.DOTALL)
_USERS = re.compile(r"""((?:[A-Za-z][A-Za-z0-9+.-]*://)?)[^\s'"]*@""")


def shown(value: object) -> str:
    """Return `value` as an error message shows it: its repr, without what stands before an "@", shortened.

    Addresses may have a password there, by mistake: those of other systems do.
    """
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return f"<{type(value).__name__}>"
    text = _USER.sub(r"\1***@", text, count=1)
    return text if len(text) <= 80 else text[:77] + "..."


def without_users(message: str) -> str:
    """Return a message without what stands before an "@" in its words; see `shown`."""
    return _USERS.sub(r"\1***@", message)


def counted(number: int, thing: str) -> str:
    """Return "1 record", "2 records"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def alike(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that a caller may have meant: those that end with it, as a word, else the nearest."""
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    names = sorted(known)
    return [one for one in names if one.endswith(f"_{name}")] or get_close_matches(name, names, n=1)


def did_you_mean(names: Sequence[str]) -> str:
    """Return "did you mean 'a', 'b' or 'c'?"."""
    *others, last = map(repr, names)
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"


def sentence(text: str) -> str:
    """Return a text with a full stop behind it, unless it ends as a question."""
    return text if text.endswith("?") else f"{text}."
