# SPDX-License-Identifier: Apache-2.0
"""The identity of this process."""

from __future__ import annotations

from typing import Final


class Process:
    """Identifies this process: `identity` is replaced in the child of a fork, and compared with `is`.

    Asking the system for the process id would take longer than all other checks of `send()`.
    """

    __slots__ = ("identity",)

    def __init__(self) -> None:
        self.identity = object()


PROCESS: Final = Process()


def forget_parent() -> None:
    """Make the parent's pending futures raise `ForkedError`; called in the child of a fork, takes no lock."""
    PROCESS.identity = object()
