# SPDX-License-Identifier: Apache-2.0
"""A warning for durations that look like milliseconds: all durations of this package are seconds.

Other clients of logs have settings in milliseconds (`linger.ms=5`, `request.timeout.ms=30000`), and such a number is
valid here as well: a linger of 5 s, a timeout of eight hours.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

# The usual values of `linger.ms`; 30 and 60 are usual numbers of seconds.
_LINGERS = frozenset((5, 10, 15, 20, 25, 40, 50, 75, 100, 150, 200, 250, 500))
_DELAYS = frozenset((100, 200, 250, 500))
_THOUSAND = 1000.0
# The longest usual timeout in milliseconds: ten minutes.
_LONGEST = 600_000.0

_PACKAGE = __name__.partition(".")[0]


def warn_of_milliseconds(name: str, value: float) -> None:
    """Warn (`UserWarning`, at the application's line) of a number that is usual for milliseconds.

    * `name`: of the setting.
    * `value`: its value as a plain number; a `timedelta` names its unit.
    """
    usual = {"linger": _LINGERS, "initial_delay": _DELAYS}.get(name, ())
    if value in usual or (_THOUSAND <= value <= _LONGEST and value % _THOUSAND == 0):
        warnings.warn(
            f"{name}={value:g} is {value:g} seconds, as all durations of {_PACKAGE} are; for {value:g} milliseconds "
            f"write {name}={value / _THOUSAND:g} (or a timedelta, which is never warned of)",
            UserWarning,
            stacklevel=_level_of_caller(),
        )


def _level_of_caller() -> int:
    """Return the `stacklevel` of the application's line, counted from the function that calls this one."""
    level = 1
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - `skip_file_prefixes` came with Python 3.12
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    return level


def _is_ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.") or module in ("dataclasses", "functools")
