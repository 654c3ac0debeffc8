# SPDX-License-Identifier: Apache-2.0
"""The command line stands on the public face and on `_base` and `_settings`; nothing of the package imports it.

The public face is `fluvio_sync` with its modules such as `client`, `producer`, `config` and `doctor`.  Importing this
package is cheap: `main` imports the commands when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return the exit status."""
    from fluvio_sync.cli import command  # noqa: PLC0415 - see the module's docstring

    return command.main(argv)
