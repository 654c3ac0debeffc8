# SPDX-License-Identifier: Apache-2.0
"""Durations as the official command line takes them (`150ms`, `20s`, `1m 30s`), and as plain seconds.

Pure.
"""

from __future__ import annotations

import re

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


def parse_duration(text: str) -> float:
    """Return seconds; ValueError for what is no duration.

    One number without a unit is seconds; a sum needs units: `1m 30s`, `1m30s`.
    """
    terms = _TERM.findall(text)
    is_whole = bool(terms) and "".join(text.split()) == "".join(number + unit for number, unit in terms)
    if not is_whole or (len(terms) > 1 and not all(unit for _, unit in terms)):
        raise ValueError(f"{text!r} is not a duration such as 5ms, 1.5s, '1m 30s' or 0.005")
    for _, unit in terms:
        if unit and unit not in _UNITS:
            raise ValueError(f"{text!r} is not a duration: {unit!r} is no unit; they are ns, us, ms, s, m, h, d and w")
    return sum(float(number) * (_UNITS[unit] if unit else 1.0) for number, unit in terms)
