# SPDX-License-Identifier: Apache-2.0
"""Marks of tests that demand a part of the system that is not everywhere: see `tests/support/portable`."""

from __future__ import annotations

import importlib
import os
import select

import pytest

from fluvio_sync._base.compiled import COMPILED


def _has(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
needs_leading = pytest.mark.skipif(not hasattr(select, "epoll"), reason="without epoll no thread leads")
needs_fcntl = pytest.mark.skipif(not _has("fcntl"), reason="this system has no fcntl")
# Compiled code calls its own functions, and has its own constants, and not what a test has put in their places.
replaces_code = pytest.mark.skipif(COMPILED, reason="it replaces functions or constants of modules that are compiled")
# Nor does a tracer see its lines, so that no exception can be raised there; those of the interpreter come in between.
traces_lines = pytest.mark.skipif(
    COMPILED, reason="it interrupts at every line, and no tracer sees those of compiled code"
)
needs_resource = pytest.mark.skipif(not _has("resource"), reason="this system limits no resources")
