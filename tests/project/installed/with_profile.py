# SPDX-License-Identifier: Apache-2.0
"""The extra `profile` brings Fluvio's own profile file, on every Python."""

import tempfile
from pathlib import Path

from fluvio_sync import Fluvio
from fluvio_sync.testing import LocalCluster

PROFILE = """
version = "2.0"
current_profile = "local"

[profile.local]
cluster = "local"

[cluster.local]
endpoint = "{endpoint}"
"""

with LocalCluster() as cluster, tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "config"
    path.write_text(PROFILE.format(endpoint=cluster.endpoint))
    with Fluvio.connect(profile_path=path) as fluvio:
        assert fluvio.endpoint == cluster.endpoint
