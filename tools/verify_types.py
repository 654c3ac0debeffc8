# SPDX-License-Identifier: Apache-2.0
"""Verifies with basedpyright that every public name says its type, so that no user's type checker has to guess it.

`python tools/verify_types.py`, in an environment with the package's extras.  It is `basedpyright --verifytypes`, less
what is no concern of users: attributes of private classes, which may be inferred; the wire protocol; and what derives
from Django's classes, which have no types.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DJANGO = "fluvio_sync.contrib.django."
LEFT_OUT = (
    "fluvio_sync.protocol.",
    *("fluvio_sync.connect.", "fluvio_sync.client.connect."),  # another name of `Fluvio.connect`, which is verified
    *(f"{DJANGO}{module}." for module in ("apps", "management")),
    *(f"{DJANGO}outbox.{module}." for module in ("admin", "apps", "management", "migrations", "models")),
)
# Of a name that refers to another one, which is reported itself, or private.
CONSEQUENCE = "is partially unknown"
# `except ImportError as error` leaves no name in a module.
HANDLED = ".error"


def symbols() -> list[dict[str, Any]]:
    """Return the findings of basedpyright about the public names and the names that these refer to."""
    interpreter = Path(sys.executable).parent
    # With this option it looks for packages where the first `python` on PATH does, in spite of all settings; and not
    # where an editable installation points to.
    environment = os.environ | {
        "PATH": f"{interpreter}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
    }
    command = [str(interpreter / "basedpyright"), "--verifytypes", "fluvio_sync", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["typeCompleteness"]["symbols"] if done.stdout else []
    if not found:
        sys.exit(f"basedpyright found no public name: {done.stdout}{done.stderr}")
    return found


def main() -> None:
    """Print the public names without a type, and exit with 1 if there are any."""
    public = [s for s in symbols() if s["isExported"] and not f"{s['name']}.".startswith(LEFT_OUT)]
    missing = [
        (symbol["name"], diagnostic)
        for symbol in public
        for diagnostic in symbol["diagnostics"]
        if diagnostic["severity"] == "error"
        and CONSEQUENCE not in diagnostic["message"]
        and not symbol["name"].endswith(HANDLED)
    ]
    for name, diagnostic in missing:
        line = diagnostic.get("range", {}).get("start", {}).get("line", -1) + 1
        print(f"{diagnostic.get('file', '')}:{line}: {name}: {diagnostic['message']}")
    print(f"{len(public)} public names, {len(missing)} without a type")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
