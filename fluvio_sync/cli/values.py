# SPDX-License-Identifier: Apache-2.0
"""The values of options: durations, times, numbers, names and addresses.

Each reader is an argparse `type`: a value that cannot be used is rejected while the command line is read, with a text
that speaks of the option and not of the setting behind it.
"""

from __future__ import annotations

import argparse
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fluvio_sync._settings.endpoint import parse_endpoint
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NAMES = {
    1e-9: "ns nsec nanos",
    1e-6: "us µs usec micros",
    1e-3: "ms msec millis",
    1.0: "s sec secs second seconds",
    60.0: "m min mins minute minutes",
    3600.0: "h hr hrs hour hours",
    86400.0: "d day days",
    604800.0: "w week weeks",
}
_UNITS = {name: length for length, names in _NAMES.items() for name in names.split()}
_TERM = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµ]*)\s*")


def duration(text: str) -> float:
    """Return seconds, from a text as Fluvio's own command line takes it (`150ms`, `20s`, `1m 30s`) or plain seconds."""
    terms = _TERM.findall(text)
    is_whole = bool(terms) and "".join(text.split()) == "".join(number + unit for number, unit in terms)
    if not is_whole or (len(terms) > 1 and not all(unit for _, unit in terms)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 5ms, 1.5s, '1m 30s' or 0.005")
    for _, unit in terms:
        if unit and unit not in _UNITS:
            units = "ns, us, ms, s, m, h, d and w"
            raise argparse.ArgumentTypeError(f"{text!r} is not a duration: {unit!r} is no unit; they are {units}")
    return sum(float(number) * (_UNITS[unit] if unit else 1.0) for number, unit in terms)


def positive_duration(text: str) -> float:
    """Return seconds, more than 0."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is too short: it has to be more than 0")
    return seconds


def moment(text: str, now: Callable[[], float] = time.time) -> int:
    """Return milliseconds since the epoch, from a time of ISO 8601, local without a time zone, or a duration ago."""
    try:
        return round((now() - positive_duration(text)) * 1000)
    except argparse.ArgumentTypeError:
        pass
    try:
        return round(datetime.fromisoformat(text.removesuffix("Z") + "+00:00" * text.endswith("Z")).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-11-30T12:00 nor a duration such as 10m"
        ) from None


def whole(minimum: int, maximum: int, unit: str = "a number") -> Callable[[str], int]:
    """Return a reader of whole numbers; `minimum` and `maximum` are themselves allowed."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and minimum <= int(text[:20]) <= maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is not {unit} from {minimum} to {maximum}")
        return int(text)

    return read


def named(names: Sequence[str], read: Callable[[str], object]) -> dict[str, Any]:
    """Return the argparse settings of an option whose value is one of `names`.

    `read`: the library's reader; it takes every spelling that Fluvio's own command line takes, and raises `ConfigError`
    for other texts.  For each spelling the option's value is the one of `names` that means the same.
    """

    def name_of(text: str) -> str:
        try:
            meant = read(text)
        except ConfigError:
            return text  # argparse says that it is none of the choices
        return next(name for name in names if read(name) == meant)

    return {"type": name_of, "choices": names, "metavar": "|".join(names)}


def endpoint(text: str) -> str:
    """Return the address of an SC (Streaming Controller)."""
    try:
        return str(parse_endpoint(text))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
