# SPDX-License-Identifier: Apache-2.0
"""Look-ups of names: how many run at once."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

from fluvio_sync._net import resolver
from fluvio_sync._net.resolver import Resolution
from fluvio_sync._settings.endpoint import Endpoint
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import pytest


def test_a_resolver_that_hangs_keeps_a_bounded_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def hang(*_: Any, flags: int = 0, **__: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        go_on.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9003))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(resolver, "_MOST", 2)
    monkeypatch.setattr(resolver, "_running", set())  # another test's may hang
    try:
        asked = [Resolution(Endpoint(f"host-{number}", 9003), lambda: None) for number in range(3)]
        assert [resolution.done.is_set() for resolution in asked] == [False, False, True]
        assert "2 look-ups are running" in str(asked[2].error)
    finally:
        go_on.set()
    wait_until(lambda: all(resolution.done.is_set() for resolution in asked), "the look-ups")
    assert [len(resolution.addresses) for resolution in asked] == [1, 1, 0]
    again = Resolution(Endpoint("host-4", 9003), lambda: None)
    assert again.done.wait(10)
    assert again.error is None
