# SPDX-License-Identifier: Apache-2.0
"""What the compiler mypyc would be told about a class: the modules that records pass through can be compiled.

`mypy_extensions`, where mypyc looks for it, is needed by nothing else, so that users need not install it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_extensions import mypyc_attr
else:
    T = TypeVar("T")

    def mypyc_attr(**_settings: bool) -> Callable[[type[T]], type[T]]:
        """Return a decorator that leaves a class as it is; the compiler reads its arguments."""
        return lambda cls: cls


__all__ = ["mypyc_attr"]
