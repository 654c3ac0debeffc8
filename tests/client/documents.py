# SPDX-License-Identifier: Apache-2.0
"""The code in README and guides, and running it."""

from __future__ import annotations

import re
import subprocess
import sys

from fluvio_sync.testing import LocalCluster

PLACEHOLDER = "127.0.0.1:9003"
"""What documents call their cluster."""


def python_blocks(text: str) -> list[str]:
    """Return the blocks of Python that can be run as they are."""
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_block(block: str) -> str:
    """Run a block against a cluster of its own; returns what it prints.  It must complain of nothing."""
    with LocalCluster() as cluster:
        command = [sys.executable, "-W", "error", "-c", block.replace(PLACEHOLDER, cluster.endpoint)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert cluster.violations() == []
    return done.stdout
