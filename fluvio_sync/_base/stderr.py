# SPDX-License-Identifier: Apache-2.0
"""Lines on standard error, for losses of which an application may have no other sign.

Effects: writes to standard error; any thread.
"""

from __future__ import annotations

import contextlib
import sys

from fluvio_sync._base.text import LONGEST_LINE, printable


def say(text: str) -> None:
    """Write a line that names the library; without effect where standard error is closed."""
    stream = sys.stderr
    if stream is not None:  # `print` would take standard output instead
        with contextlib.suppress(OSError, ValueError):  # no other place is left to report to
            print(printable(f"fluvio_sync: {text}", LONGEST_LINE), file=stream)
