# SPDX-License-Identifier: Apache-2.0
"""Half an hour of everything: `make soak`, or some seconds of it."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.soak import Soak

pytestmark = [pytest.mark.alone, pytest.mark.slow]

SECONDS = float(os.environ.get("FLUVIO_SYNC_SOAK", "20"))


@pytest.mark.timeout(SECONDS + 180)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the run forks")
def test_nothing_is_lost_and_nothing_grows() -> None:
    seed = os.environ.get("FLUVIO_SYNC_CHAOS_SEED")
    soak = Soak(int(seed) if seed else random.SystemRandom().randrange(1_000_000), SECONDS)
    soak.run()
    print(f"\n{soak.report()}")  # noqa: T201 - `make soak` shows the figures
    assert soak.records["acknowledged"] > 10 * SECONDS
