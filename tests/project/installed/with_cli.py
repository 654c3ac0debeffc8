# SPDX-License-Identifier: Apache-2.0
"""The extra `cli` brings completion and a progress bar."""

import contextlib
import io
import os

from fluvio_sync.cli import main, progress

os.environ["TERM"] = "xterm"
script = io.StringIO()
with contextlib.redirect_stdout(script):
    assert main(["completion", "bash"]) == 0
assert "dev-cluster" in script.getvalue()
with contextlib.redirect_stderr(io.StringIO()):
    bar = progress._bar(10)
    assert bar is not None
    bar.close()
