# SPDX-License-Identifier: Apache-2.0
"""What the compiler mypyc is told: the modules that records pass through can be compiled.

`i64` is an int that fits in 64 bits, and is one without an object in compiled code.

`mypy_extensions`, where mypyc looks for it, is needed by nothing else, so that users need not install it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

MYPY = False  # mypy, and with it the compiler, takes this name for True; no other tool knows `i64`
if MYPY:
    from mypy_extensions import i64
else:
    from builtins import int as i64

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_extensions import mypyc_attr
else:
    T = TypeVar("T")

    def mypyc_attr(**_settings: bool) -> Callable[[type[T]], type[T]]:
        """Return a decorator that leaves a class as it is; the compiler reads its arguments."""
        return lambda cls: cls


__all__ = ["i64", "mypyc_attr"]
