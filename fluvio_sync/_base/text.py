# SPDX-License-Identifier: Apache-2.0
"""Texts for people: values, numbers and guesses in messages.

Pure: no socket, thread, clock, randomness or log; any thread.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


LONGEST_LINE = 4000
"""Characters of a whole line for a person, which may show several texts."""

# Not printable by Python's rule, and harmless: spaces of French and of East Asia, and the joiners of emoji and letters.
_KEPT = frozenset("\xa0\u200c\u200d\u202f\u3000")
# What stands before the last "@" of a text, and before the "@" in words of a message, each without the scheme of a URL.
_USER = r"""(?s)(['"]?(?:[A-Za-z][A-Za-z0-9+.-]*://)?).*@"""
_USERS = r"""((?:[A-Za-z][A-Za-z0-9+.-]*://)?)[^\s'"]*@"""


def printable(text: str, limit: int = 500) -> str:
    """Return a text from elsewhere, such as a server's, so that a terminal or a log shows it and does nothing else.

    Line breaks and other control characters, marks that turn the direction of writing, and lone surrogates are escaped
    as `repr` does; the letters of all languages stay.  What is longer than `limit` characters ends in "...".  A text
    that is returned stays as it is when it is given again.
    """
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join([one if one.isprintable() or one in _KEPT else repr(one)[1:-1] for one in text])
    return _cut(text, limit)


def shown(value: object, limit: int = 80) -> str:
    """Return `value` as an error message shows it: its repr, of at most `limit` characters.

    What stands before an "@" is left out: addresses may have a password there, by mistake, as those of other systems.
    """
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return f"<{type(value).__name__}>"
    return _cut(re.sub(_USER, r"\1***@", text, count=1), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def without_users(message: str) -> str:
    """Return a message without what stands before an "@" in its words; see `shown`."""
    return re.sub(_USERS, r"\1***@", message)


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
