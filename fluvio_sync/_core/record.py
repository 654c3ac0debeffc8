# SPDX-License-Identifier: Apache-2.0
"""What applications pass as a record, as bytes and milliseconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

_FIELD_NAMES = re.compile(":[^:]*:")  # in the format of a buffer of structures (PEP 3118)
_NOT_DATA = frozenset("OP&uw")  # the formats of objects, pointers and wide characters
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_bytes(part: str, data: Any, serializer: Any) -> bytes:
    """Return a record's part, "key" or "value", as bytes.

    Raises `TypeError`, `ValueError` for a text that is no UTF-8, and any error of the serializer.
    """
    if serializer is not None:
        data = serializer(data)
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return _as_utf8(part, data)
    if isinstance(data, (bytearray, memoryview)):
        return bytes(data)  # a copy: the caller may change the buffer after send() returned
    try:
        view = memoryview(data)
    except TypeError:
        raise _not_bytes(part, data) from None
    # A number has no bytes but those of this machine's memory, and an object only an address in it.  numpy's dates are
    # numbers that export bytes; all its scalars have a shape, which is empty.
    if (
        not view.ndim
        or getattr(data, "shape", None) == ()
        or not _NOT_DATA.isdisjoint(_FIELD_NAMES.sub("", view.format))
    ):
        raise _not_bytes(part, data)
    return view.tobytes()


def _as_utf8(part: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        position = error.start
    # Not raised while that error is handled: it holds the whole text, and would be the context of this one.
    raise ValueError(
        f"a record's {part} cannot be encoded as UTF-8: its character {position}, counted from 0, is one of the "
        "surrogates (U+D800 to U+DFFF), halves of characters; if it stands for a byte that could not be decoded, send "
        "bytes: text.encode(errors='surrogateescape')"
    )


def _not_bytes(part: str, data: Any) -> TypeError:
    return TypeError(
        f"a record's {part} is bytes-like or str, not {type(data).__name__}; "
        f"set {part}_serializer to send other objects"
    )


def refuse_single(records: object) -> None:
    """Raise `TypeError` for an object that is iterable, but into no records."""
    if isinstance(records, (str, bytes, bytearray, memoryview)):
        raise TypeError(
            f"send_all() takes an iterable of records, and this is one {type(records).__name__}: pass it to send(), "
            "or in a list"
        )
    if isinstance(records, Mapping):
        raise TypeError(
            f"send_all() takes values or (key, value) pairs, and iterating over a {type(records).__name__} gives its "
            "keys alone: pass its items()"
        )


def to_milliseconds(timestamp: object) -> int:
    """Return a timestamp as milliseconds since the epoch; raises `TypeError`, `ValueError`."""
    if isinstance(timestamp, datetime):
        if timestamp.tzinfo is None:
            raise ValueError("a timestamp without a time zone is ambiguous; use datetime.now(timezone.utc)")
        timestamp = (timestamp - _EPOCH) // timedelta(milliseconds=1)
    elif isinstance(timestamp, bool) or not isinstance(timestamp, int):
        raise TypeError(
            f"a timestamp is an int (milliseconds since the epoch) or an aware datetime, not {type(timestamp).__name__}"
        )
    if not 0 < timestamp < 1 << 63:
        bound = "above 0" if timestamp <= 0 else "below 2**63"
        raise ValueError(f"a timestamp counts milliseconds since 1970, so it is {bound}; {timestamp} is not")
    return timestamp
