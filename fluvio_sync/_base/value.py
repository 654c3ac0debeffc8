# SPDX-License-Identifier: Apache-2.0
"""Values that parts of the client hand to each other: events, actions and outcomes."""

from __future__ import annotations


class Value:
    """What a part tells another; a text of it names its parts.

    Not a named tuple, of which it takes twice as long to make one.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        # Compiled classes have the former.
        names = sorted(getattr(type(self), "__mypyc_attrs__", None) or self.__slots__)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"
