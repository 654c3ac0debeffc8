# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress


@pytest.fixture
def core() -> ClusterCore:
    """A strict cluster of two SPUs, 5001 and 5002."""
    return ClusterCore([SpuAddress(5001, "127.0.0.1", 9010), SpuAddress(5002, "127.0.0.1", 9020)])
