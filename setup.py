# SPDX-License-Identifier: Apache-2.0
"""Compiles the modules that records pass through with mypyc, if `FLUVIO_SYNC_COMPILE=1` is set.

The wheel is one for this platform then.  Without it, and where that fails, the wheel is pure Python, for all platforms.
What the package is and needs stands in setup.cfg.
"""

from __future__ import annotations

import configparser
import os
import sys
from typing import Any

from setuptools import setup

# These modules have the functions that run for each record or request.  Modules whose classes applications derive from,
# replace or pickle stay interpreted: producer, client, config, partitioners, futures and errors.
COMPILED = [
    "fluvio_sync/protocol/batch.py",
    "fluvio_sync/protocol/frames.py",
    "fluvio_sync/protocol/primitives.py",
    "fluvio_sync/protocol/produce.py",
    "fluvio_sync/_base/compiled.py",
    "fluvio_sync/_base/value.py",
    "fluvio_sync/_base/wall_clock.py",
    "fluvio_sync/_core/accounting.py",
    "fluvio_sync/_core/actions.py",
    "fluvio_sync/_core/events.py",
    "fluvio_sync/_core/dispatcher.py",
    "fluvio_sync/_core/looking.py",
    "fluvio_sync/_core/metadata.py",
    "fluvio_sync/_core/partition.py",
    "fluvio_sync/_core/patience.py",
    "fluvio_sync/_core/pipeline.py",
    "fluvio_sync/_core/routing.py",
    "fluvio_sync/_core/timers.py",
    "fluvio_sync/_core/topic.py",
    "fluvio_sync/_core/transitions.py",
    "fluvio_sync/_outcomes/batch_futures.py",
    "fluvio_sync/_outcomes/batch_item.py",
    "fluvio_sync/_outcomes/counters.py",
    "fluvio_sync/_outcomes/handle_stats.py",
    "fluvio_sync/_outcomes/process.py",
    "fluvio_sync/_net/connection.py",
    "fluvio_sync/_net/poller.py",
    "fluvio_sync/_net/transport.py",
    "fluvio_sync/_runtime/accumulator.py",
    "fluvio_sync/_runtime/metadata_watch.py",
    "fluvio_sync/_runtime/producer_handle.py",
    "fluvio_sync/_runtime/sender.py",
    "fluvio_sync/_runtime/sender_thread.py",
    "fluvio_sync/_runtime/spu_requests.py",
    "fluvio_sync/_runtime/subscription.py",
]


def tools() -> list[str]:
    """Return the packages that a build front end has to install: the compiler, and those that the package imports."""
    config = configparser.ConfigParser()
    config.read("setup.cfg")
    lines = config["options.extras_require"]["compile"] + config["options"]["install_requires"]
    return lines.split("\n")[1:]


def set_up_compiled() -> None:
    """Run setuptools with the compiled modules; the compilers raise errors of any kind, and SystemExit."""
    from mypyc.build import mypycify  # noqa: PLC0415 - only here needed

    options = ["--config-file=", "--ignore-missing-imports"]
    modules: list[Any] = mypycify([*options, *COMPILED], opt_level="3", debug_level="0")
    setup(ext_modules=modules)


if os.environ.get("FLUVIO_SYNC_COMPILE") != "1":
    setup()
elif sys.argv[1:2] == ["egg_info"]:
    setup(setup_requires=tools())
else:
    try:
        set_up_compiled()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the compilers are others', and there is a way without
        print(f"fluvio-sync is not compiled and stays pure Python: {type(error).__name__}: {error}", file=sys.stderr)
        setup()
