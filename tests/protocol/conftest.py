# SPDX-License-Identifier: Apache-2.0
"""Captured frames, as a fixture that tests are parametrized with.

`data/session.jsonl` holds the bytes between the official Python wheel 0.21.0 and a real
cluster; `data/session-0.11.0.jsonl` and `data/session-0.11.12.jsonl` those between this client and
real clusters of these versions; `data/exchanges.jsonl` are hand-made requests and a cluster's
replies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from fluvio_sync.protocol import admin, consume, fetch, offsets, produce, versions, watch
from fluvio_sync.protocol.frames import RequestHeader, split_request, split_response
from fluvio_sync.protocol.versions import API_VERSIONS, ScApi, SpuApi

if TYPE_CHECKING:
    from collections.abc import Iterator

# These tests must not hang, which pytest-timeout sees; a slow machine is no failure.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

DATA = Path(__file__).parent / "data"

SC_MESSAGES: dict[int, tuple[Any, Any]] = {
    API_VERSIONS: (versions.ApiVersionsRequest, versions.ApiVersionsResponse),
    ScApi.CREATE: (admin.CreateTopicRequest, admin.AdminStatus),
    ScApi.DELETE: (admin.DeleteTopicRequest, admin.AdminStatus),
    ScApi.LIST: (watch.ListRequest, watch.ListResponse),
    ScApi.WATCH: (watch.WatchRequest, watch.WatchUpdate),
    ScApi.UPDATE: (admin.UpdateTopicRequest, admin.AdminStatus),
}

SPU_MESSAGES: dict[int, tuple[Any, Any]] = {
    API_VERSIONS: (versions.ApiVersionsRequest, versions.ApiVersionsResponse),
    SpuApi.PRODUCE: (produce.ProduceRequest, produce.ProduceResponse),
    SpuApi.FETCH: (fetch.FetchRequest, fetch.FetchResponse),
    SpuApi.FETCH_OFFSETS: (offsets.FetchOffsetsRequest, offsets.FetchOffsetsResponse),
    SpuApi.STREAM_FETCH: (consume.StreamFetchRequest, consume.StreamFetchResponse),
    SpuApi.UPDATE_OFFSETS: (consume.UpdateOffsetsRequest, consume.UpdateOffsetsResponse),
}


@dataclass(frozen=True)
class Captured:
    """One frame, and the value that it is read as."""

    name: str
    data: bytes
    header: RequestHeader  # of the request, also where this is a response to it
    is_request: bool
    message: Any

    @property
    def payload(self) -> bytes:
        return self.data[4:]


def _messages(role: str) -> dict[int, tuple[Any, Any]]:
    return SC_MESSAGES if role == "sc" else SPU_MESSAGES


SESSIONS = {"session": 9303, "session-0.11.0": 26003, "session-0.11.12": 23003}
"""The recorded sessions, and the port of the SC in each."""


def _session(session: str) -> Iterator[Captured]:
    entries = [json.loads(line) for line in (DATA / f"{session}.jsonl").read_text().splitlines()]
    requests: dict[tuple[int, int], list[tuple[int, RequestHeader]]] = {}
    for number, entry in enumerate(entries):
        if entry["dir"] == "c2s":
            header, _ = split_request(bytes.fromhex(entry["hex"])[4:])
            requests.setdefault((entry["conn"], header.correlation_id), []).append((number, header))
    for number, entry in enumerate(entries):
        data = bytes.fromhex(entry["hex"])
        is_request = entry["dir"] == "c2s"
        if is_request:
            header, _ = split_request(data[4:])
        else:
            same_id = requests[entry["conn"], split_response(data[4:])[0]]
            # The official client uses correlation id 1 twice on a connection, so the latest counts;
            # one response was recorded just before its request.
            earlier = [header for at, header in same_id if at < number]
            header = earlier[-1] if earlier else same_id[0][1]
        role = "sc" if entry["port"] == SESSIONS[session] else "spu"
        message = _messages(role)[header.api_key][0 if is_request else 1]
        yield Captured(f"{session}:{number + 1} {message.__name__}", data, header, is_request, message)


def _exchanges() -> Iterator[Captured]:
    watching = None
    lines = (DATA / "exchanges.jsonl").read_text().splitlines()
    for number, line in enumerate(lines, 1):
        entry = json.loads(line)
        name = f"exchanges:{number} {entry['name']}"
        if entry["request"]:
            data = bytes.fromhex(entry["request"])
            header, _ = split_request(data[4:])
            if header.api_key == ScApi.WATCH and entry["to"] == "sc":
                watching = header
            request, response = _messages(entry["to"])[header.api_key]
            yield Captured(f"{name} (request)", data, header, True, request)
        else:
            assert watching is not None
            header, response = watching, watch.WatchUpdate
        yield Captured(name, bytes.fromhex(entry["response"]), header, False, response)


def captured_frames() -> list[Captured]:
    """Return every captured frame, in order."""
    return [*(frame for session in SESSIONS for frame in _session(session)), *_exchanges()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `captured` once for every captured frame."""
    if "captured" in metafunc.fixturenames:
        frames = captured_frames()
        metafunc.parametrize("captured", frames, ids=[frame.name for frame in frames])


@pytest.fixture(scope="session")
def all_captured() -> list[Captured]:
    return captured_frames()


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """The computed vectors."""
    loaded: dict[str, Any] = json.loads((DATA / "wire_vectors.json").read_text())
    return loaded
