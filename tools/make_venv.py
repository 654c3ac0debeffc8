# SPDX-License-Identifier: Apache-2.0
"""Makes a virtual environment of the interpreter that runs this, unless there is one already.

`python tools/make_venv.py FOLDER`; the Makefile runs it with a Python of at least 3.10.  An environment that another
interpreter made is replaced.  The file FOLDER/.python changes when the environment does.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Make it, or leave it as it is."""
    stamp = folder / ".python"
    interpreter = f"{sys.base_prefix} {sys.version}"
    # The link to an interpreter that was removed leads nowhere, and then does not exist.
    if stamp.exists() and stamp.read_text() == interpreter and any(folder.glob("bin/python")):
        return
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian leaves it out
        import venv  # noqa: PLC0415
    except ImportError:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        sys.exit(
            f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu: apt-get install {package}\n"
            "(or python3-venv). Or name another Python: make PYTHON=/path/to/python3 ..."
        )
    print(f"Making a virtual environment of Python {sys.version.split()[0]} in {folder}", flush=True)
    venv.create(folder, clear=True, symlinks=True, with_pip=True)
    stamp.write_text(interpreter)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
