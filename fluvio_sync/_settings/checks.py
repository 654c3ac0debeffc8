# SPDX-License-Identifier: Apache-2.0
"""Checks of settings: durations, sizes, choices, names.

Pure, but for the warning of `milliseconds`: no socket, thread, clock, randomness or log; any thread.  Every check
returns the value in the form in which the package keeps it, or raises a `ConfigError` that names the setting, the value
and the allowed values.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from fluvio_sync._base.text import alike, did_you_mean, shown
from fluvio_sync._settings.milliseconds import warn_of_milliseconds
from fluvio_sync.errors import ConfigError

if TYPE_CHECKING:
    import enum
    from collections.abc import Iterable, Mapping

    _E = TypeVar("_E", bound=enum.Enum)
    _T = TypeVar("_T")

LONGEST = 1_000_000_000.0
"""The longest duration that is accepted, in seconds (31 years): waits far beyond overflow."""


@overload
def seconds(
    name: str,
    value: object,
    *,
    minimum: float = ...,
    maximum: float = ...,
    positive: bool = ...,
    optional: Literal[False] = ...,
) -> float: ...


@overload
def seconds(
    name: str,
    value: object,
    *,
    minimum: float = ...,
    maximum: float = ...,
    positive: bool = ...,
    optional: bool,
) -> float | None: ...


def seconds(
    name: str,
    value: object,
    *,
    minimum: float = 0.0,
    maximum: float = LONGEST,
    positive: bool = False,
    optional: bool = False,
) -> float | None:
    """Return a duration (`float`, `int` or `timedelta`) as seconds.

    * `minimum`, `maximum`: the bounds, themselves allowed.
    * `positive`: 0 is not allowed.
    * `optional`: `None` is allowed, and returned.

    bool, NaN, infinity and everything else raise `ConfigError`.  A number that looks like milliseconds is warned of.
    """
    if value is None and optional:
        return None
    duration = _as_float(value)
    if math.isnan(duration) or not minimum <= duration <= maximum or (positive and duration <= 0):
        lowest = "more than 0" if positive else f"at least {minimum:g}"
        or_none = ", or None" if optional else ""
        raise ConfigError(
            f"{name} cannot be {shown(value)}: it is seconds, as a float, int or timedelta, "
            f"{lowest} and at most {maximum:.10g}{or_none}"
        )
    if not isinstance(value, timedelta):
        warn_of_milliseconds(name, duration)
    return duration + 0.0  # which makes 0.0 of -0.0


def _as_float(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def number(name: str, value: object, *, minimum: float) -> float:
    """Return a finite `float` or `int` of at least `minimum` as a float; `ConfigError` otherwise."""
    found = math.nan if isinstance(value, timedelta) else _as_float(value)
    if not math.isfinite(found) or found < minimum:
        raise ConfigError(f"{name} cannot be {shown(value)}: it is a finite number of at least {minimum:g}")
    return found


def flag(name: str, value: object) -> bool:
    """Return `value` if it is a bool; `ConfigError` otherwise (the string "false" is not True)."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} cannot be {shown(value)}: it is True or False")
    return value


def size(name: str, value: object, minimum: int = 1, maximum: int | None = None) -> int:
    """Return a whole number (of bytes, partitions, retries).

    * `minimum`, `maximum`: the bounds, themselves allowed.

    bool and everything that is not an `int` raise `ConfigError`.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < minimum
        or (maximum is not None and value > maximum)
    ):
        highest = "" if maximum is None else f" and at most {maximum}"
        raise ConfigError(f"{name} cannot be {shown(value)}: it is an int of at least {minimum}{highest}")
    return int(value)


def spelling(text: str) -> str:
    """Return the common form of "at-least-once", "at_least_once" and "AtLeastOnce"."""
    return text.replace("-", "").replace("_", "").lower()


def choice(enum_type: type[_E], name: str, value: object, aliases: Mapping[str, _E] | None = None) -> _E:
    """Return the member of `enum_type` that `value` is or spells.

    The members' values are strings; capitals, "-" and "_" make no difference, so CamelCase and snake_case are accepted
    as well.

    * `aliases`: further spellings, in lower case without "-" and "_".
    """
    if isinstance(value, enum_type):
        return value
    if isinstance(value, str):
        members = {spelling(str(member.value)): member for member in enum_type}
        found = (members | dict(aliases or {})).get(spelling(value))
        if found is not None:
            return found
    allowed = ", ".join(repr(member.value) for member in enum_type)
    raise ConfigError(f"{name} cannot be {shown(value)}: it is one of {allowed} or of {enum_type.__name__}")


def unknown_setting(
    name: str, known: Iterable[str], elsewhere: Mapping[str, Iterable[str]] | None = None
) -> ConfigError:
    """Return the error for a setting that does not exist: it names the nearest one, or all.

    * `elsewhere`: settings that callers may look for here, by the thing that has them.
    """
    names = sorted(known)
    homes = [home for home, theirs in (elsewhere or {}).items() if name in theirs]
    found = alike(name.lower(), names)
    hints = [f"it is a setting of {home}" for home in homes]
    if found and (not homes or found[0].endswith(f"_{name}")):
        hints.append(did_you_mean(found))
    hint = ", or ".join(hints) or f"the settings are {', '.join(names)}"
    return ConfigError(f"unknown setting {shown(name)}: {hint}")


def refuse_unknown(cls: type[_T], elsewhere: Mapping[str, Iterable[str]] | None = None) -> type[_T]:
    """Have a dataclass of settings raise `ConfigError`, as `unknown_setting`, for one that it does not have."""
    plain = cls.__init__
    known = [setting.name for setting in dataclasses.fields(cls)]  # type: ignore[arg-type]

    @functools.wraps(plain)
    def init(self: _T, **settings: object) -> None:
        for name in settings:
            if name not in known:
                raise unknown_setting(name, known, elsewhere)
        plain(self, **settings)

    cls.__init__ = init  # type: ignore[assignment]
    return cls
