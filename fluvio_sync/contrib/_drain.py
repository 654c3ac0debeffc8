# SPDX-License-Identifier: Apache-2.0
"""Delivers the queued records of a client at the end of a process for which Python runs no exit functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluvio_sync.errors import FluvioError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluvio_sync.client import Fluvio


def drain(get_client: Callable[[], Fluvio], timeout: float) -> None:
    """Close the client of this process, if it has connected; a loss is logged as `records.lost`.

    * `get_client`: returns it.
    * `timeout`: seconds for delivering.
    """
    try:
        client = get_client()
    except FluvioError:
        return  # it never connected, so nothing was ever sent
    if client.running:
        client.close(timeout)
