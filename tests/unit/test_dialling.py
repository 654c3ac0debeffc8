# SPDX-License-Identifier: Apache-2.0
"""Attempts to connect to the addresses of a name: their order, their times, and the memory of those that worked."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING

from fluvio_sync._net import dialling
from fluvio_sync._net.dialling import Dialling, in_order
from fluvio_sync._settings.endpoint import Endpoint
from tests.support.sockets import free_port, swallowing
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import pytest

V4, V6 = socket.AF_INET, socket.AF_INET6


def info(family: int, host: str, port: int = 9003) -> dialling.AddressInfo:
    return family, socket.SOCK_STREAM, 0, "", (host, port)


def test_families_take_turns() -> None:
    found = [info(V6, "::1"), info(V6, "::2"), info(V6, "::3"), info(V4, "1.1.1.1"), info(V4, "1.1.1.1")]
    assert [entry[4][0] for entry in in_order(found, None)] == ["::1", "1.1.1.1", "::2", "::3"]


def test_the_address_that_worked_is_the_first() -> None:
    found = [info(V6, "::1"), info(V6, "::2"), info(V4, "1.1.1.1"), info(V4, "1.1.1.2")]
    ordered = in_order(found, ("1.1.1.2", 9003))
    assert [entry[4][0] for entry in ordered] == ["1.1.1.2", "::1", "1.1.1.1", "::2"]
    assert in_order(found, ("1.1.1.9", 9003)) == in_order(found, None)


def dial(*addresses: tuple[str, int], deadline: float = 10.0) -> Dialling:
    endpoint = Endpoint("name.example", 9003)
    return Dialling(endpoint, [info(V4, *address) for address in addresses], deadline=deadline, prepare=lambda _: None)


def test_attempts_begin_one_after_another_and_the_losers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_worked", {})
    with swallowing() as one, swallowing() as two, socket.create_server(("127.0.0.1", 0)) as listener:
        dialled = dial(one, two, listener.getsockname(), deadline=200.0)
        assert dialled.advance(100.0) is None
        assert (len(dialled.sockets()), dialled.next_timer()) == (1, 100.25)
        assert dialled.advance(100.2) is None
        assert len(dialled.sockets()) == 1
        assert dialled.advance(100.25) is None
        assert (len(dialled.sockets()), dialled.next_timer()) == (2, 100.5)
        won = None
        while won is None:  # on loopback within microseconds
            won = dialled.advance(100.5)
        with closing(won):
            assert won.getpeername() == listener.getsockname()
            assert [sock.fileno() >= 0 for sock in dialled.sockets()] == [False, False, True]
        assert dialling._worked == {Endpoint("name.example", 9003): listener.getsockname()}


def test_at_the_deadline_no_address_is_left_untried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "_worked", {})
    with swallowing() as one, swallowing() as two, swallowing() as three:
        dialled = dial(one, two, three, deadline=100.0)
        with closing(dialled):
            assert dialled.advance(100.0) is None
            assert len(dialled.sockets()) == 3


def test_a_failure_begins_the_next_attempt_at_once() -> None:
    dialled = dial(("127.0.0.1", free_port()), ("127.0.0.1", free_port()), deadline=200.0)
    wait_until(lambda: dialled.advance(100.0) or dialled.has_failed(), "both are refused")
    assert dialled.failures(100.0) == "127.0.0.1: Connection refused"


def test_many_failures_are_not_all_told() -> None:
    dialled = dial(*((f"255.255.255.{number}", 9) for number in range(248, 256)), deadline=200.0)
    assert dialled.failures(100.0).count("not tried") == 6
    assert dialled.failures(100.0).endswith("; 2 more addresses")


def test_the_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: dict[Endpoint, object] = {}
    monkeypatch.setattr(dialling, "_worked", memory)
    for port in range(1, 400):
        dialling._remember(Endpoint("name.example", port), ("1.1.1.1", port))
    assert len(memory) == 256
    assert Endpoint("name.example", 399) in memory
