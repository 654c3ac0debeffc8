# SPDX-License-Identifier: Apache-2.0
"""The core gets requests that a real cluster once got, and has to answer as that did.

Ports, the SPUs that a topic was placed on, and the order of lists differ from run to run; all else
is compared byte by byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fluvio_sync.protocol.frames import split_request, split_response
from fluvio_sync.protocol.metadata import ComputedReplicas, TopicSpec
from fluvio_sync.protocol.watch import ListResponse
from fluvio_sync.testing._cluster.core import ClusterCore
from fluvio_sync.testing._cluster.model import SpuAddress
from fluvio_sync.testing._cluster.sc import ScSession
from fluvio_sync.testing._cluster.spu import SpuSession

DATA = Path(__file__).parents[1] / "protocol" / "data"

LEADERS = {
    ("plain", 0): 5002,
    ("plain", 1): 5001,
    ("plain", 2): 5002,
    ("small", 0): 5002,
    ("gzip-only", 0): 5001,
    ("replicated", 0): 5001,
}
"""Where the captured cluster had put them."""

SPU_OF = {
    "produce unknown topic": 5001,
    "wrong codec for gzip-only": 5001,
    "right codec for gzip-only": 5001,
    "read-committed ok": 5001,
    "read-committed, follower dead -> RequestTimedOut": 5001,
    "spu 5001 ApiVersions": 5001,
}
"""To which SPU a request went; the others went to 5002."""


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def exchanges() -> dict[str, dict[str, Any]]:
    # Names are unique but for "create plain", whose second one is told apart here.
    found: dict[str, dict[str, Any]] = {}
    for entry in lines("exchanges.jsonl"):
        name = entry["name"] + " again" * (entry["name"] in found)
        found[name] = entry
    return found


EXCHANGES = exchanges()


@pytest.fixture
def captured_cluster() -> ClusterCore:
    spus = [SpuAddress(5001, "127.0.0.1", 0x24C5), SpuAddress(5002, "127.0.0.1", 0x24CF)]
    return ClusterCore(spus, platform="0.18.2-dev-1")


def answers(core: ClusterCore, name: str, *, wait: float = 0.0) -> str:
    entry = EXCHANGES[name]
    session = ScSession(core) if entry["to"] == "sc" else SpuSession(core, SPU_OF.get(name, 5002))
    session.receive(bytes.fromhex(entry["request"])[4:], core.now)
    if wait:
        assert session.outgoing() == []
        core.on_time(core.now + wait)
    return b"".join(session.outgoing()).hex()


def create_topics(core: ClusterCore) -> None:
    for name in ("create plain", "create replicated", "create gzip-only", "create small"):
        assert answers(core, name) == EXCHANGES[name]["response"]
    for (topic, partition), leader in LEADERS.items():
        core.move_leader(topic, partition, leader)


def test_administration(captured_cluster: ClusterCore) -> None:
    create_topics(captured_cluster)
    for name in (
        "sc ApiVersions",
        "spu 5001 ApiVersions",
        "spu 5002 ApiVersions",
        "create plain again",
        "create Bad_Name",
        "delete missing",
    ):
        assert answers(captured_cluster, name) == EXCHANGES[name]["response"], name


def listed(answer: str) -> list[Any]:
    response = ListResponse.read(split_response(bytes.fromhex(answer)[4:])[1], 19)
    return list(response.items)


def test_lists(captured_cluster: ClusterCore) -> None:
    create_topics(captured_cluster)
    theirs = {item.name: item.spec for item in listed(EXCHANGES["list Topic"]["response"])}
    ours = {item.name: item.spec for item in listed(answers(captured_cluster, "list Topic"))}
    assert ours == theirs
    theirs = {item.name: item for item in listed(EXCHANGES["list Partition"]["response"])}
    ours = {item.name: item for item in listed(answers(captured_cluster, "list Partition"))}
    assert ours.keys() == theirs.keys()
    for name in ("plain-1", "small-0", "gzip-only-0", "replicated-0"):
        assert ours[name] == theirs[name]


def test_produce(captured_cluster: ClusterCore) -> None:
    """Every outcome that was captured, in its order: the offsets depend on the ones before."""
    core = captured_cluster
    create_topics(core)
    for name in (
        "produce ok",
        "produce ok v24",
        "produce two batches one partition",
        "produce unknown topic",
        "produce to the wrong SPU",
        "produce mixed ok and unknown partition",
        "wrong codec for gzip-only",
        "right codec for gzip-only",
        "message too large (segment 2048)",
        "unknown smartmodule",
        "read-committed ok",
    ):
        assert answers(core, name) == EXCHANGES[name]["response"], name
    core.kill_spu(5002)
    name = "read-committed, follower dead -> RequestTimedOut"
    assert answers(core, name, wait=0.7) == EXCHANGES[name]["response"]
    assert core.violations == []
    theirs = {i.name: i for i in listed(EXCHANGES["list Partition after an SPU died"]["response"])}
    ours = {item.name: item for item in listed(answers(core, "list Partition"))}
    for name in ("plain-1", "gzip-only-0"):
        assert ours[name] == theirs[name]
    assert ours["replicated-0"].status.leader == theirs["replicated-0"].status.leader


def test_the_official_wheel_is_answered_as_it_was_by_a_real_spu() -> None:
    """Produce with every codec, read-committed, offsets, and the stream of the produced records."""
    core = ClusterCore([SpuAddress(5001, "127.0.0.1", 9313)])
    core.create_topic("golden2", TopicSpec(ComputedReplicas(2, 1, ignore_rack=True)))
    session = SpuSession(core, 5001)
    told = [entry for entry in lines("session.jsonl") if entry["port"] == 9313]
    frames: list[str] = []
    for entry in told:
        if entry["dir"] == "c2s":
            session.receive(bytes.fromhex(entry["hex"])[4:], 0.0)
            frames += [frame.hex() for frame in session.outgoing()]
    captured = [entry["hex"] for entry in told if entry["dir"] == "s2c"]
    assert len(captured) > 15
    assert frames[: len(captured)] == captured
    # The acknowledgement that ends the capture is answered too, and nothing more is pushed.
    last = split_request(bytes.fromhex(told[-1]["hex"])[4:])[0]
    assert [split_response(bytes.fromhex(frame)[4:])[0] for frame in frames[len(captured) :]] == [last.correlation_id]
    assert core.violations == []
