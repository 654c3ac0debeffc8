# SPDX-License-Identifier: Apache-2.0
"""Repeat one seed of the simulation and print its story: python -m tests.simulation.replay SEED."""

from __future__ import annotations

import sys

from tests.simulation.world import World

if __name__ == "__main__":
    world = World(int(sys.argv[1]))
    world.tell_events()
    try:
        world.run()
    finally:
        print("\n".join(world.trace))  # noqa: T201
    print(f"{len(world.sent)} records, every promise was kept")  # noqa: T201
