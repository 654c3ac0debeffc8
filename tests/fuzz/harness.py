# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: atheris draws bytes for every decoder, and keeps those that reach code that none reached before.

The first byte of an input chooses the decoder, the second is its number, the rest are the bytes.  `python -m
tests.fuzz.harness SECONDS FOLDER` begins with the seeds and works in FOLDER; a file in the place of SECONDS is decoded
once more.  Its status is 0 if any input made a value or a ProtocolError; otherwise the input is in FOLDER.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

try:
    import atheris
except ImportError as error:
    sys.exit(
        f"make fuzz needs atheris, which Python {sys.version.split()[0]} on {sys.platform} does not have ({error}): "
        "make fuzz PYTHON=/path/to/python3 takes another, on Linux; make test draws bytes for the same decoders"
    )

# What is imported here is instrumented: atheris sees which code an input reaches.
with atheris.instrument_imports(include=["fluvio_sync.protocol"]):
    from tests.fuzz.decoders import DECODERS, survives
from tests.fuzz.seeds import seeds

NAMES = sorted(DECODERS)

LONGEST = 4096
"""Bytes of an input."""

HANG = 5
"""Seconds after which an input is taken for a hang."""

MEMORY = 1024
"""Mebibytes that the process may take."""


def one_input(data: bytes) -> None:
    """Decode one input."""
    if len(data) >= 2:
        survives(NAMES[data[0] % len(NAMES)], data[2:], data[1])


def write_corpus(folder: Path) -> None:
    """Write the seeds into a new folder, one file each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, known in seeds().items():
        for data, number in known:
            content = bytes((NAMES.index(name), number)) + data
            (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)


def main(what: str, where: str) -> None:
    """Fuzz for some seconds, or decode a file."""
    folder = Path(where)
    if what.isdecimal():
        write_corpus(folder / "corpus")
        limits = [f"-max_total_time={what}", f"-max_len={LONGEST}"]
        inputs = [str(folder / "corpus")]
    else:
        limits, inputs = [], [what]
    options = [*limits, f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", f"-artifact_prefix={folder}/"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", *inputs], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
